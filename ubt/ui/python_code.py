"""What a page shows, as Python for a notebook: the case, the selection and the thresholds by `ubt.open_case`."""

from collections.abc import Mapping, Sequence

import streamlit as st

from ubt.pairs.table import PairTable
from ubt.ui import server
from ubt.ui.view import View, store

LONGEST = 20_000
"""Characters of a query that is shown; a browser colours longer ones slowly."""
SHOWN = 24
"""Images that the code reads, as many as a page shows at once."""


def code(view: View, table: PairTable, text: str, moved: Mapping[str, float]) -> str:
    """The code that gives the same pairs as the page.

    Args:
        table: the pairs as the page shows them, with the truth or without. text: the query; empty: all pairs. moved:
            where those sliders stand that were moved: `fraction` (percent of D), `threshold`, `k`.
    """
    truth = "truth=True" if table.poisoned is not None else ""
    chosen = f"select({', '.join(filter(None, [repr(text), truth]))})" if text else f"pairs({truth})"
    lines = [f"pairs = case.{chosen}"]
    if moved and table.similarity_reference is not None:
        lines.append(f"pairs = pairs.join(case.tuned({_thresholds(view, moved)}))")
    if view.holds("data", "images"):
        lines.append(f'images = case.images(pairs["id"].head({SHOWN}))')
    return of_case(view, *lines)


def of_case(view: View, *lines: str) -> str:
    """The code that opens the case, and further lines on it."""
    return "\n".join(["import ubt", "", f"case = ubt.open_case({_called(view)})", *lines])


def of_cases(names: Sequence[str]) -> str:
    """The code that gives the settings and the figures of several cases, a row a model and a case."""
    where = "" if server.shared() else f", {str(store().root)!r}"
    lines = ["import pandas as pd", "import ubt", "", f"cases = [ubt.open_case(name{where}) for name in {[*names]}]"]
    lines += ["settings = pd.json_normalize([case.settings.to_dict() for case in cases])"]
    lines += ["settings.index = [case.name for case in cases]"]
    lines += ["measured = {case.name: case.measures for case in cases if case.measured}"]
    lines += ["measures = pd.concat(measured) if measured else pd.DataFrame()"]
    return "\n".join(lines)


def of_defenses(names: Sequence[str], methods: Sequence[str]) -> str:
    """The code that gives the figures of defences on cases, as the page *Compare* shows them."""
    root = 'os.environ.get("UBT_CACHE", "cache")' if server.shared() else repr(str(store().root))
    lines = ["import os"] * server.shared() + [
        "from pathlib import Path",
        "",
        "from ubt.cases.read_only import ReadOnlyStore",
        "from ubt.core.run import compute",
        "from ubt.reports.paper import compare",
        "",
        f"store = ReadOnlyStore(Path({root}), untouched=True)",
        f"cases = [compare.subject(store, name, compute()) for name in {[*names]}]",
        f"figures = compare.cells(store, cases, {[*methods]})",
    ]
    return "\n".join(lines)


def of_results(view: View, *more: str) -> str:
    """The code that gives the verdict and the figures of a case, as far as there are any, and further lines."""
    lines = ['verdict = case.artefact("verdict", "verdict")'] if view.has("verdict") else []
    lines += ["measures = case.measures"] if view.has("estimate") or view.measured() else []
    return of_case(view, *lines, *more)


def offer(code: str) -> None:
    """The button *As Python*, for a page without a selection; where there is one, *Export* has the code."""
    with st.popover("As Python", icon=":material/code:", key="as-python"):
        st.caption("What this page shows, for a notebook")
        st.code(code, language="python", wrap_lines=True)


def _called(view: View) -> str:
    """The case's name, and where it is unless others share the app, who need not know this machine's folders."""
    return f"{view.name!r}" if server.shared() else f"{view.name!r}, {str(store().root)!r}"


def _thresholds(view: View, moved: Mapping[str, float]) -> str:
    """As arguments; what stands where the case was run with is left out, so that its own sets are taken."""
    run_with = {"fraction": round(100 * view.settings.split.fraction, 6), "k": view.settings.k}
    said = {name: value for name, value in moved.items() if run_with.get(name) != value}
    said |= {"fraction": said["fraction"] / 100} if "fraction" in said else {}
    return ", ".join(f"{name}={value:g}" if name == "threshold" else f"{name}={value}" for name, value in said.items())
