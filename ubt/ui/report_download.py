"""A report of a case, to download: made when it is asked for, for it takes a few seconds."""

import io
import zipfile

import streamlit as st

from ubt.ui import controls
from ubt.ui.errors import guard
from ubt.ui.view import store


def over(name: str) -> None:
    """Write the report and offer it as a page and as Markdown."""
    with guard():
        with st.spinner("Writing the report…"):
            from ubt.reports.case_report.contents import report
            from ubt.reports.case_report.html import page
            from ubt.reports.case_report.markdown import markdown

            made = report(store(), name)
            whole, files = page(made).encode(), markdown(made, f"{name}-files")
        st.write(
            "Verdict and evidence, flagged pairs, words, before and after, what analysts decided, settings, versions,"
            " digests and limits."
        )
        controls.download(
            f"One page of HTML ({len(whole) / 1e6:.1f} MB)",
            whole,
            f"{name}.html",
            "text/html",
            "report-html",
            type="primary",
        )
        controls.download(
            "Markdown with its pictures (zip)", _zipped(files), f"{name}-report.zip", "application/zip", "report-md"
        )
        st.caption("The page opens without a network, runs no script, and prints.")


def _zipped(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
        for path, content in files.items():
            z.writestr(path, content)
    return archive.getvalue()
