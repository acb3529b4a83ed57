"""The ASR of a hypothesis over a finished case: which models it is tried on, which images and texts they are asked
about (`ubt.evaluation.trigger_hypothesis`).

Where the case has labelled images, those of other classes are asked, else pairs of D_normal that are not flagged.
Nothing of the ground truth is read.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt.cases.artifact import Artefact
from ubt.cases.record import CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE, digest
from ubt.core.run import Run, derive_seed
from ubt.data.images import decode, decode_within
from ubt.data.quarantine import BrokenImage
from ubt.evaluation import trigger_hypothesis as evaluation
from ubt.evaluation.model_roles import MEASURED, ROLES
from ubt.evaluation.trigger_hypothesis import Hypothesis


def models_of(audit: bool) -> dict[str, str]:
    """The models a hypothesis is tried on, to the stage without which they are not; the clean reference is imported or
    shipped, and `score` reads D with it.
    """
    return {name: role.stage(audit) or role.scored for name, role in MEASURED.items()}


OVER = tuple(dict.fromkeys((*models_of(False).values(), *models_of(True).values(), "data", "test", "split", "flag")))
"""The stages that a hypothesis is tried over, as far as they are done."""
SHOWN = 8
STOPWORDS = frozenset(
    "a an the of on in with and to at is are its it by for from this that near next photo picture image some one my"
    " his her".split()
)


def trigger(record: CaseRecord, pixels: np.ndarray) -> str:
    """The name of a trigger's pixels, uint8 (h, w, 3), beside a case whose D is made."""
    content = np.ascontiguousarray(pixels).tobytes().hex()
    return f"trigger-{digest([record.artefacts['data'], list(pixels.shape), content])}"


def keep(store: Store, record: CaseRecord, pixels: np.ndarray) -> str:
    """Put a trigger's pixels, uint8 (height, width, 3), beside the case, where they stay as long as its D does; returns
    their name.

    Raises:
        BadInput: D is not made.
    """
    data, key = _done(store, record, "data").path.name, trigger(record, pixels)
    about = {"stage": "trigger", "seconds": 0.0, "made_from": [data]}
    store.put(key, {"pixels": np.ascontiguousarray(pixels)}, about)
    return key


def size(store: Store, record: CaseRecord) -> tuple[int, int]:
    """Height and width of the images that a trigger has to fit.

    Raises:
        BadInput: the case has none.
    """
    return _done(store, record, "data").read("images").shape[1:3]


def candidate(
    found: pd.DataFrame, patches: np.ndarray, rank: int, height: int, width: int
) -> tuple[np.ndarray, dict[str, float]]:
    """One of PoisonCAM's patches, uint8 (side, side, 3), and the `top` and `left` of where it was found.

    Args:
        found, patches: as `ubt.defenses.poisoncam.locate` gives them. height, width: of D's images.

    Raises:
        BadInput: it found fewer.
    """
    at = np.flatnonzero(found["rank"].to_numpy() == rank)
    if not len(at):
        raise BadInput(f"expected a rank from 1 to {len(found)}, as many patches as PoisonCAM found, got {rank}")
    return np.asarray(patches[at[0]]), {
        "top": float(found["y"].iloc[at[0]] / height),
        "left": float(found["x"].iloc[at[0]] / width),
    }


def opened(path: Path, height: int, width: int, whole: bool = False) -> np.ndarray:
    """An image file as a patch for images of this size, uint8 (h, w, 3), made smaller where it is larger; as a pattern
    over the whole image, its middle made as large.

    Raises:
        BadInput: it is no image file, or one that is refused.
    """
    try:
        if not path.is_file() or path.stat().st_size > 1 << 26:
            raise BadInput(f"{path}: expected an image file of at most 64 MB")
        return loaded(path.read_bytes(), str(path), height, width, whole)
    except OSError as e:
        raise BadInput(f"{path}: expected an image file, got none that can be read ({e.strerror})") from None


def loaded(content: bytes, name: str, height: int, width: int, whole: bool = False) -> np.ndarray:
    """The same of a file's bytes, uint8 (height, width, 3); `name` is what its errors call it.

    Raises:
        BadInput: they are no image that is read.
    """
    try:
        return decode(content, height) if whole and height == width else decode_within(content, height, width)
    except BrokenImage as e:
        raise BadInput(
            f"{name}: expected an image (PNG, JPEG, WebP, GIF, BMP or TIFF), got one that is refused ({e})"
        ) from None


