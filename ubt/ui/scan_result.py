"""What a scan found: verdict, classes, the trigger on images, what to do next, and files to take away."""

import numpy as np
import streamlit as st

from ubt.figures import scan as figures
from ubt.figures.attribution import enlarged
from ubt.reports import scan_report
from ubt.ui import charts, components, controls, costs, ingest_form, query_params
from ubt.ui.errors import plain
from ubt.ui.job_panel import follow
from ubt.ui.navigation import PAGES
from ubt.ui.scan_form import PLACE
from ubt.ui.view import store
from ubt.workflows import jobs, made_here, scan

PURIFIED = "purified"
SAID = "Purified", "It could not be purified", "It was cancelled; nothing was kept."
LOOKS = {
    "bad": (st.error, ":material/warning:"),
    "good": (st.success, ":material/check_circle:"),
    "warning": (st.warning, ":material/help:"),
}


def draw() -> None:
    """The scans that are there, one of them in full."""
    there = scan.listed(store()).set_index("scan")
    if there.empty:
        st.caption("A scan's verdict, what each class takes and the trigger that was found are shown here.")
        return
    st.divider()
    state = st.session_state
    if (new := state.pop(f"imported-{PLACE}", None)) in there.index:
        state["scan-shown"] = new
    elif (wanted := query_params.read("scan")) in there.index and "scan-shown" not in state:
        state["scan-shown"] = wanted
    if state.get("scan-shown") not in there.index:
        state["scan-shown"] = there.index[0]
    key = st.selectbox("Scan", list(there.index), key="scan-shown", format_func=lambda k: _label(there.loc[k]))
    query_params.write("scan", key)
    _one(key)


def _label(row) -> str:
    beside = f" beside {row['reference']}" if row["reference"] else ", without a reference"
    return f"{row['model']}{beside}: {row['verdict']}"


def _one(key: str) -> None:
    found = store().imported(key)
    verdict, classes = found["verdict"], found["classes"]
    show, icon = LOOKS[scan_report.TONES.get(verdict["verdict"], "warning")]
    show(f"**{verdict['verdict'].capitalize()}**: {plain(verdict['reason'])}.", icon=icon)
    left, right = st.columns([3, 2], gap="large")
    with left:
        high, low = scan_report.lines(found)
        charts.draw(figures.scores(classes, high, low), "scan-scores", "How easily each class gives way")
        asr = figures.what_it_takes(classes, verdict["method"], "asr")
        charts.draw(asr, "scan-asr", "What the inverted triggers do to held images")
        if verdict["size"] is not None and np.isfinite(verdict["size"]):
            size = figures.what_it_takes(classes, verdict["method"], "size")
            charts.draw(size, "scan-size", "What the inverted triggers cover")
    with right:
        _trigger(found)
    _next(key, found)


def _trigger(found) -> None:
    classes = found["classes"]
    name = str(classes["name"].iloc[classes["score"].to_numpy().argmax()])
    shown = scan.picture(scan.trigger(found))
    kind = "a patch under a mask" if "mask" in found else "a faint pattern, here as strong as can be shown"
    st.subheader(scan_report.heading(found), anchor=False)
    st.caption(f"It leads to {plain(name)}: {kind}.")
    components.pictures([("the trigger", scan.on_grey(shown))], columns=1)
    before, after = (np.asarray(found[entry]) for entry in ("examples", "triggered"))
    pairs = [
        picture
        for i in range(min(3, len(before)))
        for picture in (("as it is", enlarged(before[i])), ("with the trigger", enlarged(after[i])))
    ]
    components.pictures(pairs)


def _next(key: str, found) -> None:
    st.subheader("What to do next", anchor=False)
    for line in scan_report.what_to_do(found):
        st.markdown(f"- {plain(line)}")
    files = scan_report.files(found)
    with st.container(horizontal=True, vertical_alignment="center"):
        for name, kind in zip(scan_report.FILES, ("application/json", "image/png", "text/html"), strict=True):
            controls.download(name, files[name], name, kind, f"scan-{name}")
        if scan.judged_poisoned(found):
            _purify(key)
        st.page_link(PAGES["check"], label="Audit pairs", icon=":material/arrow_forward:")
    st.caption(found["about"]["limits"])


def _purify(key: str) -> None:
    """The button that purifies without D, its job, and the model that came out."""
    wanted, place = made_here.purified(key), f"{PURIFIED}-{key}"
    under = ingest_form.under_way(place, lambda other: other == wanted)
    for lock in sorted(under):
        follow(lock, "purify", place)
    ingest_form.ended(place, under, SAID)
    if under:
        return
    if made := jobs.imported(store(), jobs.import_lock(wanted)):
        done = store().imported(made)["card"]["without_its_data"]
        st.caption(
            f"Purified: {plain(made)} in the models of this cache; of the clean images that it was surest of"
            f" {done['agreement']:.1f} % keep their class. Scan it too."
        )
        return
    if costs.button("Purify without its data", costs.UNKNOWN, "scan-purify", icon=":material/healing:"):
        ingest_form.begin(place, wanted)
        st.rerun(scope="app")
