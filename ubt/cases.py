"""Cases and artefacts on disk.

`cache/artefacts/STAGE-DIGEST/` holds what a stage made, immutable, written in one step, with a manifest of sizes and
digests; cases that share a step share its artefact. `cache/cases/NAME/case.json` holds a case's settings and the artefacts
it is made of. Frames are parquet, arrays npy, plain values json, models folders that open_clip opens; nothing is unpickled.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from ubt.attacks import ATTACKS, AttackSettings
from ubt.attacks.badnet import BadNetSettings
from ubt.config import PRESETS, BadInput, Compute, Settings, UbtError, digest, disk_full, file_digest, replace_file, setting
from ubt.stages.data import DataSettings, LabelledSettings
from ubt.stages.mask import MaskSettings
from ubt.stages.overfit import OverfitSettings
from ubt.stages.poison import PoisonSettings
from ubt.stages.retain import RetainSettings
from ubt.stages.select import SelectSettings, resolve_k
from ubt.stages.split import SplitSettings, suspicious_count
from ubt.stages.unlearn import PublishedSettings, UnlearnSettings
from ubt.stages.verdict import VerdictSettings

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class CaseSettings(Settings):
    """Everything that decides a case's result, one group a concept."""

    seed: int = setting(0, "the one seed: data, poison, batches", low=0, high=2**31)
    data: DataSettings = field(default_factory=DataSettings)
    validation: LabelledSettings = field(default_factory=lambda: LabelledSettings(per_class=20))
    test: LabelledSettings = field(default_factory=LabelledSettings)
    attack: AttackSettings = field(default_factory=AttackSettings)
    badnet: BadNetSettings = field(default_factory=BadNetSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    poison: PoisonSettings = field(default_factory=PoisonSettings)
    overfit: OverfitSettings = field(default_factory=OverfitSettings)
    select: SelectSettings = field(default_factory=SelectSettings)
    verdict: VerdictSettings = field(default_factory=VerdictSettings)
    mask: MaskSettings = field(default_factory=MaskSettings)
    retain: RetainSettings = field(default_factory=RetainSettings)
    unlearn: UnlearnSettings = field(default_factory=UnlearnSettings)
    published: PublishedSettings = field(default_factory=PublishedSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        resolve_k(self.select, self.data.pairs, suspicious_count(self.data.pairs, self.split.fraction))

    @classmethod
    def preset(cls, name: str) -> "CaseSettings":
        """The defaults with a preset's changes."""
        if name not in PRESETS:
            raise BadInput(f"unknown preset {name!r}; expected one of: {', '.join(PRESETS)}")
        return cls().with_values(PRESETS[name])

    def group(self, name: str) -> Any:
        """A group of settings; `trigger` is the one named after the chosen attack."""
        return getattr(self, self.attack.name if name == "trigger" else name)

    def name(self, compute: Compute) -> str:
        """The case's name: attack, seed, and a digest of every setting that matters to it."""
        other = {a for a in ATTACKS if a != self.attack.name}
        tree = {k: v for k, v in self.to_dict().items() if k not in other}
        return f"{self.attack.name if self.attack.rate else 'clean'}-{self.seed}-{digest([tree, compute.device, compute.precision])[:8]}"


class DamagedArtefact(UbtError):
    """An artefact is not what its manifest says."""


@dataclass(frozen=True)
class Artefact:
    """A finished step on disk."""

    path: Path
    manifest: dict[str, Any]

    def __getitem__(self, entry: str) -> Any:
        """Read an entry, its bytes checked against the manifest; arrays come as read-only memory maps.

        Raises:
            DamagedArtefact: a file has changed since it was written.
        """
        if entry not in self.manifest["entries"]:
            raise UbtError(f"{self.path.name}: expected one of the entries {', '.join(self.manifest['entries'])}, got {entry!r}")
        kind = self.manifest["entries"][entry]
        for name, expected in self.manifest["files"].items():
            path = self.path / name
            if name.split("/")[0].split(".")[0] == entry and not (path.is_file() and file_digest(path) == expected["sha256"]):
                raise DamagedArtefact(f"{path}: expected the bytes its manifest describes, got others")
        return _READ[kind](self.path, entry)

    def check(self) -> None:
        """Raises:
        DamagedArtefact: a file is missing or of another size than when it was written.
        """
        for name, expected in self.manifest["files"].items():
            path = self.path / name
            got = path.stat().st_size if path.is_file() else None
            if got != expected["bytes"]:
                raise DamagedArtefact(f"{path}: expected {expected['bytes']} bytes, got {'no file' if got is None else got}")

    @property
    def bytes(self) -> int:
        return sum(f["bytes"] for f in self.manifest["files"].values())


def _read_frame(path: Path, entry: str):
    import pandas as pd

    return pd.read_parquet(path / f"{entry}.parquet")


def _read_array(path: Path, entry: str):
    import numpy as np

    return np.load(path / f"{entry}.npy", mmap_mode="r", allow_pickle=False)


def _read_model(path: Path, entry: str):
    from ubt import models

    return models.load(path / entry)


_READ = {"frame": _read_frame, "array": _read_array, "model": _read_model, "json": lambda path, entry: json.loads((path / f"{entry}.json").read_text())}


def _write_entry(path: Path, entry: str, value: Any) -> str:
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
        from ubt import models

        models.save(value, path / entry)
        return "model"
    (path / f"{entry}.json").write_text(json.dumps(value, indent=1))
    return "json"


class Store:
    """The cache folder.

    Raises:
        BadInput: the folder cannot be made or written.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        try:
            for name in ("artefacts", "cases", "work"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            probe = self.root / "work" / f".probe-{os.getpid()}"
            probe.write_text("")
            probe.unlink()
        except OSError as e:
            raise BadInput(f"cache: expected a folder that can be written, got {self.root} ({e.strerror}); choose another with --cache") from None

    def open(self, key: str) -> Artefact | None:
        """The finished artefact `key`, or None if there is none.

        Raises:
            DamagedArtefact: it is not what its manifest says.
        """
        path = self.root / "artefacts" / key
        if not path.is_dir():
            return None
        try:
            artefact = Artefact(path, json.loads((path / MANIFEST).read_text()))
            artefact.check()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            raise DamagedArtefact(f"{path / MANIFEST}: expected a readable manifest, got a damaged one ({e!r})") from None
        return artefact

    def find(self, key: str) -> Artefact | None:
        """The finished artefact `key`, or None if there is none or it is damaged."""
        with contextlib.suppress(DamagedArtefact):
            return self.open(key)
        return None

    def set_aside(self, key: str) -> None:
        """Move a damaged artefact out of the way, its step being held alone; `prune` deletes it."""
        with contextlib.suppress(FileNotFoundError):
            (self.root / "artefacts" / key).rename(self.root / "work" / f"damaged-{key}-{time.time_ns()}")

    def scratch(self, key: str) -> Path:
        """The folder of a step under way: its checkpoint, and what it is writing."""
        path = self.root / "work" / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def lock(self, name: str, wait: float = -1) -> Iterator[None]:
        """Hold `name` alone; freed when the process ends, however it ends.

        Raises:
            UbtError: another process holds it and `wait` seconds have passed.
        """
        path = self.root / "work" / f"{name}.lock"
        try:
            with FileLock(path, timeout=wait):
                with contextlib.suppress(OSError):  # a full disk must not keep `prune` from making room
                    path.with_suffix(".owner").write_text(f"process {os.getpid()}, since {time.strftime('%H:%M:%S')}")
                yield
        except Timeout:
            owner = path.with_suffix(".owner")
            who = owner.read_text() if owner.exists() else "another process"
            raise UbtError(f"{name}: expected to be the only run of this case, but it is being run by {who}; wait for it, or use another --cache") from None

    def write(self, key: str, result: dict[str, Any], about: dict[str, Any]) -> Artefact:
        """Put a stage's result in place, whole or not at all, and drop its scratch.

        Raises:
            UbtError: the disk is full; what was finished before is kept.
        """
        scratch = self.scratch(key)
        part = scratch / "result"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            entries = {name: _write_entry(part, name, value) for name, value in result.items()}
            files = {str(p.relative_to(part)): {"bytes": p.stat().st_size, "sha256": file_digest(p)} for p in sorted(part.rglob("*")) if p.is_file()}
            (part / MANIFEST).write_text(json.dumps({**about, "entries": entries, "files": files}, indent=1))
            for p in part.rglob("*"):
                if p.is_file():
                    with p.open("rb") as f:
                        os.fsync(f.fileno())
            part.rename(self.root / "artefacts" / key)
        except (OSError, SafetensorError) as e:
            shutil.rmtree(part, ignore_errors=True)
            if disk_full(e):
                raise UbtError(
                    f"{self.root}: expected room for the step {key}, but the disk is full; free some (python -m ubt cases prune) or choose "
                    "another --cache. Finished steps are kept"
                ) from None
            raise
        shutil.rmtree(scratch, ignore_errors=True)
        return self.find(key)

    def save_case(self, name: str, record: dict[str, Any]) -> None:
        """Write a case's record in one step."""
        folder = self.root / "cases" / name
        folder.mkdir(exist_ok=True)
        replace_file(folder / "case.json", lambda path: path.write_text(json.dumps(record, indent=1)))

    def record(self, name: str) -> dict[str, Any]:
        """A case's record as it was last written; empty if there is none, or none that can be read."""
        with contextlib.suppress(OSError, ValueError):
            record = json.loads((self.root / "cases" / name / "case.json").read_text())
            return record if isinstance(record, dict) else {}
        return {}

    def cases(self) -> dict[str, dict[str, Any]]:
        """All records, newest first. `bytes` is what a case's artefacts take, shared ones counted in each; a case whose
        process ended without a word is `interrupted`.

        Raises:
            UbtError: a record is damaged.
        """
        records = {}
        for path in (self.root / "cases").glob("*/case.json"):
            name = path.parent.name
            try:
                record = json.loads(path.read_text())
                record["bytes"] = sum(self._size(key) for key in record["artefacts"].values())
                if record["state"] == "running":
                    with contextlib.suppress(UbtError), self.lock(name, wait=0):
                        record["state"] = "interrupted"
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
                raise UbtError(f"{path}: expected a readable record of a case, got a damaged one ({e!r}); delete the folder {path.parent}") from None
            records[name] = record
        return dict(sorted(records.items(), key=lambda r: -r[1].get("updated", 0)))

    def _size(self, key: str) -> int:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return sum(f["bytes"] for f in json.loads((self.root / "artefacts" / key / MANIFEST).read_text())["files"].values())
        return 0

    def case(self, name: str) -> dict[str, Any]:
        """One record.

        Raises:
            BadInput: there is no such case.
        """
        cases = self.cases()
        if name not in cases:
            raise BadInput(f"unknown case {name!r}; expected one of: {', '.join(cases) or 'none yet (python -m ubt run makes one)'}")
        return cases[name]

    def delete(self, name: str) -> int:
        """Delete a case and every artefact that no other case uses; returns the bytes freed.

        Raises:
            UbtError: the case is being run.
        """
        self.case(name)
        with self.lock(name, wait=0):
            shutil.rmtree(self.root / "cases" / name)
        return self.prune()

    def prune(self) -> int:
        """Delete artefacts that no case uses, damaged ones, and what interrupted steps of deleted cases left; returns the bytes
        freed. What a listed case needs to go on, and what a running process holds, is left alone.

        Raises:
            UbtError: a case's record is damaged, so that what it uses is not known; nothing is deleted.
        """
        used = {key for record in self.cases().values() for key in record["artefacts"].values()}
        freed = 0
        for path in [*(self.root / "artefacts").iterdir(), *(p for p in (self.root / "work").iterdir() if p.is_dir())]:
            if path.name in used:
                continue
            with contextlib.suppress(UbtError), self.lock(path.name, wait=0):
                freed += sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
                shutil.rmtree(path)
        return freed
