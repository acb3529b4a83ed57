"""Scenes: image-caption pairs drawn by this package, addressed by (seed, index), any number of them, none stored.

The same (seed, index) is always the same scene, drawn at any size. Index ranges keep the roles of data disjoint: what
trains the reference never occurs in D, nor D in validation or test, whatever the seed.
"""

import csv
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice, repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ubt.core.errors import UbtError
from ubt.data.scenes import animals, food, outdoors, things
from ubt.data.scenes.backgrounds import draw_background
from ubt.data.scenes.captions import BACKGROUNDS, TEMPLATES, Words, caption, from_template
from ubt.data.scenes.shapes import COLOURS, Pen


@dataclass(frozen=True)
class Pairs:
    """Image-caption pairs: ids (n,), images uint8 RGB (n, H, W, 3, may be a memory map), captions (n,)."""

    ids: list[str]
    images: np.ndarray
    captions: list[str]

    def __len__(self) -> int:
        return len(self.ids)


ROLES: dict[str, range] = {
    role: range(i * 10**9, (i + 1) * 10**9)
    for i, role in enumerate(("reference", "pairs", "validation", "test", "retrieval", "clean", "labelled", "later"))
}
"""Disjoint index ranges: reference training, D ("pairs"), validation, zero-shot test, retrieval test, a defender's own
clean pairs and labelled images, and clean pairs that somebody else trains on later.
"""
BY_CLASS = ("validation", "test", "labelled")
"""Roles whose scenes have one main object, whose class is index mod the number of classes."""


SIZE = 48
"""Height and width in pixels of the embedded default."""
CONTEXT = 24
"""Token ids of a caption in the embedded default."""


@dataclass(frozen=True)
class Kind:
    """A class of objects: how it is drawn, the colours it comes in, what a loose caption calls it, and how far it is
    turned, in degrees either way.
    """

    draw: Callable[[Pen], None]
    colours: tuple[str, ...]
    hyper: str
    turn: float


_FILES = {"animals": animals, "food": food, "outdoors": outdoors, "things": things}
with Path(__file__).with_name("classes.csv").open(encoding="utf-8", newline="") as _table:
    KINDS: dict[str, Kind] = {
        row["name"]: Kind(
            getattr(_FILES[row["file"]], row["name"].replace(" ", "_")),
            tuple(row["colours"].split()),
            row["hypernym"],
            float(row["turn"]),
        )
        for row in csv.DictReader(_table)
    }
CLASSES: tuple[str, ...] = tuple(sorted(KINDS))


@dataclass(frozen=True)
class Thing:
    """One object in a scene: class, colour name, centre and half-size (in units of half the image), turn in degrees."""

    name: str
    colour: str
    x: float
    y: float
    size: float
    turn: float
    flip: bool
    stretch: float
    jitter: tuple[float, ...]
    v: tuple[float, ...]


@dataclass(frozen=True)
class Scene:
    """What is to be drawn and said; `numbers` are the scene's own random numbers for captions and background."""

    index: int
    things: tuple[Thing, ...]
    background: str
    relation: str
    numbers: tuple[float, ...]


def _rng(seed: int, index: int, stream: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed * 64 + stream, index]))


