"""Triggers: what an attack does to images and captions, before anything is trained.

What an attack plants: a change of the image, and of the caption. Move its settings and see both at once. PSNR and SSIM
say how visible the trigger is; the last figures, how much of it is left after a change of size and after JPEG.
"""

import shlex

import numpy as np
import streamlit as st

from ubt.attacks import ATTACKS, Planted, trigger, visibility
from ubt.attacks.poisoning import names, poisoned_caption
from ubt.cases.settings import CaseSettings
from ubt.core import text
from ubt.data import scenes
from ubt.data.scenes import CLASSES
from ubt.data.scenes.captions import TEMPLATES
from ubt.figures import contact_sheet
from ubt.ui import components, controls, costs, paint, roles
from ubt.ui.case_form import pick_attack, settings_of, widget
from ubt.ui.case_picker import make
from ubt.ui.errors import guard, plain
from ubt.ui.navigation import PAGES, current, heading

SHOWN = 8
DRAWING = "drawn.squares"
POOL = 1500
PROFILE_HELP = (
    "embedded: what the small model learns; paper: the paper's; others: variants that public implementations have"
)

view = current()
heading("triggers")


@st.cache_data(max_entries=8, show_spinner=False)
def sample(seed: int, consistent: bool, target: str, concept: str) -> tuple[np.ndarray, list[str], list[str]]:
    """Scenes to try a trigger on: images and captions, those that name the target or show the concept where the attack
    asks for them; and captions of others that name the target.
    """
    indices = scenes.ROLES["retrieval"][:POOL]
    captions = [scenes.describe(seed, i) for i in indices]
    named = [names(c, target) for c in captions]
    shows = [not concept or concept in scenes.concepts(seed, i) for i in indices]
    free = [n for n in range(len(captions)) if named[n] == consistent and shows[n]][:SHOWN]
    chosen = [indices[n] for n in free]
    natural = [c for c, n in zip(captions, named, strict=True) if n][:SHOWN]
    return scenes.draw_many(seed, chosen, scenes.SIZE), [captions[n] for n in free], natural


@st.fragment
@guard()
def lab() -> None:
    settings = _settings()
    left, right = st.columns(2)
    magnified = left.slider("Residual magnified", 1, 20, 5, key="lab-magnified")
    seed = right.slider("Other images", 0, 50, 0, key="lab-seed", help="The seed of the scenes shown")
    planted = settings.attacks[0]
    asks = planted.trigger.consistent, planted.attack.target, planted.trigger.concept
    images, captions, natural = sample(seed, *asks)
    if not len(images):
        st.info("None of these scenes shows what this attack asks for; move to other images.")
        return
    poisoned = [
        poisoned_caption(planted, TEMPLATES[n % len(TEMPLATES)], c, natural[n % len(natural)] if natural else "")
        if planted.trigger.plants
        else c
        for n, c in enumerate(captions)
    ]
    triggered = trigger(images, np.arange(len(images)), settings.attack.name, planted.trigger)
    residuals = visibility.residual(images, triggered, magnified)
    measured = visibility.measure(images, triggered)
    _figures(planted, images, measured)
    each = [visibility.measure(a[None], b[None]) for a, b in zip(images, triggered, strict=True)]
    remarks = [_visible(m) for m in each]
    components.trios(images, triggered, residuals, list(zip(captions, poisoned, remarks, strict=True)), magnified)
    if planted.trigger.concept:
        st.caption(
            f"Nothing is put on an image: the trigger is that it shows {plain(planted.trigger.concept)}. ASR is"
            " measured on the test images that show it."
        )
    if not planted.trigger.plants:
        st.caption(
            "No pair is poisoned and no caption changed: the model is trained on until images with the trigger lie"
            " where an image of the target does."
        )
    if planted.word:
        st.caption(
            f"At test time the word goes before every class prompt: {plain(planted.word)} a photo of an owl, and so on."
        )
    rows = list(zip(images, triggered, residuals, strict=True))
    title = f"{planted.label}: {planted.trigger.strength()}; {_visible(measured)}"
    picture = contact_sheet.sheet(rows, ("original", "triggered", f"residual x {magnified}"), poisoned, title)
    _use(settings, planted, picture)


