"""The one composition: runs a list of stages over a store, taking finished steps from disk, resuming interrupted ones.

All names of artefacts are known before anything runs (`ubt.cases.keys`): a change of k retrains nothing, and an earlier
setting is found again.
"""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ubt.cases.artifact import Artefact, DamagedArtefact
from ubt.cases.events import Event, Journal
from ubt.cases.keys import every_key, keys, made_with, stage_settings
from ubt.cases.plan import IMPORTED, composed
from ubt.cases.record import SCHEMA, CaseRecord, Ended, State
from ubt.cases.settings import CaseSettings
from ubt.cases.store import HANDOVER, Store
from ubt.clip import distributed
from ubt.core import limits, locks
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.files import REFERENCE, replace_file
from ubt.core.log import log
from ubt.core.run import Compute, Run, fixed_threads, silent
from ubt.core.stage import Stage
from ubt.data.user_roles import OwnSettings
from ubt.evaluation.model_roles import MEASURED

SCENES = OwnSettings()
"""Nothing imported: the embedded scenes."""


@dataclass(frozen=True)
class Case:
    """A case that was run: its name, its artefacts by stage, and its figures (empty unless every stage was run)."""

    name: str
    artefacts: dict[str, Artefact]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class _Plan:
    """One run: its settings, every stage it may need with its artefact's name and the settings that decide it, and what
    is there already.
    """

    settings: CaseSettings
    stages: dict[str, Stage]
    names: dict[str, str]
    made_with: dict[str, dict[str, Any]]
    made: dict[str, Artefact]


def upto(wanted: str | None, own: OwnSettings = SCENES) -> tuple[Stage, ...]:
    """The stages that lead to `wanted`, which may be a defence's or a detector's, and it, in order; those of a case if
    nothing is named.

    Args:
        own: what was imported for the case.

    Raises:
        BadInput: there is no such stage.
    """
    stages = composed(own)
    if wanted is None:
        return stages.case
    known = {s.name: s for s in stages.every}
    if wanted not in known:
        raise BadInput(f"unknown stage {wanted!r}; expected one of: {', '.join(known)}")
    needed, rest = set[str](), [wanted]
    while rest:
        name = rest.pop()
        if name in known and name not in needed:
            needed.add(name)
            rest += [source.split(".")[0] for source in known[name].inputs.values()]
            rest += ["test"] if known[name].observed and own.pairs else []
    return tuple(s for s in stages.every if s.name in needed)


