"""The steps of a case. A stage is a function `stage(inputs..., settings..., run) -> result`: no globals, seeded,
deterministic on one device and precision. It knows no folder; `ubt.cases.pipeline` reads its inputs and writes its
result.

Arrays that stages get, by the names of their arguments: `images`, `clean_images`, `test_images`, uint8 RGB (n,
H, W, 3), perhaps an `ubt.data.images.Images` that reads rows when they are asked for; `tokens`, `masked_tokens`, token
ids (n, context); `prompts`, token ids (classes, templates, context); `labels`, class indices (n,); `image_features`,
`text_features`, `features`, `reference_images`, `reference_texts`, `restored`, unit vectors (n, embedding); `maps`,
`published_maps`, relevance in [0, 1] (n, rows, columns); `patches`, uint8 RGB (n, side, side, 3); `kept`, rows of D
(m,). Similarities are cosines in [-1, 1]; CA, ASR, RA and recall are in percent.

Stage modules import torch inside their functions: settings and finished results can then be read without it.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

OBSERVED = "observed"
"""The entry in which a stage keeps what was measured while its model trained."""


def _no_time(settings: Any) -> float:
    return 0.1


def function_named(name: str) -> Callable[..., dict]:
    """The function of a stage, imported by its name, `module:function`."""
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


@dataclass(frozen=True)
class Stage:
    """One step as data.

    Args:
        name: also its artefact's name. about: what it does, in a line. function: `module:function`.
        inputs: argument name to `stage.entry` of an earlier stage, or `reference.model`.
        settings: argument name to the group of the case's settings that it takes; `attacks` is every attack of the
        case.
        role: who acts. Only the attacker and the judge may read `attack.truth` or the test set.
        observed: in a lab case, CA and ASR are looked at while its model trains.
        optional: as `inputs`, but what no stage before gives is left out.
        version: raised when the function's result changes, so that old artefacts are not taken for new ones.
        gives: the entries of its result, which later stages may name as inputs.
        id: of the function, unique and permanent, whatever the stage and the module are called; its name if not named.
        cost: seconds that it takes on two cores, by the case's settings.
    """

    name: str
    about: str
    function: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    role: str = "defender"
    observed: bool = False
    optional: Mapping[str, str] = field(default_factory=dict)
    version: int = 1
    gives: tuple[str, ...] = ()
    id: str = ""
    cost: Callable[[Any], float] = field(default=_no_time, compare=False)

    def load(self) -> Callable[..., dict]:
        """Its function, imported when it is needed."""
        return function_named(self.function)

    @property
    def identity(self) -> str:
        """The permanent id of its function."""
        return self.id or self.name

    @property
    def entries(self) -> tuple[str, ...]:
        """Everything that its artefact may hold."""
        return (*self.gives, OBSERVED) if self.observed else self.gives

    def sources(self) -> set[str]:
        """The stages, and what is imported, that own its inputs."""
        return {source.split(".")[0] for source in self.inputs.values()}


def takes(*sources: str, **named: str) -> dict[str, str]:
    """Inputs of a stage: entries under their own names, or under another.

    >>> takes("poison.model", words="mask.tokens")
    {'model': 'poison.model', 'words': 'mask.tokens'}
    """
    return {source.split(".")[1]: source for source in sources} | named


D = takes("data.images", "data.tokens")
TRAINED = ("model", "history")
"""What a stage gives that trains a model."""
