"""Where triggers were put, judged with the ground truth: patches that were located against the true places."""

import numpy as np
import pandas as pd

BOX = ["top", "left", "height", "width"]
PART, WHOLE, NONE = "part", "whole", "none"
"""What a trigger covers: a part of its image, which can be located, or all of it; or the image has none."""


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes.

    Args:
        a, b: top, left, height and width (..., 4), in one unit; a box without an area has no IoU with anything, 0.

    Returns:
        (...), in [0, 1].

    >>> iou(np.array([0, 0, 4, 4]), np.array([[0, 0, 4, 4], [0, 2, 4, 4], [4, 0, 4, 4]])).round(3).tolist()
    [1.0, 0.333, 0.0]
    """
    both = _shared(a, b)
    either = _area(a) + _area(b) - both
    return np.divide(both, either, out=np.zeros(np.shape(both)), where=either > 0)


def inside(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the area of `b` that lies within `a`, (...) in [0, 1]; boxes (..., 4) as for `iou`."""
    whole = _area(b)
    return np.divide(
        _shared(a, b), whole, out=np.zeros(np.broadcast_shapes(np.shape(_area(a)), np.shape(whole))), where=whole > 0
    )


def reachable(side: float, boxes: np.ndarray) -> np.ndarray:
    """The highest IoU that a square window of one size can have with boxes (..., 4), wherever it lies.

    >>> reachable(12, np.array([40, 40, 7, 7])).round(3).item()
    0.34
    """
    best = np.minimum(boxes[..., 2], side) * np.minimum(boxes[..., 3], side)
    return best / (side**2 + _area(boxes) - best)


def _area(box: np.ndarray) -> np.ndarray:
    box = np.asarray(box, float)
    return np.maximum(box[..., 2], 0) * np.maximum(box[..., 3], 0)


def _shared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = np.asarray(a, float), np.asarray(b, float)
    spans = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return np.prod(np.maximum(spans, 0), axis=-1)


def places(manifest: pd.DataFrame, ids: pd.Series, size: tuple[int, int]) -> pd.DataFrame:
    """Where an attack put the triggers of some images.

    Args:
        manifest: as `ubt.attacks.poisoning.manifest` gives it. size: height and width of images in pixels.

    Returns:
        A row an id, in their order: `covers` (part, whole or none) and the trigger's box in pixels, 0 where there is
            none.
    """
    found = manifest.set_index("id").reindex(ids)[BOX].fillna(-1).to_numpy(int)
    seen = (found[:, 2] > 0) & (found[:, 3] > 0)
    covers = np.where(seen, np.where(found[:, 2] * found[:, 3] < size[0] * size[1], PART, WHOLE), NONE)
    return pd.DataFrame(np.where(seen[:, None], found, 0), columns=BOX).assign(id=np.asarray(ids), covers=covers)


def located(
    candidates: pd.DataFrame, poisoned: np.ndarray, manifest: pd.DataFrame, size: tuple[int, int]
) -> pd.DataFrame:
    """Located patches against the true places.

    Args:
        candidates: as `ubt.defenses.poisoncam.locate` gives them. poisoned: which pairs of D are (n,). manifest, size:
            as for `places`.

    Returns:
        A row a candidate, in their order: whether its image is `poisoned`, the trigger's box and what it `covers`, and
        where that is a
        part: the `iou` of patch and trigger, the highest that a patch of this size could have (`reachable`), and the
        share of the trigger `inside` the patch; missing elsewhere.
    """
    frame = places(manifest, candidates["id"], size)
    true, patch = frame[BOX].to_numpy(float), candidates[["y", "x", "side", "side"]].to_numpy(float)
    part = (frame["covers"] == PART).to_numpy()
    measures = {"iou": iou(patch, true), "reachable": reachable(patch[:, 2], true), "inside": inside(patch, true)}
    return frame.assign(
        poisoned=np.asarray(poisoned, bool)[candidates["row"]],
        **{name: np.where(part, value, np.nan) for name, value in measures.items()},
    )


def summary(candidates: pd.DataFrame, found: pd.DataFrame, top: int) -> dict[str, float]:
    """How well a run of the location did, from what `located` gives.

    Returns:
        How many of the images examined are `poisoned`; `top`, the share of poisoned images among the first `top`
        patches; `first`, how many of the first patches are of poisoned images before one is not; means over the
        poisoned images whose trigger covers a part: `iou`, `reachable`, `inside`. What has nothing to judge is missing.
    """
    poisoned = found["poisoned"].to_numpy(bool)
    ranked = poisoned[np.argsort(candidates["rank"].to_numpy())]
    made: dict[str, float] = {"poisoned": int(poisoned.sum())}
    if poisoned.any():
        made |= {"top": float(ranked[:top].mean()), "first": int(np.append(~ranked, True).argmax())}
    part = found[poisoned & (found["covers"] == PART).to_numpy()]
    return made | ({name: float(part[name].mean()) for name in ("iou", "reachable", "inside")} if len(part) else {})
