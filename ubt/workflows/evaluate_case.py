"""A case's models on other sets than its own test set: what they do there, with nothing trained again."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ubt.cases.events import Event
from ubt.cases.keys import every_key
from ubt.cases.pipeline import Pipeline, missing, upto
from ubt.cases.plan import composed
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.run import Compute
from ubt.evaluation.model_roles import MEASURED
from ubt.evaluation.stages import downstream_name
from ubt.evaluation.transfer import unfit

KINDS = {"zeroshot": "downstream.set", "retrieval": "downstream.captions"}
"""What is measured, and the setting that names on what."""
MODELS = tuple(MEASURED)
"""The models of a case; those of further defences go by the defence's name."""


def named(source: str) -> str:
    """A set's name as it is, or the whole path of a file or folder."""
    return str(Path(source).expanduser().resolve()) if "/" in source or Path(source).is_file() else source


def plan(
    store: Store, case: str, changes: Mapping[str, Any], models: Collection[str], kinds: Collection[str]
) -> tuple[CaseSettings, dict[str, tuple[str, str]]]:
    """The settings of the case that measures `models` of a case on record, and the stages that do: name to kind and
    model.

    Args:
        changes: settings of the group `downstream` by dotted name; others would be another case.

    Raises:
        BadInput: there is no such case or model, it is an audit (which has no trigger to measure), a change is of
            another group, or a set is absent or lacks a target.
    """
    settings = CaseSettings.from_dict(store.case(case).settings)
    if settings.own.audits:
        raise BadInput(
            f"{case}: expected a lab case, whose trigger is known, got an audit; python -m ubt probe tries a"
            " suspected one"
        )
    if other := [name for name in changes if not name.startswith("downstream.")]:
        raise BadInput(f"--set: expected settings of downstream, got {other[0]!r}, which would train another case")
    settings = settings.with_values(dict(changes))
    known = {s.name for s in composed(settings.own).every}
    stages = {downstream_name(kind, f"evaluate_{model}"): (kind, model) for kind in kinds for model in models}
    if unknown := [model for name, (_, model) in stages.items() if name not in known]:
        there = [
            name.removeprefix("zeroshot_")
            for name in sorted(known)
            if name.startswith("zeroshot_") and "again" not in name
        ]
        raise BadInput(f"--models: expected some of: {', '.join(there)}; got {unknown[0]!r}")
    for kind in kinds:
        if said := unfit(settings.downstream, kind, [p.attack.target for p in settings.attacks]):
            raise BadInput(said)
    return settings, stages


def lacking(store: Store, settings: CaseSettings, stages: Collection[str], where: Compute) -> list[str]:
    """The stages that are still to be run for these, in order."""
    wanted = {s.name for stage in stages for s in upto(stage, settings.own)}
    led_by = [s for s in composed(settings.own).every if s.name in wanted]
    return missing(store, settings, every_key(settings, where), led_by)


def measure(
    store: Store,
    settings: CaseSettings,
    stages: Mapping[str, tuple[str, str]],
    where: Compute,
    watch: Callable[[Event], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Run what `plan` gave; what is there already is taken as it is.

    Returns:
        By kind and model the measures, see `ubt.evaluation.backdoor.measure` and `ubt.evaluation.retrieval.measure`.

    Raises:
        UbtError: a set is not what it is taken for, or lacks the target. Cancelled: somebody asked to stop.
    """
    wanted = {s.name for stage in stages for s in upto(stage, settings.own)}
    case = Pipeline(store, where, watch=watch, cancelled=cancelled).run(
        settings, tuple(s for s in composed(settings.own).every if s.name in wanted)
    )
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, (kind, model) in stages.items():
        found.setdefault(kind, {})[model] = case.artefacts[name]["measures"]
    return found
