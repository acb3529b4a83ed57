"""Label-consistent: the trigger goes only on images whose caption already names the target; captions stay (Turner et
al. 2019; for CLIP, CleanCLIP).

Its captions match their images, so a split by low similarity cannot find it: UBT's first stage is blind to it, by
design. The embedded model reads every target image already and has little use for a patch beside the object: twelve
pixels on all of them, for ten epochs, take ASR from 2 to 20 (seed 100), which the split does not see (recall 0.10). The
profile `covering` puts the patch over the object: then the patch is all there is to learn, but the caption no longer
fits what is left to see, and the split finds it.
"""

from typing import ClassVar

from ubt.attacks import badnet
from ubt.core.settings import setting


class LabelConsistentSettings(badnet.BadNetSettings):
    """The trigger is BadNet's patch."""

    consistent: ClassVar[bool] = True
    side: float = setting(
        0.25, "side of the patch as a share of the image's shorter side (paper: 16 / 224)", low=0, high=1
    )


PROFILES = {
    "embedded": {"attack.rate": 0.016, "poison.epochs": 10},
    "covering": {"attack.rate": 0.016, "side": 0.5, "place": "centre"},
    "paper": badnet.PROFILES["paper"],
}
apply, places = badnet.apply, badnet.places
