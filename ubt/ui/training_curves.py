"""Curves of a model's training: from the artefact when it is finished, from the case's events while it is running."""

import pandas as pd
import streamlit as st

from ubt.cases import events
from ubt.figures import training
from ubt.ui import charts
from ubt.ui.errors import guard
from ubt.ui.job_panel import POLL
from ubt.ui.view import View, store
from ubt.workflows import jobs


def rows(view: View, stage: str) -> pd.DataFrame:
    """Figures over steps, a row a step; empty if there are none yet."""
    if view.has(stage):
        return training.rows(
            view.read(stage, "history"), view.read(stage, "observed") if view.holds(stage, "observed") else None
        )
    progress = [e for e in events.read(store().journal(view.name)) if e.kind == "progress" and e.stage == stage]
    return pd.DataFrame({e.done: {"step": e.done} | e.figures for e in progress}.values())


def curves(view: View, stage: str, steps: int, of: str, about: str) -> None:
    """Draw a stage's curves and, while the case is being run, keep them up to date; `of`: the pairs it trains on."""

    @st.fragment(run_every=POLL if view.status.running and not view.has(stage) else None, key=f"live-{stage}")
    def draw() -> None:
        with guard():
            frame = rows(view, stage)
            if len(frame):
                charts.draw(training.curves(frame, steps, of), f"curve-{stage}", about)
            elif view.has(stage):
                st.info("Nothing was unlearned: the model was not judged poisoned.")
            else:
                state = jobs.status(store(), view.name).steps.get(stage, jobs.Step()).state
                st.info("Running…" if state in jobs.LIVE else "Not trained yet.")

    draw()
