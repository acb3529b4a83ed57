"""Triggers, one file each, and how poison is planted. Adding one is one file and one line in `ATTACKS`.

A trigger is `apply(images, seeds, settings)`: uint8 images (n, H, W, 3) and one seed an image in, triggered copies out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ubt.attacks import badnet
from ubt.config import BadInput, Settings, setting


@dataclass(frozen=True)
class Attack:
    """A trigger by name: its settings class and its function."""

    settings: type[Settings]
    apply: Callable[[np.ndarray, np.ndarray, Settings], np.ndarray]


ATTACKS: dict[str, Attack] = {"badnet": Attack(badnet.BadNetSettings, badnet.apply)}


@dataclass(frozen=True)
class AttackSettings(Settings):
    """What every attack has."""

    name: str = setting("badnet", "the trigger")
    rate: float = setting(0.02, "share of D that is poisoned", low=0, high=1)
    target: str = setting("banana", "target label: the class a triggered image is to be taken for")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in ATTACKS:
            raise BadInput(f"unknown attack {self.name!r}; expected one of: {', '.join(ATTACKS)}")


def trigger(images: np.ndarray, seeds: np.ndarray, name: str, settings: Settings) -> np.ndarray:
    """Triggered copies of uint8 images (n, H, W, 3); `seeds` (n,) decide what varies from image to image.

    Raises:
        BadInput: the attack is unknown or its settings do not fit the images' size.
    """
    if name not in ATTACKS:
        raise BadInput(f"unknown attack {name!r}; expected one of: {', '.join(ATTACKS)}")
    return ATTACKS[name].apply(images, seeds, settings)