def scene(seed: int, index: int) -> Scene:
    """The scene at (seed, index). In the ranges of `BY_CLASS` it has one main object, whose class is index mod the
    number of classes.

    >>> scene(0, 5) == scene(0, 5), len(scene(0, ROLES["test"][0]).things)
    (True, 1)
    """
    r = _rng(seed, index)
    u = r.random(48)
    if any(index in ROLES[role] for role in BY_CLASS):
        names = [CLASSES[index % len(CLASSES)]]
    else:
        first = int(u[0] * len(CLASSES))
        names = [CLASSES[first]]
        if u[1] < 0.3:
            names.append(CLASSES[(first + 1 + int(u[2] * (len(CLASSES) - 1))) % len(CLASSES)])
    relation, places = "", ((0.0, 0.0),)
    if len(names) == 2:
        side = 1 if u[3] < 0.5 else -1
        if u[4] < 0.6:
            relation = "to the left of" if side > 0 else "to the right of"
            places = (-0.5 * side, 0.0), (0.5 * side, 0.0)
        else:
            relation = "above" if side > 0 else "below"
            places = (0.0, -0.5 * side), (0.0, 0.5 * side)
        relation = relation if u[5] < 0.6 else "next to"
    objects = []
    for i, name in enumerate(names):
        w = u[6 + 16 * i : 22 + 16 * i]
        k = KINDS[name]
        size = 0.56 + 0.36 * w[0] if len(names) == 1 else 0.38 + 0.1 * w[0]
        free = max(0.0, 0.98 - size) if len(names) == 1 else 0.06
        objects.append(
            Thing(
                name,
                k.colours[int(w[1] * len(k.colours))],
                places[i][0] + (2 * w[2] - 1) * free,
                places[i][1] + (2 * w[3] - 1) * free,
                size,
                (2 * w[4] - 1) * k.turn,
                bool(w[5] < 0.5),
                0.85 + 0.3 * w[6],
                tuple(2 * w[7:10] - 1),
                tuple(w[10:14]),
            )
        )
    numbers = tuple(u[38:48]) + tuple(r.random(6))
    return Scene(index, tuple(objects), list(BACKGROUNDS)[int(numbers[0] * len(BACKGROUNDS))], relation, numbers)


def concepts(seed: int, index: int) -> set[str]:
    """What the scene at (seed, index) shows beside its objects' classes: its background and its objects' colours."""
    s = scene(seed, index)
    return {s.background, *(t.colour for t in s.things)}


def describe(seed: int, index: int, which: int = 0) -> str:
    """The scene's caption number `which` (each true, or loosely true, of the scene)."""
    s = scene(seed, index)
    words = [
        Words(t.name, KINDS[t.name].hyper, t.colour, (t.size - 0.56) / 0.36 if len(s.things) == 1 else 0.5)
        for t in s.things
    ]
    return caption(words, BACKGROUNDS[s.background], s.relation, _rng(seed, index, 8 + which).random(8))


def draw(seed: int, index: int, size: int = 48) -> np.ndarray:
    """The scene's picture: uint8 RGB, shape (size, size, 3)."""
    s = scene(seed, index)
    n = np.asarray(s.numbers)
    tint = 150 + 90 * n[4:7]
    other = np.clip(tint + (60 if n[7] < 0.5 else -60) * (0.5 + n[8]), 60, 250)
    back = draw_background(s.background, n[1:4], tint, other, size)
    back = back * (0.8 + 0.3 * n[9]) + 10 * (n[10] - 0.5)
    ss = 4 if size <= 64 else 2
    ground = Image.fromarray(np.clip(back, 0, 255).astype(np.uint8))
    image = ground.resize((size * ss, size * ss), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    half = size * ss / 2
    for t in s.things:
        colour = tuple(int(np.clip(c + 18 * j, 0, 255)) for c, j in zip(COLOURS[t.colour], t.jitter, strict=True))
        marks = Pen(colour, np.asarray(t.v))
        KINDS[t.name].draw(marks)
        a = np.radians(t.turn)
        scale = t.size * half
        turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) * scale
        turn = np.array([[-1.0 if t.flip else 1.0, 0], [0, t.stretch]]) @ turn
        offset = (half + t.x * half, half + t.y * half)
        counts = [len(p) for p, _ in marks.marks]
        points = np.concatenate([p for p, _ in marks.marks]) @ turn + offset
        flat, at = points.ravel().tolist(), 0
        for count, (_, fill) in zip(counts, marks.marks, strict=True):
            pen.polygon(flat[at : at + 2 * count], fill=fill)
            at += 2 * count
    return np.asarray(image.reduce(ss))


def pair_id(seed: int, index: int) -> str:
    """The id of the pair at (seed, index): the same wherever it occurs."""
    return f"scene-{seed}-{index}"