class Pipeline:
    """Runs cases in a store.

    Args:
        watch: called with every event. cancelled: asked between steps; True ends the run, what is computed is kept.
    """

    def __init__(
        self,
        store: Store,
        compute: Compute,
        reference: Path | None = None,
        watch: Callable[[Event], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
    ):
        self.store, self.compute, self.watch, self.cancelled = store, compute, watch, cancelled
        self.reference = reference or REFERENCE
        distributed.fits(compute)

    def run(self, settings: CaseSettings, stages: tuple[Stage, ...] | None = None) -> Case:
        """Run what is not there yet, in order.

        Raises:
            UbtError: a stage could not do its work, another process runs this case, or what was imported for it is
                damaged.
            Cancelled: the watcher, or another process through the case's cancel flag, asked to stop.
        """
        with self.store.explained():
            return self._run(settings, stages)

    def _run(self, settings: CaseSettings, stages: tuple[Stage, ...] | None) -> Case:
        of_case, name = composed(settings.own), settings.name(self.compute)
        stages, own = stages or of_case.case, of_case.names()
        with self.store.lock(name, wait=HANDOVER):
            for imported in filter(None, (getattr(settings.own, kind) for kind in IMPORTED.values())):
                self.store.whole(imported)
            self._cancel = self.store.cancel_flag(name)
            self._cancel.unlink(missing_ok=True)
            plan, before = self._plan(settings, stages), self.store.record(name)
            record = _begun(record_of(settings, self.compute, plan.names, "running"), before, stages, own)
            self.store.save_case(name, record)
            # A run that goes on from one that stopped adds to its journal: `spent` reads there how long a stage ran.
            resumed = before.state in ("running", "cancelled", "failed")
            self._journal = Journal(self.store.journal(name), fresh=not resumed)
            case, stage = Case(name, plan.made, {}), stages[0]
            try:
                for stage in stages:
                    plan.made[stage.name] = self._obtain(stage, plan)
                if own <= plan.made.keys():
                    case.metrics.update(metrics(settings, case, lambda source: self._input(source, plan)))
            except BaseException as e:
                # The error itself matters more than that the disk, which may be full, does not take it.
                with contextlib.suppress(OSError):
                    self.store.save_case(name, _stopped(record, e, stage, stages[-1].name, own))
                raise
            finally:
                self._cancel.unlink(missing_ok=True)
            self.store.save_case(name, _ended(record, case))
        return case

    def _plan(self, settings: CaseSettings, stages: tuple[Stage, ...]) -> _Plan:
        """A run of `stages`; it knows every stage of the case, since what is damaged is made again."""
        known = {s.name: s for s in (*composed(settings.own).every, *stages)}
        every = tuple(known.values())
        return _Plan(
            settings, known, keys(settings, self.compute, every, self.reference), made_with(settings, every), {}
        )

    def _tell(self, event: Event) -> None:
        self._journal(event)
        self.watch(event)

    def _obtain(self, stage: Stage, plan: _Plan) -> Artefact:
        self._ask(f"before {stage.name}")
        key, made = plan.names[stage.name], plan.made_with[stage.name]
        found = self.store.find(key, made, whole=True)
        if found is None:
            with self._alone(functools.partial(self.store.lock, key), stage):
                try:
                    found = self.store.whole(key, made)
                except DamagedArtefact as e:
                    self._give_up(key, e)
                if found is None:
                    return self._compute(stage, plan)
        self.store.tidy(key)
        self._tell(Event("cached", stage.name, seconds=found.manifest["seconds"]))
        return found

    @contextlib.contextmanager
    def _alone(self, lock: Callable[..., contextlib.AbstractContextManager[None]], stage: Stage) -> Iterator[None]:
        """Hold a step's lock, or the device's, alone; if another process has it, say so and wait."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(lock(wait=0))
            except locks.Held:
                self._tell(Event("waits", stage.name))
                while True:
                    self._ask(f"while waiting for {stage.name}")
                    with contextlib.suppress(locks.Held):
                        stack.enter_context(lock(wait=0.5))
                        break
            yield

    def _give_up(self, key: str, why: DamagedArtefact) -> None:
        log.warning("%s; it is set aside and made again", why.why)
        self.store.set_aside(key)

    def _ask(self, where: str) -> None:
        if self.cancelled() or self._cancel.exists():
            raise Cancelled(f"cancelled {where}; what is finished is kept, run again to go on from there")

    def _compute(self, stage: Stage, plan: _Plan) -> Artefact:
        key = plan.names[stage.name]
        arguments: dict[str, Any] = {a: self._input(source, plan) for a, source in stage.inputs.items()}
        with (
            self.store.step(key) as scratch,
            self._alone(functools.partial(locks.hold, locks.turn(self.compute.device)), stage),
        ):
            self._tell(Event("starts", stage.name))
            started, spent = time.monotonic(), None

            def seconds() -> float:
                return (spent or 0.0) + time.monotonic() - started - (observer.seconds if observer else 0.0)

            def progress(done: int, total: int, figures: dict[str, float]) -> None:
                nonlocal spent
                spent = self._journal.spent(stage.name, done) if spent is None else spent
                self._tell(Event("progress", stage.name, done, total, seconds(), figures))
                self._ask(f"in {stage.name} after {done} of {total}")

            settings = stage_settings(stage, plan.settings)
            run = Run(plan.settings.seed, self.compute, progress, scratch)
            observer = _observer(plan, run) if stage.observed else None
            inputs = {a: self._reader(source, plan) for a, source in stage.inputs.items()}
            work = distributed.Work(stage.function, inputs, settings, replace(run, progress=silent))
            with distributed.offered(work), fixed_threads(self.compute):
                result = stage.load()(**arguments, **settings, run=replace(run, observe=observer))
                shared = {"ranks": distributed.size()} if distributed.size() > 1 else {}
            if lacking := set(stage.gives) - set(result):
                raise UbtError(
                    f"stage {stage.name}: expected it to give {', '.join(sorted(lacking))}, got {', '.join(result)}"
                )
            if observer:
                result["observed"] = observer.frame()
            took = seconds()
        about = {
            "stage": stage.name,
            "version": stage.version,
            "seconds": round(took, 3),
            "made": time.strftime("%Y-%m-%dT%H:%M:%S"),
            "settings": plan.made_with[stage.name],
        }
        artefact = self.store.write(key, result, about | shared)
        self._tell(Event("done", stage.name, seconds=took))
        return artefact

    def _reader(self, source: str, plan: _Plan) -> Callable[[], Any]:
        """What reads a source, on any rank."""
        owner, entry = source.split(".")
        if owner in IMPORTED:
            return functools.partial(self.store.imported(getattr(plan.settings.own, IMPORTED[owner])).read, entry)
        if owner == "reference":
            from ubt.clip import models

            own = plan.settings.own.planted_in
            return (
                functools.partial(self.store.imported(own).read, "model")
                if own
                else functools.partial(models.load, self.reference)
            )
        return functools.partial(plan.made[owner].read, entry)

    def _input(self, source: str, plan: _Plan) -> Any:
        owner, entry = source.split(".")
        if owner not in plan.stages:
            return self._reader(source, plan)()
        with contextlib.suppress(DamagedArtefact):
            return plan.made[owner][entry]
        stage, key = plan.stages[owner], plan.names[owner]
        with self._alone(functools.partial(self.store.lock, key), stage):
            try:
                return plan.made[owner][entry]
            except DamagedArtefact as e:
                self._give_up(key, e)
                plan.made[owner] = self._compute(stage, plan)
                return plan.made[owner][entry]


Work = tuple[CaseSettings, str | None]
"""A case, and the stage up to which it is wanted; None: all stages of a case."""


def run_each(
    store: Store,
    work: Sequence[tuple[CaseSettings, Compute, str | None]],
    watch: Callable[[Event], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Run cases one after another, waiting for those that others run and passing over those that fail.

    Returns:
        The errors, by the case's name and the stage it was run up to.

    Raises:
        Cancelled: somebody asked to stop; what is computed is kept. BadInput: there is no such stage.
    """
    stages, errors = {(case.own, until): upto(until, case.own) for case, _, until in work}, {}
    for settings, where, until in work:
        name = settings.name(where)
        while store.held(name):
            if cancelled():
                raise Cancelled(f"cancelled while {name} was being run elsewhere; run again to go on from there")
            time.sleep(0.5)
        try:
            Pipeline(store, where, watch=watch, cancelled=cancelled).run(settings, stages[settings.own, until])
        except (Cancelled, distributed.RankLost):
            raise
        except Exception as e:
            log.warning("%s failed: %s", name, e)
            errors[f"{name}, {until}" if until else name] = str(e) if isinstance(e, UbtError) else repr(e)
    return errors


def missing(
    store: Store, settings: CaseSettings, names: Mapping[str, str], stages: Sequence[Stage], whole: bool = False
) -> list[str]:
    """The stages among `stages`, which hold all that lead to them, without a result of these settings; `whole`: whose
    bytes are not damaged.
    """
    made = made_with(settings, stages)
    return [stage.name for stage in stages if store.find(names[stage.name], made[stage.name], whole) is None]


def standing(
    store: Store,
    settings: CaseSettings,
    where: Compute,
    reference: Path | None = None,
    until: str | None = None,
    whole: bool = False,
) -> tuple[str, CaseRecord]:
    """How a case stands, `to do` if it is not on record, `outdated` if an earlier version of some stage made it; and
    its record. With `until`, it is `done` once the results of that stage and of those that lead to it are there,
    whatever its record says; `failed` or `cancelled` if its last run up to there ended so, or the case's last run in a
    stage that leads there. `whole`: results whose bytes are damaged are not there.
    """
    name = settings.name(where)
    record, names = store.record(name), every_key(settings, where, reference or REFERENCE)
    if until is not None and not missing(store, settings, names, upto(until, settings.own), whole):
        return "done", record
    if record.state == "absent":
        return "to do", record
    had = record.artefacts
    if not record.readable or any(had.get(name) != names[name] for name in composed(settings.own).names()):
        return "outdated", record
    state = record.state
    if until is None and state == "done" and whole:
        return ("partial" if missing(store, settings, names, composed(settings.own).case, whole) else "done"), record
    if until is not None and state != "running":
        if until in record.errors:
            return record.errors[until].state, record
        led = state in ("failed", "cancelled") and record.at in {
            "",
            *(stage.name for stage in upto(until, settings.own)),
        }
        return (state if led or state == "new" else "partial"), record
    return ("interrupted" if state == "running" and not store.held(name) else state), record


def _observer(plan: _Plan, run: Run) -> Any:
    from ubt.evaluation.judge import Observer

    own = plan.settings.own
    if own.audits or (own.pairs and "test" not in plan.made):
        return None
    return Observer(plan.settings.attacks, run, plan.settings.test.per_class, plan.made["test"] if own.pairs else None)


def record_of(settings: CaseSettings, compute: Compute, names: dict[str, str], state: State) -> CaseRecord:
    """The record of a case that has these artefacts and stands so now."""
    return CaseRecord(
        settings=settings.to_dict(),
        compute=compute,
        artefacts=names,
        state=state,
        updated=time.time(),
        schema_number=SCHEMA,
    )


def _begun(record: CaseRecord, before: CaseRecord, stages: tuple[Stage, ...], own: set[str]) -> CaseRecord:
    """The record while `stages` are run: `record`, which has every stage's artefact, with what stays of the record
    before. `own` are the case's stages, without those of defences and detectors.
    """
    had, last = before.artefacts, stages[-1].name
    # Of stages that are neither the case's own nor run now, those stay that were run with these very settings: `prune`
    # keeps the artefacts that are on record.
    wanted = own | {s.name for s in stages}
    artefacts = {n: key for n, key in record.artefacts.items() if n in wanted or had.get(n) == key}
    # The figures stay as long as they are of these very artefacts, so that running a defence forgets nothing.
    same = all(had.get(n) == artefacts[n] for n in own)
    # What earlier runs up to other stages said stays; how this one ends is not known yet.
    errors = {n: e for n, e in before.errors.items() if n != last}
    return record.changed(artefacts=artefacts, metrics=before.metrics if same else None, errors=errors)


def _ended(record: CaseRecord, case: Case) -> CaseRecord:
    """The record after a run that came to its end: the case is done once it has figures, of this run or of one before.
    What was said of a stage that has been made since is forgotten.
    """
    figures = case.metrics or record.metrics
    return record.changed(
        state="partial" if figures is None else "done",
        metrics=figures,
        errors={n: e for n, e in record.errors.items() if n not in case.artefacts},
        updated=time.time(),
    )


def _stopped(record: CaseRecord, error: BaseException, at: Stage, last: str, own: set[str]) -> CaseRecord:
    """The record after a run up to the stage `last` that was cancelled or failed in the stage `at`. The error is
    remembered under `last`. It is the case's own too, unless the case was finished and this run went beyond its `own`
    stages: then the case stays done.
    """
    said = str(error) if isinstance(error, UbtError) else limits.ran_out(error) or repr(error)
    ended = Ended(state="cancelled" if isinstance(error, (Cancelled, KeyboardInterrupt)) else "failed", error=said)
    beyond = record.metrics is not None and last not in own
    of_the_case = {"state": "done"} if beyond else {"state": ended.state, "error": ended.error, "at": at.name}
    return record.changed(**of_the_case, errors=record.errors | {last: ended}, updated=time.time())


def create(store: Store, settings: CaseSettings, compute: Compute, reference: Path | None = None) -> str:
    """Put a case on record without running anything; one that is there already is left as it is. Returns its name."""
    name = settings.name(compute)
    if not store.record(name).readable:
        store.save_case(
            name,
            record_of(
                settings, compute, keys(settings, compute, composed(settings.own).case, reference or REFERENCE), "new"
            ),
        )
    return name


def metrics(settings: CaseSettings, case: Case, read: Callable[[str], Any]) -> dict[str, Any]:
    """The figures of a finished case: percent for CA, ASR, RA, target recall; fractions for precision, recall, AUROC;
    of an audit, its verdict and estimates.

    Args:
        read: gives an artefact's entry by its source, `stage.entry`.
    """
    if settings.own.audits:
        found, estimated = read("verdict.verdict"), {name: read(f"estimate.{name}") for name in ("measures", "found")}
        select = {"k": len(topk := read("select.topk")), "groups": int(topk["group"].max()) + 1}
        return {
            "case": case.name,
            "seed": settings.seed,
            "settings": settings.to_dict(),
            "verdict": found,
            "select": select,
            "estimates": estimated,
            "quarantined": len(read("take.quarantine")),
            "seconds": {name: artefact.manifest["seconds"] for name, artefact in case.artefacts.items()},
        }
    measured = {n: read(f"{role.evaluated}.measures") for n, role in MEASURED.items()}
    detection, verdict = read("judge.detection"), read("verdict.verdict")
    return {
        "case": case.name,
        "attack": settings.attack.name,
        "seed": settings.seed,
        "settings": settings.to_dict(),
        **measured,
        "split": {"fraction": settings.split.fraction, "recall": detection["recall"]},
        "select": {
            "k": settings.k,
            "groups": int(read("select.topk")["group"].max()) + 1,
            "precision": detection["precision"],
            "auroc": detection["auroc"],
        },
        "flagged": {"precision": detection["flagged_precision"], "recall": detection["flagged_recall"]},
        "found": detection["attacks"],
        "masks": read("judge.masks"),
        "verdict": verdict,
        "diagnosis": read("diagnose.findings"),
        "checks": read("diagnose.checks"),
        "seconds": {name: artefact.manifest["seconds"] for name, artefact in case.artefacts.items()},
    }


def write_metrics(case_metrics: dict[str, Any], path: Path) -> None:
    """Write metrics as JSON in one step."""
    replace_file(path, lambda temporary: temporary.write_text(json.dumps(case_metrics, indent=1) + "\n"))
