"""Things to eat, drawn in the unit square."""

import numpy as np

from ubt.data.scenes.shapes import COLOURS, INK, Pen, arc, dark, light

LEAF, STEM, CREAM = COLOURS["green"], (104, 74, 44), (250, 236, 206)


def banana(p: Pen) -> None:
    bend = 0.5 + 0.25 * p.v[0]
    outer, inner = arc(0, -0.55, 0.92, 1.1, 15, 165, 18), arc(0, -0.55, 0.86, 1.1 - bend, 165, 15, 18)
    p.poly(np.concatenate([outer, inner]), dark(p.c))
    p.poly(np.concatenate([arc(0, -0.57, 0.84, 1.02, 18, 162, 18), arc(0, -0.57, 0.86, 1.16 - bend, 162, 18, 18)]), p.c)
    shade = light(p.c, 0.3) if p.v[1] > 0.5 else dark(p.c, 0.25)
    p.line(arc(0, -0.5, 0.8, 0.82 - 0.2 * p.v[0], 30, 150, 12), 0.06, shade)
    p.line([[0.86, -0.2], [0.98, -0.5]], 0.16, STEM)
    p.oval(-0.9, -0.22, 0.09, 0.09, INK)


def apple(p: Pen) -> None:
    p.oval(-0.3, 0.16, 0.58, 0.72, dark(p.c))
    p.oval(0.3, 0.16, 0.58, 0.72, dark(p.c))
    p.oval(-0.28, 0.16, 0.52, 0.64, p.c)
    p.oval(0.28, 0.16, 0.52, 0.64, p.c)
    p.oval(-0.42, -0.14, 0.15, 0.22, light(p.c), 20)
    p.line(arc(0.25, -0.5, 0.25, 0.45, 180, 245, 6), 0.11, STEM)
    p.oval(0.36, -0.72, 0.3, 0.13, LEAF, -25)


def strawberry(p: Pen) -> None:
    left, right = arc(-0.36, -0.2, 0.38, 0.42, 180, 290), arc(0.36, -0.2, 0.38, 0.42, 250, 360)
    p.blob(np.concatenate([left, right, [[0.5, 0.35], [0, 0.95], [-0.5, 0.35]]]), p.c)
    for x, y in ((-0.4, -0.1), (0, -0.05), (0.4, -0.1), (-0.22, 0.25), (0.22, 0.25), (0, 0.55)):
        p.oval(x, y, 0.05, 0.08, (252, 226, 120))
    for a in (-60, -20, 20, 60):
        p.oval(np.sin(np.radians(a)) * 0.35, -0.62, 0.32, 0.12, LEAF, a * 0.6)
    p.line([[0, -0.62], [0.05, -0.95]], 0.1, STEM)


def cherry(p: Pen) -> None:
    p.line(arc(0.5, 0.35, 0.95, 1.2, 185, 245, 8), 0.08, LEAF)
    p.line(arc(-0.4, 0.35, 0.95, 1.2, 295, 355, 8), 0.08, LEAF)
    p.oval(0.35, -0.75, 0.42, 0.17, LEAF, -18)
    p.ball(-0.45, 0.5, 0.42, 0.42, p.c)
    p.ball(0.5, 0.45, 0.42, 0.42, p.c)


def grapes(p: Pen) -> None:
    p.line([[0, -0.6], [0.06, -0.98]], 0.12, STEM)
    p.oval(0.3, -0.8, 0.36, 0.18, LEAF, -15)
    for row, y in enumerate((-0.48, -0.16, 0.16, 0.48, 0.78)):
        n = (4, 3, 4, 2, 1)[row] if p.v[0] > 0.5 else (3, 4, 3, 2, 1)[row]
        for i in range(n):
            p.ball((i - (n - 1) / 2) * 0.38, y, 0.23, 0.23, p.c, edge=0.05)


def pineapple(p: Pen) -> None:
    for a, h in ((-45, 0.5), (45, 0.5), (-22, 0.7), (22, 0.7), (0, 0.8)):
        p.oval(np.sin(np.radians(a)) * 0.4, -0.5, 0.12, h * 0.7, dark(LEAF, 0.2) if a else LEAF, a)
    p.oval(0, 0.35, 0.5, 0.64, dark(p.c))
    p.oval(0, 0.35, 0.45, 0.58, p.c)
    for s in (-0.4, 0, 0.4):
        p.line([[-0.36, 0.35 + s * 0.7 - 0.25], [0.36, 0.35 + s * 0.7 + 0.25]], 0.05, dark(p.c, 0.4))
        p.line([[-0.36, 0.35 + s * 0.7 + 0.25], [0.36, 0.35 + s * 0.7 - 0.25]], 0.05, dark(p.c, 0.4))


