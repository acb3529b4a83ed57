"""Make the built-in cases: run them as any case, then keep what pages show and leave out what a machine can make
again.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt import __version__
from ubt.attacks.rendered_scenes import Drawn
from ubt.cases.artifact import Artefact
from ubt.cases.demo import GRID, MAIN
from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work, record_of, standing, upto
from ubt.cases.quantized import Coded, Packed
from ubt.cases.record import BuiltIn
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.clip.difference import Difference
from ubt.core.errors import UbtError
from ubt.core.files import replace_file, replace_folders
from ubt.core.run import Compute, Run, processor
from ubt.data import scenes
from ubt.defenses import poisoncam, tbar
from ubt.figures.similarity import binned, counted
from ubt.pairs.neighbors import SPACES
from ubt.pairs.projection import MapSettings
from ubt.reports.paper import compare
from ubt.reports.paper.defense_tables import case
from ubt.reports.paper.table import diverged
from ubt.reports.paper.whatif import WHAT_IF
from ubt.workflows import derived

COMMAND = "python -m ubt built-in"
PARTS = "cases", "artefacts"
"""The folders that are written, beside the grid."""
SMALL = 200_000
"""Bytes up to which an array is kept as it is."""
MODELS = ("poison", "overfit", "unlearn", "unlearn_published")
"""The stages whose models are kept, as what differs from the reference: those that *Tokens* reads pairs with, and that
*Unlearn* gives away.
"""
EMBEDDED = ("score", "score_poisoned", "score_overfit")
"""The stages whose embeddings of D are kept, coded: what *Neighbours* searches and maps are laid out from."""
PACKED = {("data", "tokens"), ("poisoncam_locate", "patches"), ("poisoncam_locate", "maps")}
"""Larger arrays that are kept, compressed."""
LOCATED = "poisoncam_locate"
OVERFITTED = ("attack", "data", "score", "split", "score_inside")
LONG = 150
"""Steps of overfitting at which it shows what the term on D_normal is for."""
LOOK = (*OVERFITTED, *"select verdict evaluate_clean evaluate_poisoned evaluate_purified judge".split())


@dataclass(frozen=True)
class DemoCase:
    """A built-in case: what it is called, its settings, the stages that are kept (None: all that it is run up to, with
    models and embeddings), and up to which it is run.
    """

    title: str
    settings: CaseSettings
    kept: tuple[str, ...] | None = None
    until: tuple[str | None, ...] = (None,)

    def stages(self) -> tuple[str, ...]:
        """The stages that are kept."""
        run = (stage.name for until in self.until for stage in upto(until, self.settings.own))
        return self.kept or tuple(dict.fromkeys(run))


_MEASURED = ("evaluate_purified", "evaluate_poisoned", "evaluate_clean", "judge")
_DEFENDED = tuple(method.judged for method in compare.METHODS.values())
CASES: dict[str, DemoCase] = {
    MAIN: DemoCase("badnet 2 %, seed 0", case(0), until=(None, *_DEFENDED, *diverged(_DEFENDED), tbar.ALONG)),
    "ready-long": DemoCase(
        "badnet 2 %, overfitted for long", case(0, overfit__steps=LONG), OVERFITTED, ("score_inside",)
    ),
    "ready-alone": DemoCase(
        "badnet 2 %, overfitted for long on D_susp alone",
        case(0, overfit__steps=LONG, overfit__regularise=False),
        OVERFITTED,
        ("score_inside",),
    ),
    "ready-clean": DemoCase("clean, seed 0", case(0, attack__rate=0.0), LOOK, _MEASURED),
    "ready-consistent": DemoCase("label-consistent poisons 2 %, seed 0", case(0, "label_consistent"), LOOK, _MEASURED),
    "ready-joined": DemoCase("badnet 2 %, captions joined, seed 0", case(0, attack__caption="joined"), LOOK, _MEASURED),
    **{
        f"ready-{strategy.split()[0]}": DemoCase(
            f"badnet 2 %, masking strategy {strategy}", case(0, locate__strategy=strategy), (LOCATED,), (LOCATED,)
        )
        for strategy in poisoncam.STRATEGIES
        if strategy != case(0).locate.strategy
    },
}
"""By name: the main one, those that the walk sets beside it, and those that *Patches* compares with it."""


def work() -> list[Work]:
    """Every case to be run, and up to which stage, the built-in ones first."""
    walked = [(demo.settings, until) for demo in CASES.values() for until in demo.until]
    swept = [item for sweep in WHAT_IF.values() for item in sweep.work(1)]
    return list(dict.fromkeys([*walked, *swept]))


@dataclass(frozen=True)
class _Packed:
    """A frame written small."""

    frame: pd.DataFrame
    kind = "frame"

    def save(self, place: Path) -> None:
        self.frame.to_parquet(
            place.with_suffix(".parquet"), index=False, compression="zstd", compression_level=15, use_dictionary=False
        )


def _entry(demo: DemoCase, truth: pd.DataFrame, stage: str, entry: str, kind: str, artefact: Artefact) -> Any:
    """An entry as it is shipped; None if it is left out."""
    settings, whole = demo.settings, demo.kept is None
    if kind == "frame":
        return _Packed(artefact[entry])
    if kind == "json":
        return artefact[entry]
    if (stage, entry) == ("data", "images"):
        rows = np.flatnonzero(truth["plant"] >= 0)
        indices = scenes.ROLES["pairs"][: len(truth)]
        return Drawn(settings.seed, indices, settings.attacks, truth.iloc[rows].assign(row=rows))
    if (stage, entry) == ("test", "images"):
        return Drawn(settings.seed, scenes.labelled("test", settings.test.per_class))
    if kind == "model":
        return Difference.of(artefact[entry]) if whole and stage in MODELS else None
    if stage in EMBEDDED:
        return Coded.of(artefact[entry]) if whole else None
    if (stage, entry) in PACKED and (whole or stage == LOCATED):
        return Packed(artefact[entry])
    if kind == "array" and artefact.manifest["files"][f"{entry}.npy"]["bytes"] <= SMALL:
        return np.asarray(artefact[entry])
    return None


def keep_case(store: Store, where: Compute, name: str, demo: DemoCase, made: Store) -> None:
    """Keep one case of `store` in `made`."""
    settings, record = demo.settings, store.record(demo.settings.name(where))
    names = every_key(settings, where)
    truth, kept = store.open(names["attack"])["truth"], {}
    for stage in demo.stages():
        artefact = store.open(names[stage])
        entries = {e: _entry(demo, truth, stage, e, kind, artefact) for e, kind in artefact.manifest["entries"].items()}
        left = [e for e, value in entries.items() if value is None]
        about = {k: artefact.manifest[k] for k in ("stage", "version", "seconds", "made")} | {
            "from": names[stage],
            "left out": left,
        }
        kept[stage] = f"{stage}-ready-{names[stage].rpartition('-')[2]}"
        if not (made.root / "artefacts" / kept[stage]).is_dir():
            made.write(kept[stage], {e: value for e, value in entries.items() if value is not None}, about)
    when = time.strftime("%Y-%m-%d", time.localtime(record.updated))
    about = BuiltIn(title=demo.title, command=COMMAND, made=when, version=__version__, machine=processor())
    whole = demo.kept is None
    made.save_case(
        name,
        record_of(settings, where, kept, "done" if whole else "partial").changed(
            metrics=record.metrics if whole else None, imported=True, built_in=about, updated=record.updated
        ),
    )


def _maps(store: Store, where: Compute, made: Store) -> None:
    """The main case's maps, laid out by the models that made it, under the names that a page looks for."""
    full, kept = store.record(CASES[MAIN].settings.name(where)), made.record(MAIN)
    for space in SPACES:
        options = derived.map_options(full, space, MapSettings(), list(derived.MAPPED))
        found = derived.make(store, full, "map", options, Run(compute=where))
        entries = {
            e: _Packed(found[e]) if kind == "frame" else found[e] for e, kind in found.manifest["entries"].items()
        }
        about = {k: v for k, v in found.manifest.items() if k not in ("entries", "files", "made_from")}
        key = derived.key(kept, "map", options)
        made.write(key, entries, about | {"made_from": list(kept.artefacts.values())})