def options(store: Store, record: CaseRecord, hypothesis: Hypothesis, pixels: str) -> dict[str, Any]:
    """What a view of a hypothesis is made with: its settings, the stages it is tried `over`, and `trigger`, the name of
    its `pixels` (see `keep`; empty: a word alone).
    """
    over = [stage for stage in OVER if store.find(record.artefacts.get(stage, "")) is not None]
    return {"trigger": pixels, "over": over, **hypothesis.to_dict()}


def _done(store: Store, record: CaseRecord, stage: str) -> Artefact:
    found = store.find(record.artefacts.get(stage, ""))
    if found is None:
        raise BadInput(f"expected a case whose stage {stage} is done, but it was not run; run the case up to it first")
    return found


def _models(store: Store, record: CaseRecord) -> dict[str, Callable[[], Any]]:
    """The models that are there, each to be opened when its turn comes."""
    from ubt.clip import models

    chosen = CaseSettings.from_dict(record.settings).own
    own = chosen.reference
    there = {name: store.find(record.artefacts.get(stage, "")) for name, stage in models_of(chosen.audits).items()}
    found: dict[str, Callable[[], Any]] = {}
    for name, artefact in there.items():
        if name == "clean" and chosen.audits and not own:
            continue
        if name == "clean" and artefact is not None:
            found[name] = (lambda: store.imported(own)["model"]) if own else (lambda: models.load(REFERENCE))
        elif artefact is not None:
            found[name] = lambda artefact=artefact: artefact["model"]
    return found


def question(store: Store, record: CaseRecord, hypothesis: Hypothesis) -> evaluation.Question:
    """What the case's models are asked, see `ubt.evaluation.trigger_hypothesis`.

    Raises:
        BadInput: the case is not far enough, or has no image that the trigger can be tried on.
    """
    from ubt.data.user_roles import prompts

    settings, target = CaseSettings.from_dict(record.settings), hypothesis.target.strip()
    seed = derive_seed(settings.seed, "probe")
    test = store.find(record.artefacts.get("test", ""))
    if test is not None:
        asked = test.read("prompts")
        said = prompts([target], settings.own.templates, asked.shape[-1])[0]
        return evaluation.among_classes(
            test.read("images"), test["labels"], asked, test["classes"], target, said, hypothesis.images, seed
        )
    data = _done(store, record, "data")
    tokens, captions = data.read("tokens"), data["pairs"]["caption"].tolist()
    said = prompts([target], settings.own.templates, tokens.shape[1])[0]
    rows = np.flatnonzero(normal(store, record, len(captions)))
    return evaluation.among_captions(
        data.read("images"), tokens, captions, rows, target, said, hypothesis.images, hypothesis.bank, seed
    )


def normal(store: Store, record: CaseRecord, n: int) -> np.ndarray:
    """Which of D's n pairs are kept: those of D_normal that are not flagged, as far as the case says; bool (n,)."""
    found = np.ones(n, bool)
    for stage, column in (("split", "suspicious"), ("flag", "poisoned")):
        artefact = store.find(record.artefacts.get(stage, ""))
        if artefact is not None:
            found &= ~artefact["split" if stage == "split" else "flagged"][column].to_numpy(bool)
    return found


