"""Jobs on the page: the progress of the case in view, and the buttons that run, cancel and resume it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ubt.cases.pipeline import Work, create, standing
from ubt.cases.plan import composed
from ubt.cases.settings import CaseSettings
from ubt.core.run import Compute
from ubt.ui import costs, roles
from ubt.ui.case_picker import make
from ubt.ui.errors import guard, plain
from ubt.ui.navigation import PAGES
from ubt.ui.view import View, compute, store
from ubt.workflows import derived, jobs

POLL, IDLE = 1.0, 4.0
"""Seconds between two looks at a case that is being run, and at one that is not (another tab may run it)."""
BEGINS = 60.0
"""Seconds to wait until a job of several cases begins; a page that went on before would not follow it."""
STATES = {
    "new": ":gray-badge[:material/fiber_new: not run yet]",
    "partial": ":gray-badge[:material/incomplete_circle: partly run]",
    "running": ":blue-badge[:material/play_circle: running]",
    "cancelled": ":orange-badge[:material/stop_circle: cancelled]",
    "interrupted": ":orange-badge[:material/power_off: interrupted]",
    "failed": ":red-badge[:material/error: failed]",
    "done": ":green-badge[:material/check_circle: finished]",
    "damaged": ":red-badge[:material/broken_image: damaged]",
    "outdated": ":orange-badge[:material/history: of an earlier version]",
}
LIVE = "Run it live"
RUN = {"new": "Run", "partial": "Run the rest", "cancelled": "Resume", "interrupted": "Resume", "failed": "Try again"}


def clock(seconds: float) -> str:
    """
    >>> clock(75.4), clock(8)
    ('1 min 15 s', '8 s')
    """
    seconds = round(seconds)
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


def panel(view: View) -> None:
    """State, progress, time left, and the button that fits; follows the job and redraws the page when a stage is
    done.
    """
    if view.built_in:
        _built_in(view)
        return
    _follow(view.name, (view.status.state, view.status.finished), POLL if view.status.running else IDLE)


def _follow(name: str, seen: tuple, every: float) -> None:
    @st.fragment(run_every=every, key="job")
    def follow() -> None:
        with guard():
            status = jobs.status(store(), name)
            _draw(name, status)
            if (status.state, status.finished) != seen:
                st.rerun()

    follow()


def _draw(name: str, status: jobs.Status) -> None:
    st.markdown(STATES.get(status.state, STATES["damaged"]))
    if status.running:
        step = status.steps.get(status.current or "", jobs.Step())
        what = "waiting for another job" if step.state == "waiting" else plain(status.current or "starting")
        done = f" {step.done:,} of {step.total:,}" if step.total else ""
        st.progress(min(1.0, status.share), text=f"{what}{done}")
        if status.left and status.share < 1:
            st.caption(status.left.said)
        _cancel(name, "cancel", width="stretch")
    elif status.state in RUN:
        if status.state == "failed":
            st.error(plain(status.error))
        elif status.state == "interrupted":
            st.caption("Its process ended unexpectedly. Everything finished is kept.")
        if costs.button(RUN[status.state], costs.of_case(name), "run", type="primary", width="stretch"):
            run(name)


def _cancel(lock: str, key: str, **more: Any) -> None:
    """The button that cancels whoever holds a lock. It stands where the button stood that started it, so that the
    browser takes no click on it for the first second (`readable.css`): that may be the second of a double click.
    """
    stopping = store().cancel_flag(lock).exists()
    if roles.button("Cancel", key=key, icon=":material/stop:", disabled=stopping, **more):
        jobs.cancel(store(), lock)
        st.toast("Stopping at the next step; everything finished is kept.")


def _built_in(view: View) -> None:
    """What made a built-in case, and the button that makes the same on this machine."""
    made = view.built_in
    st.markdown(":violet-badge[:material/inventory_2: built-in]")
    where = f"{made.machine}, {view.record.compute}" if made.machine else str(view.record.compute)
    st.caption(
        f"Made by {made.command} on {made.made}, version {made.version}, seed {view.settings.seed}, on {where};"
        " read-only. Its times are rough: the machine did other work too."
    )
    live(view, "live")


def live(view: View, key: str, wanted: str | None = None, short: bool = False) -> None:
    """The button that runs a built-in case's settings on this machine; the new case then replaces it.

    Args:
        wanted: what a page lacks; a stage that a case does not run by itself is run with what it needs, in place of the
            case's own. short: say what it takes on the button itself, in few words.
    """
    stages = composed(view.settings.own)
    further = {stage.name for stage in stages.every} - stages.names()
    until = wanted if wanted in further else None
    cost, said = costs.of_settings(view.settings, until), LIVE
    if short and cost.startswith("Takes "):
        said, cost = f"{LIVE}, {cost.removeprefix('Takes ').split(';')[0].rstrip('.')}", ""
    about = "The same settings on this machine, as a new case that replaces this one"
    if costs.button(said, cost, key, help=about):
        make(view.settings, run=True, until=until)
        st.rerun(scope="app")


def run(name: str, until: str | None = None) -> None:
    """Start a case's job, or join the one that is running, and draw the page again."""
    if not jobs.start(store(), name, until):
        st.toast("This case is already running; this page now follows that run.")
    st.rerun(scope="app")


