"""TBAR's alpha as a slider: how much of the task vector is taken from M_bd, and what each alpha does."""

import streamlit as st

from ubt.defenses.tbar import ALONG
from ubt.figures import along
from ubt.ui import charts, query_params
from ubt.ui.errors import guard, plain
from ubt.ui.job_panel import missing
from ubt.ui.view import View, compute, store
from ubt.workflows.lacking import lacking

SHOWN = {"asr": "ASR, %", "ca": "CA, %", "ra": "RA, %", "target_recall": "target recall, %"}


@st.fragment
@guard()
def section(view: View) -> None:
    """A lab case's alphas: the slider, the measures at it and against M_bd, and all of them as lines."""
    st.subheader("Subtracted, not trained: TBAR")
    st.caption(
        "M_bd, where it is judged poisoned, is fine-tuned on the pairs whose images ours flags. What that adds to its"
        " weights, the task vector, is taken from M_bd alpha times: 0 is M_bd itself. Clean pairs of the defender's own"
        " choose alpha."
    )
    if not view.has(ALONG, "tbar"):
        if why := lacking(store(), view.settings, compute(), ALONG):
            st.info(f"TBAR cannot be run on this case: {plain(why)}.")
            return
        missing(view, ALONG, "TBAR has not been run on this case.")
        return
    frame, tried = view.read(ALONG, "along"), view.read("tbar", "alphas")
    chosen, most = float(tried.loc[tried["chosen"], "alpha"].iloc[0]), float(frame["alpha"].max())
    left, right = st.columns([2, 3], gap="large", vertical_alignment="center")
    step = most / (len(frame) - 1)
    alpha = query_params.slider(
        left, "alpha", "alpha", view, 0.0, most, chosen, step, "How many times the task vector is taken away"
    )
    at = (frame["alpha"] - alpha).abs().idxmin()
    before = frame.iloc[0]
    with left.container(horizontal=True):
        for name, title in SHOWN.items():
            value = frame[name][at]
            colour = "inverse" if name == "asr" else "normal"
            st.metric(title, f"{value:.1f}", f"{value - before[name]:+.1f}", delta_color=colour)
    found = tried["found"]
    left.caption(
        f"Clean pairs whose caption is the nearest in its batch: {100 * found[at]:.1f} %, of M_bd"
        f" {100 * found[0]:.1f} %. They chose alpha {chosen:g}. Changes are against M_bd, in points."
    )
    charts.draw(
        along.lines(frame, alpha, chosen), "tbar-alpha", "CA, ASR, RA and target recall over TBAR's alpha", right
    )
