"""A model kept as what training changed of the shipped reference, in fp16: a sixth of its size, for most of a small
model is its vocabulary table, of which only the rows in use change.
"""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from ubt.clip import models
from ubt.core.errors import UbtError
from ubt.core.files import REFERENCE, file_digest

CHANGED, ABOUT = "changed.npz", "about.json"
ROWS = "rows of "
"""What the name of a table's rows begins with, beside the table's own."""


class Difference:
    """What a model's weights are beyond the reference's: by name, fp16; of a vocabulary table the rows that differ.

    Args:
        weights: differences, and for a table the numbers of its rows under `ROWS` and its name.
        original: SHA-256 of the weights file of the model that it was made of.
    """

    kind = "difference"

    def __init__(self, weights: dict[str, np.ndarray], original: str):
        self.weights, self.original = weights, original

    @classmethod
    def of(cls, model: torch.nn.Module, reference: Path = REFERENCE) -> "Difference":
        """The difference of a model from a reference of its architecture.

        Raises:
            UbtError: it has another architecture.
        """
        before, after = load_file(reference / models.WEIGHTS), models.stored(model)
        if {k: v.shape for k, v in before.items()} != {k: v.shape for k, v in after.items()}:
            raise UbtError(f"expected a model of the architecture in {reference}, got another; keep it whole")
        weights = {}
        for name, value in after.items():
            changed = (value.float() - before[name].float()).numpy()
            if name.endswith(models.VOCABULARY_TABLE):
                weights[ROWS + name] = np.flatnonzero(changed.any(axis=1))
                changed = changed[weights[ROWS + name]]
            weights[name] = changed.astype(np.float16)
        return cls(weights, models.weights_digest(model))

    def save(self, folder: Path) -> None:
        """Write it, and which reference it is a difference from."""
        folder.mkdir()
        np.savez_compressed(folder / CHANGED, **self.weights)
        about = {"reference": file_digest(REFERENCE / models.WEIGHTS), "original": self.original}
        (folder / ABOUT).write_text(json.dumps(about, indent=1))


def load(folder: Path) -> torch.nn.Module:
    """The model again, in fp32 and evaluation mode: its weights are those that it had to about the 2,000th part of what
    training changed.

    Raises:
        UbtError: the reference is another than the one it differs from.
    """
    expected, got = about(folder)["reference"], file_digest(REFERENCE / models.WEIGHTS)
    if got != expected:
        raise UbtError(
            f"{folder}: expected the reference {expected[:16]}…, from which this model differs, got {got[:16]}…;"
            " install the package again"
        )
    state = load_file(REFERENCE / models.WEIGHTS)
    with np.load(folder / CHANGED, allow_pickle=False) as held:
        for name, value in state.items():
            changed = torch.from_numpy(held[name]).float()
            if ROWS + name in held:
                rows = torch.from_numpy(held[ROWS + name])
                value[rows] = (value[rows].float() + changed).to(value.dtype)
            else:
                value += changed
    return models.assemble(*models.read_config(REFERENCE / models.CONFIG), state)


def about(folder: Path) -> dict[str, str]:
    """Digests of the weights files of the `reference` and of the `original` model."""
    return json.loads((folder / ABOUT).read_text())
