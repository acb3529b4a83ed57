"""Files that are dropped on a page, or chosen in the browser: kept in the cache, and known by their path from then."""

from collections.abc import Sequence

import streamlit as st
from streamlit import config

from ubt.core.errors import BadInput, UbtError
from ubt.data.formats import FORMATS
from ubt.ui.errors import plain
from ubt.ui.view import store
from ubt.workflows import uploads

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin")
"""The endings of files that hold a model's weights."""
TABLES = (".csv", ".tsv", ".txt")
SAID = {
    "pairs": "Drop a file of pairs",
    "labelled": "Drop labelled images",
    "model": "Drop a checkpoint, and its open_clip_config.json if there is one",
}
HELP = {
    "pairs": (
        "A zip with captions.csv and the images, webdataset tars, or parquet with the images in it. A table alone"
        " brings no images: name their folder under *How it is read*, or drop a zip"
    ),
    "labelled": "A zip with labels.csv and the images, webdataset tars or parquet; classes.txt in it names the classes",
    "model": "Weights are read as data: no code in a file is run",
}


def endings(kind: str) -> tuple[str, ...]:
    """What a file that holds such a thing may end in."""
    if kind == "model":
        return WEIGHTS
    what = "caption" if kind == "pairs" else "label"
    return tuple(sorted({e for f in FORMATS.values() if f.files and what in f.holds for e in f.endings}))


def dropped(name: str, kind: str) -> str:
    """The path of what was dropped on the place `name`; empty if nothing was, or if it cannot be taken (it says so)."""
    known = endings(kind)
    most = config.get_option("server.maxUploadSize")
    found = st.file_uploader(
        SAID[kind],
        type=[*known, ".json"] if kind == "model" else list(known),
        accept_multiple_files=kind == "model",
        key=f"drop-{name}-{_times(name)}",
        help=f"{HELP[kind]}. Up to {most} MB; of larger ones type the path.",
    )
    files = found if isinstance(found, list) else [found] if found else []
    if not files:
        return ""
    state, ids = st.session_state, tuple(f.file_id for f in files)
    before, path = state.get(f"dropped-{name}", ((), None))
    if before != ids or path is None or not path.exists():
        try:
            if kind == "model":
                _one_of_weights([f.name for f in files])
            path = uploads.keep(store(), [(f.name, f.getvalue()) for f in files], known)
        except UbtError as e:
            st.error(plain(e), icon=":material/error:")
            return ""
        state[f"dropped-{name}"] = ids, path
    if path.suffix.lower() in TABLES:
        st.caption("A table alone brings no images: name their folder under *How it is read*, or drop a zip with both.")
    return str(path)


def _one_of_weights(names: Sequence[str]) -> None:
    weights = [name for name in names if name.lower().endswith(WEIGHTS)]
    if len(weights) > 1:
        raise BadInput(
            f"expected one file of weights, got {', '.join(name[:60] for name in weights)}; drop one checkpoint, with"
            " its open_clip_config.json if there is one"
        )


def forget(name: str) -> None:
    """Empty the place `name`."""
    st.session_state[f"drops-{name}"] = _times(name) + 1
    st.session_state.pop(f"dropped-{name}", None)


def _times(name: str) -> int:
    return st.session_state.get(f"drops-{name}", 0)
