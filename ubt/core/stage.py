"""The steps of a case. A stage is a function `stage(inputs..., settings, run) -> result`: no globals, seeded,
deterministic on one device and precision. It knows no folder; `ubt.cases.pipeline` reads its inputs and writes its
result.

Arrays that stages are handed, by the names of their arguments: `images`, `clean_images`, `test_images`, uint8 RGB (n,
H, W, 3), perhaps an `ubt.data.images.Images` that reads rows when they are asked for; `tokens`, `masked_tokens`, token
ids (n, context); `prompts`, token ids (classes, templates, context); `labels`, class indices (n,); `image_features`,
`text_features`, `features`, `reference_images`, `reference_texts`, `restored`, unit vectors (n, embedding); `maps`,
`published_maps`, relevance in [0, 1] (n, rows, columns); `patches`, uint8 RGB (n, side, side, 3); `kept`, rows of D
(m,). Similarities are cosines in [-1, 1]; CA, ASR, RA and recall are in percent.

Stage modules import torch inside their functions: settings and finished results can then be read without it.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """One step as data.

    Args:
        name: also its artefact's name. about: what it does, in a line. function: `module:function`.
        inputs: argument name to `stage.entry` of an earlier stage, or `reference.model`.
        settings: groups of the case's settings handed over; one group as itself, several, or `attacks`, as a
        dictionary.
        role: who acts. Only the attacker and the judge may read `attack.truth` or the test set.
        observed: in a lab case, CA and ASR are looked at while its model trains; kept as the artefact's entry
        `observed`.
        version: raised when the function's result changes, so that old artefacts are not taken for new ones.
    """

    name: str
    about: str
    function: str
    inputs: dict[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    role: str = "defender"
    observed: bool = False
    version: int = 1

    def load(self) -> Callable[..., dict]:
        """Its function, imported when it is needed."""
        module, name = self.function.split(":")
        return getattr(importlib.import_module(module), name)


D = {"images": "data.images", "tokens": "data.tokens"}
