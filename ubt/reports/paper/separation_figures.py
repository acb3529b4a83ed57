"""Figs. 3, 4, 6, 7 of the UBT paper: clean and poisoned pairs under the overfitted model, by attack, by what it is
overfitted on, by size of D and by number of poisons. In the paper on CC3M with CLIP ViT-B/32; here at the embedded
scale, in the paper's proportions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.evaluation.detection import auroc
from ubt.reports.paper.defense_tables import case
from ubt.reports.paper.figure import Figure, Panel
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import cell

if TYPE_CHECKING:
    import plotly.graph_objects as go

DRAWN = ["similarity", "poisoned"]
"""The columns that are drawn: arrays, a value a pair."""
MEASURES = ["poisons", "poisons in D_susp", "AUROC in D_susp", "AUROC over D", "clean mean", "poisoned mean"]


@dataclass(frozen=True)
class Separation(Figure):
    """Histograms of similarity, a panel a case, row by row, so many a row. `inside`: they show the pairs of D_susp
    alone, not all of D.
    """

    chart: ClassVar[bool] = True
    columns: int
    inside: bool = False

    @property
    def among(self) -> str:
        """Whose pairs it shows."""
        return "D_susp" if self.inside else "D"

    def columns_of_values(self) -> Sequence[str]:
        return [*MEASURES, *DRAWN]

    def measured(self, store: Store, where: Compute, seed: int) -> pd.DataFrame:
        """As every figure, of each panel: `poisons` and `poisons in D_susp`; `AUROC in D_susp` and `AUROC over D` of
        the similarity; `clean mean` and `poisoned mean` of the pairs shown; `similarity` and `poisoned` of the pairs
        shown, arrays (n,). What has one kind of pair only is missing too.
        """
        return super().measured(store, where, seed).astype({"poisons": "Int64", "poisons in D_susp": "Int64"})

    def values(self, read: Callable[[str], Any], case: CaseSettings, stage: str) -> dict[str, Any]:
        similarity, poisoned = (
            read(f"{stage}.similarity")["similarity"].to_numpy(),
            read("attack.truth")["poisoned"].to_numpy(),
        )
        suspicious = read("split.split")["suspicious"].to_numpy()
        shown = suspicious if self.inside else slice(None)
        s, p = similarity[shown], poisoned[shown]
        return {
            "poisons": poisoned.sum(),
            "poisons in D_susp": (poisoned & suspicious).sum(),
            "AUROC in D_susp": auroc(similarity[suspicious], poisoned[suspicious]),
            "AUROC over D": auroc(similarity, poisoned),
            "clean mean": s[~p].mean() if (~p).any() else None,
            "poisoned mean": s[p].mean() if p.any() else None,
            "similarity": s,
            "poisoned": p,
        }

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        means = [f"mean similarity of the {kind}, {self.among}" for kind in ("clean", "poisoned")]
        heads = ["panel", "pairs", "poisoned", "in D_susp", "AUROC in D_susp", "AUROC over D", *means]
        cells = []
        for _, line in frame.iterrows():
            whole = [cell(line[name], digits=0) for name in ("pairs", "poisons", "poisons in D_susp")]
            parts = [
                cell(line[name], digits=3)
                for name in ("AUROC in D_susp", "AUROC over D", "clean mean", "poisoned mean")
            ]
            label = f"{line['row']}, {line['panel']}" + (f" ({line['state']})" if line["state"] else "")
            cells.append([label, *whole, *parts])
        return heads, cells

    def numbers(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.drop(columns=DRAWN)

    def drawn(self, frame: pd.DataFrame) -> "go.Figure":
        from ubt.figures.small_multiples import panels

        return panels(frame, self.columns)

    def pictured(self, frame: pd.DataFrame, kinds: Sequence[str]) -> dict[str, bytes]:
        from ubt.figures.export import chart_page, pictures

        if not kinds:
            return {}
        figure, needs = self.drawn(frame), [kind for kind in kinds if kind != "HTML"]
        made = pictures(figure, needs) if needs else {}
        return made | ({"HTML": chart_page(figure, self.title, self.source).encode()} if "HTML" in kinds else {})


NAMES = {"badnet": "BadNet", "blended": "Blended", "sig": "SIG", "ssba": "SSBA"}
"""The four attacks of Table III, and so of Fig. 3."""
ROWS = {"UBT": "score_overfit", "ABL": "score_abl"}
PAIRS = 10_000
SIZES = (5_000, 10_000, 15_000, 20_000)
"""Half, once, 1.5 times and twice the default, as Table X's 250K, 500K, 750K and 1M. 5K shows the trigger 500 times (2
%, 5 epochs), half as often as the default; less is not expected to plant it.
"""
COUNTS = (100, 130, 200, 270, 400, 600)
"""In about the proportions of Table IX's 750, 1000, 1500, 2000, 3000 and 5000; the last is as many as D_susp has pairs,
there and here.
"""

FIGURES: dict[str, Figure] = {
    "3": Separation(
        *headed("figure", "3"),
        tuple(
            Panel(title, partial(case, attack=name), row, stage)
            for row, stage in ROWS.items()
            for name, title in NAMES.items()
        ),
        columns=4,
    ),
    "4": Separation(
        *headed("figure", "4"),
        (Panel("D_susp alone", partial(case, overfit__regularise=False)), Panel("the whole of D", case)),
        columns=2,
        inside=True,
    ),
    "6": Separation(
        *headed("figure", "6"),
        tuple(Panel(f"{size:,} pairs", partial(case, data__pairs=size)) for size in SIZES),
        columns=4,
    ),
    "7": Separation(
        *headed("figure", "7"),
        tuple(Panel(f"{count:,} poisons", partial(case, attack__rate=count / PAIRS)) for count in COUNTS),
        columns=3,
    ),
}
"""By the paper's number. The number of poisons is set as a share, so that 200 is the default case itself."""
