"""What a report and the pages say of a case: its verdict, and what that rests on."""

import contextlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ubt.cases.record import CaseRecord
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.defenses.token_unlearning.health import NOT_POISONED, POISONED
from ubt.defenses.token_unlearning.verdict import answer, health, judged_poisoned, reasons


def other_verdicts(store: Store, record: CaseRecord) -> pd.DataFrame:
    """The verdicts in the records of a cache's other finished lab cases, each once: `case`, `score`, `displaced`,
    whether its model is `poisoned`; of an audit nobody knows.
    """
    seen, rows = {record.artefacts.get("verdict")}, []
    for name in store.names():
        with contextlib.suppress(KeyError, TypeError, UbtError):
            other = store.record(name)
            key, judged = other.artefacts["verdict"], other.metrics["verdict"]
            place = {name: float(judged[name]) for name in ("score", "displaced")}
            settings = CaseSettings.from_dict(other.settings)
            if key not in seen and not settings.own.audits:
                poisoned = any(p.does_something(settings.data.pairs) for p in settings.attacks)
                rows.append({"case": name, **place, "poisoned": poisoned})
                seen.add(key)
    return pd.DataFrame(rows, columns=["case", "score", "displaced", "poisoned"])


ABOUT = "The verdict is about these pairs and this model's use of them, not about whatever else the model was taught."


def conclusion(found: Mapping[str, Any]) -> tuple[str, str]:
    """What a verdict says, in a sentence, and its tone: `bad`, `good` or `warning`."""
    said = answer(found)
    if said == POISONED:
        return f"This model is judged {said}.", "bad"
    if said == NOT_POISONED:
        return f"This model is judged {said}; unlearning leaves it unchanged, byte for byte.", "good"
    return f"Verdict: {said} whether this model is poisoned; unlearning leaves it unchanged.", "warning"


def what_to_do(found: Mapping[str, Any]) -> list[str]:
    """Of a verdict that cannot tell, each reason and what to do about it."""
    said = [f"{c['check']}: {c['said']}. What to do: {c['advice']}." for c in reasons(found)]
    return [line[0].upper() + line[1:] for line in said]


HEALTH = ["health check", "passed", "found", "why it matters"]
"""Heads of `health_rows`."""


def health_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """A row a health check of a verdict: what is checked, whether it passed, its figure beside its bar, and why it
    matters.
    """
    return [(c["check"], "✓" if c["passed"] else "✗", c["said"], c["why"]) for c in health(found)]


def evidence(case: Any, store: Store) -> list[tuple[str, str]]:
    """By what a model was judged, and how well that found the poisons where it is known; in an audit, how much was
    flagged and left out.

    Args:
        case: a `Finished` case, or a page's view of one, whose verdict is there.
    """
    found = case.read("verdict", "verdict")
    rows = [(f"score, poisoned above {found['threshold']:g}", f"{found['score']:.3f}")]
    rows += [(f"displaced, poisoned above {found['least_displaced']:.3g}", f"{found['displaced']:.3f}")]
    rows += (
        [(f"separated, poisoned above {found['least_apart']:g}", f"{found['apart']:.2f}")] if "apart" in found else []
    )
    if found.get("exceeds") is not None:
        rows += [(f"or times what else is displaced, above {found['least_exceeds']:g}", f"{found['exceeds']:.2f}")]
    rows += [
        ("similarity inside D_topk, mean", f"{found['topk_similarity_mean']:.3f}"),
        ("least", f"{found['topk_similarity_min']:.3f}"),
    ]
    if case.has("judge"):
        detection = case.read("judge", "detection")
        shares = {
            "split: recall": "recall",
            "D_susp: AUROC": "auroc",
            "D_topk: precision": "precision",
            "flagged in D: recall": "flagged_recall",
        }
        rows += [(n, "undefined" if detection[k] is None else f"{detection[k]:.3f}") for n, k in shares.items()]
    if case.audits:
        if case.has("estimate"):
            counts, poisoned = case.read("estimate", "found"), judged_poisoned(found)
            rows.append(
                ("flagged, of the pairs of D", f"{counts['flagged'] if poisoned else 0:,} of {counts['pairs']:,}")
            )
            rows += [("of these in D_topk", f"{counts['topk_flagged']:,}")] if poisoned else []
        if case.has("take"):
            rows.append(("images quarantined", f"{len(case.read('take', 'quarantine')):,}"))
        if (catalogue := store.find(case.settings.own.pairs)) is not None:
            rows.append(
                ("rows left out when the pairs were read", f"{sum(catalogue['about']['quarantined'].values()):,}")
            )
    return rows
