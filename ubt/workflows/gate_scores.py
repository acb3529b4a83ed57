"""What a gate's detectors say of images: prepared once, asked together, and kept on disk while many are scored."""

import contextlib
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ubt.cases.store import Store
from ubt.core.files import replace_file
from ubt.core.run import Progress, derive_seed, silent
from ubt.detectors.gate import IMAGE_DETECTORS
from ubt.detectors.gate.base import Score, Watched

PART = 64
"""Images that are scored between two looks at whether to stop."""
KEPT = 4 * PART
"""Images after which the scores of a calibration under way are kept."""


def prepared(watched: Watched, names: Sequence[str], seed: int, progress: Progress = silent) -> dict[str, Score]:
    """Detectors prepared on clean images, by name; of those that are made of others, these once for all."""
    every: dict[str, Score] = {}

    def of(name: str) -> Score:
        if name not in every:
            detector = IMAGE_DETECTORS[name]
            own = derive_seed(seed, f"gate/{name}") % 2**31
            parts = {part: of(part) for part in detector.of}
            every[name] = Score(detector.prepare(watched, detector.settings(), own, *parts.values()), parts)
        return every[name]

    for i, name in enumerate(names):
        of(name)
        progress(i + 1, len(names), {})
    return {name: every[name] for name in names}


def scored(
    scores: Mapping[str, Score],
    images: np.ndarray,
    progress: Progress = silent,
    known: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """What detectors say of images, uint8 (n, H, W, 3), some at a time: (n,) each.

    Args:
        known: what detectors have said of these images before, by name, (n,) each, which is not asked again; what is
            asked is added.

    Raises:
        Cancelled: `progress` asked to stop.
    """
    known, parts = {} if known is None else known, {}
    already = dict(known)
    for start in range(0, len(images), PART):
        some: np.ndarray = images[start : start + PART]
        said = {name: score[start : start + PART] for name, score in already.items()}
        for name, score in scores.items():
            if name not in said:
                said[name] = score(some, said)
        for name, score in said.items():
            parts.setdefault(name, []).append(score)
        progress(min(start + PART, len(images)), len(images), {})
    known |= {name: np.concatenate(part) for name, part in parts.items()}
    return {name: known[name] if len(images) else np.zeros(0) for name in scores}


def scored_in_parts(
    store: Store, key: str, scores: Mapping[str, Score], held: np.ndarray, progress: Progress
) -> dict[str, np.ndarray]:
    """`scored` of held images (n, H, W, 3), (n,) each, kept on disk every `KEPT` images under the lock `key`, so that a
    call that was stopped goes on from there.
    """
    with store.lock(key), store.step(key) as scratch:
        path, mark = scratch / "scores.npz", digest_of(held)
        found = _resumed(path, mark, scores)
        for start in range(len(next(iter(found.values()))), len(held), KEPT):

            def told(done: int, total: int, figures: dict[str, float], start: int = start) -> None:
                progress(start + done, len(held), figures)

            more = scored(scores, held[start : start + KEPT], told)
            found = {name: np.concatenate([found[name], more[name]]) for name in scores}
            replace_file(path, partial(_keep_scores, found=found, mark=mark))
    return found


def _keep_scores(path: Path, found: Mapping[str, np.ndarray], mark: str) -> None:
    with path.open("wb") as out:
        np.savez(out, mark=np.array(mark), **found)


def _resumed(path: Path, mark: str, scores: Mapping[str, Score]) -> dict[str, np.ndarray]:
    """What an earlier call has scored of the same images by the same detectors, or nothing."""
    unreadable = OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError
    with contextlib.suppress(*unreadable), np.load(path, allow_pickle=False) as kept:
        found = {name: kept[name] for name in scores}
        if str(kept["mark"]) == mark and len({part.shape for part in found.values()}) == 1:
            return found
    return {name: np.zeros(0) for name in scores}


def digest_of(images: np.ndarray) -> str:
    """The digest of images, uint8 (n, H, W, 3)."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