def probe(store: Store, record: CaseRecord, made_with: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Try a hypothesis on every model of a case.

    Args:
        made_with: as `options` gives it.

    Returns:
        `measures`: by model, see `ubt.evaluation.trigger_hypothesis.measure`. `about`: how many images were tried,
        whether they are `labelled`, among how many texts, the control's word. `clean`, `triggered`, `control`: some of
        the images, uint8 (m, H, W, 3); `readings`: what each model
        takes these for: model, image, `before`, `after`, `control`.

    Raises:
        BadInput: the case is not far enough, or the hypothesis cannot be tried on it.
    """
    hypothesis = Hypothesis.from_dict({k: v for k, v in made_with.items() if k not in ("trigger", "over")})
    record = record.changed(artefacts={stage: record.artefacts[stage] for stage in made_with["over"]})
    pixels = store.imported(made_with["trigger"])["pixels"] if made_with["trigger"] else None
    _done(store, record, ROLES["poisoned"].stage(CaseSettings.from_dict(record.settings).own.audits))
    asked, seed = (
        question(store, record, hypothesis),
        derive_seed(CaseSettings.from_dict(record.settings).seed, "probe"),
    )
    triggered, control = evaluation.stamped(asked.images, pixels, hypothesis, seed)
    word, other = hypothesis.word.strip(), _other_word(store, record, hypothesis) if hypothesis.word.strip() else ""
    there, measures, readings = _models(store, record), {}, []
    for done, (name, open_model) in enumerate(there.items()):
        run.progress(done, len(there), {})
        model = open_model().to(run.compute.device)
        before, after = evaluation.read(model, asked, asked.images), evaluation.read(model, asked, triggered, word)
        held = evaluation.read(model, asked, control, other)
        measures[name] = evaluation.measure(before, after, held, asked.target)
        readings += [
            (name, i, *(asked.name(i, int(r[i])) for r in (before, after, held)))
            for i in range(min(SHOWN, len(before)))
        ]
    run.progress(len(there), len(there), {})
    about = {
        "images": len(asked.images),
        "labelled": asked.own is None,
        "texts": len(asked.texts) + (asked.own is not None),
        "control_word": other,
    }
    return {
        "measures": measures,
        "about": about,
        "clean": asked.images[:SHOWN],
        "triggered": triggered[:SHOWN],
        "control": control[:SHOWN],
        "readings": pd.DataFrame(readings, columns=["model", "image", "before", "after", "control"]),
    }


def _other_word(store: Store, record: CaseRecord, hypothesis: Hypothesis) -> str:
    """A word that captions of D often have, drawn by the seed, as the control of a word."""
    data = _done(store, record, "data")
    counted = Counter(
        w for caption in data["pairs"]["caption"].str.lower().head(2000) for w in set(caption.split()) if w.isalpha()
    )
    not_these = STOPWORDS | set(f"{hypothesis.target} {hypothesis.word}".lower().split())
    common = sorted(w for w, _ in counted.most_common(60) if w not in not_these)
    random = np.random.default_rng(derive_seed(CaseSettings.from_dict(record.settings).seed, "probe/word"))
    return common[random.integers(len(common))] if common else "photo"


def suggested(store: Store, record: CaseRecord) -> list[str]:
    """Words that may be the target, from D_topk's captions: those that most of them keep after masking first; empty
    where nothing was masked.
    """
    mask = store.find(record.artefacts.get("mask", ""))
    if mask is None:
        return []
    attributed, said = mask["attributed"], mask["words"]
    kept = said[
        said["id"].isin(attributed.loc[attributed["topk"], "id"]) & said["kept"] & ~said["word"].isin(STOPWORDS)
    ]
    counts = kept.drop_duplicates(["id", "word"])["word"].value_counts()
    return [w for w, n in counts.items() if n >= max(2, 0.2 * attributed["topk"].sum())][:8]


def meaning(measures: Mapping[str, Mapping[str, Any]], target: str, suspect: str = "the poisoned model") -> str:
    """What the figures of a hypothesis say, in plain words."""
    seen = measures["poisoned"]
    if seen["asr"] is None:
        return (
            f"{suspect[0].upper()}{suspect[1:]} takes every image for {target!r} as it is, so that nothing can be said"
            " of a trigger."
        )
    rate, other, low, high = seen["asr"], seen["control"], seen["intervals"]["asr"][0], seen["intervals"]["control"][1]
    said = (
        f"With it, {suspect} takes {rate:.1f} % of the images for {target!r} that it reads otherwise without it; with"
        f" the control {other:.1f} %."
    )
    reference = measures.get("clean", {}).get("asr")
    if low <= max(high, 1.0):
        return f"{said} That is no more than the control does: nothing here speaks for this trigger."
    if reference is not None and reference > rate / 2:
        return (
            f"{said} But the clean reference does so too ({reference:.1f} %): it looks like the target itself, which is"
            " no backdoor."
        )
    if rate < 50:
        said += (
            " That is more than the control does, but far from always: a part of a trigger, a weak one, or something"
            " that resembles the target."
        )
    else:
        said += (
            " The control does not do that, nor does the clean reference: it works as a trigger."
            if reference is not None
            else " It works as a trigger."
        )
    after = measures.get("purified", {}).get("asr")
    if after is None:
        return said
    return (
        f"{said} After purification it is {after:.1f} %."
        if after < rate / 2
        else f"{said} The purified model does so too ({after:.1f} %)."
    )
