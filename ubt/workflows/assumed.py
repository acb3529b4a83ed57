"""What had to be assumed of a case's imported models, to stand wherever its results are shown."""

import contextlib
from typing import Any

from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.data.fit import Fit
from ubt.data.user_roles import OwnSettings

TITLES = {"suspect": "the model audited", "reference": "the clean reference"}


def assumed(store: Store, own: OwnSettings) -> dict[str, list[str]]:
    """What was assumed of each imported model of a case, by what it is in it; nothing of one of which nothing was, or
    whose card cannot be read.

    D's images are fitted once, as the first of them says: what its fellow says otherwise is not done, and is said.
    """
    cards: dict[str, dict[str, Any]] = {}
    for role in TITLES:
        with contextlib.suppress(UbtError):
            if (key := getattr(own, role)) and (artefact := store.find(key)) is not None:
                cards[role] = artefact["card"]
    said = {TITLES[role]: [str(line) for line in card.get("assumed", [])] for role, card in cards.items()}
    if len(fits := {role: str(Fit.of(card["preprocessing"])) for role, card in cards.items()}) == 2:
        done, other = fits["suspect"], fits["reference"]
        if other != done:
            line = f"images resized as {TITLES['suspect']}'s configuration says ({done}), although its own says {other}"
            said[TITLES["reference"]].append(line)
    return {role: lines for role, lines in said.items() if lines}


def lines(store: Store, own: OwnSettings) -> list[tuple[str, str]]:
    """The same as rows of a table: `assumed of the model audited`, and what."""
    return [(f"assumed of {role}", "; ".join(said)) for role, said in assumed(store, own).items()]
