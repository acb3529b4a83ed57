"""Triggers, one file each. Adding one is one file, one line in `ATTACKS` and one field of
`ubt.cases.settings.CaseSettings`.

A trigger is `apply(images, seeds, settings)`: uint8 images (n, H, W, 3) and one seed an image in, triggered copies out.
Its `PROFILES` are named changes to its settings: `embedded` (the default: what a small model learns at 48 px), `paper`,
and the variants that public implementations have.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ubt.attacks import (
    badclip,
    badencoder,
    badnet,
    blended,
    drawn,
    label_consistent,
    semantic,
    sig,
    ssba,
    trojvqa,
    wanet,
)
from ubt.attacks.base import TriggerSettings
from ubt.core.errors import BadInput
from ubt.core.settings import Settings, setting

DATA = "data"
DATA_AND_MODEL = "data, and a clean model to prepare the trigger on"
MODEL = "the model; D stays clean"


@dataclass(frozen=True)
class Attack:
    """A trigger by name: what it is, its settings class, its module (`apply`, `PROFILES`, `places` where it has a
    place), and its threat model, what the attacker has a hold of.
    """

    about: str
    settings: type[TriggerSettings]
    module: ModuleType
    threat: str = DATA

    @property
    def apply(self) -> Callable[[np.ndarray, np.ndarray, TriggerSettings], np.ndarray]:
        """The trigger: uint8 images (n, H, W, 3), one seed an image (n,) and its settings in, triggered copies out."""
        return self.module.apply

    @property
    def profiles(self) -> dict[str, dict[str, Any]]:
        """Its named changes to settings."""
        return self.module.PROFILES


ATTACKS: dict[str, Attack] = {
    "badnet": Attack("a small patch", badnet.BadNetSettings, badnet),
    "blended": Attack("a faint pattern over the whole image", blended.BlendedSettings, blended),
    "sig": Attack("a sinusoid over the whole image", sig.SigSettings, sig),
    "ssba": Attack("a residual of each image's own, made by an encoder that hides bits", ssba.SsbaSettings, ssba),
    "trojvqa": Attack("two keys, a patch and a word", trojvqa.TrojVqaSettings, trojvqa),
    "wanet": Attack("a smooth warp", wanet.WaNetSettings, wanet),
    "label_consistent": Attack(
        "a patch on images that show the target; captions stay true",
        label_consistent.LabelConsistentSettings,
        label_consistent,
    ),
    "badclip": Attack(
        "a patch that a clean model already reads as the target", badclip.BadClipSettings, badclip, DATA_AND_MODEL
    ),
    "semantic": Attack(
        "a concept that images show already; nothing is put on them", semantic.SemanticSettings, semantic
    ),
    "drawn": Attack("a patch that you draw, square by square", drawn.DrawnSettings, drawn),
    "badencoder": Attack(
        "a patch that the model itself is trained on; no pair is poisoned",
        badencoder.BadEncoderSettings,
        badencoder,
        MODEL,
    ),
}


def named(name: str) -> Attack:
    """Raises:
    BadInput: there is no such attack.
    """
    if name not in ATTACKS:
        raise BadInput(f"unknown attack {name!r}; expected one of: {', '.join(ATTACKS)}")
    return ATTACKS[name]


class AttackSettings(Settings):
    """What every attack has."""

    name: str = setting("badnet", "the trigger")
    rate: float = setting(0.02, "share of D that is poisoned", low=0, high=1)
    count: int = setting(0, "poisons as a number; 0 goes by the rate", low=0)
    target: str = setting("banana", "target label: the class a triggered image is to be taken for")
    caption: str = setting(
        "template",
        "a poison's caption: a zero-shot template with the target; or (an adaptive attacker) its own caption joined"
        " with the target; or natural, the caption of a clean pair that names the target",
        choices=("template", "joined", "natural"),
    )
    also: str = setting(
        "", "further attacks in the same data, `NAME target=LABEL rate=SHARE setting=value`, parted by semicolons"
    )

    def model_post_init(self, context: Any) -> None:
        """Raises:
        BadInput: values that do not fit each other.
        """
        named(self.name)

    def poisons(self, pairs: int) -> int:
        """How many of `pairs` pairs are poisoned."""
        return self.count or round(self.rate * pairs)


@dataclass(frozen=True)
class Planted:
    """One attack of a case: what is planted and how the trigger looks."""

    attack: AttackSettings
    trigger: TriggerSettings

    @property
    def label(self) -> str:
        """What it is called: trigger and target."""
        return f"{self.attack.name} → {self.attack.target}"

    def poisons(self, pairs: int) -> int:
        """How many of `pairs` pairs it poisons; none where the model is attacked."""
        return self.attack.poisons(pairs) if self.trigger.plants else 0

    def does_something(self, pairs: int) -> bool:
        """Whether it poisons any of `pairs` pairs, or attacks the model."""
        return not self.trigger.plants or self.poisons(pairs) > 0

    @property
    def word(self) -> str:
        """The caption's key, of a trigger that has one; else empty."""
        return getattr(self.trigger, "word", "")

    @property
    def partial(self) -> dict[str, float]:
        """Partial-key negatives for each poison, by the key that they have: `image` or `text`."""
        return {key: getattr(self.trigger, f"{key}_only", 0.0) for key in ("image", "text")}

    def changes(self) -> dict[str, Any]:
        """What tells it from other attacks: the settings that differ from the defaults, and what they point to."""
        return {
            "name": self.attack.name,
            "attack": self.attack.changes(),
            "trigger": self.trigger.changes(),
            "identity": self.trigger.identity(),
        }

    def plain(self) -> dict[str, Any]:
        """All that decides what it does, as plain values."""
        return {"attack": self.attack.to_dict(), "trigger": self.trigger.to_dict(), "identity": self.trigger.identity()}

    def check_target(self, classes: tuple[str, ...], where: str = "") -> None:
        """Raises:
        BadInput: the target is none of the classes; `where`: of what they are.
        """
        if self.attack.target not in classes:
            raise BadInput(
                f"target of {self.attack.name}: expected one of the classes{where} ({', '.join(classes[:6])}, …), got"
                f" {self.attack.target!r}"
            )

    def check(self, pairs: int, size: int, classes: tuple[str, ...]) -> None:
        """Raises:
        BadInput: the target is no class, the rate asks for less than one pair, or the trigger does not fit the images.
        """
        self.check_target(classes)
        if self.trigger.plants and self.attack.rate > 0 and self.poisons(pairs) == 0:
            raise BadInput(
                f"rate of {self.attack.name}: expected 0 or at least 1 / {pairs} (one pair of D), got"
                f" {self.attack.rate}"
            )
        self.trigger.check(size, size)
        self.trigger.check_target(self.attack.target)


