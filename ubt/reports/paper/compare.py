"""Cases by defences: what each cell measures or, in words, why it measures nothing (the page *Compare*)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work, standing
from ubt.cases.record import CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.core.run import Compute
from ubt.defenses import DEFENSES
from ubt.reports.paper.defense_tables import CLEAN, NO_DEFENCE
from ubt.reports.paper.table import KL, MEASURES, SECONDS, diverged, measured, seconds
from ubt.workflows.lacking import lacking

NATURAL = "natural ASR"
HEADS = {**MEASURES, **KL}
"""What a cell measures to its column: percent, KL in nats."""
EARLIER = "measured by an earlier version"
"""The state of a cell whose figures are a case's own, but not those that this version would come to."""
BUILT_IN = "the built-in case is shipped without it; run it live to have it"
GIVEN, OLD = "imported as it is; cannot be run", "its settings are an earlier version's; cannot be run, make it anew"
WAITS = {
    "to do": "not run yet",
    "new": "not run yet",
    "partial": "not run yet",
    "running": "being run",
    "cancelled": "cancelled",
    "interrupted": "interrupted",
    "outdated": "an earlier version made the case; not run yet",
}
"""`ubt.cases.pipeline.standing` of a cell that is not done, in words; one that failed says why."""


@dataclass(frozen=True)
class Method:
    """A way to a model: its `title`, the stage that measures the model, the one that trains it (none trains the
    reference), what it `needs`, and whether a defender can have it.
    """

    title: str
    judged: str
    model: str = ""
    needs: str = ""
    possible: bool = True


METHODS: dict[str, Method] = {
    "clean": Method(CLEAN, "evaluate_clean", possible=False),
    "poisoned": Method(NO_DEFENCE, "evaluate_poisoned", "poison"),
    **{name: Method(d.title, d.judged, d.model, d.needs, d.needs != "the truth") for name, d in DEFENSES.items()},
}
"""Every defence, and what they are held against."""


@dataclass(frozen=True)
class Subject:
    """A case on record as it is compared: `settings` only if it can be run here, else why it cannot."""

    name: str
    record: CaseRecord
    settings: CaseSettings | None
    where: Compute
    why: str = ""

    def names(self, store: Store, method: str) -> tuple[Mapping[str, str] | None, str]:
        """The artefact names of a method's stages if its model is measured, and what is to be said of the cell."""
        judged, own, why = METHODS[method].judged, self.record.artefacts, self.why
        if self.settings:
            state, record = standing(store, self.settings, self.where, until=judged)
            if state == "done":
                return every_key(self.settings, self.where), ""
            failed = f"failed: {record.errors.get(judged, record).error or 'no reason was told'}"
            lacks = self.lacks(store, method)
            why = f"cannot be run: {lacks}" if lacks else WAITS.get(state) or failed
        if store.find(own.get(judged, "")):
            return own, "" if self.record.imported else EARLIER
        return None, why

    def lacks(self, store: Store, method: str) -> str:
        """Why a method can be neither run nor shown, as far as that is known, and what to do; empty if it can."""
        judged = METHODS[method].judged
        if self.settings:
            return lacking(store, self.settings, self.where, judged)
        return "" if store.find(self.record.artefacts.get(judged, "")) else self.why


def subject(store: Store, name: str, here: Compute) -> Subject:
    """A case on record, to be compared on this machine."""
    record = store.record(name)
    if record.imported:
        return Subject(name, record, None, here, BUILT_IN if record.built_in else GIVEN)
    if not record.readable:
        return Subject(name, record, None, here, OLD)
    try:
        settings, where = CaseSettings.from_dict(record.settings), record.compute
    except UbtError:
        return Subject(name, record, None, here, OLD)
    if settings.name(where) != name:
        return Subject(name, record, None, here, OLD)
    if where.device != here.device:
        return Subject(name, record, None, where, f"made on {where.device}; cannot be run here, on {here.device}")
    return Subject(name, record, settings, where)


