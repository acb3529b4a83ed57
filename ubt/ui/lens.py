"""A trigger under the lens: laid over one image, dragged, resized and faded, while models are asked again at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import streamlit as st

from ubt.attacks import ATTACKS, Planted, trigger
from ubt.attacks.drawn import DrawnSettings, pixels, resized, stamp
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.core.files import digest
from ubt.ui import paint, trigger_form, web
from ubt.ui.components import png
from ubt.ui.errors import plain, safe
from ubt.ui.view import View, store
from ubt.workflows import scan, try_trigger

KINDS = {"none": "none", "attack": "attack", "scan": "scan", "drawn": "draw", "pattern": "pattern", "file": "file"}
STRENGTH = "lens-strength"
RESTS = "lens-rests"
"""Of the session's state: whether what was moved rests, so that the page says more than while it moves."""


@dataclass(frozen=True)
class Patch:
    """A patch, uint8 (h, w, 3), or (h, w, 4) with its own opacity, and to begin with its top and left edge and its
    longer side in pixels (0: as many as it has). `of`: what tells it from others that have a place of their own.
    """

    pixels: np.ndarray
    at: tuple[int, int]
    of: str
    start: int = 0

    @property
    def longer(self) -> int:
        """Its longer side in pixels."""
        return max(self.pixels.shape[:2])

    @property
    def key(self) -> str:
        """Under which its place stands in the session's state: longer side, top and left edge."""
        return f"lens-place-{digest([self.of, list(self.pixels.shape[:2]), list(self.at), self.start])}"

    def size(self, side: int) -> tuple[int, int]:
        """Height and width in pixels where its longer side has so many."""
        height, width = self.pixels.shape[:2]
        return tuple(max(1, int(own * side / self.longer + 0.5)) for own in (height, width))

    def largest(self, height: int, width: int) -> int:
        """The most pixels of its longer side in an image."""
        own = self.pixels.shape[:2]
        return max(1, int(self.longer * min(height / own[0], width / own[1])))

    def place(self, height: int, width: int) -> dict[str, int]:
        """Where it is now in an image: its longer `side`, its `top` and `left` edge, in pixels."""
        start = {"side": self.start or self.longer, "top": self.at[0], "left": self.at[1]}
        now = start | st.session_state.get(self.key, {})
        side = min(max(1, now["side"]), self.largest(height, width))
        free = [whole - own for whole, own in zip((height, width), self.size(side), strict=True)]
        return {"side": side, "top": min(max(0, now["top"]), free[0]), "left": min(max(0, now["left"]), free[1])}

    def put(self, place: dict[str, int]) -> None:
        """Put it elsewhere."""
        st.session_state[self.key] = {**st.session_state.get(self.key, {}), **place}

    def seen(self, height: int, width: int) -> tuple[np.ndarray, int, int]:
        """The patch as large as it is now, and its top and left edge, in an image."""
        at = self.place(height, width)
        return resized(self.pixels, *self.size(at["side"])), at["top"], at["left"]


def chosen(view: View | None, image: np.ndarray) -> Patch | np.ndarray | None:
    """The trigger that is chosen for an image, uint8 (H, W, 3): a patch, or the image with it; None: none."""
    scans = scan.listed(store())
    offered = [kind for kind in KINDS if kind != "scan" or len(scans)]
    kind = st.segmented_control(
        "A trigger on it", offered, default="none", required=True, format_func=KINDS.get, key="lens-kind"
    )
    if kind == "attack":
        return _of_attack(view, image)
    if kind == "scan":
        key = st.selectbox("Scan", list(scans["scan"]), key="lens-scan", format_func=_said(scans))
        return _of_scan(key, image) if key else None
    if kind == "drawn":
        squares = paint.drawing("lens")
        side = round(0.1459 * min(image.shape[:2]))
        return Patch(pixels(squares), tuple(n - side - 1 for n in image.shape[:2]), kind, side)
    if kind == "pattern":
        found = trigger_form.drawn(*image.shape[:2])
        return Patch(found, tuple(n - len(found) - 1 for n in image.shape[:2]), kind)
    return _of_file(image) if kind == "file" else None


def laid(image: np.ndarray, found: Patch | np.ndarray) -> np.ndarray:
    """The image, uint8 (H, W, 3), with the trigger as the controls of the lens have it."""
    share = st.session_state.get(STRENGTH, 100) / 100
    if isinstance(found, Patch):
        out = image.copy()
        stamp(out, *found.seen(*image.shape[:2]), share)
        return out
    return np.rint(share * found.astype(np.float32) + (1 - share) * image).astype(np.uint8)


def controls(image: np.ndarray, found: Patch | np.ndarray) -> None:
    """The image with the patch to be dragged, and sliders for its size, place and strength."""
    if isinstance(found, Patch):
        _draggable(image, found)
        _sliders(image, found)
    st.slider("Strength, %", 0, 100, 100, 5, key=STRENGTH, on_change=_rest)


def _rest() -> None:
    st.session_state[RESTS] = True