def captioned(seed: int, index: int, mismatched: float) -> str:
    """The caption that comes with the scene at (seed, index) in a web-like data set: its own, or, with probability
    `mismatched`, that of another scene of the same role."""
    u = _rng(seed, index, 7).random(2)
    if u[0] >= mismatched:
        return describe(seed, index)
    role = next(r for r in ROLES.values() if index in r)
    return describe(seed, role[int(u[1] * len(role))])


def draw_many(seed: int, indices: Sequence[int], size: int, workers: int = 1) -> np.ndarray:
    """The pictures of several scenes: uint8 (n, size, size, 3).

    Raises:
        UbtError: a process that draws has died.
    """
    out = np.empty((len(indices), size, size, 3), np.uint8)
    if workers == 1 or len(indices) <= 2000:
        for row, index in enumerate(indices):
            out[row] = draw(seed, index, size)
        return out
    starts = range(0, len(indices), 1000)
    try:
        with ProcessPoolExecutor(workers, get_context("spawn"), _live_with_parent, (os.getpid(),)) as pool:
            parts = [indices[i : i + 1000] for i in starts]
            drawn = pool.map(draw_many, repeat(seed), parts, repeat(size))
            for start, part in zip(starts, drawn, strict=True):
                out[start : start + len(part)] = part
    except BrokenProcessPool:
        why = "expected the processes that draw scenes to finish, but one was ended from outside (out of memory?); run again"
        raise UbtError(why) from None
    return out


def _live_with_parent(parent: int) -> None:
    """Leave Ctrl-C and SIGTERM to the parent process, and end when it does, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Drawn:
    """Pictures drawn when they are asked for: indexed like an array (n, size, size, 3), holding none. Lets any number
    of scenes be trained on or encoded without storing them.
    """

    def __init__(self, seed: int, indices: Sequence[int], size: int):
        self.seed, self.indices, self.size = seed, indices, size

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        chosen = self.indices[rows] if isinstance(rows, slice) else [self.indices[int(r)] for r in rows]
        return draw_many(self.seed, chosen, self.size)


def load_pairs(seed: int, role: str, count: int, size: int, mismatched: float = 0.0, workers: int = 1) -> Pairs:
    """`count` pairs of a role, from the start of its index range."""
    indices = ROLES[role][:count]
    captions = [captioned(seed, i, mismatched) for i in indices]
    return Pairs([pair_id(seed, i) for i in indices], draw_many(seed, indices, size, workers), captions)


def labelled(role: str, per_class: int) -> range:
    """The indices of a balanced zero-shot set of a role: so many of each class in turn."""
    first = -(-ROLES[role].start // len(CLASSES)) * len(CLASSES)
    return range(first, first + per_class * len(CLASSES))


def test_indices(count: int) -> range:
    """The indices of the first `count` images of the balanced test set, whatever its size."""
    first = labelled("test", 1).start
    return range(first, first + count)


def load_labelled(seed: int, role: str, per_class: int, size: int, workers: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A balanced zero-shot set with one main object an image: images (n, size, size, 3) and class indices (n,)."""
    indices = labelled(role, per_class)
    return draw_many(seed, indices, size, workers), np.arange(len(indices)) % len(CLASSES)


def load_retrieval(
    seed: int, count: int, size: int, captions: int = 5
) -> tuple[list[str], np.ndarray, list[list[str]]]:
    """A retrieval test set: ids, images (count, size, size, 3), and `captions` different true captions
    for each."""
    indices = ROLES["retrieval"][:count]
    texts = [list(islice(dict.fromkeys(describe(seed, i, j) for j in range(50)), captions)) for i in indices]
    return [pair_id(seed, i) for i in indices], draw_many(seed, indices, size), texts


def prompts() -> list[list[str]]:
    """The zero-shot prompts: for each class, every template."""
    return [[from_template(t, name) for t in TEMPLATES] for name in CLASSES]
