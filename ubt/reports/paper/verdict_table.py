"""The verdict over seeds, a table of our own: how often a clean model is judged poisoned, and a poisoned one not."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import pandas as pd

from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work, standing
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.evaluation.backdoor import interval
from ubt.reports.paper.defense_tables import ATTACKS, case
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import Sheet, cell, check, lacking, seeds_of

CLEAN = "nothing poisoned"
EVIDENCE = ["score", "threshold", "displaced", "least displaced", "apart"]
COLUMNS = ["model", "poisons", "seed", "case", "state", *EVIDENCE, "judged poisoned", "right"]


@dataclass(frozen=True)
class Verdicts(Sheet):
    """The verdict's table: a clean model and one of each attack. It is written with its chart, as a page of HTML."""

    attacks: tuple[str, ...]

    def narrowed(self, attacks: Collection[str], methods: Collection[str]) -> "Verdicts":
        """The clean model beside some attacks; nothing named takes all.

        Raises:
            BadInput: it has no such attack, or methods are named: it has none.
        """
        check("--attacks", attacks, self.attacks)
        check("--defenses", methods, ())
        return replace(self, attacks=tuple(attacks) or self.attacks)

    def cases(self, seeds: int) -> list[tuple[str, CaseSettings]]:
        """What is judged: its name, and its case."""
        return [
            (name, case(s, attack__rate=0.0) if name == CLEAN else case(s, name))
            for name in (CLEAN, *self.attacks)
            for s in range(seeds)
        ]

    def work(self, seeds: int) -> list[Work]:
        """The cases, each up to its verdict."""
        return [(settings, "verdict") for _, settings in self.cases(seeds)]

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """A row a model and seed: how many `poisons` it was trained on, its `case` and `state`; if that is done, the
        verdict's `score` and `threshold`, how far D_topk is `displaced` and the `least displaced` that counts, how far
        it is `apart`, whether it was `judged poisoned`, and whether that is `right`.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        table = []
        for name, settings in self.cases(seeds):
            poisons = sum(p.attack.poisons(settings.data.pairs) for p in settings.attacks)
            state = standing(store, settings, where, until="verdict")[0]
            line = {"model": name, "poisons": poisons, "seed": settings.seed}
            line |= {"case": settings.name(where), "state": state}
            if state == "done":
                found = store.open(every_key(settings, where)["verdict"])["verdict"]
                line |= {k: found[k.replace(" ", "_")] for k in EVIDENCE}
                line |= {"judged poisoned": found["poisoned"], "right": found["poisoned"] == (poisons > 0)}
            table.append(line)
        return pd.DataFrame(table).reindex(columns=COLUMNS)

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text, a row a model and one for all poisoned ones; errors are false alarms of clean
        models, misses of others.
        """
        spread = "least to most"
        figures = ("score", spread, "displaced", spread, "apart", spread)
        heads = ["model", *figures, "judged poisoned", "errors", "error rate, 95 % interval", "seeds"]
        parts = list(frame.groupby("model", sort=False))
        if len(self.attacks) > 1:
            parts.append(("all poisoned", frame[frame["poisons"] > 0]))
        return heads, [[name, *_cells(part)] for name, part in parts]

    def files(self, frame: pd.DataFrame) -> dict[str, str]:
        from ubt.figures import verdict
        from ubt.figures.export import chart_page

        return super().files(frame) | {"html": chart_page(verdict.many(frame), self.title, self.source)}


def _cells(part: pd.DataFrame) -> list[str]:
    done = part[part["state"] == "done"]
    poisoned, wrong, figures = done["judged poisoned"].astype(bool), ~done["right"].astype(bool), []
    for values in (done["score"], done["displaced"], done["apart"]):
        spread = values.std() if len(done) > 1 else None
        figures += [cell(values.mean(), spread, 3), f"{values.min():.3f} to {values.max():.3f}" if len(done) else "-"]
    counts = [f"{poisoned.sum()} of {len(done)}", f"{wrong.sum()} of {len(done)}"] if len(done) else ["-", "-"]
    rate = "{:.1f} [{:.1f}, {:.1f}]".format(100 * wrong.mean(), *interval(wrong.to_numpy())) if len(done) else "-"
    return [*figures, *counts, rate, seeds_of({"seeds": len(done), "state": lacking(part["state"].tolist())})]


TABLE = Verdicts(*headed("table", "verdict"), (*ATTACKS, "wanet"))
