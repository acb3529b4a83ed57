"""What every trigger's settings share."""

from typing import ClassVar

import numpy as np

from ubt.core.settings import Settings


class TriggerSettings(Settings):
    """A trigger's own settings. Those without a caption key have no `word`; those that plant no partial keys none of
    `image_only` and `text_only`.
    """

    consistent: ClassVar[bool] = False
    """Whether only images whose caption already names the target are poisoned, captions untouched."""
    plants: ClassVar[bool] = True
    """Whether pairs are poisoned; else the model is attacked, and D stays clean."""

    def check(self, height: int, width: int) -> None:
        """Raises:
        BadInput: these settings do not fit images of this size.
        """

    @property
    def made_for(self) -> str:
        """The one target that it was made for; empty: any."""
        return ""

    def check_target(self, target: str) -> None:
        """Raises:
        BadInput: this trigger was made for another target.
        """

    @property
    def concept(self) -> str:
        """What images have to show already, of a trigger that nobody puts on them; empty: it is put on any image."""
        return ""

    def checks(self, images: np.ndarray) -> list[tuple[str, str, bool, str]]:
        """What else this trigger needs to be learned, on uint8 images (n, H, W, 3): the check, what was found, whether
        it is fine, and what to change if it is not.
        """
        return []

    def facts(self, images: np.ndarray) -> list[tuple[str, str]]:
        """What else is to be said of this trigger on uint8 images (n, H, W, 3), beside how visible it is."""
        return []

    def identity(self) -> str:
        """The digest of what these settings point to outside themselves, so that a changed file makes another case."""
        return ""

    def strength(self) -> str:
        """How strong the trigger is, in its own terms, for the manifest."""
        return ""
