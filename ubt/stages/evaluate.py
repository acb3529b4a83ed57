"""The judge's stages: what each model does on the test set, how well the split and the selection found the poisons, and
why an attack did not take."""

import contextlib
import json
from collections.abc import Callable

import numpy as np
import pandas as pd

from ubt.attacks import AttackSettings, trigger
from ubt.config import Run, Settings, replace_file


def evaluate(model, images: np.ndarray, labels: np.ndarray, prompts: np.ndarray, classes: list[str], settings: dict, run: Run) -> dict:
    """CA, ASR, RA and target recall of a model on clean and triggered test images.

    Returns:
        `measures` (see `ubt.evaluation.backdoor.measure`); `predictions`: label, and prediction on the clean and on the
        triggered image.
    """
    from ubt.evaluation import backdoor

    attack, images = AttackSettings(**settings["attack"]), np.asarray(images)
    triggered = trigger(images, np.arange(len(images)), attack.name, settings["trigger"])
    clean, triggered = _predict(model.to(run.compute.device), prompts, images, triggered, lambda: run.progress(1, 2, {}))
    measures = backdoor.measure(clean, triggered, np.asarray(labels), classes.index(attack.target))
    return {"measures": measures, "predictions": pd.DataFrame({"label": labels, "clean": clean, "triggered": triggered})}


def _predict(model, prompts: np.ndarray, clean: np.ndarray, triggered: np.ndarray, between: Callable[[], None]) -> tuple[np.ndarray, np.ndarray]:
    from ubt.evaluation import zeroshot

    weights = zeroshot.class_weights(model, prompts)
    predicted = zeroshot.classify(model, clean, weights)
    between()
    return predicted, zeroshot.classify(model, triggered, weights)


class Observer:
    """CA and ASR on a small part of the test set while a model trains, so that a lab case can show the backdoor being learned
    and forgotten. Its figures decide nothing and reach no defender; they are kept in `run.scratch` until the stage is done."""

    PER_CLASS = 3

    def __init__(self, attack: AttackSettings, settings: Settings, run: Run):
        self.attack, self.settings, self.run, self.set = attack, settings, run, None
        self.path = None if run.scratch is None else run.scratch / "observed.json"
        self.rows: dict[str, dict[str, float]] = {}
        with contextlib.suppress(OSError, ValueError):
            self.rows = json.loads(self.path.read_text()) if self.path else {}

    def __call__(self, step: int, model) -> dict[str, float]:
        """Look at the model after `step` steps: CA and ASR in percent."""
        from ubt.evaluation import backdoor
        from ubt.stages.data import labelled

        if self.set is None:
            self.set = labelled("test", self.PER_CLASS, self.run.seed)
            self.triggered = trigger(self.set["images"], np.arange(len(self.set["images"])), self.attack.name, self.settings)
        clean, triggered = _predict(model, self.set["prompts"], self.set["images"], self.triggered, lambda: None)
        measured = backdoor.measure(clean, triggered, self.set["labels"], self.set["classes"].index(self.attack.target))
        self.rows[str(step)] = seen = {"ca": measured["ca"], "asr": measured["asr"]}
        if self.path:
            with contextlib.suppress(OSError):
                replace_file(self.path, lambda path: path.write_text(json.dumps(self.rows)))
        return seen

    def frame(self) -> pd.DataFrame:
        """What was seen: step, ca, asr."""
        rows = [{"step": int(step), **seen} for step, seen in self.rows.items()]
        return pd.DataFrame(rows, columns=["step", "ca", "asr"]).sort_values("step", ignore_index=True)


def judge(truth: pd.DataFrame, split: pd.DataFrame, ranked: pd.DataFrame, topk: pd.DataFrame, retain: pd.DataFrame, run: Run) -> dict:
    """How well split, selection and retention found the poisons.

    Returns:
        `detection`: `recall` of the split; `auroc` of the overfitted similarity inside D_susp; `precision` of D_topk;
        `flagged_recall` and `flagged_precision` of the pairs that retention leaves out. None where undefined.
    """
    from ubt.evaluation import detection

    poisoned = truth["poisoned"].to_numpy()
    rows = ranked["row"].to_numpy()
    flagged = retain["poisoned"].to_numpy()
    return {
        "detection": {
            "poisons": int(poisoned.sum()), "recall": detection.share(split["suspicious"], poisoned),
            "auroc": detection.auroc(ranked["similarity"].to_numpy(), poisoned[rows]),
            "precision": detection.share(poisoned, np.isin(np.arange(len(poisoned)), topk["row"])),
            "flagged_recall": detection.share(flagged, poisoned), "flagged_precision": detection.share(poisoned, flagged),
        }
    }  # fmt: skip


LOW_ASR = 50.0
NEEDED_EXPOSURES = 1000
FAINT_PSNR = 30.0


def diagnose(measures: dict, images: np.ndarray, settings: dict, run: Run) -> dict:
    """Say why the attack did not take, when ASR after poisoning is low: exposures, schedule, visibility.

    Returns:
        `findings`: a list of `{"what", "change"}`; empty when the attack took or nothing was poisoned.
    """
    attack, data, poison = AttackSettings(**settings["attack"]), settings["data"], settings["poison"]
    if attack.rate == 0 or measures["asr"] >= LOW_ASR:
        return {"findings": []}
    findings = []
    poisons = round(attack.rate * data["pairs"])
    exposures, steps = poisons * poison["epochs"], poison["epochs"] * max(1, data["pairs"] // poison["batch"])
    if exposures < NEEDED_EXPOSURES:
        findings.append({
            "what": f"{poisons} poisons x {poison['epochs']} epochs are {exposures} exposures; the embedded default needs about {NEEDED_EXPOSURES}",
            "change": "raise attack.rate, data.pairs or poison.epochs",
        })  # fmt: skip
    if poison["lr"] * steps < 0.02:
        findings.append({
            "what": f"{steps} steps at a peak learning rate of {poison['lr']:g} hardly move the weights",
            "change": "raise poison.lr or poison.epochs",
        })  # fmt: skip
    some = np.asarray(images[:64])
    difference = trigger(some, np.arange(len(some)), attack.name, settings["trigger"]).astype(float) - some
    psnr = 10 * np.log10(255**2 / max(1e-9, (difference**2).mean()))
    changed = 100 * float((difference != 0).any(-1).mean())
    if psnr > FAINT_PSNR:
        findings.append({
            "what": f"the trigger is faint: PSNR {psnr:.0f} dB, {changed:.1f} % of the pixels change",
            "change": f"make it larger or stronger (settings of {attack.name})",
        })  # fmt: skip
    if not findings:
        findings.append({
            "what": f"exposures ({exposures}), schedule ({steps} steps) and visibility (PSNR {psnr:.0f} dB) look sufficient; "
            f"the target's clean recall is {measures['target_recall']:.0f} %",
            "change": "try another seed or target, or more epochs",
        })  # fmt: skip
    return {"findings": findings}
