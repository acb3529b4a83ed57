"""A contact sheet of triggered images, to save."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE, GAP, LINE = 192, 12, 18


def sheet(rows: Sequence[Sequence[np.ndarray]], columns: Sequence[str], captions: Sequence[str], title: str) -> bytes:
    """A PNG: a row an image, a column a version of it, the captions beneath each row.

    Args:
        rows: of each image its versions, uint8 (H, W, 3), one for each of `columns`.
    """
    font = ImageFont.load_default(13)
    step = SIDE + GAP
    picture = Image.new("RGB", (GAP + len(columns) * step, 2 * (LINE + GAP) + len(rows) * (step + 2 * LINE)), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((GAP, GAP), _lines(title, font, picture.width - 2 * GAP)[0], "black", font)
    for x, name in enumerate(columns):
        pen.text((GAP + x * step, GAP + LINE), name, "#555555", font)
    for y, (versions, caption) in enumerate(zip(rows, captions, strict=True)):
        top = 2 * (LINE + GAP) + y * (step + 2 * LINE)
        for x, image in enumerate(versions):
            resized = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            picture.paste(resized, (GAP + x * step, top))
        for n, line in enumerate(_lines(caption, font, len(columns) * step - GAP)[:2]):
            pen.text((GAP, top + SIDE + 2 + n * LINE), line, "black", font)
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _lines(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines = [""]
    for word in text.replace("→", "->").encode("ascii", "replace").decode().split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if font.getlength(longer) <= width else [*lines, word]
    return lines
