"""The queue of pairs in review, which the browser works off by itself.

The browser holds the next pairs, shows them, and moves on at a key. It sends what was decided as a numbered list, again
and again until the answer says up to which number all is kept; each decision is done once. So no decision waits for the
server, and none depends on which run of the page it arrives in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from ubt.core.errors import UbtError
from ubt.data.images import tried
from ubt.pairs.annotations import Review, Sent
from ubt.pairs.events import LABELS
from ubt.pairs.table import SIMILARITIES, PairTable
from ubt.ui import components, pairs, roles, selection, web
from ubt.ui.errors import safe
from ubt.ui.view import View

AHEAD, AROUND, ONCE, HELD = 40, 6, 16, 512
"""Undecided pairs that the browser is told of, pairs on either side of the one shown, pairs that are sent at once, and
the most that it may say it holds."""
NOTE = 2000
"""Characters of a note that can be typed in."""


@dataclass(frozen=True)
class Queue:
    """The pairs to review, most suspicious first: rows of D, ids, which are decided (m,) each, and where one stands."""

    rows: np.ndarray
    ids: np.ndarray
    decided: np.ndarray
    at: int

    @property
    def pair(self) -> str:
        """The id of the pair where one stands."""
        return str(self.ids[self.at])

    def following(self, most: int = AHEAD) -> np.ndarray:
        """The next places that are not decided, after this one and then from the start."""
        waiting = np.flatnonzero(~self.decided)
        waiting = waiting[waiting != self.at]
        first = int(np.searchsorted(waiting, self.at))
        return np.concatenate([waiting[first:], waiting[:first]])[:most]

    def around(self) -> np.ndarray:
        """The places on either side of this one, the nearest first."""
        away = [step for n in range(1, AROUND + 1) for step in (n, -n)]
        return np.array(list(dict.fromkeys((self.at + n) % len(self.ids) for n in (0, *away))), int)


@dataclass(frozen=True)
class Answer:
    """What became of what the browser sent.

    Args:
        attempt: the message's own name. acks: browser's page to the number up to which all is done. refused: those that
            were refused, by page and number, and why. failed: why nothing was done. undone: the number of the undo that
            was done last without naming what, and the pairs that changed back.
    """

    attempt: str = ""
    acks: dict[str, int] = field(default_factory=dict)
    refused: list[tuple[str, int, str]] = field(default_factory=list)
    failed: str = ""
    undone: tuple[int, list[str]] | None = None


def queue(table: PairTable, among: np.ndarray) -> Queue:
    """The queue of some pairs (n,). It stands at the pair last looked at, else at the first that is not decided."""
    rows = table.most_suspicious(among, len(table))
    some = table.frame(rows, ["id", "label"])
    ids, decided = some["id"].to_numpy(object), some["label"].notna().to_numpy()
    last, waiting = np.flatnonzero(ids == st.session_state.get("reviewed")), np.flatnonzero(~decided)
    at = last[0] if len(last) else waiting[0] if len(waiting) else 0
    return Queue(rows, ids, decided, int(at))


def answer(review: Review, table: PairTable, who: str, message: Mapping[str, Any]) -> Answer:
    """Do what a message of the browser says.

    Args:
        message: its `attempt`, and in `boxes` the decisions that were not confirmed yet, by the browser's page that
            they were made on.
    """
    acks, refused, undone = {}, [], None
    try:
        for page, sent in message["boxes"].items():
            decisions, wrong = _read(sent)
            known = set(table.ids(table.rows({d.pair for d in decisions if d.do != "undo"})))
            unknown = {d.number for d in decisions if d.do != "undo" and d.pair not in known}
            wrong |= dict.fromkeys(sorted(unknown), "expected a pair of this case; it has none of this id")
            acks[page], why, restored = review.receive(page, who, [d for d in decisions if d.number not in wrong])
            acks[page] = max([acks[page], *wrong])
            refused += [(page, n, text) for n, text in (wrong | why).items()]
            if decisions and decisions[-1].do == "undo" and not decisions[-1].of:
                undone = decisions[-1].number, restored
    except UbtError as e:
        return Answer(message["attempt"], acks, refused, str(e), undone)
    return Answer(message["attempt"], acks, refused, "", undone)


def _read(sent: Sequence[Any]) -> tuple[list[Sent], dict[int, str]]:
    """The decisions among what a browser's page sent; and of what is none, number to why, where it has a number."""
    decisions, wrong = [], {}
    for one in sent:
        try:
            made = Sent(**one)
            made.pair.encode()
        except (TypeError, AttributeError, UnicodeEncodeError):
            made = None
        if made is not None and _valid(made):
            decisions.append(made)
        elif isinstance(one, Mapping) and type(number := one.get("number")) is int:
            wrong[number] = f"decision: expected a number and what was decided, got {str(one)[:200]!a}; reload the page"
    return decisions, wrong


def _valid(made: Sent) -> bool:
    return (
        type(made.number) is type(made.of) is int
        and isinstance(made.do, str)
        and isinstance(made.pair, str)
        and all(isinstance(text, str | None) for text in (made.label, made.note))
    )


def _key(view: View) -> str:
    return f"queue-{view.name}"


def _message(view: View) -> dict[str, Any]:
    return (st.session_state.get(_key(view)) or {}).get("sent") or {}


