"""What is shipped smaller than a run keeps it: unit vectors in seven bits a number, which pages show to two decimals,
and arrays compressed.
"""

from pathlib import Path

import numpy as np

LEVELS = 63
"""Steps either way; a cosine of two vectors of 128 dimensions is then off by about 0.002."""


class Coded:
    """Rows of unit length (n, d), each number rounded to one of 2 LEVELS + 1 steps.

    >>> v = np.array([[0.6, 0.8], [1.0, 0.0]], np.float32)
    >>> bool(np.abs(Coded.of(v).decoded() - v).max() < 0.02)
    True
    """

    kind = "coded"

    def __init__(self, codes: np.ndarray):
        self.codes = codes

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Coded":
        """Code float vectors (n, d)."""
        return cls(np.rint(vectors * (LEVELS / np.abs(vectors).max())).astype(np.int8))

    def decoded(self) -> np.ndarray:
        """The vectors, float32 (n, d), of unit length again."""
        found = self.codes.astype(np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    def save(self, place: Path) -> None:
        """Write them as `place`.npz."""
        np.savez_compressed(place.with_suffix(".npz"), codes=self.codes)

    @classmethod
    def load(cls, path: Path) -> "Coded":
        """What was written to a file."""
        with np.load(path, allow_pickle=False) as held:
            return cls(held["codes"])


class Packed:
    """An array (any shape) as it is, compressed."""

    kind = "packed"

    def __init__(self, values: np.ndarray):
        self.values = values

    def save(self, place: Path) -> None:
        """Write it as `place`.npz."""
        np.savez_compressed(place.with_suffix(".npz"), values=self.values)

    @staticmethod
    def load(path: Path) -> np.ndarray:
        """The array that was written to a file."""
        with np.load(path, allow_pickle=False) as held:
            return held["values"]
