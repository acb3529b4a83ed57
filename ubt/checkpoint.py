"""A purified model to take away: the folder that plain open_clip opens, with a card that says what it was made from."""

import io
import json
import zipfile
from typing import Any

from ubt.cases import Store
from ubt.config import BadInput, UbtError, file_digest

STAGES = {"purified": "unlearn", "published": "unlearn_published"}
"""The models that can be taken away, and the stages that make them."""


def card(store: Store, name: str, which: str) -> dict[str, Any]:
    """What a purified model is: its digest, what it was made from, every setting, and what it measures.

    Raises:
        BadInput: there is no such case or model.
    """
    if which not in STAGES:
        raise BadInput(f"unknown model {which!r}; expected one of: {', '.join(STAGES)}")
    record = store.case(name)
    stage = STAGES[which]
    made = store.find(record["artefacts"].get(stage, ""))
    if made is None:
        raise BadInput(f"{name}: expected the stage {stage} to be done, but it is not; run the case first")
    measured = store.find(record["artefacts"].get(f"evaluate_{which}", ""))
    weights = "model/open_clip_model.safetensors"
    return {
        "model": f"CLIP purified by UBT ({'our form' if which == 'purified' else 'as published'})", "case": name,
        "digest": made.manifest["files"][weights]["sha256"],
        "made_from": {s: record["artefacts"][s] for s in ("data", "poison", "select", "mask", "retain", stage)}, "seconds": made.manifest["seconds"],
        "compute": record["compute"], "settings": record["settings"], "measures_percent": None if measured is None else measured["measures"],
        "verdict": store.find(record["artefacts"]["verdict"])["verdict"], "load": "open_clip.create_model_and_transforms('local-dir:FOLDER')",
    }  # fmt: skip


def zipped(store: Store, name: str, which: str) -> bytes:
    """The model's folder and its `card.json` as a zip file.

    Raises:
        BadInput: there is no such case or model. UbtError: the model's files are not those that were written.
    """
    about = card(store, name, which)
    made = store.find(store.record(name)["artefacts"][STAGES[which]])
    folder = f"{name}-{which}"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as z:
        for file, expected in made.manifest["files"].items():
            if file.startswith("model/"):
                path = made.path / file
                if file_digest(path) != expected["sha256"]:
                    raise UbtError(f"{path}: expected the bytes its manifest describes, got others; run the case again to make it anew")
                z.write(path, f"{folder}/{path.name}")
        z.writestr(f"{folder}/card.json", json.dumps(about, indent=1))
    return out.getvalue()
