"""A case's model to take away: the folder that plain open_clip opens, with a card that says what it was made from."""

import contextlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ubt.cases.artifact import Artefact
from ubt.cases.plan import composed
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import abandoned, digest, disk_full, file_digest, scrap, temporary
from ubt.core.stage import Stage
from ubt.defenses import DEFENSES
from ubt.evaluation.model_roles import ROLES
from ubt.workflows.assumed import assumed

STAGES = {name: ROLES[name].model for name in ("purified", "published")}
"""The models that can be taken away, and the stages that make them."""
_WEIGHTS = "{}/open_clip_model.safetensors"
SHIPPED = "difference"
"""The kind of a model that is shipped as what differs from the reference."""
RESTORED = (
    "weights: restored from differences to the shipped reference in fp16; those of the run, which the measures are of,"
    " have the digest {}"
)


def opening_line(folder: Path | str) -> str:
    """The line of plain open_clip that opens a model's folder."""
    return f'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{folder}")'


def card(store: Store, name: str, stage: str = "unlearn") -> dict[str, Any]:
    """What a case's model is: architecture, digest, what it was made from, every setting, and what it measures.

    Raises:
        BadInput: there is no such case or model.
    """
    from ubt.workflows import import_model

    record, made = store.case(name), _made(store, name, stage)
    keys, settings = record.artefacts, CaseSettings.from_dict(record.settings)
    stages = {s.name: s for s in composed(settings.own).every}
    known, defence = stages.get(stage), next((n for n, d in DEFENSES.items() if d.model == stage), "")
    inputs = known.inputs if known else {}
    parent, data = ((inputs.get(a, "").split(".")[0], a) for a in ("model", "images"))
    before = store.find(keys.get(parent[0], "")) if parent[0] else None
    on = store.find(keys.get(data[0], "")) if data[0] else None
    weights, measured = _weights_of(made), _measured(store, keys, stage, stages)
    shipped = made.manifest["entries"]["model"] == SHIPPED
    verdict = store.find(keys.get("verdict", ""))
    made_from = {
        "case": name,
        "stage": stage,
        "defence": DEFENSES[defence].title if defence else "",
        "parent": parent[0] and {"stage": parent[0], "artefact": keys.get(parent[0]), "digest": _weights_of(before)},
        "D": (
            data[0] and {"artefact": keys.get(data[0]), "digest": None if on is None else digest(on.manifest["files"])}
        ),
        "artefacts": {s: key for s, key in keys.items() if s in _ancestry(stage, stages)},
    }
    untouched = before is not None and _weights_of(before) == weights
    called = next((w for w, s in STAGES.items() if s == stage), stage)
    return import_model.card(
        made["model"],
        f"{name}-{called}",
        f"case {name}",
        _state(settings, defence, untouched),
        [f"of {role}: {line}" for role, said in assumed(store, settings.own).items() for line in said]
        + [RESTORED.format(weights)] * shipped,
        made_from,
        "" if shipped else weights,
        settings=record.settings,
        compute=vars(record.compute),
        seconds=made.manifest.get("seconds"),
        measures_percent=measured,
        verdict=None if verdict is None else verdict["verdict"],
        load=opening_line("FOLDER"),
    )


def _made(store: Store, name: str, stage: str) -> Artefact:
    made = store.find(store.case(name).artefacts.get(stage, ""))
    if made is None:
        raise BadInput(f"{name}: expected the stage {stage} to be done, but it is not; run the case first")
    if made.manifest["entries"].get("model") not in ("model", SHIPPED):
        raise BadInput(
            f"{stage}: expected a stage that makes a model, as {', '.join(STAGES.values())}; this one makes"
            f" {', '.join(made.manifest['entries'])}"
        )
    return made


def _weights_of(artefact: Artefact | None) -> str | None:
    """The digest of the weights file of a model as it was made; None where there is no model."""
    if artefact is None:
        return None
    if artefact.manifest["entries"].get("model") == SHIPPED:
        from ubt.clip import difference

        return difference.about(artefact.path / "model")["original"]
    return artefact.manifest["files"].get(_WEIGHTS.format("model"), {}).get("sha256")


def _ancestry(stage: str, known: Mapping[str, Stage]) -> set[str]:
    found, rest = set(), [stage]
    while rest:
        name = rest.pop()
        if name in known and name not in found:
            found.add(name)
            rest += [source.split(".")[0] for source in known[name].inputs.values()]
    return found


