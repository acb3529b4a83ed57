"""Compare: what defences make of cases, side by side: the trade-off, the figures, how they got there, and what it
took.

Defences on the same cases: what each preserves of the model (CA) and of the target class (target recall), what is left
of the backdoor (ASR, beside the natural ASR of a model that never saw the trigger), and how many triggered images are
classified correctly (RA). A cell that is not measured has no figure and says why.
"""

import pandas as pd
import streamlit as st

from ubt.defenses import DEFENSES
from ubt.figures import tradeoff
from ubt.reports.paper import compare
from ubt.reports.paper.table import KL, SECONDS
from ubt.ui import case_picker, case_records, charts, controls, paper_results, python_code, query_params
from ubt.ui.case_picker import label, show
from ubt.ui.errors import guard, plain
from ubt.ui.job_panel import clock, compute_missing, no_case
from ubt.ui.navigation import PAGES, current, heading
from ubt.ui.sweeps import sweeps
from ubt.ui.view import compute, store
from ubt.workflows import jobs

FIRST = ("poisoned", "ubt", "cleanclip", "roclip")
"""What is ticked at first."""
PANELS = 12
"""Cases that are drawn; the table has all."""

view = current()
heading("compare")


@st.fragment
@guard()
def chosen() -> None:
    own = {name: case_records.one(name).record.settings.get("own", {}) for name in case_picker.names()}
    names = [name for name in own if not own[name].get("suspect")]
    if view and view.audits:
        st.info(
            "The case in view is an audit: its truth is unknown, so no defence can be measured on it. Compare"
            " lab cases."
        )
    open_case = [view.name] if view and view.name in names else []
    about = "Several are drawn side by side; the one that is open comes first"
    cases = query_params.several("Cases", "compared", names, open_case, label, about, store().renamed)
    subjects = [compare.subject(store(), name, compute()) for name in cases]
    every = compare.cells(store(), subjects, list(compare.METHODS))
    methods = _methods(subjects, every)
    if not cases or not methods:
        st.info(f"Choose at least one {'defence' if cases else 'case'}.")
        return
    work, places = compare.work(store(), subjects, methods)
    compute_missing("compare", work, "cells" + (" and divergences" if "retrain" in methods else ""), places)
    frame = every[every["method"].isin(methods)]
    measured = frame["CA"].notna().any()
    if measured:
        _scatter(frame)
    else:
        st.info("Nothing has been measured yet.")
    _table(frame, cases, methods)
    if measured:
        st.divider()
        _one_case(subjects, methods)


def _lacks(subjects: list[compare.Subject]) -> dict[str, str]:
    """The defences that none of the cases can be run with, and why."""
    found = {m: [case.lacks(store(), m) for case in subjects] for m in compare.METHODS}
    return {m: each[0] for m, each in found.items() if each and all(each)}


def _methods(subjects: list[compare.Subject], every: pd.DataFrame) -> list[str]:
    """The defences to tick, each with what it needs and how long it took or takes; those that none of the cases can be
    run with are greyed, with the reasons beneath.
    """
    lacks = _lacks(subjects)
    st.markdown("Defences", help="With the oracle among them, its divergence (KL) from every other is measured too")
    titles, abouts = {}, {}
    for name, method in compare.METHODS.items():
        known = subjects and name not in lacks
        took = _time(subjects, every[every["method"] == name], name) if known else ""
        titles[name] = plain(method.title) + (f" :small[:gray[{plain(took)}]]" if took else "")
        abouts[name] = plain(lacks.get(name, ""))
    start = [m for m in FIRST if m not in lacks]
    chosen = query_params.ticked("defences", list(titles), start, titles, lacks, abouts)
    st.caption(_needs())
    for why in dict.fromkeys(lacks.values()):
        named = ", ".join(compare.METHODS[m].title for m in lacks if lacks[m] == why)
        st.caption(f"Greyed: {plain(named)}. {plain(why[:1].upper() + why[1:])}.")
    return chosen


def _needs() -> str:
    """What defences need beside D and M_bd, the most frequent need last."""
    of: dict[str, list[str]] = {}
    for method in compare.METHODS.values():
        if method.needs:
            of.setdefault(method.needs, []).append(method.title)
    *rare, common = sorted(of, key=lambda need: len(of[need]))
    told = [f"{_listed(of[need])} {'need' if len(of[need]) > 1 else 'needs'} {need}" for need in rare]
    return plain(
        f"{', '.join(told)}; the other defences {common}. A time is what it took, or about what it takes here."
    )


def _listed(titles: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(titles[:-1]), titles[-1])))


def _time(subjects: list[compare.Subject], cells: pd.DataFrame, method: str) -> str:
    """What a defence took, over the cases in which it is measured, or how long what is missing of it takes; empty where
    neither is known.
    """
    if cells["CA"].notna().all():
        head = SECONDS["training" if method == "poisoned" else "defence"]
        took = cells[SECONDS["total"] if method in DEFENSES and DEFENSES[method].trains else head]
        return f"took {clock(took.mean())}" if took.notna().any() else ""
    work, places = compare.work(store(), subjects, [method])
    if not work:
        return ""
    batch = [(case, place, until) for (case, until), place in zip(work, places, strict=True)]
    estimate = jobs.remaining(store(), batch)
    return estimate.said.partition(" on ")[0]


