"""A finished step on disk: a folder with a manifest of sizes and digests, read only after it was checked.

Frames are parquet, arrays npy, plain values json, models folders that open_clip opens, images that stay
elsewhere a folder of where they are, scenes what they are drawn from, unit vectors in few bits and packed arrays npz,
models that are shipped what differs from the reference; nothing is unpickled.
"""

import json
import math
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ubt.core.errors import UbtError
from ubt.core.files import file_digest
from ubt.data.user_roles import HOW_TO_IMPORT, KINDS

MANIFEST = "manifest.json"


MEND = "python -m ubt cases check --mend sets it aside and makes it again"
IMPORT_AGAIN = f"import it again ({HOW_TO_IMPORT}), which replaces it"
"""What to do about a damaged artefact: of a stage, or what was imported."""


def is_imported(key: str) -> bool:
    """Whether an artefact's name is that of something imported, which no stage can make again."""
    return key.split("-")[0] in KINDS.values()


def agree(kept: Any, today: Any) -> bool:
    """Whether the settings that a result was made with are today's. Settings that it does not know were added later:
    away from their defaults they would have given it another name.

    >>> agree({"split": {"fraction": 0.1}}, {"split": {"fraction": 0.1, "margin": 0.0}})
    True
    >>> agree({"split": {"fraction": 0.1}}, {"split": {"fraction": 0.2}}), agree({"split": {"old": 1}}, {"split": {}})
    (False, False)
    """
    if isinstance(kept, dict) and isinstance(today, dict):
        return all(name in today and agree(value, today[name]) for name, value in kept.items())
    if isinstance(kept, list) and isinstance(today, list):
        return len(kept) == len(today) and all(map(agree, kept, today))
    return kept == today


class DamagedArtefact(UbtError):
    """The artefact `key` is not what its manifest says; `why` is the message without what to do."""

    def __init__(self, key: str, why: str):
        super().__init__(f"{why}; {IMPORT_AGAIN if is_imported(key) else MEND}")
        self.key, self.why = key, why


@dataclass(frozen=True)
class Artefact:
    """A finished step on disk."""

    path: Path
    manifest: dict[str, Any]

    def __contains__(self, entry: str) -> bool:
        """Whether it has an entry of this name."""
        return entry in self.manifest["entries"]

    def __getitem__(self, entry: str) -> Any:
        """Read an entry, its bytes checked against the manifest; arrays come as read-only memory maps.

        Raises:
            DamagedArtefact: a file has changed since it was written.
        """
        return self.read(entry)

    def read(self, entry: str, checked_up_to: float = math.inf, columns: Sequence[str] | None = None) -> Any:
        """As `[entry]`, or some columns of a frame. Files of more bytes than `checked_up_to` are taken at their size,
        for pages that show a part of a large array.

        Raises:
            UbtError: it has no such entry. DamagedArtefact: a file has changed since it was written.
        """
        if entry not in self.manifest["entries"]:
            raise UbtError(
                f"{self.path.name}: expected one of the entries {', '.join(self.manifest['entries'])}, got {entry!r}"
            )
        kind = self.manifest["entries"][entry]
        if kind not in KINDS_OF_ENTRIES:
            raise DamagedArtefact(
                self.path.name, f"{self.path / MANIFEST}: expected a kind of entry, got {str(kind)[:40]!r}"
            )
        for name, expected in self.manifest["files"].items():
            path = self.path / name
            if name.split("/")[0].split(".")[0] != entry or expected["bytes"] > checked_up_to:
                continue
            if not (path.is_file() and file_digest(path) == expected["sha256"]):
                raise DamagedArtefact(self.path.name, f"{path}: expected the bytes its manifest describes, got others")
        return _read_frame(self.path, entry, columns) if kind == "frame" else _read(self.path, kind, entry)

    def check(self) -> None:
        """Raises:
        DamagedArtefact: a file is missing or of another size than when it was written.
        """
        for name, expected in self.manifest["files"].items():
            path = self.path / name
            got = path.stat().st_size if path.is_file() else None
            if got != expected["bytes"]:
                raise DamagedArtefact(
                    self.path.name,
                    f"{path}: expected {expected['bytes']} bytes, got {'no file' if got is None else got}",
                )

    def verify(self) -> None:
        """Read every byte.

        Raises:
            DamagedArtefact: a file has other bytes than were written, or cannot be read.
        """
        self.check()
        for name, expected in self.manifest["files"].items():
            path = self.path / name
            try:
                same = file_digest(path) == expected["sha256"]
            except OSError as e:
                raise DamagedArtefact(self.path.name, f"{path}: expected a file, got {e.strerror}") from None
            if not same:
                raise DamagedArtefact(self.path.name, f"{path}: expected the bytes its manifest describes, got others")

    def stamps(self) -> dict[str, list[int]]:
        """Size and time of change, in ns, of every file and the manifest: as long as they stay, so do the bytes."""
        told = {name: (self.path / name).stat() for name in (MANIFEST, *self.manifest["files"])}
        return {name: [of.st_size, of.st_mtime_ns] for name, of in told.items()}

    @property
    def bytes(self) -> int:
        """What its files take on disk."""
        return sum(f["bytes"] for f in self.manifest["files"].values())


def _read_frame(path: Path, entry: str, columns: Sequence[str] | None = None):
    import pandas as pd

    return pd.read_parquet(path / f"{entry}.parquet", columns=columns and list(columns))


_LOADERS = {
    "model": "ubt.clip.models",
    "difference": "ubt.clip.difference",
    "images": "ubt.data.images:Images",
    "drawn": "ubt.attacks.rendered_scenes:Drawn",
}
"""Kind to what loads an entry's folder."""


KINDS_OF_ENTRIES = {"frame", "json", "array", "coded", "packed", *_LOADERS}


def _read(path: Path, kind: str, entry: str) -> Any:
    if kind == "json":
        return json.loads((path / f"{entry}.json").read_text())
    if kind == "array":
        import numpy as np

        return np.load(path / f"{entry}.npy", mmap_mode="r", allow_pickle=False)
    if kind == "coded":
        from ubt.cases.quantized import Coded

        return Coded.load(path / f"{entry}.npz").decoded()
    if kind == "packed":
        from ubt.cases.quantized import Packed

        return Packed.load(path / f"{entry}.npz")
    return pkgutil.resolve_name(_LOADERS[kind]).load(path / entry)


def write_entry(path: Path, entry: str, value: Any) -> str:
    """Write one value of a stage's result; returns its kind."""
    import numpy as np
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        value.to_parquet(path / f"{entry}.parquet", index=False)
        return "frame"
    if isinstance(value, np.ndarray):
        np.save(path / f"{entry}.npy", value, allow_pickle=False)
        return "array"
    if hasattr(value, "state_dict"):
        from ubt.clip import models

        models.save(value, path / entry)
        return "model"
    if hasattr(value, "save"):
        value.save(path / entry)
        return value.kind
    (path / f"{entry}.json").write_text(json.dumps(value, indent=1))
    return "json"
