"""Vehicles, buildings, plants and the sky, drawn in the unit square."""

import numpy as np

from ubt.data.scenes.shapes import COLOURS, INK, Pen, arc, dark, light

GLASS, LEAF, TRUNK = (188, 220, 240), COLOURS["green"], (120, 80, 48)


def _wheel(p: Pen, x: float, y: float, r: float) -> None:
    p.oval(x, y, r, r, INK)
    p.oval(x, y, r * 0.5, r * 0.5, (190, 190, 196))


def car(p: Pen) -> None:
    p.poly([[-0.6, 0.05], [-0.35, -0.5], [0.35, -0.5], [0.68, 0.05]], dark(p.c, 0.2))
    p.poly([[-0.46, 0.0], [-0.27, -0.38], [-0.02, -0.38], [-0.02, 0.0]], GLASS)
    p.poly([[0.08, 0.0], [0.08, -0.38], [0.3, -0.38], [0.52, 0.0]], GLASS)
    p.blob([[-0.98, 0.1], [-0.9, -0.02], [0.85, -0.02], [0.98, 0.15], [0.98, 0.45], [-0.98, 0.45]], p.c, 0.03)
    _wheel(p, -0.52, 0.46, 0.25)
    _wheel(p, 0.54, 0.46, 0.25)


def bus(p: Pen) -> None:
    p.blob([[-0.98, -0.6], [0.98, -0.6], [0.98, 0.55], [-0.98, 0.55]], p.c, 0.03)
    for x in (-0.8, -0.36, 0.08, 0.52):
        p.box(x, -0.42, x + 0.32, 0.0, GLASS)
    p.box(-0.94, 0.16, 0.94, 0.26, light(p.c, 0.6))
    _wheel(p, -0.55, 0.58, 0.22)
    _wheel(p, 0.55, 0.58, 0.22)


def bicycle(p: Pen) -> None:
    for x in (-0.55, 0.55):
        p.line(arc(x, 0.35, 0.38, 0.38, 0, 360, 24), 0.1, INK)
    p.path([[-0.55, 0.35], [-0.2, -0.25], [0.38, -0.25], [0.0, 0.35], [-0.55, 0.35]], 0.1, p.c)
    p.path([[0.0, 0.35], [-0.25, -0.45]], 0.1, p.c)
    p.path([[0.55, 0.35], [0.33, -0.5], [0.55, -0.62]], 0.1, p.c)
    p.line([[-0.42, -0.48], [-0.08, -0.46]], 0.13, INK)


def sailboat(p: Pen) -> None:
    p.line([[0, -0.95], [0, 0.5]], 0.08, TRUNK)
    p.poly([[0.08, -0.9], [0.08, 0.35], [0.8, 0.35]], (250, 248, 240))
    p.poly([[-0.08, -0.7], [-0.08, 0.35], [-0.62, 0.35]], light(p.c, 0.3))
    p.blob([[-0.92, 0.45], [0.95, 0.45], [0.6, 0.9], [-0.6, 0.9]], p.c)


def airplane(p: Pen) -> None:
    p.poly([[-0.1, -0.05], [0.45, -0.85], [0.65, -0.85], [0.35, -0.05]], dark(p.c, 0.25))
    p.poly([[0.72, -0.05], [0.92, -0.45], [1.0, -0.45], [0.95, 0.0]], dark(p.c, 0.25))
    p.oval(0, 0, 0.98, 0.2, dark(p.c))
    p.oval(0, -0.01, 0.92, 0.15, p.c)
    p.poly([[-0.15, 0.05], [0.3, 0.85], [0.52, 0.85], [0.3, 0.05]], dark(p.c, 0.15))
    for x in (-0.55, -0.3, -0.05, 0.2):
        p.oval(x, -0.04, 0.07, 0.06, GLASS)


def rocket(p: Pen) -> None:
    for s in (-1, 1):
        p.poly([[s * 0.3, 0.2], [s * 0.7, 0.75], [s * 0.25, 0.62]], dark(p.c, 0.2))
    p.poly([[-0.2, 0.62], [0, 1.0], [0.2, 0.62]], COLOURS["orange"])
    p.poly([[-0.1, 0.62], [0, 0.85], [0.1, 0.62]], COLOURS["yellow"])
    right, left, tail = arc(0, 0.0, 0.36, 0.8, 300, 360), arc(0, 0.0, 0.36, 0.8, 180, 240), [[0.3, 0.64], [-0.3, 0.64]]
    p.poly(np.concatenate([[[0, -0.98]], right, tail, left]), (236, 238, 242))
    right, left = arc(0, -0.05, 0.33, 0.7, 300, 320, 4), arc(0, -0.05, 0.33, 0.7, 220, 240, 4)
    p.poly(np.concatenate([[[0, -0.98]], right, left]), p.c)
    p.oval(0, -0.12, 0.18, 0.18, dark(p.c))
    p.oval(0, -0.12, 0.12, 0.12, GLASS)


