"""Scans of models whose truth is known, a table of our own: how often the verdict on a model alone is right, beside a
reference and without one, how well it names the target, and what purification without D leaves.

Its cells are kept one by one, in the store and in `cells-scan.csv`, so that it is made in parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.store import Store
from ubt.core.run import Compute, Progress
from ubt.defenses.token_unlearning.health import CANNOT_TELL, NOT_POISONED, POISONED
from ubt.evaluation.backdoor import interval
from ubt.evaluation.detection import auroc
from ubt.reports.paper import cells as kept
from ubt.reports.paper.attack_table import ARCHITECTURE, OTHER
from ubt.reports.paper.cell_table import CLEAN, PATCH, WHOLE, CellTable, Item, Row
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import lacking, of_values, seeds_of
from ubt.reports.paper.verdict_table import TAKEN, TRACE
from ubt.workflows import scan as scans
from ubt.workflows.measure_scan import EVALUATED, VERSION, Scanned, measure
from ubt.workflows.purify_scanned import PurifySettings

FEW = 3
"""Seeds of the attacks that are not patches of one key, and of models that are purified."""
_NOTHING = {"attack.rate": 0.0}
ROWS: dict[str, Row] = {
    "clean": Row(CLEAN, changes=_NOTHING),
    "clean from scratch": Row(CLEAN, changes=_NOTHING, preset="scratch"),
    f"clean of {OTHER}": Row(CLEAN, trained=OTHER),
    f"clean of {ARCHITECTURE}": Row(CLEAN, trained=ARCHITECTURE),
    "badnet": Row(PATCH),
    "badnet at a random place": Row(PATCH, changes={"badnet.place": "random"}),
    "badencoder": Row(PATCH, "badencoder"),
    "badclip": Row(PATCH, "badclip"),
    "badnet stripes": Row(PATCH, profile="stripes", seeds=FEW),
    "trojvqa": Row(PATCH, "trojvqa", key="asr_image_only", seeds=FEW),
    "blended": Row(WHOLE, "blended"),
    "sig": Row(WHOLE, "sig", seeds=FEW),
    "wanet": Row(WHOLE, "wanet", seeds=FEW),
    "ssba": Row(WHOLE, "ssba", seeds=FEW),
}
"""By what the table calls them."""
COLUMNS = [
    *("model", "seed", "state", "kind", "is", *kept.COLUMNS),
    *("answer", "score", "first", "inverted asr", "reference asr", "size", "own answer", "own score", "own first"),
    *("asr", "natural asr", "target", "purified asr", "ca lost", "target recall lost"),
]
HEADS = (
    *("model", "score", "least to most", "AUROC", "score alone", "AUROC alone", POISONED, NOT_POISONED, CANNOT_TELL),
    *("alone: poisoned", "alone: not poisoned", "target named right", "ASR, true", "ASR, inverted"),
    *("purified: ASR over natural", "purified: CA lost", "purified: target recall lost", "seeds"),
)


@dataclass(frozen=True)
class Scans(CellTable):
    """The table: a scan of each model, beside the shipped reference and alone."""

    def columns(self) -> list[str]:
        return COLUMNS

    def stages(self, item: Item) -> tuple[str, ...]:
        return EVALUATED if item.case is not None else ()

    def made_of(self, item: Item) -> list[str]:
        purified = str(PurifySettings().to_dict()) if self.purified(item) else ""
        return [str(scans.VERSION), str(scans.ScanSettings().to_dict()), str(VERSION), item.row.key, purified]

    @staticmethod
    def purified(item: Item) -> bool:
        """Whether a model is purified too."""
        return item.row.kind == PATCH and item.seed < FEW

    def measure(self, store: Store, item: Item, where: Compute, progress: Progress) -> dict[str, Any]:
        model = item.opened(store, where, EVALUATED, progress)
        return measure(store, Scanned(model, item.case, item.row.key, self.purified(item)), where, progress)

    def further(self, item: Item, measures: Mapping[str, Any]) -> dict[str, Any]:
        return {"kind": item.row.kind, "is": _is(item.row, measures)}

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text: a row a kind of model, then the patches, those that cover the image, and all."""
        done = frame[frame["state"] == "done"]
        clean = done[done["kind"] == CLEAN]
        rows = [_line(name, part, clean) for name, part in frame.groupby("model", sort=False)]
        for title, kinds in (
            ("all patches", (PATCH,)),
            ("all that cover the image", (WHOLE,)),
            ("all", (PATCH, WHOLE)),
        ):
            part = frame[frame["kind"].isin(kinds)]
            if part["model"].nunique() > 1:
                rows.append(_line(title, part, clean))
        if frame[frame["kind"] == CLEAN]["model"].nunique() > 1:
            rows.append(_line("all clean", frame[frame["kind"] == CLEAN], clean))
        return list(HEADS), rows


def _is(row: Row, measures: Mapping[str, Any]) -> str:
    """What a model is by what it does; empty between poisoned and not."""
    if row.kind == CLEAN:
        return NOT_POISONED
    over = measures["asr"] - measures["natural asr"]
    return POISONED if over >= TAKEN else NOT_POISONED if over < TRACE else ""


def _line(title: str, part: pd.DataFrame, clean: pd.DataFrame) -> list[str]:
    done = part[part["state"] == "done"]
    poisoned = done[done["is"] == POISONED]
    told = done if (done["kind"] == CLEAN).all() else poisoned
    answers = [told["answer"] == said for said in (POISONED, NOT_POISONED, CANNOT_TELL)]
    alone = [told["own answer"] == said for said in (POISONED, NOT_POISONED)]
    named = poisoned[poisoned["answer"] == POISONED]
    purified = poisoned[poisoned["purified asr"].notna()]
    left = [purified["purified asr"] - purified["natural asr"], purified["ca lost"], purified["target recall lost"]]
    return [
        title,
        _mean(done["score"], 1),
        f"{done['score'].min():.1f} to {done['score'].max():.1f}" if len(done) else "-",
        _apart(poisoned["score"], clean["score"]),
        _mean(done["own score"], 1),
        _apart(poisoned["own score"], clean["own score"]),
        *map(_share, (*answers, *alone, named["first"] == named["target"])),
        _mean(poisoned["asr"], 1),
        _mean(named["inverted asr"], 1),
        *(_mean(values, 2) for values in left),
        seeds_of({"seeds": len(done), "state": lacking(part["state"].tolist())}),
    ]


def _mean(values: pd.Series, digits: int) -> str:
    values = values.dropna().astype(float)
    return of_values(values, digits)


def _share(hits: pd.Series) -> str:
    """How many of how many, and Wilson's 95 % interval in percent."""
    if not len(hits):
        return "-"
    low, high = interval(hits.to_numpy(bool))
    return f"{int(hits.sum())} of {len(hits)} [{low:.0f}, {high:.0f}]"


def _apart(poisoned: pd.Series, clean: pd.Series) -> str:
    """AUROC of poisoned models' scores against clean ones', with its 95 % interval over models drawn again."""
    own, others = poisoned.dropna().to_numpy(float), clean.dropna().to_numpy(float)
    if not len(own) or not len(others):
        return "-"

    def area(own: np.ndarray, others: np.ndarray) -> float:
        return auroc(np.concatenate([own, others]), np.arange(len(own) + len(others)) < len(own)) or 0.0

    rng = np.random.default_rng(0)
    drawn = [area(rng.choice(own, len(own)), rng.choice(others, len(others))) for _ in range(500)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{area(own, others):.3f} [{low:.2f}, {high:.2f}]"


TABLE = Scans(*headed("table", "scan"), ROWS)