def watermelon(p: Pen) -> None:
    p.poly(arc(0, -0.4, 0.98, 1.15, 0, 180, 22), dark(LEAF, 0.3))
    p.poly(arc(0, -0.4, 0.86, 1.02, 0, 180, 22), light(LEAF, 0.7))
    p.poly(arc(0, -0.4, 0.78, 0.92, 0, 180, 22), p.c)
    for x, y in ((-0.45, -0.2), (0, -0.15), (0.45, -0.2), (-0.22, 0.12), (0.22, 0.12)):
        p.oval(x, y, 0.05, 0.09, INK)


def carrot(p: Pen) -> None:
    for a in (-30, 0, 30):
        p.oval(np.sin(np.radians(a)) * 0.3, -0.72, 0.1, 0.3, LEAF, a)
    p.blob(np.concatenate([arc(0, -0.35, 0.36, 0.2, 180, 360), [[0.16, 0.5], [0, 0.98], [-0.16, 0.5]]]), p.c)
    for y, x in ((-0.2, -0.1), (0.1, 0.1), (0.4, -0.02)):
        p.line([[x - 0.12, y], [x + 0.12, y + 0.04]], 0.05, dark(p.c))


def mushroom(p: Pen) -> None:
    p.blob([[-0.24, 0], [0.24, 0], [0.32, 0.9], [-0.32, 0.9]], CREAM)
    p.poly(arc(0, 0.12, 0.92, 0.98, 180, 360, 18), dark(p.c))
    p.poly(arc(0, 0.06, 0.84, 0.86, 180, 360, 18), p.c)
    for x, y, r in ((-0.45, -0.2, 0.13), (0.05, -0.48, 0.16), (0.48, -0.16, 0.12)):
        p.oval(x, y, r, r, (252, 248, 240))


def pizza(p: Pen) -> None:
    p.poly([[0, 0.95], [-0.85, -0.6], [0.85, -0.6]], (244, 196, 84))
    p.line([[-0.9, -0.62], [0, -0.78], [0.9, -0.62]], 0.28, (184, 118, 56))
    for x, y, r in ((-0.35, -0.3, 0.17), (0.32, -0.25, 0.17), (0.0, 0.2, 0.16)):
        p.oval(x, y, r, r, p.c)
    p.oval(-0.02, -0.42, 0.12, 0.06, LEAF, 30)


def donut(p: Pen) -> None:
    p.oval(0, 0, 0.92, 0.92, (156, 100, 54))
    p.oval(0, -0.04, 0.8, 0.78, p.c)
    for i, a in enumerate(np.arange(0, 360, 40) + 40 * p.v[0]):
        x, y = 0.56 * np.cos(np.radians(a)), 0.56 * np.sin(np.radians(a))
        p.oval(x, y, 0.09, 0.04, (COLOURS["yellow"], COLOURS["blue"], COLOURS["white"])[i % 3], a * 2)
    p.oval(0, 0, 0.34, 0.34, (156, 100, 54))
    p.oval(0, 0.02, 0.26, 0.26, (244, 240, 232))


def ice_cream(p: Pen) -> None:
    p.blob([[-0.46, 0.05], [0.46, 0.05], [0, 0.98]], (220, 164, 92))
    p.line([[-0.3, 0.1], [0.12, 0.6]], 0.04, (168, 112, 56))
    p.line([[0.3, 0.1], [-0.12, 0.6]], 0.04, (168, 112, 56))
    p.ball(0, -0.22, 0.54, 0.42, p.c)
    if p.v[0] > 0.4:
        p.ball(0, -0.66, 0.38, 0.34, light(p.c, 0.4) if p.v[1] > 0.5 else CREAM)


def cupcake(p: Pen) -> None:
    p.blob([[-0.62, 0.15], [0.62, 0.15], [0.42, 0.92], [-0.42, 0.92]], (150, 104, 150))
    for x in (-0.3, 0, 0.3):
        p.line([[x * 1.3, 0.2], [x, 0.88]], 0.05, (110, 70, 112))
    p.oval(0, 0.08, 0.78, 0.3, dark(p.c, 0.2))
    p.oval(0, 0.02, 0.74, 0.28, p.c)
    p.oval(0, -0.28, 0.54, 0.25, light(p.c, 0.25))
    p.oval(0, -0.52, 0.32, 0.2, p.c)
    p.oval(0, -0.76, 0.14, 0.14, COLOURS["red"])


def egg(p: Pen) -> None:
    p.poly(np.concatenate([arc(-0.15, 0.05, 0.8, 0.72, 20, 200), arc(0.1, -0.1, 0.82, 0.7, 190, 370)]), (206, 206, 200))
    left, right = arc(-0.15, 0.04, 0.74, 0.66, 20, 200), arc(0.1, -0.1, 0.76, 0.64, 190, 370)
    p.poly(np.concatenate([left, right]), (252, 252, 248))
    p.ball(-0.02, -0.05, 0.36, 0.34, p.c, edge=0.05)
