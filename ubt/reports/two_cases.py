"""Two cases side by side: in which settings they differ, and by how much their figures do."""

from collections.abc import Mapping
from typing import Any

from ubt.cases.titles import Called, differing, said
from ubt.defenses.token_unlearning.verdict import answer
from ubt.evaluation.model_roles import MEASURED
from ubt.figures.measures import MEASURES

NOTHING = "-"
SHARES = {
    ("split", "recall"): "recall of the split, %",
    ("select", "precision"): "precision of D_topk, %",
    ("flagged", "precision"): "precision of the flagged, %",
    ("flagged", "recall"): "recall of the flagged, %",
}
"""Figures that a case keeps as shares, and their titles."""


def settings(a: Mapping[str, Any], b: Mapping[str, Any], called: Called = str) -> list[tuple[str, str, str]]:
    """The settings that are not the same in both, each as `ubt.cases.titles.flat` gives them: name, value in the first,
    value in the second.
    """
    names = differing([a, b])
    return [(n, *(said(n, s[n], called) if n in s else NOTHING for s in (a, b))) for n in names]


def figures(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """What at least one of two cases came to, from their figures as `ubt.cases.pipeline.metrics` gives them: what it
    is, the first's, the second's, and by how much the second's is larger.
    """
    rows = [("verdict", *(answer(m["verdict"]) if m.get("verdict") else NOTHING for m in (a, b)), "")]
    rows += [_row("score of the verdict", *(_at(m, "verdict", "score") for m in (a, b)), 3)]
    rows += [_row("natural ASR, %", *(_at(m, "clean", "asr") for m in (a, b)), 2)]
    for name, role in [(n, r) for n, r in MEASURED.items() if n != "clean"]:
        rows += [_row(f"{t}, {role.label}, %", *(_at(m, name, k) for m in (a, b)), 2) for k, t in MEASURES.items()]
    rows += [_row(title, *(_at(m, *at, scale=100) for m in (a, b)), 1) for at, title in SHARES.items()]
    rows += [_row("computed for, s", *(seconds(m) for m in (a, b)), 0)]
    return [row for row in rows if {row[1], row[2]} != {NOTHING}]


def seconds(found: Mapping[str, Any]) -> float | None:
    """What the stages of a finished case took together; None of any other."""
    took = found.get("seconds")
    return float(sum(took.values())) if isinstance(took, Mapping) and took else None


def _at(found: Mapping[str, Any], group: str, name: str, scale: float = 1) -> float | None:
    values = found.get(group)
    value = values.get(name) if isinstance(values, Mapping) else None
    return None if value is None else scale * float(value)


def _row(title: str, a: float | None, b: float | None, digits: int) -> tuple[str, str, str, str]:
    first, second = (NOTHING if v is None else f"{v:,.{digits}f}" for v in (a, b))
    more = "" if a is None or b is None else "0" if first == second else f"{b - a:+,.{digits}f}"
    return title, first, second, more