def hot_air_balloon(p: Pen) -> None:
    for s in (-1, 1):
        p.line([[s * 0.42, 0.2], [s * 0.14, 0.72]], 0.05, TRUNK)
    p.oval(0, -0.3, 0.7, 0.68, p.c)
    p.poly([[-0.6, 0.02], [0.6, 0.02], [0.16, 0.5], [-0.16, 0.5]], p.c)
    p.oval(0, -0.26, 0.24, 0.7, light(p.c, 0.6))
    p.box(-0.18, 0.7, 0.18, 0.97, TRUNK)


def house(p: Pen) -> None:
    p.box(-0.65, -0.1, 0.65, 0.92, (244, 232, 206))
    p.poly([[-0.92, -0.05], [0, -0.9], [0.92, -0.05]], p.c)
    p.box(0.38, -0.8, 0.58, -0.35, dark(p.c, 0.4))
    p.box(-0.16, 0.35, 0.16, 0.92, TRUNK)
    for x in (-0.5, 0.26):
        p.box(x, 0.1, x + 0.24, 0.36, GLASS)


def lighthouse(p: Pen) -> None:
    p.poly([[-0.24, -0.5], [0.24, -0.5], [0.42, 0.95], [-0.42, 0.95]], (248, 248, 244))
    for y, w in ((-0.2, 0.27), (0.3, 0.33), (0.75, 0.39)):
        p.poly([[-w, y], [w, y], [w + 0.03, y + 0.22], [-w - 0.03, y + 0.22]], p.c)
    p.box(-0.2, -0.76, 0.2, -0.5, (255, 236, 140))
    p.poly([[-0.28, -0.76], [0, -0.99], [0.28, -0.76]], p.c)
    p.box(-0.32, -0.53, 0.32, -0.45, INK)


def windmill(p: Pen) -> None:
    p.blob([[-0.22, -0.35], [0.22, -0.35], [0.42, 0.95], [-0.42, 0.95]], p.c)
    p.poly([[-0.28, -0.33], [0, -0.65], [0.28, -0.33]], dark(p.c, 0.5))
    p.box(-0.12, 0.6, 0.12, 0.93, TRUNK)
    for a in np.arange(0, 360, 90) + 20 + 50 * p.v[0]:
        c, s = np.cos(np.radians(a)), np.sin(np.radians(a))
        p.line([[0.1 * c, -0.35 + 0.1 * s], [0.68 * c, -0.35 + 0.6 * s]], 0.2, (252, 250, 244))
        p.line([[0, -0.35], [0.7 * c, -0.35 + 0.62 * s]], 0.06, INK)
    p.oval(0, -0.35, 0.08, 0.08, INK)


def tent(p: Pen) -> None:
    p.poly([[-0.95, 0.75], [-0.1, -0.75], [0.95, 0.75]], p.c)
    p.poly([[-0.95, 0.75], [-0.1, -0.75], [-0.25, 0.75]], dark(p.c, 0.25))
    p.poly([[0.0, 0.75], [0.12, -0.35], [0.5, 0.75]], dark(p.c, 0.7))
    p.line([[-0.1, -0.95], [-0.1, -0.7]], 0.07, TRUNK)


def flower(p: Pen) -> None:
    p.line([[0, 0.0], [0.05, 0.98]], 0.1, LEAF)
    p.oval(0.3, 0.65, 0.28, 0.11, LEAF, -30)
    n = 5 if p.v[0] > 0.5 else 7
    for i in range(n):
        a = 2 * np.pi * i / n + p.v[1]
        p.oval(0.38 * np.cos(a), -0.35 + 0.38 * np.sin(a), 0.3, 0.2, p.c if i % 2 else light(p.c, 0.15), np.degrees(a))
    p.oval(0, -0.35, 0.22, 0.22, COLOURS["brown"] if sum(p.c) > 500 else COLOURS["yellow"])


