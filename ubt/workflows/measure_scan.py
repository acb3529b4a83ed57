"""What scans are worth on a model whose truth is known: the verdict beside a reference and alone, what its trigger does
beside the true one's, and what is left once the model is purified without its data. For `python -m ubt table scan`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ubt.cases.keys import every_key
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute, Progress, Run, silent
from ubt.workflows import scan as scans
from ubt.workflows import sources
from ubt.workflows.clean_models import known
from ubt.workflows.purify_scanned import make

VERSION = 1
"""Of what is measured; raised when it changes."""
EVALUATED = ("evaluate_poisoned", "evaluate_clean")
"""The stages of a case that say what its true trigger does: to M_bd, and to the clean reference."""


@dataclass(frozen=True)
class Scanned:
    """A model to scan.

    Args:
        model: as `ubt.workflows.sources.resolved` takes it. case: that it is of, if it is of one. key: which of the
            measures is the true trigger's ASR. purified: whether it is purified too.
    """

    model: str
    case: CaseSettings | None = None
    key: str = "asr"
    purified: bool = False


def measure(store: Store, of: Scanned, where: Compute, progress: Progress = silent) -> dict[str, Any]:
    """Scan a model beside the shipped reference and alone, and compare with the truth.

    Returns:
        `answer`, `score`, `first` (the class that gives way most easily), `inverted asr`, `reference asr`, `size`; `own
        answer`, `own score` and `own first` without a reference; of a case also the true trigger's `asr`, its `natural
        asr` and the `target`; and where it was purified `purified asr`, `ca lost` and `target recall lost`. ASR, CA and
        recall in percent, sizes as shares of the image.

    Raises:
        UbtError: the scan or the purification could not be done. Cancelled: `progress` asked to stop.
    """
    model, reference = sources.resolved(store, of.model), sources.resolved(store, sources.SHIPPED)
    wanted = scans.of_imported(store, model, reference, sources.SCENES)
    key = scans.scan(store, wanted, where, progress)
    beside, alone = (
        store.imported(k)["verdict"] for k in (key, scans.scan(store, replace(wanted, reference=""), where, progress))
    )
    found = {"answer": beside["verdict"], "score": beside["score"], "first": beside["classes"][0]["name"]}
    found |= {"inverted asr": beside["asr"], "reference asr": beside["reference_asr"], "size": beside["size"]}
    found |= {"own answer": alone["verdict"], "own score": alone["score"], "own first": alone["classes"][0]["name"]}
    if of.case is None:
        return found
    names = every_key(of.case, where)
    poisoned, natural = (store.imported(names[stage])["measures"] for stage in EVALUATED)
    found |= {"asr": poisoned[of.key], "natural asr": natural[of.key], "target": of.case.attack.target}
    if of.purified and scans.judged_poisoned(store.imported(key)):
        found |= _purified(store, of, names, key, poisoned, where, progress)
    return found


def _purified(
    store: Store,
    of: Scanned,
    names: Mapping[str, str],
    scan: str,
    before: Mapping[str, Any],
    where: Compute,
    progress: Progress,
) -> dict[str, float]:
    """What the true trigger does to a case's model once it is purified without D, and what that costs."""
    from ubt.evaluation.judge import evaluate

    made = known(store, f"scan {scan}") or make(store, scan, where, progress=progress)
    test, case = store.imported(names["test"]), of.case
    seen = {name: test[name] for name in ("images", "labels", "prompts", "classes")}
    after = evaluate(store.imported(made)["model"], **seen, attacks=case.attacks, run=Run(case.seed, where))["measures"]
    return {
        "purified asr": after[of.key],
        "ca lost": before["ca"] - after["ca"],
        "target recall lost": before["target_recall"] - after["target_recall"],
    }
