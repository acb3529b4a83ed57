"""Scans of models whose truth is known, a table of our own: how often the verdict on a model alone is right, beside a
reference and without one, how well it names the target, and what purification without D leaves.

Its cells are kept one by one, in the store and in `cells-scan.csv`, so that it is made in parts.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.keys import every_key, reference_digest
from ubt.cases.pipeline import Work
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.core.files import REFERENCE
from ubt.core.run import Compute, Progress
from ubt.defenses.token_unlearning.health import CANNOT_TELL, NOT_POISONED, POISONED
from ubt.evaluation.backdoor import interval
from ubt.evaluation.detection import auroc
from ubt.reports.paper import cells as kept
from ubt.reports.paper.attack_table import ARCHITECTURE, OTHER
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import Sheet, cell, check, lacking, seeds_of, state_of
from ubt.reports.paper.verdict_table import TAKEN, TRACE
from ubt.workflows import scan as scans
from ubt.workflows.clean_models import SEED, clean_model, stand_in
from ubt.workflows.measure_scan import EVALUATED, Scanned, measure

KEPT = "cell-"
"""How the name of a cell in the store begins."""
CLEAN, PATCH, WHOLE = "clean", "patch", "whole image"
"""Kinds of models, by their trigger."""
FEW = 3
"""Seeds of the attacks that are not patches of one key, and of models that are purified."""


@dataclass(frozen=True)
class Row:
    """Models of one kind.

    Args:
        kind: of `CLEAN`, `PATCH`, `WHOLE`. attack, profile, changes: of its cases. trained: the kind of clean model, of
            `ubt.workflows.clean_models`, that has no case. preset: of its cases. key: the measure of the true trigger's
            ASR. seeds: at most.
    """

    kind: str
    attack: str = "badnet"
    profile: str = "embedded"
    changes: Mapping[str, Any] = field(default_factory=dict)
    trained: str = ""
    preset: str = "demo"
    key: str = "asr"
    seeds: int = 6

    def case(self, seed: int) -> CaseSettings | None:
        """Its case of a seed; None where it has none."""
        if self.trained:
            return None
        return CaseSettings.preset(self.preset, self.attack, self.profile).with_values({"seed": seed, **self.changes})


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
class Scans(Sheet):
    """The table: a row for each of `rows`; cells that are `known` by their identity are not measured again."""

    rows: Mapping[str, Row]
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def attacks(self) -> tuple[str, ...]:
        """What its rows are called."""
        return tuple(self.rows)

    def narrowed(self, attacks: Collection[str], methods: Collection[str]) -> "Scans":
        """Some of the rows; nothing named takes all.

        Raises:
            BadInput: it has no such row, or methods are named: it has none.
        """
        check("--attacks", attacks, self.rows)
        check("--defenses", methods, ())
        return replace(self, rows={name: self.rows[name] for name in attacks or self.rows})

    def knowing(self, cells: pd.DataFrame) -> "Scans":
        """The same with cells that were measured before."""
        return replace(self, known=kept.by_identity(cells))

    def models(self, seeds: int) -> list[tuple[str, int, CaseSettings | None]]:
        """What is scanned: the row, the seed, and the case if there is one; of every row the first seed first."""
        return [
            (name, seed, row.case(seed)) for seed in range(seeds) for name, row in self.rows.items() if seed < row.seeds
        ]

    def work(self, seeds: int) -> list[Work]:
        """The cases, as far as what is scanned and the truth about it."""
        return [(case, stage) for _, _, case in self.models(seeds) if case is not None for stage in EVALUATED]

    def missing(self, where: Compute, seeds: int) -> list[Work]:
        """`work` without what leads to known cells."""
        needed = {self._identity(n, s, where): case for n, s, case in self.models(seeds) if case is not None}
        return [(case, stage) for i, case in needed.items() if i not in self.known for stage in EVALUATED]

    def _identity(self, name: str, seed: int, where: Compute) -> str:
        """The identity of a cell: what the model is, what it is compared with, and how it is scanned."""
        row, case = self.rows[name], self.rows[name].case(seed)
        keys = [stand_in(row.trained, SEED + seed)] if case is None else []
        keys += [every_key(case, where)[stage] for stage in ("poison", *EVALUATED)] if case is not None else []
        purified = str(self._purified(row, seed))
        return kept.identity(
            [*keys, reference_digest(REFERENCE), str(scans.VERSION), str(scans.ScanSettings().to_dict()), purified]
        )

    @staticmethod
    def _purified(row: Row, seed: int) -> bool:
        return row.kind == PATCH and seed < FEW

    def tasks(self, store: Store, where: Compute, seeds: int) -> list[tuple[str, Callable[[Progress], dict[str, Any]]]]:
        """The scans that no cell has yet, each with what does it."""
        found = []
        for name, seed, case in self.models(seeds):
            identity = self._identity(name, seed, where)
            if identity not in self.known and store.find(KEPT + identity) is None:
                found.append((f"scan {name}, seed {seed}", self._task(store, where, name, seed, case, identity)))
        return found

    def _task(
        self, store: Store, where: Compute, name: str, seed: int, case: CaseSettings | None, identity: str
    ) -> Callable[[Progress], dict[str, Any]]:
        row = self.rows[name]

        def work(progress: Progress) -> dict[str, Any]:
            if case is None:
                model = clean_model(store, row.trained, where, SEED + seed, progress)
            else:
                if (state := state_of(store, case, where, EVALUATED)) != "done":
                    raise UbtError(f"{name}, seed {seed}: expected its model to be trained, got a case that is {state}")
                model = f"{scans.OF_CASE}{case.name(where)}/poison"
            found = measure(store, Scanned(model, case, row.key, self._purified(row, seed)), where, progress)
            plain = {key: value for key, value in found.items() if value is not None}
            about = {"stage": "cell", "brought": True, "seconds": 0.0}
            store.put(KEPT + identity, {"cell": kept.stamped(identity, where) | plain}, about)
            return {"seconds": 0.0}

        return work

    def cells(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """What is measured of each model that was scanned: a row with the model, the seed, what it `is`, and `measure`s
        as `ubt.workflows.measure_scan` has them.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        frame = self.measured(store, where, seeds)
        return frame[frame["state"] == "done"].drop(columns=["state"]).reset_index(drop=True)

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """A row a model and seed: its `state`, and if that is done its `cells`.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        table = []
        for name, seed, case in self.models(seeds):
            identity = self._identity(name, seed, where)
            line: dict[str, Any] = {"model": name, "seed": seed, "kind": self.rows[name].kind}
            there = None if identity in self.known else store.find(KEPT + identity)
            measures = self.known.get(identity) or (there["cell"] if there is not None else {})
            if measures:
                line |= {"state": "done"} | dict(measures) | {"is": _is(self.rows[name], measures)}
            else:
                line["state"] = "to do" if case is None else state_of(store, case, where, EVALUATED)
                line["state"] = "to do" if line["state"] == "done" else line["state"]
            table.append(line)
        return pd.DataFrame(table).reindex(columns=COLUMNS)

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text: a row a kind of model, then the patches, those that cover the image, and all."""
        done = frame[frame["state"] == "done"]
        clean = done[done["is"] == NOT_POISONED]
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
    answers = [done["answer"] == said for said in (POISONED, NOT_POISONED, CANNOT_TELL)]
    alone = [done["own answer"] == said for said in (POISONED, NOT_POISONED)]
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
    return cell(values.mean() if len(values) else None, values.std() if len(values) > 1 else None, digits)


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