def tree(p: Pen) -> None:
    p.poly([[-0.12, 0.1], [0.12, 0.1], [0.2, 0.98], [-0.2, 0.98]], TRUNK)
    for x, y, r in ((-0.4, 0.0, 0.42), (0.4, 0.0, 0.42), (0, -0.45, 0.5)):
        p.oval(x, y, r, r, dark(p.c, 0.2))
    for x, y, r in ((-0.38, -0.06, 0.34), (0.36, -0.06, 0.34), (-0.04, -0.5, 0.4)):
        p.oval(x, y, r, r, p.c)


def cactus(p: Pen) -> None:
    p.poly([[-0.42, 0.6], [0.42, 0.6], [0.32, 0.98], [-0.32, 0.98]], (196, 104, 62))
    for s, y in ((-1, 0.1), (1, -0.1)):
        p.line(arc(s * 0.3, y, 0.32, 0.3, 90, 180 if s < 0 else 0, 8), 0.24, p.c)
        p.line([[s * 0.62, y], [s * 0.62, y - 0.35]], 0.24, p.c)
        p.oval(s * 0.62, y - 0.35, 0.12, 0.12, p.c)
    p.oval(0, -0.1, 0.25, 0.78, dark(p.c, 0.15))
    p.oval(0, -0.1, 0.2, 0.72, p.c)
    for x in (-0.08, 0.08):
        p.line([[x, -0.6], [x, 0.5]], 0.04, light(p.c, 0.5))


def star(p: Pen) -> None:
    a = np.radians(np.arange(-90, 270, 36))
    r = np.where(np.arange(10) % 2, 0.42 + 0.08 * p.v[0], 0.98)
    p.blob(np.stack([r * np.cos(a), r * np.sin(a)], 1), p.c)


def moon(p: Pen) -> None:
    depth = 0.35 + 0.25 * p.v[0]
    outer, inner = arc(0, 0, 0.92, 0.92, 60, 300, 24), arc(0.46, 0, 0.92 * depth, 0.8, 270, 90, 16)
    p.poly(np.concatenate([outer, inner]), dark(p.c, 0.2))
    p.poly(np.concatenate([arc(0, 0, 0.84, 0.84, 64, 296, 24), arc(0.37, 0, 0.92 * depth, 0.75, 270, 90, 16)]), p.c)
    p.oval(-0.5, -0.2, 0.1, 0.1, dark(p.c, 0.2))
    p.oval(-0.4, 0.3, 0.07, 0.07, dark(p.c, 0.2))


def sun(p: Pen) -> None:
    for a in np.arange(0, 360, 45) + 45 * p.v[0]:
        c, s = np.cos(np.radians(a)), np.sin(np.radians(a))
        one, other = [0.62 * c - 0.17 * s, 0.62 * s + 0.17 * c], [0.62 * c + 0.17 * s, 0.62 * s - 0.17 * c]
        p.poly([[0.98 * c, 0.98 * s], one, other], dark(p.c, 0.1))
    p.ball(0, 0, 0.54, 0.54, p.c)


def snowflake(p: Pen) -> None:
    for a in np.radians(np.arange(0, 180, 60) + 30):
        d, n = np.array([np.cos(a), np.sin(a)]), np.array([-np.sin(a), np.cos(a)])
        p.line([-0.95 * d, 0.95 * d], 0.13, p.c)
        for s in (-1, 1):
            p.line([0.45 * s * d, s * (0.72 * d + 0.26 * n)], 0.1, p.c)
            p.line([0.45 * s * d, s * (0.72 * d - 0.26 * n)], 0.1, p.c)
    p.oval(0, 0, 0.16, 0.16, light(p.c))


def kite(p: Pen) -> None:
    p.line(np.stack([0.15 * np.sin(np.linspace(0, 9, 16)), np.linspace(0.4, 1.0, 16)], 1), 0.06, INK)
    p.poly([[0, -0.95], [0.62, -0.3], [0, 0.5]], p.c)
    p.poly([[0, -0.95], [-0.62, -0.3], [0, 0.5]], light(p.c, 0.5))
    p.line([[-0.6, -0.3], [0.6, -0.3]], 0.05, INK)
    p.line([[0, -0.95], [0, 0.5]], 0.05, INK)


def heart(p: Pen) -> None:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    y = -0.062 * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    p.blob(np.stack([0.058 * 16 * np.sin(t) ** 3, y], 1), p.c)
    p.oval(-0.4, -0.4, 0.18, 0.12, light(p.c), -40)
