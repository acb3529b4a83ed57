"""What analysts decided about a case: labels, notes and saved views, in one file, separate from the artefacts.

Nothing is overwritten. A label is an action, so is a note, and undoing one is another; a pair's label is that of the
latest label on it that was not undone, its note that of the latest action that says one. Who writes a note labels
nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.evaluation.backdoor import interval
from ubt.pairs.decision_log import Log, LogFile, ReadOnlyLog, rescued
from ubt.pairs.events import LABELS, Event

NOTE, NAME = 10_000, 80
"""At most so many characters in a note, and in a view's name."""
COLUMNS = ["id", "label", "note", "who", "at"]
NOTHING = None, "", "", "", 0
"""What a pair has on which no action stands."""


@dataclass(frozen=True)
class Sent:
    """A decision that a browser's page sent.

    Args:
        number: of the decision on that page, from 1 upwards. do: `label` (also removes one), `note` or `undo`. pair: id
            of the pair that was on the screen. label, note: what it gets. of: with `undo`, the number of the decision
            that is taken back; 0 for the session's latest action, wherever it was made.
    """

    number: int
    do: str
    pair: str = ""
    label: str | None = None
    note: str | None = None
    of: int = 0


@dataclass(frozen=True)
class Decided:
    """What a review holds: labels, contradictions and notices, as `Review` gives each."""

    labels: pd.DataFrame
    contradictions: dict[str, dict[str, tuple[str, str]]]
    notices: list[str]


class _Standing:
    """What events come to.

    Attributes:
        of: a pair's id to (label, note, who and at of the label or, without one, of the latest action, the number of
            the latest action). claims: a pair's id to each session and the label that it gave last. sent: a browser's
            page to the number of its latest decision that is kept. views: saved views, the newest last.
    """

    def __init__(self, events: Sequence[Event]):
        undone = {e.of for e in events if e.do == "undo"}
        self.actions = {e.number: e for e in events if e.do in ("label", "note") and e.number not in undone}
        self.sent: dict[str, int] = {}
        self.views: dict[str, dict] = {}
        for e in events:
            if e.sent:
                self.sent[e.sent[0]] = max(e.sent[1], self.sent.get(e.sent[0], 0))
            if e.do in ("view", "forget"):
                self.views.pop(e.name, None)
            if e.do == "view":
                self.views[e.name] = {"rule": e.rule, "query": e.query}
        self.of: dict[str, tuple] = {}
        self.claims: dict[str, dict[str, tuple]] = defaultdict(dict)
        for e in self.actions.values():
            for i, pair in enumerate(e.pairs):
                note = e.notes[i] if e.notes else e.note
                label, before, who, at, _ = self.of.get(pair, NOTHING)
                if e.do == "label":
                    self.claims[pair][e.who] = (e.label, e.at)
                if e.do == "label" or label is None:
                    label, who, at = e.label, e.who, e.at
                self.of[pair] = (label, before if note is None else note, who, at, e.number)

    def latest(self, who: str) -> int:
        """The number of somebody's latest action that stands; 0 without any."""
        return max((e.number for e in self.actions.values() if e.who == who), default=0)

    def of_sent(self, page: str, number: int) -> int:
        """The number of the action that a page sent under a number of its own; 0 if none stands."""
        return next((e.number for e in self.actions.values() if e.sent == (page, number)), 0)


