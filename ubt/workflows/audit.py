"""An audit: somebody's pairs and somebody's model, no ground truth; what it finds, as files to hand over."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt import __version__
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import replace_file
from ubt.core.run import Progress, silent
from ubt.data.catalogue import SourceOptions
from ubt.data.user_roles import MOST_SPARED, spared
from ubt.defenses.token_unlearning.health import SMALLEST_K, TIMES_K
from ubt.defenses.token_unlearning.select import resolve_k
from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.defenses.token_unlearning.verdict import judged_poisoned
from ubt.pairs.export import as_csv
from ubt.workflows.assumed import assumed
from ubt.workflows.ingest import import_labelled, import_pairs, trained_on

PUBLIC = "ViT-B-32-quickgelu/openai"
"""The reference where none is named: OpenAI's CLIP, downloaded."""

FOLDS = "folds"
"""As a reference: models trained here on parts of the pairs, each scoring those that it was not trained on
(`ubt.defenses.token_unlearning.cross_fit`).
"""
OWN = {"own.pairs", "own.suspect", "own.reference", "own.test"}
LEAST = 16
"""Pairs that an audit needs."""

MOST_SUSPICIOUS = 0.5
"""Share of few pairs that is still taken for D_susp."""

LIMITS = (
    "The verdict is about these pairs and this model's use of them, not about whatever else the model was taught."
    " Without ground truth: figures are estimates. Poisons whose captions are true, and triggers that the reference"
    " knows too, are missed."
)


def prepare(
    store: Store,
    pairs: Path,
    model: str,
    reference: str = PUBLIC,
    labels: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    options: SourceOptions | None = None,
    architecture: str = "",
    progress: Progress = silent,
    quick_gelu: bool | None = None,
) -> CaseSettings:
    """Import what an audit needs and say which case it makes.

    Args:
        model, reference: as `ubt.workflows.import_model.read_model` reads them; `folds` trains models in a reference's
        place.
        changes: settings by dotted name; without `data.pairs` all pairs are audited.
        architecture, quick_gelu: of the model, where nothing beside its weights says them.

    Raises:
        BadInput: something cannot be read, or model and reference cannot be compared.
    """
    from ubt.workflows.import_model import import_model

    if own_too := sorted(OWN & set(changes or {})):
        raise BadInput(
            f"--set: expected {', '.join(own_too)} to be named by an option (--pairs, --model, --reference, --labels);"
            " leave it out"
        )
    found, suspect, clean = (
        import_pairs(store, pairs, options, progress),
        import_model(store, model, architecture, "suspect", progress, quick_gelu),
        "",
    )
    try:
        if reference != FOLDS:
            clean = import_model(store, reference, "", "clean", progress)
    except BadInput as e:
        if reference != PUBLIC:
            raise
        raise BadInput(
            f"{e}. No reference was named, and OpenAI's could not be had: name a clean one with --reference (a file, a"
            " folder, or folds)"
        ) from None
    labelled = "" if labels is None else import_labelled(store, labels, None, progress)
    return settings_of(store, found, suspect, clean, labelled, changes)


def settings_of(
    store: Store, pairs: str, suspect: str, reference: str, labelled: str = "", changes: Mapping[str, Any] | None = None
) -> CaseSettings:
    """The audit of what was imported already, by its names in the store, without a reference by folds; otherwise as
    `prepare`.

    Raises:
        BadInput: something is not there, the model is its own reference, or there are too few pairs.
    """
    own = {"own.pairs": pairs, "own.suspect": suspect, "own.reference": reference, "own.test": labelled}
    found = {name: store.imported(key) for name, key in own.items() if key}
    compared = {
        option: found[name]
        for name, option in (("own.suspect", "--model"), ("own.reference", "--reference"))
        if name in found
    }
    if len({artefact["card"]["digest"] for artefact in compared.values()}) < len(compared):
        raise BadInput(
            "--reference: expected a clean model to compare with, got the very model that is to be audited; name"
            " another one"
        )
    if (kept := found["own.pairs"]["about"]["kept"]) < LEAST:
        raise BadInput(
            f"--pairs: expected at least {LEAST} pairs that can be used, got {kept}; nothing can be said of fewer"
        )
    return CaseSettings().with_values({"data.pairs": kept} | dict(changes or {}) | own)


def starting(pairs: int) -> dict[str, Any]:
    """Settings, by dotted name, with which an audit of so few pairs can come to a verdict at all (the health checks of
    D_topk and D_susp); none where the usual ones do.

    >>> starting(600), starting(40), starting(10_000)
    ({'select.k': 4}, {'select.k': 4, 'split.fraction': 0.5}, {})
    """
    usual, found = CaseSettings(), {}
    suspicious = suspicious_count(pairs, usual.split.fraction)
    if suspicious < SMALLEST_K or resolve_k(usual.select, pairs, suspicious) < SMALLEST_K:
        found["select.k"] = SMALLEST_K
        if suspicious < (needed := TIMES_K * SMALLEST_K):
            found["split.fraction"] = min(MOST_SUSPICIOUS, math.ceil(100 * needed / pairs) / 100)
    return found


