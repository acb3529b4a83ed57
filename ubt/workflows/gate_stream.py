"""A gate for a stream of images: every image of a folder or a zip, in the order of their names, into one table that is
written as it goes; killed, the same call goes on where it stopped, without a row lost or doubled.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt.core import locks
from ubt.core.errors import BadInput
from ubt.core.files import digest, replace_file
from ubt.core.run import Progress, silent
from ubt.data import unlabelled
from ubt.data.images import Images
from ubt.data.model_input import fit, image_size
from ubt.data.quarantine import BrokenImage
from ubt.defenses.token_unlearning.health import CANNOT_TELL
from ubt.pairs.export import as_csv
from ubt.workflows.gate import ANSWERS, Gate
from ubt.workflows.gate_scores import PART

COLUMNS = ("image", "score", "verdict", "detector")
SHOWN = 100
"""Images that cannot be read, of which the card says why."""


@dataclass
class _Written:
    """What is written so far: `rows` of the table in so many `bytes`, how many have each verdict, how many are `unlike`
    the clean images, and some images that could not be read, with the reason.
    """

    rows: int
    bytes: int
    verdicts: dict[str, int]
    unread: dict[str, str]
    unreadable: int = 0
    unlike: int = 0


def beside(table: Path) -> Path:
    """The card of a table: what made it and how far it is."""
    return table.with_name(f"{table.name}.json")


def watch(gate: Gate, source: Path, table: Path, made_with: dict[str, Any], progress: Progress = silent) -> dict:
    """Judge every image of a folder or a zip and write a row each: image, score, verdict, detector. One that cannot be
    read has no score, and its verdict is that nobody can tell.

    Args:
        table: the CSV; beside it lies a card, `beside`. made_with: what tells this table from others, as plain values.

    Returns:
        `rows`, `verdicts` (how many of each), `unlike` (how many are unlike the clean images), `unreadable`, and
        `unread`: of some of these the reason.

    Raises:
        BadInput: there are no images, or the table is there and something else made it. NotAllowed: it may not be read.
        Held: another process is writing it. Cancelled: `progress` asked to stop.
    """
    table.parent.mkdir(parents=True, exist_ok=True)
    with locks.hold(table.with_name(f"{table.name}.lock"), wait=0):
        return _watch(gate, source, table, made_with, progress)


def _watch(gate: Gate, source: Path, table: Path, made_with: dict[str, Any], progress: Progress) -> dict:
    model = gate.watched.model
    images = unlabelled.opened(source, image_size(model), fit(model))
    identity = digest([str(source.resolve()), unlabelled.identity(source), made_with, gate.detector, gate.fpr])
    lost = unlabelled.left_out(source)
    done = _resumed(table, identity)
    if not table.exists():
        _keep(table, done, identity, made_with)
        table.touch()
    with table.open("r+b") as out:
        out.seek(done.bytes)
        out.truncate()
        if not done.rows:
            out.write(as_csv(pd.DataFrame(columns=COLUMNS)))
        while done.rows < (every := len(images) + len(lost)):
            start = done.rows
            end = min(start + PART, len(images)) if start < len(images) else every
            if start < len(images):
                lines = _judged(gate, images, np.arange(start, end), done)
            else:
                lines = _lines(_unread([name for name, _ in lost], gate), lost, done)
            out.write(lines)
            out.flush()
            os.fsync(out.fileno())
            done.rows, done.bytes = end, out.tell()
            _keep(table, done, identity, made_with)
            progress(done.rows, every, {})
    return {n: getattr(done, n) for n in ("rows", "verdicts", "unlike", "unreadable", "unread")}


def _judged(gate: Gate, images: Images, rows: np.ndarray, done: _Written) -> bytes:
    """The lines of some rows; counts them in `done`."""
    broken: dict[int, str] = {}
    try:
        pixels = images.take(rows)
    except BrokenImage:
        broken = images.reasons(rows)
        good = np.array([row for row in rows if row not in broken], np.int64)
        pixels = images.take(good)
    names = [images.at[row] for row in rows.tolist()]
    found, readable = _unread(names, gate), ~np.isin(rows, list(broken))
    if readable.any():
        judged = gate.judge(pixels)
        found.loc[readable, "score"] = [float(f"{score:.6g}") for score in judged["score"]]
        found.loc[readable, "verdict"] = judged["verdict"].to_numpy()
        done.unlike += int(judged["unlike"].sum())
    return _lines(found, [(images.at[row], why) for row, why in broken.items()], done)


def _unread(names: list[str], gate: Gate) -> pd.DataFrame:
    """The rows of images that are not read, or not yet."""
    return pd.DataFrame({"image": names, "score": np.nan, "verdict": CANNOT_TELL, "detector": gate.detector})


def _lines(found: pd.DataFrame, broken: list[tuple[str, str]], done: _Written) -> bytes:
    """Rows as they are written; counts them in `done`. `broken`: those that could not be read, and why."""
    counted = Counter(done.verdicts) + Counter(found["verdict"])
    done.verdicts = {answer: counted[answer] for answer in ANSWERS}
    done.unreadable += len(broken)
    for name, why in broken:
        if len(done.unread) < SHOWN:
            done.unread[name] = why
    return as_csv(found).partition(b"\n")[2]


def _keep(table: Path, done: _Written, identity: str, made_with: dict[str, Any]) -> None:
    card = {"identity": identity, **vars(done), "made_with": made_with}
    replace_file(beside(table), lambda path: path.write_text(json.dumps(card, indent=1) + "\n"))


def _resumed(table: Path, identity: str) -> _Written:
    """What an earlier call wrote, or nothing.

    Raises:
        BadInput: the table is there, and something else made it, or it is no longer what it was.
    """
    if not table.exists():
        return _Written(0, 0, {}, {})
    try:
        card = json.loads(beside(table).read_text())
        if card.pop("identity") != identity:
            raise ValueError("it is of other images, or of another gate")
        card.pop("made_with")
        done = _Written(**card)
        if table.stat().st_size < done.bytes:
            raise ValueError("it is shorter than it was")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise BadInput(
            f"--out: expected no file, or one that this very command began, got {table} ({e}); choose another, or"
            " delete it"
        ) from None
    return done
