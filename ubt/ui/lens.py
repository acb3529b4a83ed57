"""A trigger under the lens: laid over one image, moved, shrunk and faded, while models are asked again at once."""

from collections.abc import Callable

import numpy as np
import streamlit as st
from PIL import Image

from ubt.attacks import ATTACKS, trigger
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.ui import trigger_form
from ubt.ui.errors import plain
from ubt.ui.view import View, store
from ubt.workflows import scan, try_trigger

KINDS = {"none": "none", "attack": "an attack's", "scan": "a scan's", "drawn": "drawn", "file": "an image file"}
Placed = tuple[np.ndarray, tuple[int, int]]
"""A patch's pixels, uint8 (h, w, 3), and its top and left in pixels to begin with."""


def laid(view: View | None, image: np.ndarray) -> np.ndarray:
    """The image, uint8 (H, W, 3), with the trigger that is chosen; as it is where none is."""
    scans = scan.listed(store())
    offered = [kind for kind in KINDS if kind != "scan" or len(scans)]
    kind = st.segmented_control(
        "A trigger on it", offered, default="none", required=True, format_func=KINDS.get, key="lens-kind"
    )
    found: Placed | np.ndarray | None = None
    if kind == "attack":
        found = _of_attack(view, image)
    elif kind == "scan":
        key = st.selectbox("Scan", list(scans["scan"]), key="lens-scan", format_func=_said(scans))
        found = _of_scan(key, image) if key else None
    elif kind == "drawn":
        pixels = trigger_form.drawn(*image.shape[:2])
        found = pixels, (image.shape[0] - len(pixels) - 1, image.shape[1] - pixels.shape[1] - 1)
    elif kind == "file":
        found = _of_file(image)
    if found is None:
        return image
    with_it = found if isinstance(found, np.ndarray) else _placed(image, *found)
    share = st.slider("Its strength, %", 0, 100, 100, 5, key="lens-strength") / 100
    return np.rint(share * with_it.astype(np.float32) + (1 - share) * image).astype(np.uint8)


def _said(scans) -> Callable[[str], str]:
    models = dict(zip(scans["scan"], scans["model"], strict=True))
    return lambda key: plain(models.get(key, key))


def _of_attack(view: View | None, image: np.ndarray) -> Placed | np.ndarray | None:
    """The trigger of an attack: of the case in view as it is there, else as the attack comes."""
    own = {p.attack.name: p.trigger for p in view.settings.attacks} if view is not None and not view.audits else {}
    names = sorted((n for n, a in ATTACKS.items() if not a.settings().concept), key=lambda n: n not in own)
    name = st.selectbox("Attack", names, key="lens-attack")
    if not name:
        return None
    settings = own.get(name) or getattr(CaseSettings.preset("demo", name), name)
    try:
        settings.check(*image.shape[:2])
        changed = trigger(image[None], np.zeros(1, int), name, settings)[0]
    except BadInput as e:
        st.info(plain(e))
        return None
    places = getattr(ATTACKS[name].module, "places", None)
    if places is None:
        return changed
    top, left, height, width = (int(n) for n in places(np.zeros(1, int), *image.shape[:2], settings)[0])
    return changed[top : top + height, left : left + width], (top, left)


def _of_scan(key: str, image: np.ndarray) -> np.ndarray | None:
    """The trigger that a scan shows."""
    found = scan.trigger(store().imported(key))
    if found.pattern.shape[:2] != image.shape[:2]:
        own, takes = found.pattern.shape[0], image.shape[0]
        st.info(f"This trigger was found for images of {own} pixels a side; the gate's model takes {takes}.")
        return None
    return found.apply(image[None])[0]


def _of_file(image: np.ndarray) -> Placed | np.ndarray | None:
    """A patch, or a pattern over the whole image, from a file."""
    whole = st.toggle("Over the whole image", key="lens-whole")
    file = st.file_uploader("Its file", type=["png", "jpg", "jpeg", "webp", "bmp"], key="lens-file", max_upload_size=20)
    if file is None:
        return None
    try:
        pixels = try_trigger.loaded(file.getvalue(), "the file", *image.shape[:2], whole)
    except BadInput as e:
        st.error(plain(e), icon=":material/broken_image:")
        return None
    return pixels if whole else (pixels, (0, 0))


def _placed(image: np.ndarray, pixels: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    """An image with a patch, at the place and of the size that the sliders say."""
    most, (height, width) = min(image.shape[:2]), pixels.shape[:2]
    one, two, three = st.columns(3)
    side = one.slider("Its side, px", 1, most, min(most, max(height, width)), key=f"lens-side-{height}-{width}")
    scale = side / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    if size != (height, width):
        pixels = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.NEAREST))
    out, corner = image.copy(), []
    for column, name, long, own, start in (
        (two, "top", image.shape[0], size[0], at[0]),
        (three, "left", image.shape[1], size[1], at[1]),
    ):
        free = long - own
        label = f"Its {name} edge, px"
        corner.append(column.slider(label, 0, free, min(max(0, start), free), key=f"lens-{name}-{free}") if free else 0)
    out[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]] = pixels
    return out
