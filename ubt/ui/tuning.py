"""Where the sliders of the page *Separation* stand, and what they catch: for that page and for every export."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.evaluation import detection
from ubt.evaluation.label_free import Mixture
from ubt.pairs.table import PairTable
from ubt.ui import pairs, query_params, stale
from ubt.ui.view import View

NAMES = ("fraction", "threshold", "k")
"""The sliders, by their names in the address."""
MOST_K = 200
FRACTION_STEP, THRESHOLD_STEP = 0.5, 0.01
TUNED = {
    "suspicious_tuned": ("D_susp", "in D_susp, as tuned: the {percent:g} % of lowest similarity_reference"),
    "flagged_tuned": ("flagged", "in D_susp as tuned, and similarity_overfit is {threshold:g} or more"),
    "topk_tuned": ("D_topk", "in D_topk, as tuned: the first {k} of D_susp by similarity_overfit"),
}
"""What an export adds for sliders that were moved: each column, its set, and what it says."""


@dataclass(frozen=True)
class Tuned:
    """Where the sliders stand: D_susp in percent of D, the threshold on the overfitted similarity, k. `moved`: whether
    any of them was; `start`: where the threshold stands by itself.
    """

    percent: float
    threshold: float
    k: int
    moved: bool
    start: float = 0.5

    def as_run(self, view: View) -> bool:
        """Whether D_susp and D_topk are those that the case was run with."""
        return (self.percent, self.k) == (_run_with(view), view.settings.k)


def _run_with(view: View) -> float:
    """The suspicious fraction that the case was run with, in percent."""
    return round(100 * view.settings.split.fraction, 6)


def _bounds(view: View) -> dict[str, tuple[float, float]]:
    run_with = _run_with(view)
    return {
        "fraction": (min(0.5, run_with), max(50.0, run_with)),
        "threshold": (-1.0, 1.0),
        "k": (2, max(MOST_K, view.settings.k)),
    }


def _most_k(view: View, table: PairTable, percent: float) -> int:
    return max(3, min(MOST_K, suspicious_count(len(table), percent / 100)), view.settings.k)


def sliders(view: View, table: PairTable, mixture: Mixture | None) -> tuple[Tuned, list[Any]]:
    """Draw the sliders side by side, each with a line under the histogram whose line it moves; where they stand, and
    the columns of D_susp, of the flagged and of D_topk.
    """
    left, middle, right = st.columns(3)
    unscored, bounds, run_with = table.similarity_overfit is None, _bounds(view), _run_with(view)
    about = "The pairs of lowest similarity under the clean reference are D_susp"
    title = "Suspicious fraction: share of D, %"
    percent = query_params.slider(left, title, "fraction", view, *bounds["fraction"], run_with, FRACTION_STEP, about)
    start = _first_threshold(view, table, mixture)
    about = (
        "Pairs of D_susp from this similarity on count as flagged. It starts where a pair is as probably poisoned as"
        " not, estimated without the truth"
    )
    title, span = "Threshold on the overfitted similarity", pairs.prepared(view, table).span
    low, high = min(span[0], start), max(span[1], start)
    threshold = query_params.slider(
        right, title, "threshold", view, low, high, start, THRESHOLD_STEP, about, unscored, bounds["threshold"]
    )
    about = "The k pairs of D_susp most similar under the overfitted model"
    k = view.settings.k
    # whatever the fraction: a slider whose end moves is made anew, and loses the keys pressed meanwhile
    most = max(3, min(MOST_K, len(table)), k)
    chosen = query_params.slider(middle, "k: size of D_topk", "k", view, 2, most, k, 1, about, unscored)
    chosen = min(chosen, _most_k(view, table, percent))
    tuned = Tuned(percent, threshold, chosen, (percent, threshold, chosen) != (run_with, start, k), start)
    standing()[view.name] = tuned
    return tuned, [left, right, middle]


def standing() -> dict[str, Tuned]:
    """Where the sliders stand, by the case; the same dictionary all session long, for what is made outside of it."""
    return st.session_state.setdefault("stands", {})


def move(view: View, table: PairTable, name: str, similarity: float) -> None:
    """Move the slider of a threshold to where its line was dragged; may be called before the slider is drawn alone.

    Args:
        name: `fraction`, whose line is drawn at the similarity of D_susp's last pair, or `threshold`.
    """
    low, high = _bounds(view)[name]
    if name == "fraction":
        below = table.similarity_reference[pairs.prepared(view, table).by_reference]
        percent = 100 * np.searchsorted(below, similarity, side="right") / len(table)
        value = FRACTION_STEP * round(percent / FRACTION_STEP)
    else:
        value = round(similarity, 2)
    stale.put(f"{name}-{view.name}", float(min(max(value, low), high)))


def held(view: View) -> dict[str, float]:
    """Where a page without the sliders finds those that were moved, on *Separation* or by a link."""
    state, found = st.session_state, {}
    for name, (low, high) in _bounds(view).items():
        key = f"{name}-{view.name}"
        if text := query_params.read(name):
            with contextlib.suppress(ValueError):
                if low <= (asked := float(text)) <= high:
                    state[key] = int(asked) if name == "k" else asked
        if key in state and state[key] != state.get(f"start-{key}"):
            found[name] = state[key]
    return found


def stands(view: View, table: PairTable, moved: Mapping[str, float]) -> Tuned:
    """Where the sliders stand if some of them were moved there."""
    percent = moved.get("fraction", _run_with(view))
    start = _first_threshold(view, table, pairs.mixture(view, table))
    threshold = moved.get("threshold", start)
    k = min(int(moved.get("k", view.settings.k)), _most_k(view, table, percent))
    return Tuned(percent, threshold, k, bool(moved), start)


def _first_threshold(view: View, table: PairTable, mixture: Mixture | None) -> float:
    if table.similarity_overfit is None:
        return 0.5
    return min(1.0, round(mixture.threshold if mixture else _gap(view, table), 2))


@st.cache_data(max_entries=8, show_spinner=False)
def _widest_gap(key: str, _scores: np.ndarray) -> float:
    return detection.otsu(_scores)


def _gap(view: View, table: PairTable) -> float:
    """The threshold where no mixture can be fitted."""
    scores = table.similarity_overfit if table.suspicious is None else table.similarity_overfit[table.suspicious]
    scores = scores[np.isfinite(scores)]
    return _widest_gap(view.key("score_overfit"), scores) if len(scores) > 1 else 0.5


def caught(view: View, table: PairTable, tuned: Tuned) -> tuple[detection.Caught, dict[int, int]]:
    """What the thresholds catch, and the group of each pair of D_topk; no groups where there is only one."""
    prepared = pairs.prepared(view, table)
    topk = view.read("select", "topk") if tuned.as_run(view) and view.has("select") else None
    group = {} if topk is None or topk["group"].max() == 0 else dict(zip(topk["row"], topk["group"], strict=True))
    found = detection.caught(
        table.similarity_reference,
        table.similarity_overfit,
        suspicious_count(len(table), tuned.percent / 100),
        tuned.threshold,
        tuned.k,
        None if topk is None else topk["row"].to_numpy(),
        prepared.by_reference,
        prepared.by_overfit,
    )
    return found, group


def columns(view: View, table: PairTable, tuned: Tuned) -> dict[str, tuple[np.ndarray, str]]:
    """What an export adds: each column (n,), and what it says; nothing where no slider was moved."""
    if not tuned.moved or table.similarity_reference is None:
        return {}
    sets = caught(view, table, tuned)[0].chosen
    return {name: (sets[of], said.format(**vars(tuned))) for name, (of, said) in TUNED.items() if of in sets}