def _draggable(image: np.ndarray, found: Patch) -> None:
    height, width = image.shape[:2]
    name = f"lens-{found.key}"

    @safe
    def moved() -> None:
        event = st.session_state[name].get("moved") or {}
        told = {part: event.get(part) for part in ("side", "top", "left", "number")}
        if all(isinstance(n, int | float) and abs(n) < 1e9 for n in told.values()):
            st.session_state["lens-number"] = int(told.pop("number"))
            found.put({part: int(n) for part, n in told.items()})
            st.session_state[RESTS] = bool(event.get("rests"))

    component = st.components.v2.component("ubt_lens", js=web.text("lens.js"), css=web.component_css("lens.css"))
    patch = {"image": png(found.pixels), "height": found.pixels.shape[0], "width": found.pixels.shape[1]}
    data = {"image": png(image), "height": height, "width": width, "patch": patch}
    data |= {"at": found.place(height, width), "longest": found.largest(height, width)}
    data |= {"opacity": st.session_state.get(STRENGTH, 100) / 100, "number": st.session_state.get("lens-number", 0)}
    component(key=name, data=data, on_moved_change=moved)


def _sliders(image: np.ndarray, found: Patch) -> None:
    height, width = image.shape[:2]
    now = found.place(height, width)
    own = found.size(now["side"])
    most = {"side": found.largest(height, width), "top": height - own[0], "left": width - own[1]}
    said = {"side": "Side, px", "top": "Top, px", "left": "Left, px"}
    for column, (part, title) in zip(st.columns(3), said.items(), strict=True):
        key, low = f"{found.key}-{part}-{most[part]}", 1 if part == "side" else 0

        def moved(part: str = part, key: str = key) -> None:
            found.put({part: st.session_state[key]})
            _rest()

        if low < most[part]:
            st.session_state[key] = now[part]
            column.slider(title, low, most[part], key=key, on_change=moved)


def _said(scans) -> Callable[[str], str]:
    models = dict(zip(scans["scan"], scans["model"], strict=True))
    return lambda key: plain(models.get(key, key))


def _of_attack(view: View | None, image: np.ndarray) -> Patch | np.ndarray | None:
    """The trigger of an attack: of the case in view as it is there, else as the attack comes."""
    own = known_attacks(view)
    names = sorted((n for n, a in ATTACKS.items() if not a.settings().concept), key=lambda n: n not in own)
    name = st.selectbox("Attack", names, key="lens-attack")
    if not name:
        return None
    settings = own[name].trigger if name in own else getattr(CaseSettings.preset("demo", name), name)
    opacity, whole = getattr(settings, "opacity", 1.0), settings
    try:
        settings.check(*image.shape[:2])
        if opacity < 1:
            whole = settings.with_values({"opacity": 1.0})
        changed = trigger(image[None], np.zeros(1, int), name, whole)[0]
    except BadInput as e:
        st.info(plain(e))
        return None
    places = getattr(ATTACKS[name].module, "places", None)
    if places is None:
        return changed
    top, left, height, width = (int(n) for n in places(np.zeros(1, int), *image.shape[:2], settings)[0])
    cut = changed[top : top + height, left : left + width]
    patch = pixels(settings.squares) if isinstance(settings, DrawnSettings) else np.dstack([cut, opaque(cut)])
    patch[..., 3] = np.rint(opacity * patch[..., 3])
    return Patch(patch, (top, left), f"{name} {'' if view is None else view.name}", max(height, width))


def opaque(pixels: np.ndarray) -> np.ndarray:
    """Full opacity for pixels (h, w, 3): uint8 (h, w)."""
    return np.full(pixels.shape[:2], 255, np.uint8)


def known_attacks(view: View | None) -> dict[str, Planted]:
    """The attacks of the case in view by name, where that may be shown."""
    shown = view is not None and not view.audits and st.session_state.get("reveal", True)
    return {p.attack.name: p for p in view.settings.attacks} if shown else {}


def _of_scan(key: str, image: np.ndarray) -> np.ndarray | None:
    """The trigger that a scan shows."""
    found = scan.trigger(store().imported(key))
    if found.pattern.shape[:2] != image.shape[:2]:
        own, takes = found.pattern.shape[0], image.shape[0]
        st.info(f"This trigger was found for images of {own} pixels a side; the gate's model takes {takes}.")
        return None
    return found.apply(image[None])[0]


def _of_file(image: np.ndarray) -> Patch | np.ndarray | None:
    """A patch, or a pattern over the whole image, from a file."""
    whole = st.toggle("Over the whole image", key="lens-whole")
    file = st.file_uploader("Its file", type=["png", "jpg", "jpeg", "webp", "bmp"], key="lens-file", max_upload_size=20)
    if file is None:
        return None
    try:
        found = try_trigger.loaded(file.getvalue(), "the file", *image.shape[:2], whole)
    except BadInput as e:
        st.error(plain(e), icon=":material/broken_image:")
        return None
    return found if whole else Patch(found, (0, 0), file.file_id)
