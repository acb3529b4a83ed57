"""The judge's stages: what each model does on the test set, how well the split and the selection found the poisons, and
why an attack did not take."""

import contextlib
import functools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ubt.attacks import Planted, trigger, visibility
from ubt.attacks.train_backdoor import PoisonSettings
from ubt.core.errors import BadInput
from ubt.core.files import replace_file
from ubt.core.run import Run, silent
from ubt.data import scenes
from ubt.data.roles import DataSettings
from ubt.evaluation import backdoor

BLOCK = 1 << 28
"""Bytes of images in memory at a time."""


def evaluate(
    model,
    images: np.ndarray,
    labels: np.ndarray,
    prompts: np.ndarray,
    classes: list[str],
    attacks: tuple[Planted, ...],
    run: Run,
) -> dict:
    """CA, ASR, RA and target recall of a model on clean and triggered test images.

    An attack with a word has it before every class prompt when its ASR is measured, as its paper does. One whose
    trigger is a concept is measured on the images that show it (`ubt.attacks.semantic`).

    Returns:
        `measures`: see `ubt.evaluation.backdoor.measure`, of the case's first attack; `attacks` holds those of each,
        with its `label`, and where it has two keys its ASR with one of them, `asr_image_only` and `asr_text_only`.
        `predictions`: label, and prediction on the clean and on the triggered image (of attack i from the second on:
        `triggered_i`).
    """
    labels = np.asarray(labels)
    read = _Reader(model.to(run.compute.device), prompts, run.compute.precision)
    clean, seen, each = read(images), {}, []
    for i, planted in enumerate(attacks):
        run.progress(i + 1, len(attacks) + 1, {})
        word, target = planted.word, classes.index(planted.attack.target)
        carrying = _carrying(planted, run.seed, labels, target)
        predicted = read(images, word, planted) if carrying is None else clean
        seen[f"triggered_{i}" if i else "triggered"] = predicted
        keys = {"asr_image_only": read(images, planted=planted), "asr_text_only": read(images, word)} if word else {}
        other = labels != target
        partial = {name: 100 * float((p[other] == target).mean()) for name, p in keys.items()}
        measured = backdoor.measure(clean, predicted, labels, target, carrying)
        each.append(measured | partial | {"label": planted.label})
    return {
        "measures": each[0] | {"attacks": each},
        "predictions": pd.DataFrame({"label": labels, "clean": clean, **seen}),
    }


def along(
    model,
    tuned,
    alphas: pd.DataFrame,
    images: np.ndarray,
    labels: np.ndarray,
    prompts: np.ndarray,
    classes: list[str],
    attacks: tuple[Planted, ...],
    run: Run,
) -> dict:
    """What a model does on the test set (`evaluate`) as each `alpha` of what another has beyond it is taken away.

    Returns:
        `along`: `alpha`, and `ca`, `asr`, `ra`, `target_recall` of the first attack.
    """
    from ubt.clip import models

    found = []
    for i, alpha in enumerate(alphas["alpha"]):
        left = models.moved(model, tuned, -alpha)
        measures = evaluate(left, images, labels, prompts, classes, attacks, replace(run, progress=silent))["measures"]
        found.append({"alpha": alpha} | {name: measures[name] for name in ("ca", "asr", "ra", "target_recall")})
        run.progress(i + 1, len(alphas), {name: found[-1][name] for name in ("ca", "asr")})
    return {"along": pd.DataFrame(found)}


def _carrying(planted: Planted, seed: int, labels: np.ndarray, target: int) -> np.ndarray | None:
    """Which of the first test scenes, of these classes (n,), show an attack's concept (n,); None: its trigger is put on
    any image.

    Raises:
        BadInput: none of another class than the target does.
    """
    if not (concept := planted.trigger.concept):
        return None
    shown = np.array([concept in scenes.concepts(seed, i) for i in scenes.test_indices(len(labels))])
    if not (shown & (labels != target)).any():
        raise BadInput(
            f"{planted.label}: expected test images of other classes that show {concept}, found none among"
            f" {len(labels):,}; raise test.per_class"
        )
    return shown


def divergence(
    model, retrained, images: np.ndarray, labels: np.ndarray, prompts: np.ndarray, classes: list[str], run: Run
) -> dict:
    """How far a model is from one trained without the poisons (Table III): KL(retrained || model) of the zero-shot
    class probabilities, each at its own temperature, averaged over the clean test images, in nats.

    Returns:
        `measures`: `kl`.
    """
    ours, theirs = (_log_probabilities(m.to(run.compute.device), images, prompts) for m in (model, retrained))
    return {"measures": {"kl": float((np.exp(theirs) * (theirs - ours)).sum(axis=1).mean())}}


