"""D's images on the page; an image that can no longer be read is a placeholder, and the page says so."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from ubt.data.images import tried
from ubt.ui.errors import plain
from ubt.ui.view import View


def some(view: View, rows: Sequence[int] | np.ndarray) -> np.ndarray | None:
    """Images of some rows of D, uint8 (n, H, W, 3); None for a case without images. One whose file has vanished or
    changed is a placeholder, and the page says so.
    """
    if not view.holds("data", "images"):
        return None
    found, why = tried(view.read("data", "images"), rows)
    if why:
        text = (
            f"{len(why)} of these {len(rows)} images can no longer be read"
            if len(rows) > 1
            else "This image can no longer be read"
        )
        st.warning(f"{text}: {plain(why[0])}", icon=":material/broken_image:")
    return found