def _bins(store: Store, settings: CaseSettings, where: Compute) -> dict[str, list[int]]:
    """Counts of pairs a bin (100,): similarity under the reference over D, and under the overfitted model inside
    D_susp, clean and poisoned.
    """
    names, found = every_key(settings, where), {}
    truth = store.open(names["attack"])["truth"]["poisoned"].to_numpy()
    inside = store.open(names["score_inside"])["similarity"]
    for part, values, poisoned in (
        ("reference", store.open(names["score"])["similarity"]["similarity"].to_numpy(), truth),
        ("overfit", inside["similarity"].to_numpy(), truth[inside["row"].to_numpy()]),
    ):
        bins = binned(values)
        found |= {
            f"{part} {kind}": counted(bins[rows]).tolist()
            for kind, rows in (("clean", ~poisoned), ("poisoned", poisoned))
        }
    return found


def grid(store: Store, where: Compute) -> pd.DataFrame:
    """What *What if* shows, a row a point: `sweep`, the setting's `value`, what stands for it on the axis (`shown`);
    the sweep's measures and `state`, as `ubt.reports.paper.sweep.Sweep.measured` gives them; counts of pairs a bin,
    clean and poisoned, under the reference and the overfitted model.
    """
    table = []
    for name, sweep in WHAT_IF.items():
        (factor,) = sweep.factors
        for value, (_, row) in zip(factor.values, sweep.measured(store, where, 1).iterrows(), strict=True):
            settings = sweep.case(0, "badnet", (value,))
            bins = _bins(store, settings, where) if row["state"] == "" else {}
            table.append({"sweep": name, "value": float(value)} | row.rename({factor.label: "shown"}).to_dict() | bins)
    return pd.DataFrame(table)


def make(store: Store, where: Compute, folder: Path) -> int:
    """Keep what is shipped of cases that were run, in `folder`, whole or not at all; returns the bytes it takes.

    Raises:
        UbtError: a case was not run as far as it has to be.
    """
    lacking = [
        r.title for r in CASES.values() for u in r.until if standing(store, r.settings, where, until=u)[0] != "done"
    ]
    if lacking:
        raise UbtError(
            f"expected finished cases, but these are not: {', '.join(dict.fromkeys(lacking))}; run the same command"
            " again"
        )
    with tempfile.TemporaryDirectory() as scratch:
        made = Store(Path(scratch))
        for name, demo in CASES.items():
            keep_case(store, where, name, demo, made)
        _maps(store, where, made)
        table = grid(store, where)
        replace_folders(made.root, folder, PARTS)
        replace_file(folder / GRID, lambda path: table.to_parquet(path, index=False, compression="zstd"))
    return sum(
        p.stat().st_size
        for p in (*(found for part in PARTS for found in (folder / part).rglob("*")), folder / GRID)
        if p.is_file()
    )
