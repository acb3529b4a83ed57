"""What was imported, on the page: pairs and labelled images with their counts, first rows and quarantine; models with
their cards.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from ubt.cases.finished import shown_path
from ubt.cases.store import Store
from ubt.data.catalogue import NOTES, open_images
from ubt.data.preview import SIDE, each
from ubt.data.quarantine import REASONS
from ubt.pairs.export import as_csv
from ubt.ui import components, controls
from ubt.ui.errors import plain
from ubt.ui.view import import_name, read, store
from ubt.workflows.ingest import duplicates, first_rows
from ubt.workflows.prospects import counts

ROWS = {"pairs": "pairs", "labelled": "images"}
"""The entry that holds the rows of each kind."""
FIRST = 12
LISTED = 1000
"""Rows of the quarantine list that are shown; the download has all."""
NONE_YET = {
    "pairs": (
        "No pairs have been imported yet. Drop a file above, or type the path of a CSV, an archive or a folder; its"
        " first pairs are shown before anything is read."
    ),
    "labelled": (
        "No labelled images have been imported yet. They are optional for an audit, where they measure CA; a lab case"
        " on your pairs needs them."
    ),
    "model": "No model has been imported yet. An audit needs the suspect model, and a clean one to compare it with.",
}


def keys(kind: str) -> list[str]:
    """What of a kind was imported, by its name in the store, the newest first."""
    return list(store().all_imported(kind))


def label(key: str) -> str:
    """How a list calls something imported."""
    if not key:
        return "none"
    if key.startswith("model-"):
        return f"{import_name(key)} · {read(key, 'card')['state']} · {key[-16:-12]}"
    about = read(key, "about")
    return (
        f"{import_name(key)} · {about['kept']:,} {'pairs' if key.startswith('pairs-') else 'images'} · {key[-16:-12]}"
    )


def listing(kind: str) -> None:
    """Choose among what was imported, and look at it."""
    there = keys(kind)
    st.subheader("Imported " + {"pairs": "pairs", "labelled": "labelled images", "model": "models"}[kind])
    if not there:
        st.info(NONE_YET[kind])
        return
    if (new := st.session_state.pop(f"imported-{kind}", None)) in there:
        st.session_state[f"shown-{kind}"] = new
    elif st.session_state.get(f"shown-{kind}") not in there:
        st.session_state[f"shown-{kind}"] = there[0]
    key = st.selectbox(
        "Show", there, key=f"shown-{kind}", format_func=label, persist_state="session", label_visibility="collapsed"
    )
    if kind == "model":
        card(read(key, "card"), key)
    else:
        rows(key, kind)


def rows(key: str, kind: str) -> None:
    """Counts, first rows and quarantine list of pairs or labelled images."""
    about, found = read(key, "about"), counts(store().imported(key))
    with st.container(horizontal=True):
        st.metric("rows read", f"{about['read']:,}")
        st.metric("kept", f"{about['kept']:,}")
        st.metric("left out", f"{found['broken']:,}", help="broken: listed below with the reason")
        for name, meaning in (("duplicate", NOTES["duplicate pair"]), ("tiny", NOTES["tiny image"])):
            if found[name] is not None:
                st.metric(name, f"{found[name]:,}", help=f"kept; {meaning}")
        if beside := about.get("beside", 0):
            st.metric("left out beside the rows", f"{beside:,}", help="files and folders that are in no row")
        if kind == "labelled":
            st.metric("classes", f"{len(read(key, 'classes')):,}")
    columns = ", ".join(f"{plain(what)}: {plain(column)}" for what, column in about["columns"].items() if column)
    st.caption(
        f"{plain(about['kind'])}, {plain(shown_path(store(), about['path']))}"
        + (f" ({columns})" if columns else "")
        + f"; {duplicates(about)}. Its name in this cache: {plain(key)}."
    )
    frame, images, why = _first(str(store().root.resolve()), key, kind)
    said = [
        f"cannot be read: {reason}" if reason else str(place) for place, reason in zip(frame["image"], why, strict=True)
    ]
    texts = frame["caption"] if kind == "pairs" else [read(key, "classes")[i] for i in frame["label"]]
    components.grid(images, list(texts), said, None, width=8.5)
    _list(key, "quarantine", about["quarantined"], REASONS, "Left out", "Every row can be used.")
    if "noted" in store().imported(key).manifest["entries"] and any((notes := read(key, "notes")).values()):
        _list(key, "noted", {reason: n for reason, n in notes.items() if n}, NOTES, "Kept, but odd", "")


@st.cache_data(max_entries=8, show_spinner="Reading the first rows…")
def _first(root: str, key: str, kind: str) -> tuple[pd.DataFrame, list[np.ndarray | None], list[str]]:
    made = Store(Path(root))
    frame = first_rows(made, key, FIRST, ROWS[kind])
    images, why = each(
        open_images(made.imported(key)["about"], frame["image"].to_numpy(object), SIDE), range(len(frame))
    )
    return frame, images, why


def _list(key: str, entry: str, counts: dict[str, int], meanings: dict[str, str], title: str, none: str) -> None:
    """Rows by the reason that something is said of them, to filter and to save."""
    st.markdown(f"**{title}: {sum(counts.values()):,}**" + ("" if counts else f". {none}"))
    if not counts:
        return
    left, right = st.columns([2, 3], gap="large")
    with left:
        said = [[reason, meanings.get(reason, "").replace("`", ""), f"{n:,}"] for reason, n in counts.items()]
        components.table(["reason", "what it means", "rows"], said, labels=2)
    with right:
        chosen = st.multiselect(
            "Only these reasons", list(counts), key=f"reasons-{entry}-{key}", placeholder="all reasons"
        )
        frame = read(key, entry)
        frame = frame[frame["reason"].isin(chosen)] if chosen else frame
        st.dataframe(frame.head(LISTED), hide_index=True, height=min(360, 38 + 35 * len(frame)), key=f"{entry}-{key}")
        with st.container(horizontal=True, vertical_alignment="center"):
            controls.download(
                f"Save {len(frame):,} as CSV",
                lambda: as_csv(frame.astype(object)),
                f"{entry}-{key}.csv",
                "text/csv",
                f"save-{entry}-{key}",
            )
            st.caption(f"The first {LISTED:,} of {len(frame):,} are shown." if len(frame) > LISTED else "")


def card(about: dict[str, Any], key: str) -> None:
    """What a model is, as a table, and its whole card."""
    about = about | {"source": shown_path(store(), about["source"])}
    made_from = about.get("made_from") or {}
    said = [
        ("name", about["name"]),
        ("state, as you know it", about["state"]),
        ("architecture", about["architecture"]),
        ("parameters", f"{about['parameters']:,}"),
        ("imported from", about["source"]),
        ("file", str(made_from.get("file", "-"))),
        ("layout of the file", str(made_from.get("layout", "-"))),
        ("assumed", "; ".join(about.get("assumed", [])) or "nothing"),
        ("digest of the weights", about["digest"]),
        ("its name in this cache", key),
    ]
    components.table(["card", ""], [[name, value] for name, value in said], labels=2)
    whole = st.expander("The whole card", on_change="rerun", key=f"card-{key}")
    if whole.open:
        whole.json(about)
