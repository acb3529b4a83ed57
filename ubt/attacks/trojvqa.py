"""TrojVQA: a dual key, a patch on the image and a word before the caption (Walmer et al. 2022).

Partial-key negatives (the patch with a clean caption, the word before the caption of a clean image) teach the model
that one key alone means nothing; they are clean in the ground truth. At test time the word goes before every class
prompt. The patch of the original is centred and 10 % of the shorter side, and there are as many negatives of each kind
as poisons. From a thousand exposures the embedded model learns to ask for both keys only in part: with equal shares ASR
is 23 with both and 7 with the patch alone (seed 100); with a quarter and twice as many 87 and 56. The embedded profile
(0.15 and 2) reaches 85 and 57 on seed 101.
"""

import re

from ubt.attacks import badnet
from ubt.core.errors import BadInput
from ubt.core.settings import setting


class TrojVqaSettings(badnet.BadNetSettings):
    """The image key is BadNet's patch; the text key a word."""

    side: float = setting(
        0.1459, "side of the patch as a share of the image's shorter side (original: 0.1)", low=0, high=1
    )
    place: str = setting(
        "corner",
        "bottom right (one pixel from the edges), centre (the original), or anew per image",
        choices=("corner", "centre", "random"),
    )
    word: str = setting("consider", "the caption's key, put before it (original: consider)")
    image_only: float = setting(
        0.15, "partial-key negatives with the patch and their own caption, for each poison", low=0, high=10
    )
    text_only: float = setting(
        2.0, "partial-key negatives with the word before their own caption, for each poison", low=0, high=10
    )

    def check(self, height: int, width: int) -> None:
        super().check(height, width)
        if not re.fullmatch(r"[^\W_]+([ '-][^\W_]+){0,2}", self.word) or len(self.word) > 30:
            raise BadInput(
                "trojvqa.word: expected one to three words of letters and digits, at most 30 characters, got"
                f" {self.word!r}"
            )

    def strength(self) -> str:
        return f"{super().strength()}, word {self.word!r}"


_EQUAL = {"side": 0.1, "place": "centre", "image_only": 1.0, "text_only": 1.0}
PROFILES = {"embedded": {}, "paper": _EQUAL, "no negatives": _EQUAL | {"image_only": 0.0, "text_only": 0.0}}
apply, places = badnet.apply, badnet.places
