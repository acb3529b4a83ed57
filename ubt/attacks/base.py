"""What every trigger's settings share."""

from dataclasses import dataclass
from typing import ClassVar

from ubt.core.settings import Settings


@dataclass(frozen=True)
class TriggerSettings(Settings):
    """A trigger's own settings. Those without a caption key have no `word`; those that plant no partial keys none of
    `image_only` and `text_only`.
    """

    word: ClassVar[str] = ""
    image_only: ClassVar[float] = 0.0
    text_only: ClassVar[float] = 0.0
    consistent: ClassVar[bool] = False
    """Whether only images whose caption already names the target are poisoned, captions untouched."""

    def check(self, height: int, width: int) -> None:
        """Raises:
        BadInput: these settings do not fit images of this size.
        """

    def identity(self) -> str:
        """The digest of what these settings point to outside themselves, so that a changed file makes another case."""
        return ""

    def strength(self) -> str:
        """How strong the trigger is, in its own terms, for the manifest."""
        return ""