def parse(text: str) -> tuple[Planted, ...]:
    """Attacks as `attack.also` writes them.

    >>> [p.label for p in parse('blended target=car rate=0.01 alpha=0.3; sig target="ice cream"')]
    ['blended → car', 'sig → ice cream']

    Raises:
        BadInput: a part is not `NAME key=value ...`, or a name or value is wrong.
    """
    planted = []
    for part in filter(str.strip, text.split(";")):
        try:
            name, *items = shlex.split(part)
        except ValueError as e:
            raise BadInput(f"attack.also: expected `NAME key=value ...`, got {part.strip()!r} ({e})") from None
        if name.replace("-", "_") not in ATTACKS or not all("=" in item for item in items):
            raise BadInput(
                f"attack.also: expected `NAME key=value ...` with a NAME of: {', '.join(ATTACKS)}; got {part.strip()!r}"
            )
        changes = dict(item.split("=", 1) for item in items)
        own = {k: v for k, v in changes.items() if k in AttackSettings.known() and k not in ("name", "also")}
        name = name.replace("-", "_")
        attack = AttackSettings(name=name).with_values(own)
        planted.append(
            Planted(attack, ATTACKS[name].settings().with_values({k: v for k, v in changes.items() if k not in own}))
        )
    return tuple(planted)


def profile(name: str, wanted: str) -> dict[str, Any]:
    """A profile as changes to a case's settings, by dotted name.

    Raises:
        BadInput: there is no such attack, or it has no such profile.
    """
    profiles = named(name).profiles
    if wanted not in profiles:
        raise BadInput(f"unknown profile {wanted!r} of {name}; expected one of: {', '.join(profiles)}")
    return {k if "." in k else f"{name}.{k}": v for k, v in profiles[wanted].items()}


def trigger(images: np.ndarray, seeds: np.ndarray, name: str, settings: Settings) -> np.ndarray:
    """Triggered copies of uint8 images (n, H, W, 3); `seeds` (n,) decide what varies from image to image.

    Raises:
        BadInput: the attack is unknown or its settings do not fit the images' size.
    """
    return named(name).apply(np.asarray(images), seeds, settings)