def _log_probabilities(model, images: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    from ubt.clip import models
    from ubt.evaluation import zeroshot

    scale, weights = float(model.logit_scale.detach().exp()), zeroshot.class_weights(model, prompts)
    logits = scale * models.embed_images(model, images) @ weights.T
    return logits - np.logaddexp.reduce(logits.astype(np.float64), axis=1, keepdims=True)


class _Reader:
    """Zero-shot predictions of one model, prompts with or without a word before them."""

    def __init__(self, model, prompts: np.ndarray, precision: str):
        self.model, self.prompts, self.precision, self.weights = model, prompts, precision, {}

    def __call__(self, images: np.ndarray, word: str = "", planted: Planted | None = None) -> np.ndarray:
        """Of images, or of copies with a trigger; one of `blocks` is in memory at a time."""
        from ubt.data import model_input
        from ubt.evaluation import zeroshot

        if word not in self.weights:
            self.weights[word] = zeroshot.class_weights(
                self.model, model_input.prepend(word, self.prompts) if word else self.prompts
            )
        return np.concatenate(
            [
                zeroshot.classify(self.model, block, self.weights[word], self.precision)
                for block in blocks(images, planted)
            ]
        )


def blocks(images: np.ndarray, planted: Planted | None = None) -> Iterator[np.ndarray]:
    """Images (m, H, W, 3), or copies with a trigger, by as many as fit in `BLOCK` bytes, in whole batches of 64."""
    step = max(1, BLOCK // (64 * int(np.prod(images.shape[1:])))) * 64
    for at in range(0, len(images), step):
        block = np.asarray(images[at : at + step])
        yield (
            block
            if planted is None
            else trigger(block, np.arange(at, at + len(block)), planted.attack.name, planted.trigger)
        )


@functools.lru_cache(maxsize=2)
def _drawn(per_class: int, seed: int) -> dict:
    """A small part of the test set, which every training of a case is looked at with."""
    from ubt.data.roles import labelled

    return labelled("test", per_class, seed)


class Observer:
    """CA and ASR on a small part of the test set while a model trains, so that a lab case can show the backdoor being
    learned and forgotten. Its figures decide nothing and reach no defender; they are kept in `run.scratch` until the
    stage is done. `seconds`: what looking took, which is not the stage's own time. `per_class`: images a class of the
    test set. `test`: the test set of pairs of one's own, as `ubt.data.user_roles.test`.
    """

    PER_CLASS = 3

    def __init__(self, attacks: Sequence[Planted], run: Run, per_class: int, test: Mapping | None = None):
        self.attacks, self.run, self.test, self.set, self.seconds = attacks, run, test, None, 0.0
        few = per_class if any(p.trigger.concept for p in attacks) else self.PER_CLASS
        self.per_class = min(few, per_class)
        self.path = None if run.scratch is None else run.scratch / "observed.json"
        self.rows: dict[str, dict[str, float]] = {}
        with contextlib.suppress(OSError, ValueError):
            self.rows = json.loads(self.path.read_text()) if self.path else {}

    def __call__(self, step: int, model) -> dict[str, float]:
        """Look at the model after `step` steps: CA, and ASR over all attacks, in percent."""
        started = time.monotonic()
        if self.set is None:
            self.set = self._some()
        measured = evaluate(model, **self.set, attacks=self.attacks, run=replace(self.run, progress=silent))["measures"]
        self.rows[str(step)] = seen = {
            "ca": measured["ca"],
            "asr": float(np.mean([m["asr"] for m in measured["attacks"]])),
        }
        if self.path:
            with contextlib.suppress(OSError):
                replace_file(self.path, lambda path: path.write_text(json.dumps(self.rows)))
        self.seconds += time.monotonic() - started
        return seen

    def _some(self) -> dict:
        if self.test is None:
            return _drawn(self.per_class, self.run.seed)
        labels = np.asarray(self.test["labels"])
        rows = np.flatnonzero(pd.Series(labels).groupby(labels).cumcount() < self.per_class)
        own = {name: self.test[name] for name in ("prompts", "classes")}
        return {"images": self.test["images"][rows], "labels": labels[rows], **own}

    def frame(self) -> pd.DataFrame:
        """What was seen: step, ca, asr."""
        rows = [{"step": int(step), **seen} for step, seen in self.rows.items()]
        return pd.DataFrame(rows, columns=["step", "ca", "asr"]).sort_values("step", ignore_index=True)


def judge(
    truth: pd.DataFrame,
    split: pd.DataFrame,
    ranked: pd.DataFrame,
    topk: pd.DataFrame,
    flagged: pd.DataFrame,
    manifest: pd.DataFrame,
    images: np.ndarray,
    attributed: pd.DataFrame,
    words: pd.DataFrame,
    maps: np.ndarray,
    published_words: pd.DataFrame,
    published_maps: np.ndarray,
    how: dict,
    verdict: dict,
    attacks: tuple[Planted, ...],
    run: Run,
) -> dict:
    """How well split, selection, flagging and the masks found the poisons, and what carries them.

    Returns:
        `detection`: `recall` of the split; `auroc` of the overfitted similarity inside D_susp; `precision` of D_topk,
        of the groups that were judged to carry a backdoor where there are any; `flagged_recall` and `flagged_precision`
        of the pairs that look poisoned by their images; `attacks`: of each, its `poisons`, the split's `recall` and how
        many are `in_topk`. None where undefined. `masks`: of `ours` and `published`, see `ubt.evaluation.masks.judged`,
        the poisons in `topk` and all that were `attributed`.
    """
    from ubt.evaluation import detection, masks

    poisoned = truth["poisoned"].to_numpy()
    rows = ranked["row"].to_numpy()
    flagged, suspicious = flagged["poisoned"].to_numpy(), split["suspicious"].to_numpy()
    carrying = topk[topk["group"].isin(verdict["groups"])] if verdict["groups"] else topk
    in_topk = np.isin(np.arange(len(poisoned)), carrying["row"])
    keys = {p.word for p in attacks}
    chosen = {"topk": attributed["topk"].to_numpy(), "attributed": np.ones(len(attributed), bool)}

    def judged(words, maps):
        return {
            n: masks.judged(
                attributed[rows], maps[rows], words, truth, manifest, images.shape[1:3], how["image_threshold"], keys
            )
            for n, rows in chosen.items()
        }

    return {
        "detection": {
            "poisons": int(poisoned.sum()),
            "recall": detection.share(suspicious, poisoned),
            "auroc": detection.auroc(ranked["similarity"].to_numpy(), poisoned[rows]),
            "precision": detection.share(poisoned, in_topk),
            "flagged_recall": detection.share(flagged, poisoned),
            "flagged_precision": detection.share(poisoned, flagged),
            "attacks": _found_by_attack(truth[poisoned], suspicious, in_topk),
        },
        "masks": {"ours": judged(words, maps), "published": judged(published_words, published_maps)},
    }


def _found_by_attack(poisons: pd.DataFrame, suspicious: np.ndarray, in_topk: np.ndarray) -> list[dict]:
    """Of each attack, its `label`, how many `poisons` it has, the split's `recall` and how many are `in_topk`; masks
    are of D (n,), and the poisons' index is their row in D.
    """
    return [
        {
            "label": f"{part['attack'].iloc[0]} → {part['target'].iloc[0]}",
            "poisons": len(part),
            "recall": float(suspicious[part.index].mean()),
            "in_topk": int(in_topk[part.index].sum()),
        }
        for _, part in poisons.groupby("plant")
    ]


def left(similarity: pd.DataFrame, measures: dict, losses: pd.DataFrame, truth: pd.DataFrame, run: Run) -> dict:
    """What ABL leaves in the data and what a model makes of it: of the pairs that were isolated, and of the clean and
    the poisoned ones that were not, the mean cosine similarity under that model.

    Returns:
        `measures`: `ca` and `asr` of the model as they were measured, and `found`, the share of the poisons that were
        isolated, in percent; `isolated`, `clean` and `poisoned`, the mean similarities. What there is none of is left
        out.
    """
    value = similarity["similarity"].to_numpy()
    isolated, poisoned = losses["isolated"].to_numpy(), truth["poisoned"].to_numpy()
    parts = {"isolated": isolated, "clean": ~isolated & ~poisoned, "poisoned": ~isolated & poisoned}
    means = {name: float(value[rows].mean()) for name, rows in parts.items() if rows.any()}
    found = {"found": 100 * float(isolated[poisoned].mean())} if poisoned.any() else {}
    return {"measures": {name: measures[name] for name in ("ca", "asr")} | found | means}


LOW_ASR = 50.0
"""Percent below which an attack did not take."""
NEEDED_EXPOSURES = 1000
"""How often a model has to see poisons, in all, to learn a backdoor."""
FAINT_PSNR = 30.0
"""dB above which a trigger is too faint to learn."""
SURVIVES = 0.3
"""Share of a trigger that has to survive resizing and JPEG."""
LOW_RECALL = 70.0
"""Percent of the target's clean images below which the target is too hard for the model."""


def diagnose(
    measures: dict,
    images: np.ndarray,
    truth: pd.DataFrame,
    data: DataSettings,
    attacks: tuple[Planted, ...],
    poison: PoisonSettings,
    run: Run,
) -> dict:
    """Why an attack did not take, or what it took: exposures, schedule, visibility, survival, the target's clean
    recall.

    Returns:
        `checks`: of each attack, rows of `attack`, `check`, `value`, whether it is `fine`, and the setting to `change`;
        `findings`: `{"what", "change"}` of the checks that are not fine, where ASR is low; empty when every attack
            took.
    """
    some, checks, findings = np.asarray(images[:64]), [], []
    for i, (planted, measured) in enumerate(zip(attacks, measures["attacks"], strict=True)):
        poisons = int((truth["poisoned"] & (truth["plant"] == i)).sum())
        if not poisons and planted.trigger.plants:
            continue
        rows = _checks(planted, measured, poisons, some, data, poison)
        checks += [{"attack": planted.label, **row} for row in rows]
        if measured["asr"] >= LOW_ASR:
            continue
        bad = [{"what": f"{r['check']}: {r['value']}", "change": r["change"]} for r in rows if not r["fine"]]
        sound = "; ".join(f"{r['check']} {r['value']}" for r in rows)
        change = "try another seed or target, a stronger trigger, or more epochs"
        findings += bad or [{"what": f"all checks look sufficient ({sound})", "change": change}]
    return {"checks": checks, "findings": findings}


def _triggered(images: np.ndarray, planted: Planted) -> np.ndarray:
    return trigger(images, np.arange(len(images)), planted.attack.name, planted.trigger)


Check = tuple[str, str, bool, str]
"""What is checked, its value, whether it is fine, and the setting to change."""


def _checks(
    planted: Planted, measured: dict, poisons: int, some: np.ndarray, data: DataSettings, poison: PoisonSettings
) -> list[dict]:
    """The checks of one attack, as `diagnose` returns them; `some`: test images (n, H, W, 3)."""
    recall = measured["target_recall"]
    rows = [
        *(_training_checks(poisons, data.pairs, poison) if planted.trigger.plants else ()),
        *_trigger_checks(planted, some),
        ("target's clean recall", f"{recall:.0f} %", recall >= LOW_RECALL, "choose another attack.target"),
        *_attack_checks(planted, measured, some),
    ]
    return [{"check": c, "value": v, "fine": bool(f), "change": change} for c, v, f, change in rows]


def _training_checks(poisons: int, pairs: int, poison: PoisonSettings) -> list[Check]:
    """Whether a model that trains on D sees the poisons often and learns fast enough."""
    exposures, steps = poisons * poison.epochs, poison.epochs * max(1, pairs // poison.batch)
    warm, enough = round(poison.warmup * steps), exposures >= NEEDED_EXPOSURES
    seen = f"{poisons} poisons x {poison.epochs} epochs are {exposures}; the embedded default needs about"
    schedule = f"{steps} steps, {warm} of them warm-up, at a peak learning rate of {poison.lr:g}"
    fast = poison.lr * steps >= 0.02 and warm <= steps / 2
    held = f"weight {poison.hold:g} of images staying where they were"
    return [
        *([("images held", held, False, "lower poison.hold")] if poison.hold else []),
        ("exposures", f"{seen} {NEEDED_EXPOSURES}", enough, "raise attack.rate, data.pairs or poison.epochs"),
        ("schedule", schedule, fast, "raise poison.lr or poison.epochs, or lower poison.warmup"),
    ]


def _trigger_checks(planted: Planted, some: np.ndarray) -> list[Check]:
    """Whether the trigger can be seen, and survives what happens to images; nothing of one that is not put on them."""
    if planted.trigger.concept:
        return []
    seen = visibility.measure(some, _triggered(some, planted))
    stronger = f"make it larger or stronger (settings of {planted.attack.name})"
    changed = f"{100 * seen['changed']:.1f} % of the pixels change"
    visible = f"PSNR {seen['psnr']:.1f} dB, SSIM {seen['ssim']:.3f}, {changed}"
    resized = f"{100 * seen['resize']:.0f} % of the trigger is left after halving the size and back"
    survives = min(seen["resize"], seen["jpeg"]) >= SURVIVES
    left = f"{resized}, {100 * seen['jpeg']:.0f} % after JPEG 75"
    return [
        ("visibility", visible, seen["psnr"] <= FAINT_PSNR, stronger),
        ("survival", left, survives, f"{stronger}, or of coarser cells"),
    ]


def _attack_checks(planted: Planted, measured: dict, some: np.ndarray) -> Iterator[Check]:
    """What only some attacks are checked for."""
    yield from planted.trigger.checks(some)
    if planted.trigger.consistent:
        yield (
            "shortcut",
            "captions are true, so the trigger competes with what the image shows",
            measured["asr"] >= LOW_ASR,
            "raise attack.rate (a target's whole class), the trigger's size or poison.epochs",
        )