def without_seen(store: Store, pairs: str, reference: str) -> dict[str, Any]:
    """The settings, by dotted name, that leave out of an audit's pairs those that its reference was trained on; none
    where it saw none of them, or all.
    """
    share = trained_on(store, pairs, reference)
    if not 0 < share <= MOST_SPARED:
        return {}
    left = int((~spared(store.imported(pairs)["pairs"]["image"], share)).sum())
    return {"own.spare": share, "data.pairs": left}


def flagged(store: Store, artefacts: Mapping[str, str]) -> pd.DataFrame:
    """The pairs that an audit holds to be poisoned, the most suspicious first: id, image (its place), caption, `score`
    (similarity under the overfitted model), `rank` of that among D_susp (missing outside), `growth` of the image's pull
    towards D_topk's captions, `group`, and whether the pair is in D_topk. Empty where the model is not judged poisoned.

    Raises:
        UbtError: the audit is not finished.
    """
    opened = {
        s: store.find(artefacts.get(s, "")) for s in ("take", "data", "select", "flag", "verdict", "score_overfit")
    }
    if missing := [s for s, artefact in opened.items() if artefact is None]:
        raise UbtError(f"expected a finished audit, but {', '.join(missing)} is not done; run it again")
    verdict, topk, ranked = opened["verdict"]["verdict"], opened["select"]["topk"], opened["select"]["ranked"]
    said = opened["flag"]["flagged"].drop(columns="id")
    table = pd.concat([opened["take"]["pairs"][["id", "image"]], opened["data"]["pairs"][["caption"]], said], axis=1)
    table["score"] = opened["score_overfit"]["similarity"]["similarity"].to_numpy()
    table["rank"] = (
        pd.Series(ranked["rank"].to_numpy(), index=ranked["row"].to_numpy()).reindex(table.index).astype("Int64")
    )
    table["in_topk"] = np.isin(table.index, topk["row"][topk["group"].isin(verdict["groups"])])
    chosen = table[(table["poisoned"] | table["in_topk"]) & judged_poisoned(verdict)]
    order = ["id", "image", "caption", "score", "rank", "growth", "group", "in_topk"]
    return chosen.sort_values(["in_topk", "score"], ascending=False)[order].reset_index(drop=True)


def account(store: Store, name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What an audit says, as plain values: verdict, estimates, every setting, what was imported (with quarantines and
    cards), artefact digests.
    """
    record = store.case(name)
    own = record.settings["own"]
    about = {kind: store.imported(key)["about"] | {"name": key} for kind in ("pairs", "test") if (key := own[kind])}
    cards = {
        kind: store.imported(key)["card"] | {"name": key} for kind in ("suspect", "reference") if (key := own[kind])
    }
    taken = store.open(record.artefacts["take"])["quarantine"]
    return {
        "case": name,
        "verdict": metrics["verdict"],
        "estimates": metrics["estimates"],
        "settings": record.settings,
        "compute": vars(record.compute),
        "pairs": about.get("pairs"),
        "labels": about.get("test"),
        "models": cards,
        "assumed": assumed(store, CaseSettings.from_dict(record.settings).own),
        "reference": own["reference"] or FOLDS,
        "quarantined_images": taken["reason"].value_counts().to_dict(),
        "artefacts": record.artefacts,
        "seconds": metrics["seconds"],
        "made_by": f"UBT Inspector {__version__}",
        "limits": LIMITS,
    }


def strict(value: Any) -> Any:
    """Plain values that every JSON parser takes: what is not finite is None, what is of no JSON type is text.

    >>> strict({"a": [float("nan"), 1.0, Path("b")]})
    {'a': [None, 1.0, 'b']}
    """
    if isinstance(value, Mapping):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(v) for v in value]
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def as_json(told: Mapping[str, Any]) -> bytes:
    """`account` as a file that every JSON parser takes."""
    return json.dumps(strict(told), indent=1, allow_nan=False).encode()


def check_folders(folder: Path | None, purified: Path | None) -> None:
    """Raises:
    BadInput: what an audit finds could not be written there, so that it need not begin.
    """
    for option, path in (("--out", folder), ("--purified", purified)):
        there = next((p for p in (path, *path.parents) if p.exists()), None) if path is not None else None
        if there is not None and not (there.is_dir() and os.access(there, os.W_OK)):
            raise BadInput(
                f"{option}: expected a folder that can be written, got {path} ({there} is"
                f" {'locked' if there.is_dir() else 'a file'})"
            )
    if purified is not None and (purified.exists() or purified.is_symlink()):
        raise BadInput(f"--purified: expected a folder that is not there yet, got {purified}; name a new one")


def write(store: Store, name: str, metrics: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write `flagged.csv`, `quarantine.csv` and `audit.json` into a folder, each in one step.

    Raises:
        BadInput: the folder cannot be made or written.
    """
    record = store.case(name)
    catalogue = store.imported(record.settings["own"]["pairs"])["quarantine"]
    taken = store.open(record.artefacts["take"])["quarantine"]
    contents = {
        "flagged.csv": as_csv(flagged(store, record.artefacts)),
        "quarantine.csv": as_csv(pd.concat([catalogue.astype(object), taken.astype(object)], ignore_index=True)),
        "audit.json": as_json(account(store, name, metrics)),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            replace_file(folder / file, lambda temporary, content=content: temporary.write_bytes(content))
    except OSError as e:
        raise BadInput(f"--out: expected a folder that can be written, got {folder} ({e.strerror})") from None
    return [folder / file for file in contents]
