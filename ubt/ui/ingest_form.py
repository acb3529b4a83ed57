"""The form that imports something: a file that is dropped, or where one is; what it is taken for, a look at its first
rows, and the job that reads it.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from ubt.core import roots
from ubt.core.errors import BadInput, UbtError
from ubt.data.catalogue import SourceOptions
from ubt.data.formats.base import NoColumn
from ubt.data.labelled import LabelledOptions
from ubt.data.preview import Preview, look
from ubt.ui import components, costs, drop, roles
from ubt.ui.errors import plain
from ubt.ui.job_panel import follow
from ubt.ui.view import store
from ubt.workflows import jobs, uploads
from ubt.workflows.ingest import Wanted

TEXT = {"pairs": "caption", "labelled": "label"}
"""What stands beside an image in each kind of rows, which is also the option that names its column."""
WHAT = {"pairs": "pairs", "labelled": "labelled images", "model": "the model"}
STATES = {
    "suspect": "suspect, to be audited",
    "clean": "clean, a reference",
    "poisoned": "poisoned",
    "purified": "purified",
}
EXAMPLES = {
    "pairs": "/data/pairs.csv, shards/{000..009}.tar, a folder, a zip",
    "labelled": "/data/labels.csv, a folder of class folders, a zip",
    "model": "/models/suspect.safetensors, a folder, hf-hub:ORG/NAME, ViT-B-32-quickgelu/openai",
}


@dataclass(frozen=True)
class Slot:
    """A place on a page where one thing is imported: its `name`, of which the page has one; the `kind` of thing, and of
    a model what is known of it (`state`), where that is not asked. `mine`: only what this session imports into it is
    for it, since others of the kind are for another place.
    """

    name: str
    kind: str
    state: str = ""
    mine: bool = False

    def takes(self, wanted: Wanted) -> bool:
        """Whether what is being imported is for this place."""
        return not self.mine and wanted.kind == self.kind and self.state in ("", wanted.options.get("state"))


SLOTS = {kind: Slot(kind, kind) for kind in TEXT | {"model": ""}}
"""Those of the page *Data*, by kind."""


def form(slot: Slot) -> bool:
    """Choose what to import and how it is read, start its job, follow it, and say how it ended.

    Returns:
        Whether it has just been imported; `imported-NAME` of the session's state is then what the store calls it.
    """
    if not roles.may_change():
        st.info("Analysts import here. You may look at what is imported.", icon=":material/visibility:")
        return False
    source, kind = _source(slot), slot.kind
    options = None
    if source:
        options = _model(slot) if kind == "model" else _rows(slot, source)
    wanted = None if options is None else Wanted(kind, source, options)
    under = under_way(slot.name, slot.takes)
    if wanted and jobs.import_lock(wanted) not in under:
        _offer(slot, wanted)
    for lock in sorted(under):
        follow(lock, f"reading {WHAT[kind]}", slot.name)
    return ended(slot.name, under)


def under_way(name: str, takes: Callable[[Wanted], bool]) -> set[str]:
    """The locks of the jobs whose result is for the place `name`: those that it `takes`, whoever started them, and that
    which this session has just started.
    """
    mine = st.session_state.get(f"importing-{name}")
    found = {lock for lock, wanted in jobs.being_imported(store()).items() if takes(wanted)}
    return found | ({mine} if mine and store().held(mine) else set())


def _source(slot: Slot) -> str:
    """Where it is: the path that a dropped file was kept under, or one that is typed; empty if there is neither."""
    kind = slot.kind
    left, right = st.columns(2, gap="medium")
    with left:
        dropped = drop.dropped(slot.name, kind)
    with right:
        typed = st.text_input(
            "Or its path on this machine" if kind != "model" else "Or its path on this machine, or a public name",
            key=f"path-{slot.name}",
            placeholder=EXAMPLES[kind],
            max_chars=4000,
            persist_state="session",
            help="Nothing is copied: images stay where they are" if kind != "model" else None,
        )
        if roots.roots() == [] and kind != "model":
            st.caption(
                "This app reads no files of its machine for those who use it. Whoever runs it can name folders in"
                f" {roots.ROOTS}, or import files with the command line."
            )
    if dropped:
        return dropped
    source = typed.strip()
    if source == "~" or source.startswith("~/"):  # whether there is a user of another name is not said
        with contextlib.suppress(RuntimeError):  # of somebody who has no home
            source = str(Path(source).expanduser())
    return source


def _offer(slot: Slot, wanted: Wanted) -> None:
    """The button that starts the job."""
    lock = jobs.import_lock(wanted)
    there = bool(jobs.imported(store(), lock)) and f"importing-{slot.name}" not in st.session_state
    with st.container(horizontal=True, vertical_alignment="center"):
        said, look = (
            (f"Import {WHAT[wanted.kind]} again", "secondary") if there else (f"Import {WHAT[wanted.kind]}", "primary")
        )
        pressed = costs.button(said, costs.UNKNOWN, f"import-{slot.name}", type=look, icon=":material/download:")
        if there:
            st.caption("It is imported already; import it again if the files have changed.")
    if pressed:
        begin(slot.name, wanted)
        st.rerun()


def begin(name: str, wanted: Wanted) -> None:
    """Start a job that imports or makes something for the place `name`; `ended` says what came of it.

    Raises:
        UbtError: it could not begin, for a reason that the job does not say itself.
    """
    st.session_state[f"importing-{name}"] = jobs.import_lock(wanted)
    try:
        jobs.start_import(store(), wanted)
    except UbtError:
        if not jobs.failure(store(), jobs.import_lock(wanted)):
            raise


IMPORTED = "Imported", "It could not be imported", "It was cancelled; nothing was kept."
"""What is said of an import that came to its end, failed, or was cancelled."""


def ended(name: str, under: set[str], said: tuple[str, str, str] = IMPORTED) -> bool:
    """Say what came of the job that this session started last for the place `name`, unless it is one of those `under`
    way; returns whether it has just brought something. `said`: of its end, failure and cancellation.
    """
    done, failed, cancelled = said
    lock = st.session_state.get(f"importing-{name}")
    if not lock or lock in under:
        return False
    if key := jobs.imported(store(), lock):
        st.session_state.pop(f"importing-{name}")
        st.session_state[f"imported-{name}"] = key
        drop.forget(name)
        st.toast(f"{done}: {plain(key)}")
        return True
    if why := jobs.failure(store(), lock):
        st.error(plain(why), title=failed, icon=":material/error:")
    else:
        st.info(cancelled)
    return False


def _model(slot: Slot) -> dict[str, str]:
    left, right = (st.empty(), st.container()) if slot.state else st.columns(2, vertical_alignment="bottom")
    state = slot.state or left.selectbox(
        "What you know of it", list(STATES), format_func=STATES.get, key="model-state", persist_state="session"
    )
    about = "Open_clip's model name, for weights without a configuration; empty: its own, or read off the weights"
    architecture = right.text_input(
        "Architecture",
        key=f"{slot.name}-architecture",
        placeholder="as ViT-B-32; empty: recognised",
        help=about,
        max_chars=100,
    )
    return {"state": state} | ({"architecture": architecture.strip()} if architecture.strip() else {})


def _rows(slot: Slot, source: str) -> dict[str, Any] | None:
    """The options of a source of rows, its first ones shown; None while it cannot be read so."""
    options, kind = _more(slot), slot.kind
    try:
        names, taken, why = (seen := _look(kind, source, options)).names, seen.columns, ""
    except NoColumn as e:
        names, taken, why = e.there, {}, str(e)
    except UbtError as e:
        st.error(plain(e), icon=":material/error:")
        return None
    if names:
        for column, (option, title) in zip(
            st.columns(2), (("image", "Column of images"), (TEXT[kind], f"Column of {TEXT[kind]}s")), strict=True
        ):
            guess = taken.get("text" if option == TEXT[kind] else option)
            chosen = column.selectbox(
                title,
                names,
                index=names.index(guess) if guess in names else None,
                key=f"column-{option}-{slot.name}-{source}",
                format_func=lambda n: n[:60],
                placeholder="not recognised; choose one",
            )
            if chosen is not None and chosen != guess:
                options[option] = chosen
        try:
            seen, why = _look(kind, source, options), ""
        except UbtError as e:
            why = str(e)
    if why:
        st.error(plain(why), icon=":material/error:")
        return None
    _shown(seen)
    return options


def _more(slot: Slot) -> dict[str, Any]:
    """Options that are rarely needed, those that were filled in."""
    kind, place = slot.kind, slot.name
    fields = {"folder": "Folder of the images", "separator": "Separator"} | (
        {"ident": "Column of ids"} if kind == "pairs" else {}
    )
    known = _options(kind, {}).infos()
    with st.expander("How it is read"):
        columns = st.columns(len(fields) + 1)
        filled = {}
        for column, (name, title) in zip(columns, fields.items(), strict=False):
            filled[name] = column.text_input(
                title, key=f"{name}-{place}", help=known[name].help, max_chars=4000
            ).strip()
        filled["limit"] = columns[-1].number_input(
            "Rows", 0, None, 0, 1000, key=f"limit-{place}", help=known["limit"].help
        )
        now = st.checkbox("Decode each image now", True, key=f"decode-{place}", help=known["decode"].help)
    return {name: value for name, value in filled.items() if value} | ({} if now else {"decode": False})


def _options(kind: str, options: dict[str, Any]) -> SourceOptions | LabelledOptions:
    return (SourceOptions if kind == "pairs" else LabelledOptions).from_dict(options)


def _look(kind: str, source: str, options: dict[str, Any]) -> Preview:
    path = Path(source)
    try:
        stamp = path.stat().st_mtime_ns if roots.allowed(path) else 0
    except (OSError, ValueError):
        stamp = 0
    return _looked(kind, source, json.dumps(options, sort_keys=True), stamp)


@st.cache_data(max_entries=16, show_spinner="Looking at it…")
def _looked(kind: str, source: str, options: str, stamp: int) -> Preview:
    try:
        with roots.also(uploads.folder(store())):
            return look(Path(source), _options(kind, json.loads(options)))
    except (ValueError, OSError) as e:
        raise BadInput(
            f"{source[:200]!r}: expected a path, got one that cannot be opened ({type(e).__name__}); check it"
        ) from None


def _shown(seen: Preview) -> None:
    columns = ", ".join(f"{plain(what)} from *{plain(column)}*" for what, column in seen.columns.items() if column)
    st.markdown(f":green-badge[:material/check: recognised] {plain(seen.kind)}" + (f", {columns}" if columns else ""))
    if not len(seen.rows):
        st.warning("It has no rows.")
        return
    said = [
        f"will be left out: {reason}" if reason else f"row {number}"
        for number, reason in zip(seen.rows.index, seen.rows["reason"], strict=True)
    ]
    components.grid(seen.images, seen.rows["text"], said, None, width=8.5)
