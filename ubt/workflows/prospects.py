"""What an audit will be able to say and what not, as far as that is known before it runs: for the summary that stands
above *Run*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.data.user_roles import MOST_SPARED
from ubt.defenses.token_unlearning.health import CANNOT_TELL, NOT_POISONED, SMALLEST_K, TIMES_K
from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.workflows.assumed import assumed
from ubt.workflows.ingest import trained_on

MANY = 0.1
"""Share of rows that are left out, duplicate or tiny, above which it is said."""
FEW = 1000
"""Pairs below which it is said that there are few."""


@dataclass(frozen=True)
class Caution:
    """Something that weakens an audit, and what to do about it; `grave`: it takes the verdict away."""

    said: str
    advice: str
    grave: bool = False


@dataclass
class Prospects:
    """What the verdict and the figures beside it will say, what they cannot say, and what weakens them."""

    can: list[str] = field(default_factory=list)
    cannot: list[str] = field(default_factory=list)
    cautions: list[Caution] = field(default_factory=list)

    @property
    def hopeless(self) -> bool:
        """Whether the answer can only be "cannot tell"."""
        return any(caution.grave for caution in self.cautions)


def prospects(store: Store, settings: CaseSettings, checks: Sequence[Mapping[str, Any]] | None) -> Prospects:
    """Of an audit with these settings.

    Args:
        checks: of its reference, as of `ubt.workflows.reference_health.checks`; None where none were made.

    Raises:
        BadInput: something that was imported is not there.
    """
    found = Prospects(
        [
            "whether these pairs gave this model a backdoor",
            "which pairs carry it, as a list, and by which words",
            "a purified model, if it is poisoned",
        ],
        [
            "ASR: nobody knows the trigger, so estimates stand in its place",
            "poisons whose captions are true, and triggers that the reference knows too",
            "whatever else the model was taught, beyond these pairs",
        ],
    )
    _labels(found, settings)
    _reference(found, store, settings, checks)
    _size(found, settings)
    _pairs(found, store, settings)
    for role, said in assumed(store, settings.own).items():
        found.cautions.append(Caution(f"assumed of {role}: {'; '.join(said)}", "import it with what you know of it"))
    return found


def _labels(found: Prospects, settings: CaseSettings) -> None:
    if settings.own.test:
        found.can.append("CA before and after, in percent of your labelled images")
    else:
        found.cannot.append("CA before and after: without labelled images only how far answers agree")


def _reference(
    found: Prospects, store: Store, settings: CaseSettings, checks: Sequence[Mapping[str, Any]] | None
) -> None:
    own = settings.own
    if not own.reference:
        said = "there is no clean reference; models trained on parts of these very pairs stand in, which is a makeshift"
        found.cautions.append(Caution(said, "bring a clean model, or train one on pairs that you know to be clean"))
        return
    if share := trained_on(store, own.pairs, own.reference):
        said = (
            f"the reference was trained on {100 * share:g} % of these pairs, which the audit leaves out"
            if share <= MOST_SPARED
            else "the reference was trained on all of these pairs"
        )
        advice = "if there may be poisons among them, train it on other pairs: a backdoor of both stays unseen"
        found.cautions.append(Caution(said, advice))
    if checks is None:
        found.cautions.append(Caution("the reference's health is not known yet", "check it in step 3"))
    for check in (c for c in checks or () if not c["passed"]):
        said = f"{check['check']}: {check['said']}; the answer would be {CANNOT_TELL!r}"
        found.cautions.append(Caution(said, check["advice"], grave=True))


def _size(found: Prospects, settings: CaseSettings) -> None:
    pairs = settings.data.pairs
    suspicious = suspicious_count(pairs, settings.split.fraction)
    k = settings.k
    if k < SMALLEST_K:
        said = f"with {pairs:,} pairs D_topk has {k}, and at least {SMALLEST_K} are needed for a verdict"
        advice = f"import more pairs, or set k to {SMALLEST_K} and the suspicious fraction so high that D_susp has"
        found.cautions.append(Caution(said, f"{advice} {TIMES_K * SMALLEST_K} pairs or more", grave=True))
    if suspicious < TIMES_K * k:
        said = f"D_susp has {suspicious:,} pairs, and {TIMES_K * k} are needed to call a model {NOT_POISONED!r}"
        found.cautions.append(Caution(said, "import more pairs, or raise the suspicious fraction"))
    if pairs < FEW:
        said = f"{pairs:,} pairs are few: a handful may be alike by accident"
        found.cautions.append(Caution(said, "take the answer as a hint, and bring more pairs if there are any"))


def _pairs(found: Prospects, store: Store, settings: CaseSettings) -> None:
    artefact = store.imported(settings.own.pairs)
    about, notes = artefact["about"], counts(artefact)
    if notes["duplicate"] is None:
        found.cautions.append(Caution("images were not decoded", "import the pairs with *Decode each image now*"))
    read = max(1, about["read"])
    many = [f"{n:,} {what}" for what, n in notes.items() if what not in ("read", "used") and (n or 0) > MANY * read]
    if many:
        said = f"of {about['read']:,} pairs that were read, {', '.join(many)}"
        found.cautions.append(Caution(said, "look at the list in step 1, and import better ones if there are any"))


def counts(artefact: Any) -> dict[str, int | None]:
    """Of imported pairs or labelled images: rows `read`, `used`, `broken` (left out), and of those that are used how
    many are `duplicate` or `tiny`; None where nobody counted.
    """
    about = artefact["about"]
    notes = artefact["notes"] if "notes" in artefact.manifest["entries"] else {}
    duplicates = (about.get("duplicates") or {}).get("rows")
    left = sum(about["quarantined"].values()) - about.get("beside", 0)
    return {
        "read": about["read"],
        "used": about["kept"],
        "broken": left,
        "duplicate": duplicates,
        "tiny": notes.get("tiny image"),
    }
