"""Selected pairs as a file: what was on the screen when *Export* was pressed, as run and as tuned."""

import io
import math
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import streamlit as st

from ubt import __version__
from ubt.attacks import ATTACKS
from ubt.cases.finished import places
from ubt.pairs import image_dataset
from ubt.pairs.export import KINDS, packed, zipped
from ubt.pairs.table import ABOUT, PairTable
from ubt.ui import controls, pairs, python_code, query_params, tuning
from ubt.ui.tuning import Tuned
from ubt.ui.view import View, store

IMAGES = "images"
"""The kind of export that is a data set with images."""
MOST = 200 << 20
"""Bytes of pixels that are packed for a browser at most; the command line takes any number."""


def offer(
    view: View, table: PairTable, text: str, selected: np.ndarray | None, tuned: Tuned | None, live: bool = False
) -> None:
    """The button *Export*: files, and the same as Python. What it saves is made when it is pressed, outside of any
    session, from what this page holds.

    Args:
        text: the query. selected: which pairs it selects (n,); None: all are saved. tuned: where the sliders of this
            page stand; None: as they were left where they are. live: the page has sliders that move without this
            button.
    """
    rows = np.arange(len(table)) if selected is None else np.flatnonzero(selected)
    what = f"all {len(rows):,} pairs" if selected is None else f"the {len(rows):,} selected"
    moved = tuning.held(view) if tuned is None else _moved(tuned)
    shown, written = st.query_params.to_dict(), query_params.live()
    standing = tuning.standing() if live else {}

    def saved(kind: str) -> bytes:
        stands = standing.get(view.name) or (tuning.stands(view, table, moved) if tuned is None else tuned)
        return exported(view, table, text, rows, kind, shown | written, stands)

    menu = st.popover("Export", icon=":material/download:", key="export", on_change="rerun" if live else "ignore")
    if live and not menu.open:
        return
    with menu:
        st.caption(
            f"A zip with {what}: columns and labels as run (and as tuned, if sliders were moved), where each image"
            " comes from, and about.json with query, address and settings. In CSV, formulas are saved as plain text."
        )
        with st.container(horizontal=True, gap="small"):
            for kind in KINDS:
                _button(view, kind, saved)
        if view.holds("data", "images"):
            few = len(rows) * math.prod(view.read("data", "images").shape[1:]) <= MOST
            _button(view, IMAGES, saved, "With images, for Hugging Face", disabled=not few)
            if not few:
                st.caption("Too many for a browser; this command takes any number:")
                chosen = ["--select", text] if selected is not None else []
                asked = [*chosen, *(["--truth"] if table.poisoned is not None else [])]
                command = shlex.join(["python", "-m", "ubt", "cases", "export", view.name, "--out", "FOLDER", *asked])
                st.code(command, language="bash", wrap_lines=True)
        st.caption(f"Copy as Python, for a notebook: {what}")
        if len(text) > python_code.LONGEST:
            st.caption("This query is too long to copy; label the pairs and select by label.")
        else:
            st.code(python_code.code(view, table, text, moved), language="python", wrap_lines=True)


def flagged(view: View) -> None:
    """The button that saves the flagged pairs as CSV at once: the list that a verdict leads to."""
    reveal, moved, address = st.session_state.get("reveal", True), tuning.held(view), st.query_params.to_dict()

    def saved() -> bytes:
        table = pairs.table_now(view)
        table = table if reveal else table.without_truth
        stands = tuning.stands(view, table, moved)
        return exported(view, table, "flagged", np.flatnonzero(table.flagged), "CSV", address, stands)

    help = "A zip with the flagged pairs, their columns and labels; other selections and formats: Export on Inspect"
    name = f"flagged-{view.name}.zip"
    controls.download("Flagged pairs (CSV)", saved, name, "application/zip", "export-flagged", help=help)


def _button(view: View, kind: str, saved: Callable[[str], bytes], title: str = "", **more: Any) -> None:
    file = f"pairs-{view.name}-{kind.lower()}.zip"
    controls.download(title or kind, lambda: saved(kind), file, "application/zip", f"export-{kind}", **more)


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
    if kind != IMAGES:
        return packed(frame, kind, about)
    image_dataset.write(sink := io.BytesIO(), frame, view.read("data", "images"), rows)
    about["columns"] = said | {"image": "the image, as the models see it", "image_path": said["image"]}
    return zipped({image_dataset.FILE: sink.getvalue(), image_dataset.CARD: image_dataset.card(about)})


def _moved(tuned: Tuned) -> dict[str, float]:
    """The positions of this page's sliders, if any of them was moved."""
    return {"fraction": tuned.percent, "threshold": tuned.threshold, "k": tuned.k} if tuned.moved else {}


def _positions(table: PairTable, tuned: Tuned) -> dict[str, float]:
    """Where those sliders stand that have something to act on."""
    if table.similarity_reference is None:
        return {}
    fraction = {"split.fraction": tuned.percent / 100}
    return (
        fraction if table.similarity_overfit is None else fraction | {"threshold": tuned.threshold, "select.k": tuned.k}
    )
