"""Marks that would lie on one another are moved apart, and each is labelled where it is, in pixels of a panel.

A panel is planned at the least width that it is drawn at: marks only get farther from each other on a wider one, while
labels keep their size and their place beside their marks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

MARK = 13.0
"""Pixels from the middle of a mark to that of its neighbour, at least."""
LETTER, LINE = 0.56, 1.35
"""Width of a letter and height of a line, in sizes of the type."""
FARTHEST = 14
"""Lines of text that a label is set off from its mark, at most."""
NEAR = 1.0
"""Lines of text beyond which a label needs a line to its mark."""
CLOSE = 5.0
"""Pixels within which a label seems to be that of a mark."""
CROSSED = 12
"""How many places farther off a label is put rather than across a line or close to another mark."""
_GRID = np.stack(np.meshgrid(np.arange(-6, 7), np.arange(-6, 7)), axis=-1).reshape(-1, 2).astype(float)
STEPS = _GRID[np.argsort(np.hypot(_GRID[:, 0], 1.6 * _GRID[:, 1]), kind="stable")][1:]
"""Where a mark may be moved to, in widths of a mark, the nearest first, and rather sideways."""


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels, from the left and from the top."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether they have a part in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def within(self, other: "Box") -> bool:
        """Whether it lies inside another."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.top <= self.top and self.bottom <= other.bottom


@dataclass(frozen=True)
class Label:
    """Where a label begins (`left`), ends (`right`) or has its middle (`center`): so many pixels to the right of its
    mark and below it; `far`: a line leads to the mark. `box`: what it covers.
    """

    right: float
    down: float
    anchor: str
    far: bool
    box: Box


def apart(places: np.ndarray, panel: Box) -> np.ndarray:
    """The places (n, 2) of marks in a panel, in their order; one that would lie on an earlier one is moved to the
    nearest that is free.
    """
    found: list[np.ndarray] = []
    for place in np.asarray(places, float):
        moved = [place, *(m for m in place + MARK * STEPS if _square(m).within(panel))]
        free = (m for m in moved if all(np.abs(m - other).max() >= MARK - 1e-6 for other in found))
        found.append(next(free, place))
    return np.array(found).reshape(-1, 2)


def _square(mark: np.ndarray, more: float = 0.0) -> Box:
    """What a mark covers, and so many pixels around it."""
    return Box(*mark - MARK / 2 - more, *mark + MARK / 2 + more)


def beside(
    marks: np.ndarray, texts: Sequence[str], panel: Box, taken: Sequence[Box], lines: Sequence[Box], size: float
) -> list[Label | None]:
    """A place for the label of each mark, as near as can be, on no mark and no other label; None where there is none.

    Args:
        marks: (n, 2) in pixels from the left and from the top. taken: what labels may not cover. lines: what they
            should not. size: of the type, in pixels.
    """
    covered, lines = [*taken, *map(_square, marks)], list(lines)
    found: dict[int, Label | None] = {}
    for n in sorted(range(len(texts)), key=lambda n: (-marks[n][0], marks[n][1])):
        wide = LETTER * size * len(texts[n]) + 4
        costs = {}
        for order, label in enumerate(_candidates(*marks[n], wide, size)):
            if label.box.within(panel) and not any(label.box.meets(other) for other in covered):
                lead = _lead(marks[n], label)
                crossed = sum(label.box.meets(line) for line in lines)
                crossed += sum(any(part.meets(other) for part in lead) for other in covered)
                crossed += sum(label.box.meets(_square(m, CLOSE)) for i, m in enumerate(marks) if i != n)
                costs[label] = order + CROSSED * crossed
        found[n] = best = min(costs, key=costs.get, default=None)
        if best:
            covered.append(best.box)
            lines += _lead(marks[n], best)
    return [found[n] for n in range(len(texts))]


def _lead(mark: np.ndarray, label: Label) -> list[Box]:
    """What the line from a label to its mark covers, from where the mark ends; nothing where there is none."""
    if not label.far:
        return []
    offset = np.array([label.right, label.down])
    first = MARK / np.hypot(*offset)
    points = (mark + offset * share for share in np.linspace(first, 1, 24))
    return [Box(*p - 0.5, *p + 0.5) for p in points]


def _candidates(x: float, y: float, wide: float, size: float) -> Iterator[Label]:
    """Places for a label of some width, the nearest first."""
    line, off = LINE * size, MARK / 2 + 3
    for step in range(FARTHEST + 1):
        for down in (0.0,) if step == 0 else (step * line, -step * line):
            for anchor, right in (("left", off), ("right", -off)):
                left = x + right - (wide if anchor == "right" else 0)
                yield Label(right, down, anchor, step > NEAR, _box(left, y + down, wide, line))
        if step == 1:
            for down in (-off - line / 2, off + line / 2):
                yield Label(0.0, down, "center", False, _box(x - wide / 2, y + down, wide, line))


def _box(left: float, middle: float, wide: float, high: float) -> Box:
    return Box(left, middle - high / 2, left + wide, middle + high / 2)
