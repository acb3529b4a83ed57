"""Selected pairs as a file: what was on the screen when *Export* was pressed, as run and as tuned."""

import time
from collections.abc import Mapping

import numpy as np
import streamlit as st

from ubt import __version__
from ubt.attacks import ATTACKS
from ubt.cases.finished import places
from ubt.pairs.export import KINDS, packed
from ubt.pairs.table import ABOUT, PairTable
from ubt.ui import controls, query_params, tuning
from ubt.ui.tuning import Tuned
from ubt.ui.view import View, store


def offer(view: View, table: PairTable, text: str, selected: np.ndarray | None, tuned: Tuned | None) -> None:
    """The button *Export*. What it saves is made when it is pressed, outside of any session, from what this page holds.

    Args:
        text: the query. selected: which pairs it selects (n,); None: all are saved. tuned: where the sliders of this
            page stand; None: as they were left on *Separation*.
    """
    rows = np.arange(len(table)) if selected is None else np.flatnonzero(selected)
    what = f"all {len(rows):,} pairs" if selected is None else f"the {len(rows):,} selected"
    moved, shown, written = tuning.held(view) if tuned is None else {}, st.query_params.to_dict(), query_params.live()

    def saved(kind: str) -> bytes:
        stands = tuning.stands(view, table, moved) if tuned is None else tuned
        return exported(view, table, text, rows, kind, shown | written, stands)

    with st.popover("Export", icon=":material/download:"):
        st.caption(
            f"A zip with {what}, their columns and labels, as run and where sliders were moved as tuned, and about.json"
            " with query, address and settings. In CSV a formula is made plain text."
        )
        for kind in KINDS:
            controls.download(
                kind,
                lambda kind=kind: saved(kind),
                f"pairs-{view.name}-{kind.lower()}.zip",
                "application/zip",
                f"export-{kind}",
                width="stretch",
            )


def exported(
    view: View, table: PairTable, text: str, rows: np.ndarray, kind: str, address: Mapping[str, str], tuned: Tuned
) -> bytes:
    """The zip. Where the truth is hidden, the attack's settings are too."""
    frame, hidden = table.frame(rows), () if table.poisoned is not None else (*ATTACKS, "attack")
    said = {name: ABOUT.get(name, "") for name in frame}
    for name, (values, about) in tuning.columns(view, table, tuned).items():
        frame[name], said[name] = values[rows], about
    found, said["image"] = places(view, store())
    frame["image"] = found.reindex(frame["id"]).to_numpy(object)
    about = {
        "case": view.name,
        "rule": text,
        "address": {name: value for name, value in address.items() if value},
        "pairs": len(rows),
        "columns": said,
        "settings": {group: v for group, v in view.record.settings.items() if group not in hidden},
        "tuned": _positions(table, tuned),
        "program": f"UBT Inspector {__version__}",
        "when": time.strftime("%Y-%m-%dT%H:%M:%S"),
    }
    return packed(frame, kind, about)


def _positions(table: PairTable, tuned: Tuned) -> dict[str, float]:
    """Where those sliders stand that have something to act on."""
    if table.similarity_reference is None:
        return {}
    fraction = {"split.fraction": tuned.percent / 100}
    return (
        fraction if table.similarity_overfit is None else fraction | {"threshold": tuned.threshold, "select.k": tuned.k}
    )