def missing(view: View, stage: str, reason: str, offer: bool = True) -> None:
    """Say what a page lacks and, if `offer`, show the one button that gets it."""
    status = view.status
    if status.running:
        st.info(f"{reason} The case is running; this page appears as soon as it can.")
        return
    if view.built_in:
        st.info(f"{reason} The built-in case is shipped without it, to save space.")
        if offer:
            live(view, f"live-{stage}", stage)
        return
    if view.imported:
        st.info(f"{reason} This case was imported without it, and without the models that could make it.")
        return
    st.info(reason)
    if last := view.record.errors.get(stage):
        st.error(plain(last.error), title=f"The last attempt: {plain(last.state)}")
    if offer:
        with st.container(horizontal=True, vertical_alignment="center"):
            wanted = f"Run up to {plain(stage)}"
            if costs.button(wanted, costs.of_case(view.name, stage), f"until-{stage}", type="primary"):
                run(view.name, stage)


def no_case() -> None:
    """What a page shows while there is no case."""
    st.info(
        "No case is open. A case is a set of image-caption pairs and a CLIP model trained on them; make one on the"
        " overview."
    )
    st.page_link(PAGES["overview"], label="Go to the overview", icon=":material/arrow_forward:")


def needs(view: View | None, stage: str, reason: str, draw: Callable[[], None], least: str | None = None) -> None:
    """Draw a page, or say that it needs a case, or a stage of it.

    Args:
        stage: up to which the button runs it. least: the stage without which the page cannot be drawn; None: the same.
    """
    if view is None:
        no_case()
    elif not view.has(least or stage):
        missing(view, stage, reason)
    else:
        draw()


def build(
    view: View,
    kind: str,
    options: dict[str, Any],
    reason: str,
    button: str,
    cost: str,
    before: Callable[[], object] = lambda: None,
) -> bool:
    """Whether a view is there; else say what is missing, offer the button that computes it (after `before`) beside
    its `cost`, and follow its job.
    """
    key = derived.key(view.record, kind, options)
    if store().find(key) is not None:
        return True
    if not store().held(key):
        st.info(reason)
        if why := jobs.failure(store(), key):
            st.error(plain(why), title="The last attempt failed")
        with st.container(horizontal=True, vertical_alignment="center"):
            pressed = costs.button(button, cost, f"build-{kind}", type="primary")
        if pressed:
            before()
            jobs.start_view(store(), view.name, kind, options)
            st.rerun(scope="app")
        return False

    follow(key, kind)
    return False


