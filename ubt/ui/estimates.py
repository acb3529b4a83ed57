"""An audit's results on the page: estimates in place of CA and ASR, what was flagged and what was left out, files to
download.
"""

import streamlit as st

from ubt.figures.estimates import bars, table
from ubt.pairs.export import as_csv
from ubt.ui import charts, components, controls
from ubt.ui.errors import plain
from ubt.ui.view import View, store
from ubt.workflows import audit


def before_and_after(view: View) -> None:
    """The estimates as a chart and in figures."""
    measures = view.read("estimate", "measures")
    chart, side = st.columns([5, 4], gap="medium")
    charts.draw(bars(measures), "estimates-chart", "Estimates of the imported model and of both purified ones", chart)
    with side:
        components.table(*table(measures))
        st.caption(
            "Nobody knows which pairs are poisoned, so there is no ASR. The pull is what the backdoor does to flagged"
            " images; unlearning should lower it and the share still matched to the flagged captions, and leave"
            " retrieval and agreement on D_normal where they are."
            + (
                ""
                if any("ca" in row for row in measures.values())
                else " No labelled images were imported, so CA is not measured."
            )
        )


def files(view: View) -> None:
    """The audit's files, to download: the flagged pairs and the account of the audit."""
    if not view.record.metrics:
        return
    with st.container(horizontal=True):
        for name, mime, data in (
            ("flagged.csv", "text/csv", lambda: as_csv(audit.flagged(store(), view.record.artefacts))),
            (
                "audit.json",
                "application/json",
                lambda: audit.as_json(audit.account(store(), view.name, view.record.metrics)),
            ),
        ):
            controls.download(name, data, f"{view.name}-{name}", mime, f"audit-{name}")
    st.caption(plain(audit.LIMITS))
