"""The pen that objects are drawn with: every mark is a filled polygon in the unit square [-1, 1] x [-1, 1].

x grows to the right, y downwards. Because a mark is only points and a colour, an object can be turned, stretched,
flipped and drawn at any size.
"""

import itertools

import numpy as np

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (214, 46, 44),
    "orange": (240, 138, 36),
    "yellow": (246, 208, 52),
    "green": (72, 158, 68),
    "blue": (48, 104, 200),
    "purple": (134, 74, 168),
    "pink": (240, 132, 172),
    "brown": (134, 86, 50),
    "black": (44, 44, 50),
    "white": (244, 244, 240),
    "grey": (140, 144, 150),
    "teal": (36, 152, 150),
}
INK = (40, 36, 40)
_TURN = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """Colour a fraction `t` of the way from `a` to `b`."""
    return tuple(int(x + (y - x) * t) for x, y in zip(a, b, strict=True))


def dark(c: Colour, t: float = 0.35) -> Colour:
    """A colour mixed with near-black, by the share `t`."""
    return mix(c, (20, 16, 24), t)


def light(c: Colour, t: float = 0.45) -> Colour:
    """A colour mixed with white, by the share `t`."""
    return mix(c, (255, 255, 255), t)


def arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float, n: int = 14) -> np.ndarray:
    """Points (n, 2) along an ellipse from angle `start` to `end`, in degrees, clockwise from 3 o'clock."""
    t = np.radians(np.linspace(start, end, n))
    return np.stack([cx + rx * np.cos(t), cy + ry * np.sin(t)], 1)


def mirrored(*half: list[float]) -> list[list[float]]:
    """An outline, (2 n, 2), whose other half are these points, (n, 2), mirrored from left to right."""
    return [*half, *([-x, y] for x, y in reversed(half))]


class Pen:
    """Collects the polygons of one object. `v` holds four numbers in [0, 1] that vary its shape, `c` its main
    colour.
    """

    def __init__(self, c: Colour, v: np.ndarray):
        self.c, self.v = c, v
        self.marks: list[tuple[np.ndarray, Colour]] = []

    def poly(self, points, colour: Colour) -> None:
        """A filled polygon of these points, (corners, 2)."""
        self.marks.append((np.asarray(points, float), colour))

    def oval(self, cx: float, cy: float, rx: float, ry: float, colour: Colour, turn: float = 0) -> None:
        """A filled ellipse around (cx, cy), turned by `turn` degrees."""
        p = _CIRCLE * (rx, ry)
        if turn:
            a = np.radians(turn)
            p = p @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
        self.marks.append((p + (cx, cy), colour))

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """A filled rectangle."""
        self.marks.append((np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float), colour))

    def line(self, points, width: float, colour: Colour) -> None:
        """A thick line through `points`: its outline is the points moved to both sides along the local normal."""
        p = np.asarray(points, float)
        d = np.gradient(p, axis=0)
        n = np.stack([-d[:, 1], d[:, 0]], 1) / (np.hypot(d[:, 0], d[:, 1])[:, None] + 1e-9) * (width / 2)
        self.marks.append((np.concatenate([p + n, (p - n)[::-1]]), colour))

    def path(self, points, width: float, colour: Colour) -> None:
        """Straight segments between `points`, each a line of its own (for sharp corners)."""
        for a, b in itertools.pairwise(points):
            self.line([a, b], width, colour)

    def blob(self, points, colour: Colour, edge: float = 0.06) -> None:
        """A filled polygon with a darker edge."""
        p = np.asarray(points, float)
        self.marks.append((p, dark(colour)))
        centre = p.mean(0)
        self.marks.append((centre + (p - centre) * (1 - 2 * edge), colour))

    def ball(
        self, cx: float, cy: float, rx: float, ry: float, colour: Colour, turn: float = 0, edge: float = 0.08
    ) -> None:
        """An oval with a darker edge and a soft highlight."""
        self.oval(cx, cy, rx, ry, dark(colour), turn)
        self.oval(cx, cy, rx - edge, ry - edge, colour, turn)
        self.oval(cx - rx * 0.35, cy - ry * 0.38, rx * 0.26, ry * 0.2, light(colour), turn - 25)

    def eye(self, x: float, y: float, r: float = 0.09) -> None:
        """An eye of radius `r`."""
        self.oval(x, y, r, r, (250, 250, 250))
        self.oval(x + r * 0.2, y, r * 0.6, r * 0.6, INK)