def _measured(store: Store, keys: Mapping[str, str], stage: str, stages: Mapping[str, Stage]) -> dict | None:
    judged = next(
        (s.name for s in stages.values() if s.name.startswith("evaluate_") and s.inputs["model"] == f"{stage}.model"),
        "",
    )
    found = store.find(keys.get(judged, ""))
    return None if found is None else found["measures"]


def _state(settings: CaseSettings, defence: str, untouched: bool) -> str:
    """Clean or poisoned is what a lab case knows; a model that was judged clean and left as it came is not called
    purified.
    """
    if defence and not untouched:
        return "clean" if defence == "retrain" else "purified"
    if settings.own.audits:
        return "suspect"
    return "poisoned" if any(p.does_something(settings.data.pairs) for p in settings.attacks) else "clean"


@contextlib.contextmanager
def _files(store: Store, name: str, stage: str) -> Iterator[list[Path]]:
    """The model's files, each checked against the manifest; of one that is shipped as a difference, written for as long
    as they are looked at.

    Raises:
        UbtError: they are not those that were written.
    """
    made = _made(store, name, stage)
    if made.manifest["entries"]["model"] == SHIPPED:
        from ubt.clip import models

        with tempfile.TemporaryDirectory() as folder:
            models.save(made["model"], Path(folder))
            yield sorted(Path(folder).iterdir())
        return
    found = []
    for file, expected in made.manifest["files"].items():
        if file.startswith("model/"):
            found.append(made.path / file)
            if file_digest(found[-1]) != expected["sha256"]:
                raise UbtError(
                    f"{found[-1]}: expected the bytes its manifest describes, got others; run the case again to make it"
                    " anew"
                )
    yield found


def export(store: Store, name: str, stage: str, folder: Path) -> Path:
    """Write a case's model as a folder that plain open_clip opens, with its card, whole or not at all; returns the
    folder.

    Raises:
        BadInput: there is no such case or model, or the folder is there already or cannot be made.
        UbtError: the model's files are damaged, or the disk is full.
    """
    folder, about = Path(folder), card(store, name, stage)
    with _placed(folder) as part:
        with _files(store, name, stage) as files:
            for file in files:
                shutil.copyfile(file, part / file.name)
        (part / "card.json").write_text(json.dumps(about, indent=1))
    return folder


def write_model(model: Any, about: Mapping[str, Any], folder: Path) -> Path:
    """Write a model with its card as a folder that plain open_clip opens, whole or not at all; returns the folder.

    Raises:
        BadInput: the folder is there already or cannot be made. UbtError: the disk is full.
    """
    from ubt.clip import models

    with _placed(folder) as part:
        models.save(model, part)
        (part / "card.json").write_text(json.dumps(dict(about), indent=1))
    return folder


def check_new(folder: Path) -> None:
    """Raises:
    BadInput: there is something there already, so that a model could not be written.
    """
    if folder.is_symlink() or folder.exists():
        raise BadInput(f"--out: expected a folder that is not there yet, got {folder}; name a new one")


@contextlib.contextmanager
def _placed(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` once it is whole.

    Raises:
        BadInput: there is something already, or it cannot be made. UbtError: the disk is full.
    """
    check_new(folder)
    part = temporary(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in (*abandoned(folder.parent, folder.name), part):
            scrap(left)
        part.mkdir(mode=0o755)
        yield part
        part.rename(folder)
    except OSError as e:
        if disk_full(e):
            raise UbtError(
                f"--out: expected room for the model at {folder}, but the disk is full; free some or name another"
                " folder"
            ) from None
        raise BadInput(f"--out: expected a folder that can be made, got {folder} ({e.strerror})") from None
    finally:
        scrap(part)


def zipped(store: Store, name: str, which: str) -> bytes:
    """One of `STAGES`' models with its card as a zip file that holds one folder.

    Raises:
        BadInput: there is no such case or model. UbtError: the model's files are not those that were written.
    """
    if which not in STAGES:
        raise BadInput(f"unknown model {which!r}; expected one of: {', '.join(STAGES)}")
    about, out = card(store, name, STAGES[which]), io.BytesIO()
    with _files(store, name, STAGES[which]) as files, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        for file in files:
            z.write(file, f"{name}-{which}/{file.name}")
        z.writestr(f"{name}-{which}/card.json", json.dumps(about, indent=1))
    return out.getvalue()
