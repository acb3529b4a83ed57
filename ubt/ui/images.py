"""D's images on the page: some rows, each one that can no longer be had as a placeholder, and said."""

from collections.abc import Sequence

import numpy as np
import streamlit as st
from PIL import Image, ImageDraw

from ubt.config import UbtError
from ubt.ui.case import View
from ubt.ui.guard import plain


def placeholder(side: int) -> np.ndarray:
    """What stands for an image that cannot be had: grey, crossed out; uint8 (side, side, 3)."""
    image = Image.new("RGB", (side, side), (128, 128, 128))
    draw, width = ImageDraw.Draw(image), max(1, side // 24)
    draw.line((0, 0, side, side), (90, 90, 90), width)
    draw.line((0, side, side, 0), (90, 90, 90), width)
    return np.asarray(image)


def some(view: View, rows: Sequence[int] | np.ndarray) -> np.ndarray | None:
    """Images of some rows of D, uint8 (n, H, W, 3); None for a case without images. One whose file has vanished or changed is a placeholder,
    and the page says so."""
    if not view.holds("data", "images"):
        return None
    images, rows = view.read("data", "images"), np.asarray(rows, int)
    try:
        return np.asarray(images[rows])
    except UbtError:
        found, why = np.repeat(placeholder(images.shape[1])[None], len(rows), axis=0), []
        for i, row in enumerate(rows.tolist()):
            try:
                found[i] = images[row]
            except UbtError as e:
                why.append(str(e))
        said = f"{len(why)} of these {len(rows)} images cannot be had any more" if len(rows) > 1 else "This image cannot be had any more"
        st.warning(f"{said}: {plain(why[0])}", icon=":material/broken_image:")
        return found