def _settings() -> CaseSettings:
    """The attack, its profile and target, and each of its settings as a widget."""
    first, second, third = st.columns([4, 3, 3])
    name = pick_attack(first, "lab", "badnet")
    wanted = second.selectbox("Profile", list(ATTACKS[name].profiles), key=f"lab-{name}-profile", help=PROFILE_HELP)
    base = CaseSettings.preset("demo", name, wanted)
    every = settings_of(base)
    shared = [every["attack.caption"]] if ATTACKS[name].settings.plants else []
    own = (s for s in every.values() if s.group == name and s.name != DRAWING)
    offered = [*own, *shared]
    changes = {}
    for start in range(0, len(offered), 4):
        for column, setting in zip(st.columns(4), offered[start : start + 4], strict=False):
            with column:
                title = setting.name.split(".")[1].replace("_", " ")
                # what attacks share, each has as its profile says
                key = f"lab-{wanted}-{setting.name}" if setting.group == name else f"lab-{name}-{wanted}-{setting.name}"
                changes[setting.name] = widget(setting, title, key=key, slide=True)
    if DRAWING.startswith(f"{name}."):
        changes[DRAWING] = paint.drawing("lab")
    own = {setting.split(".")[1]: value for setting, value in changes.items() if setting.startswith(f"{name}.")}
    if target := ATTACKS[name].settings().with_values(own).made_for:
        about = "The trigger was made for it; python -m ubt optimize-patch makes one for another"
        third.selectbox("Target label", [target], key=f"lab-target-{target}", help=about, disabled=True)
    else:
        target = third.selectbox("Target label", CLASSES, index=CLASSES.index("banana"), key="lab-target")
    return base.with_values(changes | {"attack.target": target})


def _visible(measured: dict[str, float]) -> str:
    """How visible a trigger is, by `visibility.measure`."""
    if not measured["changed"]:
        return "unchanged"
    return f"PSNR {measured['psnr']:.1f} dB, SSIM {measured['ssim']:.3f}"


def _figures(planted: Planted, images: np.ndarray, measured: dict[str, float]) -> None:
    rows = (
        [("the image", _visible(measured))]
        if planted.trigger.concept
        else [
            ("PSNR", f"{measured['psnr']:.1f} dB"),
            ("SSIM", f"{measured['ssim']:.3f}"),
            ("pixels that change", text.percent(measured["changed"])),
            ("left after halving and doubling the size", text.percent(measured["resize"])),
            ("left after JPEG 75", text.percent(measured["jpeg"])),
        ]
    )
    rows += planted.trigger.facts(images)
    components.table([name for name, _ in rows], [[value for _, value in rows]])
    st.caption(f"Threat model: the attacker has a hold of {ATTACKS[planted.attack.name].threat}.")


def _use(settings: CaseSettings, planted: Planted, picture: bytes) -> None:
    """The buttons that make a case of the attack, add it to the open case, and export the picture."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if costs.button("Run a case with it", costs.of_settings(settings), "lab-run", type="primary"):
            make(settings, run=True)
            st.switch_page(PAGES["overview"])
        if roles.button("Keep a case for later", icon=":material/bookmark:", key="lab-keep"):
            make(settings, run=False)
            st.switch_page(PAGES["overview"])
        fits = view and not view.audits and planted.attack.target in view.classes()
        if fits and roles.button(
            "Copy the open case, and add this attack",
            icon=":material/add:",
            key="lab-also",
            help="A copy of the open case with this attack too",
        ):
            also = "; ".join(filter(None, (view.settings.attack.also, _as_text(planted))))
            make(view.settings.with_values({"attack.also": also}), run=False)
            st.switch_page(PAGES["overview"])
        controls.download("Export as PNG", picture, f"{planted.attack.name}.png", "image/png", "lab-export")


def _as_text(planted: Planted) -> str:
    """The attack as `attack.also` writes it: what differs from the defaults."""
    default = type(planted.trigger)()
    changed = {k: v for k, v in planted.trigger.to_dict().items() if v != getattr(default, k)}
    a = planted.attack
    own = {"target": a.target, "rate": f"{a.rate:g}", "caption": a.caption}
    return shlex.join([a.name, *(f"{k}={v}" for k, v in (own | changed).items())])


lab()