class Review:
    """The decisions kept in `path`, which the first write makes; until then there are none.

    Every operation raises UbtError where the file is damaged beyond repair or something else's, the disk is full, or
    others write for a very long time; Forbidden where it would change something that is `read_only`.
    """

    def __init__(self, path: Path, read_only: bool = False):
        self.path = Path(path)
        self._file = (ReadOnlyLog if read_only else LogFile)(self.path)

    def label(self, pairs: Sequence[str], label: str | None, who: str, note: str | None = None) -> int:
        """Set the label of pairs, or remove it, in one action.

        Args:
            label: one of `LABELS`; None removes it. note: replaces the pairs' notes; None keeps each pair's own.

        Returns:
            The action's number, from 1.

        Raises:
            BadInput: an unknown label, no pairs, nobody's name, or a note that is too long.
        """
        event = _labelled(pairs, label, who, note)
        return self._file.write(lambda log: log.append(event))

    def undo(self, who: str) -> list[str]:
        """Undo somebody's latest action that still stands. A pair on which a later action stands keeps what that gave
        it; the others return to the latest action on them that stands.

        Returns:
            Ids of the pairs that changed back; none if there is nothing to undo.
        """
        if not self.path.exists():
            return []
        return self._file.write(lambda log: _undo(log, who, _Standing(log.events()).latest(who), None))

    def receive(self, page: str, who: str, sent: Sequence[Sent]) -> tuple[int, dict[int, str], list[str]]:
        """Do what a browser's page sent, in order, each once however often it is sent, in one transaction.

        Args:
            page: the page's own name, chosen by it. sent: every decision that was not confirmed to it yet.

        Returns:
            The number up to which all is done; of those that were refused, number to why; ids of the pairs that the
            last `undo` changed back.
        """
        last, refused, restored = 0, {}, []

        def work(log: Log) -> None:
            nonlocal last, restored
            last = _Standing(log.events()).sent.get(page, 0)
            for one in sorted(sent, key=lambda s: s.number):
                if one.number <= last:
                    continue
                last = one.number
                try:
                    restored = _do(log, page, who, one)
                except BadInput as e:
                    refused[last] = str(e)

        if sent or self.path.exists():
            self._file.write(work)
        return last, refused, restored

    def labels(self) -> pd.DataFrame:
        """Every pair with a label or a note: id, label (missing where there is only a note), note, and who gave the
        label (without one: who did the latest action), at (ISO 8601, UTC).
        """
        return self.decided().labels

    def contradictions(self) -> dict[str, dict[str, tuple[str, str]]]:
        """Pairs that sessions labelled differently: id to each session's own latest label and when, oldest first."""
        return self.decided().contradictions

    def notices(self) -> list[str]:
        """What was lost when a damaged file was set aside, oldest first."""
        return self.decided().notices

    def decided(self) -> "Decided":
        """All three, from one reading."""
        events = self._file.events()
        standing = _Standing(events)
        found = sorted(standing.of.items())
        rows = [(pair, *said[:4]) for pair, said in found if said[0] is not None or said[1]]
        claims = ((p, {w: said for w, said in by.items() if said[0] is not None}) for p, by in standing.claims.items())
        return Decided(
            pd.DataFrame(rows, columns=COLUMNS).astype("str"),
            {
                pair: dict(sorted(by.items(), key=lambda item: item[1][1]))
                for pair, by in claims
                if len({label for label, _ in by.values()}) > 1
            },
            [rescued(e, sum(o.number < e.number for o in events)) for e in events if e.do == "rescued"],
        )

    def version(self) -> int:
        """A number that grows with every change, 0 before the first."""
        return self._file.last()

    def save_view(self, name: str, rule: str, query: dict[str, str]) -> None:
        """Keep a selection's query and a page's address under a name, in place of what had it.

        Args:
            rule: the selection's query. query: the parameters of the page's address.

        Raises:
            BadInput: a name that is empty or too long.
        """
        if not 1 <= len(name.strip()) <= NAME:
            raise BadInput(f"view: expected a name of 1 to {NAME} characters, got {len(name.strip())}")
        event = Event(0, "view", name=name.strip(), rule=rule, query=query)
        self._file.write(lambda log: log.append(event))

    def views(self) -> dict[str, dict]:
        """Name to `rule` (the selection's query) and `query` (the address) of each saved view, newest first."""
        return dict(reversed(_Standing(self._file.events()).views.items()))

    def delete_view(self, name: str) -> None:
        """Forget a saved view; one that is not there is no error."""
        if name.strip() in self.views():
            self._file.write(lambda log: log.append(Event(0, "forget", name=name.strip())))

    def prepend(self, earlier: "Review") -> None:
        """Put another review's actions and views before this one's, in one transaction; once, however often it is
        asked. Where both have a view of one name, the other's is called `NAME (before)`.
        """
        if events := earlier._file.events():
            self._file.write(partial(_prepend, events, digest([e.line() for e in events])))


