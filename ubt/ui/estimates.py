"""What an audit says of its model, on the page: estimates in place of CA and ASR, what was flagged and what was left
out, files to hand over.
"""

import streamlit as st

from ubt.figures import estimates as figures
from ubt.pairs.export import as_csv
from ubt.ui import charts, components
from ubt.ui.errors import plain
from ubt.ui.view import View, store
from ubt.workflows import audit


def before_and_after(view: View) -> None:
    """The estimates as a chart and in figures."""
    measures = view.read("estimate", "measures")
    chart, said = st.columns([5, 4], gap="medium")
    charts.draw(
        figures.bars(measures), "estimates-chart", "Estimates of the model as brought and of both purified ones", chart
    )
    with said:
        components.table(*figures.table(measures))
        st.caption(
            "Nobody knows which pairs are poisoned, so there is no ASR. The pull is what the backdoor does to flagged"
            " images; unlearning should lower it and the share still taken for the flagged captions, and leave"
            " retrieval and agreement on D_normal where they are."
            + (
                ""
                if any("ca" in row for row in measures.values())
                else " No labelled images were brought, so CA is not measured."
            )
        )


def files(view: View) -> None:
    """What an audit hands over, to download: the flagged pairs and the account of it."""
    if "metrics" not in view.record:
        return
    with st.container(horizontal=True):
        for name, mime, data in (
            ("flagged.csv", "text/csv", lambda: as_csv(audit.flagged(store(), view.record["artefacts"]))),
            (
                "audit.json",
                "application/json",
                lambda: audit.as_json(audit.account(store(), view.name, view.record["metrics"])),
            ),
        ):
            st.download_button(
                name,
                data,
                f"{view.name}-{name}",
                mime,
                icon=":material/download:",
                key=f"audit-{name}",
                on_click="ignore",
            )
    st.caption(plain(audit.LIMITS))
