"""The built-in cases as the lecture reads them: each once, kept while the process runs."""

from functools import lru_cache

import numpy as np

from ubt.cases import demo
from ubt.cases.finished import Finished
from ubt.cases.read_only import ReadOnlyStore
from ubt.core import files
from ubt.evaluation.model_roles import MEASURED
from ubt.pairs.table import PairTable

MAIN = demo.MAIN


@lru_cache(maxsize=8)
def _opened(root: str, name: str, made: int) -> tuple[Finished, PairTable, dict[str, dict]]:
    case = Finished(ReadOnlyStore(files.READY, untouched=True), name)
    table = PairTable.from_stages(
        case.has, lambda stage, entry, *names: case.artefacts[stage].read(entry, columns=names)
    )
    return case, table, {m: case.read(r.evaluated, "measures") for m, r in MEASURED.items() if case.has(r.evaluated)}


def version(name: str = MAIN) -> int:
    """When a built-in case was made, in nanoseconds."""
    return (files.READY / "cases" / name / "case.json").stat().st_mtime_ns


def _of(name: str) -> tuple[Finished, PairTable, dict[str, dict]]:
    return _opened(str(files.READY), name, version(name))


def case(name: str = MAIN) -> Finished:
    """A built-in case."""
    return _of(name)[0]


def table(name: str = MAIN) -> PairTable:
    """Its pairs, without labels; nothing in it may be changed."""
    return _of(name)[1]


def measured(name: str = MAIN) -> dict[str, dict]:
    """The measures of its models on all test images, in percent."""
    return _of(name)[2]


def whose(name: str = MAIN, part: str = "") -> str:
    """Which case is shown, and how many pairs it has, or which `part` of them, in a sentence."""
    poisons = int(table(name).poisoned.sum())
    planted = f"{poisons:,} of them poisoned" if poisons else "none of them poisoned"
    counted = part or f"{len(table(name)):,} pairs, {planted}"
    return f"Built-in case {case(name).record.built_in.title}: {counted}."


def inside(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of D_susp's pairs under the overfitted model, and which are poisoned, (m,) each."""
    frame, poisoned = case(name).read("score_inside", "similarity"), table(name).poisoned
    return frame["similarity"].to_numpy(), poisoned[frame["row"].to_numpy()]