def _scatter(frame: pd.DataFrame) -> None:
    st.subheader("The trade-off")
    measured = list(frame.dropna(subset=["CA"])["case"].unique())
    titles = {case: label(case) for case in measured[:PANELS]}
    stretched = controls.toggle(
        "Stretch low ASR", True, "stretched", "A square-root scale, on which an ASR of 1 % and one of 3 % differ"
    )
    picked = charts.draw(
        tradeoff.scatter(frame, titles, stretched),
        "tradeoff",
        "CA against ASR, a mark a defence, with the Pareto front",
        on_select="rerun",
        selection_mode="points",
        config={"displaylogo": False},
    )
    st.caption(
        "Up and left is better. The line is the Pareto front of what a defender can have; hollow marks (the clean"
        " reference, and defences that know the truth) are not part of it. Marks that would cover each other are drawn"
        " apart; a thin line leads to the place of each. Click a mark for its case."
    )
    if (total := frame["case"].nunique()) > len(titles):
        why = f"the first {PANELS}" if len(measured) > PANELS else "of the others nothing is measured yet"
        st.caption(f"{len(titles)} of {total} cases are drawn; {why}.")
    for point in picked["selection"]["points"][:1]:
        _cell(frame, *point["customdata"])


def _cell(frame: pd.DataFrame, case: str, method: str) -> None:
    found = frame[(frame["case"] == case) & (frame["method"] == method)]
    if not len(found):
        return
    cell = found.iloc[0]
    with st.container(border=True):
        st.markdown(f"**{plain(cell['defence'])}** · {plain(label(case))}")
        with st.container(horizontal=True, vertical_alignment="center"):
            for head in compare.HEADS.values():
                if pd.notna(cell[head]):
                    st.metric(
                        *((head, f"{cell[head]:.3f}") if head in KL.values() else (f"{head}, %", f"{cell[head]:.2f}"))
                    )
            if st.button("Open this case", key="open-case", icon=":material/arrow_forward:"):
                show(case)
                st.switch_page(
                    PAGES["overview"], query_params={"case": case}
                )  # without them Streamlit refuses while an expander below is open


def _table(frame: pd.DataFrame, cases: list[str], methods: list[str]) -> None:
    st.subheader("The figures")
    several, shown = frame["case"].nunique() > 1, "Each case"
    if several:
        ways = ["Each case", "Means over cases"]
        shown = controls.choice("Rows", ways, "compare-rows", default=ways[0], label_visibility="collapsed")
    rows = (
        frame.assign(state=frame["state"].replace("", "measured"), case=frame["case"].map(label))
        if shown == "Each case"
        else compare.means(frame)
    )
    numbers = {
        head: st.column_config.NumberColumn(format="%.2f", help="percent")
        for head in (*compare.HEADS.values(), compare.NATURAL)
    }
    numbers |= {
        head: st.column_config.NumberColumn(format="%.3f", help="nats, KL(oracle || this model)")
        for head in KL.values()
    }
    numbers |= {head: st.column_config.NumberColumn(format="%.0f") for head in SECONDS.values()}
    order = [
        "case",
        "defence",
        "cases",
        "CA",
        "ASR",
        compare.NATURAL,
        "RA",
        "target recall",
        "KL",
        "state",
        "needs",
        *SECONDS.values(),
    ]
    rows = rows[[c for c in order if c in rows and (several or c != "case")]]
    height = min(640, 37 + 35 * len(rows))
    st.dataframe(
        rows, hide_index=True, placeholder="-", height=height, column_config=numbers, alt="Cases by defences in figures"
    )
    with st.container(horizontal=True):
        saved = frame.drop(columns="possible").to_csv(index=False)
        controls.download("Save as CSV", saved, "compare.csv", "text/csv", "compare-csv")
        python_code.offer(python_code.of_defenses(cases, methods))


def _one_case(subjects: list[compare.Subject], methods: list[str]) -> None:
    by_name = {s.name: s for s in subjects}
    st.subheader("How they got there, and what it took")
    name = (
        st.selectbox("Case", list(by_name), format_func=label, key="one-case", persist_state="session")
        if len(by_name) > 1
        else next(iter(by_name))
    )
    seen, took = (read(store(), by_name[name], methods) for read in (compare.observed, compare.stages))
    if not len(seen) and not len(took):
        st.info("Nothing of this case has been measured yet.")
        return
    if len(seen):
        charts.draw(tradeoff.curves(seen), "compare-curves", "CA and ASR over the steps of each defence")
        st.caption(
            "On a small sample of the test images; no training ever sees them. Most defences start from M_bd; M_bd"
            " itself, and what trains in its place, start from the clean reference."
        )
    if len(took):
        charts.draw(tradeoff.times(took), "compare-times", "Seconds of every stage, by defence")
        st.caption(
            "As in the paper's Table VIII: training of M_bd, or of the model in its place, plus the defence. A"
            " stage that several share counts for each."
        )


if case_picker.names():
    chosen()
else:
    no_case()
st.divider()
paper_results.paper_tables()
swept = st.expander("Sweeps over settings, from cases of this cache", key="sweeps", bind="query-params")
if swept.open:
    with swept:
        sweeps()
