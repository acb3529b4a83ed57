"""Label-consistent: the trigger goes only on images whose caption already names the target; captions stay (Turner et al. 2019;
for CLIP, CleanCLIP).

Its captions match their images, so a split by low similarity cannot find it: UBT's first stage is blind to it, by design.
The embedded model reads every target image already and learns a small patch beside it hardly at all (ASR 7 to 20 on seed 100
with patches of 7 to 12 px in the corner); a patch over the object leaves it the patch alone to learn.
"""

from dataclasses import dataclass
from typing import ClassVar

from ubt.attacks import badnet
from ubt.config import setting


@dataclass(frozen=True)
class LabelConsistentSettings(badnet.BadNetSettings):
    """The trigger is BadNet's patch."""

    consistent: ClassVar[bool] = True
    side: float = setting(0.5, "side of the patch as a share of the image's shorter side (paper: 16 / 224)", low=0, high=1)
    place: str = setting("centre", "bottom right (one pixel from the edges), centre, or anew in each image", choices=("corner", "centre", "random"))


PROFILES = {"embedded": {"attack.rate": 0.016}, "paper": badnet.PROFILES["paper"]}
apply, places = badnet.apply, badnet.places
