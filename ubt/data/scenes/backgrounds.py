"""Textured backgrounds. Each is a function of a pixel grid (x, y in [0, 1]) to RGB, so it can be drawn at any size."""

import numpy as np

Grid = np.ndarray


def _blend(t: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a + (b - a) * t[..., None]


def _soft(wave: np.ndarray, edge: float) -> np.ndarray:
    """A wave in [-1, 1] turned into stripes in [0, 1] with anti-aliased edges `edge` wide."""
    return np.clip(wave / edge + 0.5, 0, 1)


def _noise(x: Grid, y: Grid, v: np.ndarray, scale: float) -> np.ndarray:
    """Smooth noise in about [0, 1]: a few plane waves with directions and phases taken from `v`."""
    total = 0.0
    for i in range(5):
        a, f = 2.4 * i + 6.28 * v[0], scale * (1 + 0.37 * i)
        total = total + np.sin(f * (x * np.cos(a) + y * np.sin(a)) + 6.28 * v[1] * (i + 1)) / (1 + 0.3 * i)
    return 0.5 + total / 7


def plain(x, y, v, a, b):
    return _blend((x * np.cos(6.28 * v[0]) + y * np.sin(6.28 * v[0]) + 1) / 3, a, a * 0.7 + b * 0.3)


def stripes(x, y, v, a, b):
    turn = np.pi * v[0]
    n = 3 + int(4 * v[1])
    return _blend(_soft(np.sin(2 * np.pi * n * (x * np.cos(turn) + y * np.sin(turn))), 0.8), a, b)


def checks(x, y, v, a, b):
    n = 3 + int(3 * v[1])
    return _blend(_soft(np.sin(np.pi * n * x + v[0]) * np.sin(np.pi * n * y + v[2]), 0.35), a, b)


def dots(x, y, v, a, b):
    n = 4 + int(3 * v[1])
    d = np.hypot((x * n + v[0]) % 1 - 0.5, (y * n + v[2]) % 1 - 0.5)
    return _blend(_soft(0.28 - d, 0.2), a, b)


def bricks(x, y, v, a, b):
    a, b = np.array([176.0, 104, 84]) * (0.85 + 0.25 * v[0]), np.array([214.0, 204, 192])
    row = np.floor(y * 6 + v[1])
    gap = np.minimum(np.abs((y * 6 + v[1]) % 1 - 0.5), 9)
    gap_x = np.abs((x * 3 + 0.5 * (row % 2) + v[2]) % 1 - 0.5)
    tone = 1 + 0.12 * np.sin(row * 3.7 + np.floor(x * 3 + 0.5 * (row % 2) + v[2]) * 5.1)
    mortar = np.clip(np.maximum((gap - 0.4) / 0.08, (gap_x - 0.45) / 0.04), 0, 1)
    return _blend(mortar, a * tone[..., None], b)


def wood(x, y, v, a, b):
    a, b = np.array([196.0, 150, 100]) * (0.85 + 0.2 * v[0]), np.array([150.0, 104, 62])
    grain = np.sin(30 * y + 3 * np.sin(3 * x + 6.28 * v[1]) + 5 * v[2])
    return _blend(0.25 + 0.25 * grain + 0.3 * ((y * 4 + v[2]) % 1 < 0.06), a, b)


def grass(x, y, v, a, b):
    a, b = np.array([124.0, 176, 92]) * (0.85 + 0.2 * v[0]), np.array([74.0, 128, 58])
    blades, wind = np.sin(60 * x + 9 * np.sin(17 * y + 6 * v[1])), np.sin(23 * y + 4 * np.sin(11 * x + 6 * v[2]))
    return _blend(0.5 + 0.5 * blades * wind, a, b)


def sand(x, y, v, a, b):
    a, b = np.array([236.0, 212, 164]), np.array([206.0, 176, 122])
    ripples, grains = np.sin(22 * y + 2.5 * np.sin(5 * x + 6.28 * v[0])), np.sin(71 * x + 53 * y + 6 * v[1])
    return _blend(0.35 + 0.3 * ripples + 0.2 * grains, a, b)


def meadow(x, y, v, a, b):
    sky, land = np.array([170.0, 206, 238]), np.array([134.0, 180, 104])
    line = 0.5 + 0.2 * v[0] + 0.06 * np.sin(5 * x + 6.28 * v[1])
    sky = _blend(y, sky, np.array([236.0, 244, 250]))
    return sky + (land * (1.1 - 0.3 * y[..., None]) - sky) * np.clip((y - line) / 0.04 + 0.5, 0, 1)[..., None]


def water(x, y, v, a, b):
    a, b = np.array([112.0, 174, 214]), np.array([188.0, 224, 240])
    return _blend(_soft(np.sin(26 * y + 2 * np.sin(9 * x + 6.28 * v[0]) + 6 * v[1]) - 0.5, 1.2), a, b)


def night(x, y, v, a, b):
    base = _blend(y, np.array([26.0, 30, 66]), np.array([72.0, 64, 120]))
    n = 7
    cx, cy = np.floor(x * n), np.floor(y * n)
    ox = (np.sin(cx * 12.9 + cy * 78.2 + 9 * v[0]) * 43.7) % 1
    oy = (np.sin(cx * 39.3 + cy * 11.1 + 9 * v[1]) * 24.6) % 1
    spark = np.clip(1 - np.hypot((x * n) % 1 - 0.2 - 0.6 * ox, (y * n) % 1 - 0.2 - 0.6 * oy) / 0.16, 0, 1)
    return base + (np.array([255.0, 250, 220]) - base) * spark[..., None]


def marble(x, y, v, a, b):
    veins = np.abs(np.sin(6 * (_noise(x, y, v, 6) + 0.6 * x)))
    return _blend(np.clip(1 - veins, 0, 1) ** 2, np.array([240.0, 238, 236]), np.array([150.0, 152, 162]))


_DRAWN = {
    f.__name__: f for f in (plain, stripes, checks, dots, bricks, wood, grass, sand, meadow, water, night, marble)
}


def draw_background(kind: str, v: np.ndarray, a: np.ndarray, b: np.ndarray, size: int) -> np.ndarray:
    """The background drawn by the function named `kind`, float RGB, shape (size, size, 3), 0 to 255; `v` three numbers
    in [0, 1], `a` and `b` colours.
    """
    c = (np.arange(size) + 0.5) / size
    y, x = np.meshgrid(c, c, indexing="ij")
    return np.clip(_DRAWN[kind](x, y, v, a, b), 0, 255)
