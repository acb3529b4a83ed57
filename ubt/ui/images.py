"""D's images on the page: some rows, each one that can no longer be had as a placeholder, and said."""

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
        said = (
            f"{len(why)} of these {len(rows)} images cannot be had any more"
            if len(rows) > 1
            else "This image cannot be had any more"
        )
        st.warning(f"{said}: {plain(why[0])}", icon=":material/broken_image:")
    return found
