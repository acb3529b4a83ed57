"""Scenes of a case, D's or those that measure, drawn when they are asked for and not stored: images (n, size, size, 3)
as every reader takes them.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ubt.attacks import ATTACKS, AttackSettings, Planted
from ubt.attacks.poisoning import stamp
from ubt.data import scenes

TOUCHED = ["row", "plant", "key", "trigger_seed"]


class Drawn:
    """The images of a lab case on scenes: `images[rows]` is a plain uint8 array (n, size, size, 3).

    Args:
        seed: of the case. indices: of the scenes. attacks: its attacks. touched: which rows they touch, and how, as
            `ubt.attacks.poisoning.plan` gives it; None: none.
    """

    kind = "drawn"
    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, seed: int, indices: range, attacks: Sequence[Planted] = (), touched: pd.DataFrame | None = None):
        self.seed, self.indices, self.attacks = seed, indices, tuple(attacks)
        self.touched = (pd.DataFrame(columns=TOUCHED) if touched is None else touched)[TOUCHED].set_index("row")

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, side, side, 3)."""
        return len(self), scenes.SIZE, scenes.SIZE, 3

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = np.arange(len(self))[key]
        found = self._draw(np.atleast_1d(rows))
        return found if rows.ndim else found[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._draw(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def _draw(self, rows: np.ndarray) -> np.ndarray:
        images = scenes.draw_many(self.seed, [self.indices[row] for row in rows.tolist()], scenes.SIZE)
        if self.touched.empty:
            return images
        truth = self.touched.reindex(rows).fillna({"plant": -1, "trigger_seed": 0})
        truth = truth.astype({"plant": int, "trigger_seed": np.int64})
        stamp(images, truth, self.attacks)
        return images

    def save(self, folder: Path) -> None:
        """Write what they are drawn from."""
        folder.mkdir()
        self.touched.reset_index().to_parquet(folder / "touched.parquet", index=False, compression="zstd")
        attacks = [{"attack": p.attack.to_dict(), "trigger": p.trigger.to_dict()} for p in self.attacks]
        (folder / "about.json").write_text(
            json.dumps(
                {"seed": self.seed, "first": self.indices.start, "count": len(self), "attacks": attacks}, indent=1
            )
        )

    @classmethod
    def load(cls, folder: Path) -> "Drawn":
        """What `save` wrote; nothing is drawn."""
        about = json.loads((folder / "about.json").read_text())
        attacks = [
            Planted(
                AttackSettings.from_dict(a["attack"]), ATTACKS[a["attack"]["name"]].settings.from_dict(a["trigger"])
            )
            for a in about["attacks"]
        ]
        indices = range(about["first"], about["first"] + about["count"])
        return cls(about["seed"], indices, attacks, pd.read_parquet(folder / "touched.parquet"))