def follow(lock: str, what: str, place: str = "") -> None:
    """How far the process that holds a lock is, and the button that cancels it; draws the page again when it has
    ended. `place`: which of the places on the page it is that follow it, where there may be several.
    """

    @st.fragment(run_every=POLL, key=f"follow-{place}-{lock}")
    def draw() -> None:
        if not store().held(lock):
            st.rerun(scope="app")
        last = jobs.view_progress(store(), lock)
        share = last.done / last.total if last.total else 0.0
        left = f", about {clock(last.seconds * (1 - share) / share)} left" if 0.05 < share < 1 else ""
        rows = f", {last.figures['rows']:,.0f} rows" if "rows" in last.figures else ""
        st.progress(
            min(1.0, share),
            text=(
                f"{what}: waiting for another job"
                if last.kind == "waits"
                else f"{what}: {100 * share:.0f} %{rows}{left}"
            ),
        )
        _cancel(lock, f"stop-{place}-{lock}")

    draw()


@dataclass(frozen=True)
class _Batch:
    """Cases that one job runs one after another under the lock `title`: each with where it is computed and up to which
    stage.
    """

    title: str
    what: str
    cases: list[tuple[CaseSettings, Compute, str | None]]

    @property
    def names(self) -> list[str]:
        return [case.name(where) for case, where, _ in self.cases]

    def state(self) -> tuple[bool, list[str]]:
        """Whether the job is running, and the state of each case."""
        states = [standing(store(), case, where, until=until)[0] for case, where, until in self.cases]
        return store().held(self.title), states

    def counts(self, states: list[str]) -> str:
        failed = states.count("failed")
        measured = f"{states.count('done')} of {len(self.cases)} {self.what} measured"
        return measured + (f", {failed} failed" if failed else "")


def compute_missing(title: str, work: Sequence[Work], what: str, places: Sequence[Compute] | None = None) -> None:
    """How many of some cases, each up to a stage, are computed; the button that computes the others in one job, under
    the lock `title`, and while it runs its progress and the button that cancels it.

    Args:
        places: where each is computed; None: where this machine computes.
    """
    where = places or [compute()] * len(work)
    batch = _Batch(title, what, [(case, at, until) for (case, until), at in zip(work, where, strict=True)])
    running, states = batch.state()
    if running:
        _follow_batch(batch, states)
    elif states.count("done") < len(states):
        _offer_batch(batch, states)


def _offer_batch(batch: _Batch, states: list[str]) -> None:
    st.caption(f"{batch.counts(states)}; the rest takes {jobs.remaining(store(), batch.cases).said}.")
    if "failed" in states:
        at = states.index("failed")
        name, until = batch.names[at], batch.cases[at][2]
        record = store().record(name)
        error = record.errors.get(until, record).error
        st.error(f"{plain(name)}: {plain(error)}", title="The first that failed")
    missing = [case for case, state in zip(batch.cases, states, strict=True) if state != "done"]
    if roles.button(f"Compute the missing {len(missing)}", key=f"each-{batch.title}", icon=":material/play_arrow:"):
        created = [(create(store(), case, where), until) for case, where, until in missing]
        if not jobs.start_each(store(), batch.title, created, wait=BEGINS):
            st.toast("They are already running; this page now follows that run.")
        st.rerun(scope="app")


def _follow_batch(batch: _Batch, states: list[str]) -> None:
    @st.fragment(run_every=POLL, key=f"follow-{batch.title}")
    def follow() -> None:
        running = [(name, c[2]) for name, c, s in zip(batch.names, batch.cases, states, strict=True) if s == "running"]
        share = jobs.status(store(), *running[0]).share if running else 0.0
        st.progress(
            min(1.0, (states.count("done") + share) / max(1, len(states))),
            text=batch.counts(states)
            + (f"; {plain(running[0][0])} running" if running else "")
            + f", about {clock(jobs.remaining(store(), batch.cases).seconds)} left",
        )
        _cancel(batch.title, f"stop-{batch.title}")
        if batch.state() != (True, states):
            st.rerun(scope="app")

    follow()