def _labelled(pairs: Sequence[str], label: str | None, who: str, note: str | None, do: str = "label") -> Event:
    if label is not None and label not in LABELS:
        raise BadInput(f"label: expected one of {', '.join(LABELS)}, or none to remove it; got {label!r}")
    if isinstance(pairs, str) or not len(pairs):
        raise BadInput(f"label: expected the ids of one pair or more, got {pairs!r}; select some")
    if not who.strip():
        raise BadInput("label: expected the name of who decides, got none")
    if note is not None and len(note) > NOTE:
        raise BadInput(f"note: expected at most {NOTE} characters, got {len(note)}; shorten it")
    ids = tuple(dict.fromkeys(map(str, pairs)))
    try:
        for text in (*ids, note or ""):
            text.encode()
    except UnicodeEncodeError as e:
        raise BadInput(
            f"{do}: expected valid Unicode, got the lone surrogate {e.object[e.start]!a}; remove it"
        ) from None
    return Event(0, do, who, pairs=ids, label=label, note=note)


def _do(log: Log, page: str, who: str, one: Sent) -> list[str]:
    """Do one decision; returns the ids of the pairs that an undo changed back."""
    sent = (page, one.number)
    if one.do == "label":
        log.append(replace(_labelled([one.pair], one.label, who, None), sent=sent))
        return []
    standing = _Standing(log.events())
    if one.do == "undo":
        return _undo(log, who, standing.of_sent(page, one.of) if one.of else standing.latest(who), sent)
    if one.do != "note":
        raise BadInput(f"decision: expected a label, a note or an undo, got {one.do!r}; reload the page")
    if (note := one.note or "") != standing.of.get(one.pair, NOTHING)[1]:
        log.append(replace(_labelled([one.pair], None, who, note, "note"), sent=sent))
    return []


def _undo(log: Log, who: str, number: int, sent: tuple[str, int] | None) -> list[str]:
    """Undo an action; 0 is none. Returns the ids of the pairs that changed back."""
    if not number:
        if sent:  # that it was done is kept, so that it is not done later
            log.append(Event(0, "undo", who, sent=sent))
        return []
    before = _Standing(log.events())
    log.append(Event(0, "undo", who, of=number, sent=sent))
    after = _Standing(log.events()).of
    changed = (p for p in before.actions[number].pairs if before.of[p][:2] != after.get(p, NOTHING)[:2])
    return sorted({*changed, *(p for p in before.actions[number].pairs if before.of[p][4] == number)})


def _prepend(earlier: Sequence[Event], name: str, log: Log) -> None:
    own = log.events()
    if any(e.before == name for e in own):
        return
    mine, theirs = _Standing(own).views, _Standing(earlier).views
    same = {view for view in theirs if mine.get(view) == theirs[view]}
    names = {view: f"{view[: NAME - 9]} (before)" for view in mine if view not in same}
    moved = [
        replace(e, name=names.get(e.name, e.name), before=name)
        if e.do in ("view", "forget")
        else replace(e, before=name)
        for e in earlier
    ]
    log.replace([*_numbered(moved, 0), *_numbered(own, len(moved))])


def _numbered(events: Sequence[Event], after: int) -> list[Event]:
    """Events numbered anew without a gap."""
    numbers = {e.number: i for i, e in enumerate(events, after + 1)}
    return [replace(e, number=numbers[e.number], of=numbers.get(e.of, 0), lost=()) for e in events]


def precision(labels: Iterable[str]) -> tuple[float, float, float, int] | None:
    """Share of backdoor among the pairs labelled backdoor or clean, its 95 % interval (Wilson) as two shares, and the
    count of those pairs; None where there are none.

    >>> [round(v, 3) for v in precision(["backdoor"] * 9 + ["clean", "unsure"])]
    [0.9, 0.596, 0.982, 10]
    """
    hits = np.array([label == "backdoor" for label in labels if label in ("backdoor", "clean")])
    if not len(hits):
        return None
    low, high = interval(hits)
    return float(hits.mean()), low / 100, high / 100, len(hits)