def cells(store: Store, subjects: Iterable[Subject], methods: Sequence[str]) -> pd.DataFrame:
    """A row a case and method: `case`, `method`, `defence` (its title), `possible` (whether a defender can have it),
    CA, ASR, RA and target recall in percent, KL in nats where it is there, `natural ASR` of the case, `needs`, seconds
    of training, of the defence and both, and `state`, empty where it is measured by this version. What is not measured
    has no figure.

    Raises:
        DamagedArtefact: a result on disk is not what was written.
    """
    table = []
    for case in subjects:
        names, _ = case.names(store, "clean")
        natural = measured(store, names, METHODS["clean"].judged)["asr"] if names else None
        for method in methods:
            m = METHODS[method]
            names, state = case.names(store, method)
            found = measured(store, names, m.judged) if names else {}
            line = {"case": case.name, "method": method, "defence": m.title, "possible": m.possible}
            line |= {head: found.get(key) for key, head in HEADS.items()} | {NATURAL: natural, "needs": m.needs}
            table.append(line | {head: found.get(key) for key, head in SECONDS.items()} | {"state": state})
    columns = ["case", "method", "defence", "possible", *HEADS.values(), NATURAL, "needs", *SECONDS.values(), "state"]
    frame = pd.DataFrame(table, columns=columns)
    return frame.astype({head: float for head in (*HEADS.values(), NATURAL, *SECONDS.values())})


def means(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a method: the means, over the cases in which it is measured and up to date, of what `cells` gives, and how
    many `cases` those are.
    """
    measured = frame[frame["state"] == ""].dropna(subset=["CA", "ASR"]).groupby("method")
    figures = [*HEADS.values(), NATURAL, *SECONDS.values()]
    counts = measured.size().map(lambda n: f"{n} of {frame['case'].nunique()}")
    first = frame.drop_duplicates("method")[["method", "defence", "needs"]]
    found = first.join(counts.rename("cases"), on="method").join(measured[figures].mean(), on="method")
    return found.assign(cases=found["cases"].fillna(f"0 of {frame['case'].nunique()}")).reset_index(drop=True)


def work(store: Store, subjects: Iterable[Subject], methods: Sequence[str]) -> tuple[list[Work], list[Compute]]:
    """What the cells that can be run need, and where each is computed; with the oracle among the methods, the
    divergence of every other from it too.
    """
    found = []
    for case in subjects:
        if case.settings:
            judged = [METHODS[m].judged for m in methods if not case.lacks(store, m)]
            wanted = [*judged, *(diverged(judged) if METHODS["retrain"].judged in judged else ())]
            found += [((case.settings, until), case.where) for until in wanted]
    return [w for w, _ in found], [where for _, where in found]


def observed(store: Store, case: Subject, methods: Sequence[str]) -> pd.DataFrame:
    """What was seen of each method's model while it trained: `method`, `defence`, `step`, `share` of all its steps,
    `ca` and `asr` in percent on a sample; no row for what was not looked at.
    """
    frames = [pd.DataFrame(columns=["method", "defence", "step", "share", "ca", "asr"])]
    for method in methods:
        m, (names, _) = METHODS[method], case.names(store, method)
        made = store.find(names.get(m.model, "")) if names else None
        if made and "observed" in made.manifest["entries"] and len(seen := made["observed"]):
            frames.append(
                seen.assign(method=method, defence=m.title, share=100 * seen["step"] / max(1, seen["step"].max()))
            )
    return pd.concat(frames[1:], ignore_index=True) if len(frames) > 1 else frames[0]


def stages(store: Store, case: Subject, methods: Sequence[str]) -> pd.DataFrame:
    """Seconds of every stage that a method needs beyond D: `method`, `defence`, `stage`, `part` (`training` or
    `defence`), `seconds`.
    """
    table = []
    for method in methods:
        m, (names, _) = METHODS[method], case.names(store, method)
        table += [(method, m.title, *line) for line in (seconds(store, names, m.judged) if names else ())]
    return pd.DataFrame(table, columns=["method", "defence", "stage", "part", "seconds"])
