"""What artefacts are called, and what they were made with, before anything runs.

The name of a step's artefact is a digest of its function's permanent id and version, of those of its settings that are
not at their defaults, of its inputs' names, of the seed and of where it is computed. A setting added later renames
nothing; a default that changes is noticed by the full settings that every artefact keeps.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ubt.cases.plan import IMPORTED, composed
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE, digest, file_digest
from ubt.core.run import Compute
from ubt.core.stage import Stage

ATTACKS = ("attacks", "model_attacks")
"""The names by which stages take every attack of a case at once, and those on the model."""


def stage_settings(stage: Stage, settings: CaseSettings) -> dict[str, Any]:
    """The settings that a stage's function takes, by the names of its arguments."""
    return {argument: getattr(settings, group) for argument, group in stage.settings.items()}


def _changes(group: str, settings: CaseSettings) -> Any:
    value = getattr(settings, group)
    return [planted.changes() for planted in value] if group in ATTACKS else value.changes()


def _full(group: str, settings: CaseSettings) -> Any:
    value = getattr(settings, group)
    return [planted.plain() for planted in value] if group in ATTACKS else value.to_dict()


def keys(settings: CaseSettings, compute: Compute, stages: Sequence[Stage], reference: Path) -> dict[str, str]:
    """The artefact name of every stage, computed without running any."""
    own = settings.own
    names = {"reference": own.planted_in or reference_digest(reference)}
    names |= {owner: getattr(own, name) for owner, name in IMPORTED.items()}
    imported, changed = set(names), dict[str, Any]()
    for stage in stages:
        groups = sorted(stage.settings.values())
        changed |= {group: _changes(group, settings) for group in groups if group not in changed}
        made_from = [
            stage.identity,
            stage.version,
            {group: changed[group] for group in groups if changed[group]},
            settings.seed,
            *compute.identity,
            {a: f"{names[source.split('.')[0]]}.{source.split('.')[1]}" for a, source in stage.inputs.items()},
        ]
        names[stage.name] = f"{stage.name}-{digest(made_from)}"
    return {name: key for name, key in names.items() if name not in imported}


def made_with(settings: CaseSettings, stages: Sequence[Stage]) -> dict[str, dict[str, Any]]:
    """The full settings that decide every stage's result: its own groups and those of all stages that lead to it."""
    groups: dict[str, set[str]] = {}
    for stage in stages:
        before = (groups.get(owner, set()) for owner in stage.sources())
        groups[stage.name] = set(stage.settings.values()).union(*before)
    full = {group: _full(group, settings) for group in set().union(*groups.values())}
    return {name: {group: full[group] for group in sorted(wanted)} for name, wanted in groups.items()}


def every_key(settings: CaseSettings, compute: Compute, reference: Path = REFERENCE) -> Mapping[str, str]:
    """`keys` of every stage there is; remembered while neither the reference nor what the attacks are made of
    changes.
    """
    stages = composed(settings.own).every
    made_of = (reference_digest(reference), len(stages), *(str(p.plain()) for p in settings.attacks))
    return _every_key(settings, compute, reference, made_of)


@functools.lru_cache(maxsize=512)
def _every_key(
    settings: CaseSettings, compute: Compute, reference: Path, made_of: tuple[Any, ...]
) -> Mapping[str, str]:
    return MappingProxyType(keys(settings, compute, composed(settings.own).every, reference))


def reference_digest(folder: Path) -> str:
    """The digest of a reference model's files.

    Raises:
        BadInput: there is none.
    """
    try:
        files = [folder / name for name in ("open_clip_config.json", "open_clip_model.safetensors")]
        return _digest_of(tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files))
    except OSError as e:
        raise BadInput(
            f"expected the reference model at {folder}, found none ({e.strerror}); install the package again"
        ) from None


@functools.lru_cache(maxsize=8)
def _digest_of(files: tuple[tuple[Path, int, int], ...]) -> str:
    return digest([file_digest(file) for file, *_ in files])