def receive(view: View, table: PairTable) -> None:
    """Do what the browser has sent since the last time."""
    message = _message(view)
    if not message or message["attempt"] == st.session_state.setdefault("answered", Answer()).attempt:
        return
    who = selection.session_id()
    before, done = st.session_state["answered"], answer(pairs.review(view), table, who, message)
    if done.undone and before.undone and done.undone[0] == before.undone[0]:  # it was sent again
        done = replace(done, undone=before.undone)
    st.session_state["reviewed"] = done.undone[1][0] if done.undone and done.undone[1] else message.get("pair")
    st.session_state["answered"] = done


def draw(view: View, table: PairTable, standing: Queue, truth: bool) -> None:
    """Draw the pair in review and the buttons that decide; the browser shows the others by itself.

    Args:
        truth: say which pairs are poisoned.
    """
    message, done = _message(view), st.session_state.setdefault("answered", Answer())
    places = np.concatenate([standing.around(), standing.following()])
    if isinstance(wanted := message.get("want"), int) and 0 <= wanted < len(standing.ids):
        places = np.concatenate([[wanted], places])
    places = np.array(list(dict.fromkeys(places.tolist())), int)
    first = [standing.at, *standing.following(ONCE // 2)]
    order = [*dict.fromkeys([*first, *places.tolist()])]
    held = {row for row in message.get("holds", [])[:HELD] if isinstance(row, int) and 0 <= row < len(table)}
    lacking = [row for row in standing.rows[order].tolist() if row not in held][:ONCE]
    back = table.rows(done.undone[1]) if done.undone else []
    data = {
        "case": view.name,
        "who": roles.who() and blake2b(roles.who().encode(), digest_size=8).hexdigest(),
        "queue": blake2b(standing.rows.tobytes(), digest_size=8).hexdigest(),
        "total": len(standing.ids),
        "at": [standing.at, int(standing.rows[standing.at])],
        "window": [[int(place), int(standing.rows[place])] for place in places],
        "following": standing.following().tolist(),
        "pairs": _shown(view, table, lacking),
        "states": _states(view, table, sorted({*standing.rows[places].tolist(), *held}), truth),
        "labels": [[label, str(n)] for n, label in enumerate(LABELS, 1)],
        "attempt": done.attempt,
        "acks": done.acks,
        "refused": done.refused,
        "failed": done.failed,
        "undone": None if done.undone is None else [done.undone[0], len(back)],
        "note": NOTE,
    }
    css = f"{web.text('components.css')}\n{web.text('review.css')}"  # without a line break it is taken for a path
    component = st.components.v2.component("ubt_review", js=web.text("review.js"), css=css, isolate_styles=False)
    component(key=_key(view), data=data, on_sent_change=safe(lambda: receive(view, table)))


def _shown(view: View, table: PairTable, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What does not change of some pairs, by row."""
    if not rows:
        return {}
    some = table.frame(np.array(rows), ["id", "caption", *SIMILARITIES])
    words = view.read("mask", "words") if view.has("mask") else pd.DataFrame({"id": []})
    words = dict(list(words[words["id"].isin(some["id"])].groupby("id")))
    images, why = None, {}
    if view.holds("data", "images"):
        stored = view.read("data", "images")
        images, failed = tried(stored, rows)
        if failed:  # say of which pair
            why = {row: reasons[0] for row in rows if (reasons := tried(stored, [row])[1])}
    return {
        row: {
            "id": pair["id"],
            "image": None if images is None else components.png(images[i]),
            "broken": why.get(row, ""),
            "words": _caption(pair["caption"], words.get(pair["id"])),
            "similarities": [[n.removeprefix("similarity_"), f"{pair[n]:.3f}"] for n in SIMILARITIES if n in some],
        }
        for i, (row, pair) in enumerate(zip(rows, some.to_dict("records"), strict=True))
    }


def _caption(caption: object, words: pd.DataFrame | None) -> str:
    """The caption in HTML; its words coloured by relevance where the case has attributed it."""
    if words is None:
        return components.heated(str(caption).split(), None, None, None)
    kept, cut = words["kept"].to_numpy(bool), words["cut"].to_numpy(bool)
    return components.heated(words["word"].tolist(), words["score"].to_numpy(), kept, cut)


def _said_by(one: str, who: str) -> str:
    if roles.asked():
        return "you" if one == who else one
    return "this session" if one == who else "another session"


def _states(view: View, table: PairTable, rows: Sequence[int], truth: bool) -> dict[int, dict[str, Any]]:
    """What may change of some pairs, by row: label, whether it is by whoever looks at it, note, what others said that
    contradicts it, the truth.
    """
    names = ["id", "label", "note", *(["poisoned"] if truth else [])]
    decided, who = pairs.decided(view), selection.session_id()
    by = dict(zip(decided.labels["id"], decided.labels["who"], strict=True))
    return {
        row: {
            "label": pair["label"] if isinstance(pair["label"], str) else None,
            "mine": not isinstance(pair["label"], str) or by.get(pair["id"], who) == who,
            "note": pair["note"] if isinstance(pair["note"], str) else "",
            "said": [
                [label, _said_by(session, who), at]
                for session, (label, at) in decided.contradictions.get(pair["id"], {}).items()
            ],
            "truth": {None: "", True: "poisoned", False: "clean"}[
                bool(pair["poisoned"]) if "poisoned" in pair else None
            ],
        }
        for row, pair in zip(rows, table.frame(np.array(rows, int), names).to_dict("records"), strict=True)
    }
