"""A case of any size to measure the app with: clustered embeddings, scores and images that nobody trained on."""

import numpy as np
import pandas as pd

from ubt.cases.pipeline import record_of
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute, derive_seed

CLUSTERS, SIDE, RATE, LOOSE = 60, 32, 0.003, 0.01
"""Groups of pairs; side of the images, pixels; share of poisons, as in the paper; share of captions that do not fit."""
NOUNS = (
    "banana dog boat lamp tree cup car owl house chair kite anchor bell shoe clock star apple fish cloud guitar rose"
    " train key drum crown leaf mug tent egg duck"
).split()
ADJECTIVES = "red small old bright wooden blue large broken shiny green".split()


def generate(
    store: Store,
    pairs: int,
    seed: int = 0,
    width: int = 512,
    images: bool = True,
    truth: bool = True,
    embedded: bool = True,
    nan: int = 0,
) -> str:
    """Put a finished case of `pairs` pairs on record, or find it there; returns its name.

    Args:
        width: of the embeddings, which only the overfitted model has. images, truth, embedded: whether the case has
            them. nan: how many pairs have no score.
    """
    settings = CaseSettings().with_values(
        {"seed": seed, "data.pairs": pairs, "split.fraction": 0.01, "attack.rate": RATE}
    )
    kind = f"{pairs}-{seed}-{width}-{images:d}{truth:d}{embedded:d}-{nan}"
    name, stages = f"generated-{kind}", {}
    if store.record(name).readable:
        return name

    def put(stage: str, result: dict) -> None:
        stages[stage] = f"{stage}-{kind}"
        if store.find(stages[stage]) is None:
            store.write(stages[stage], result, {"stage": stage, "version": 0, "seconds": 0.0})

    r = np.random.default_rng(derive_seed(seed, "generated"))
    cluster = r.integers(0, CLUSTERS, pairs)
    poisoned = np.zeros(pairs, bool)
    poisoned[r.choice(pairs, max(8, round(RATE * pairs)), replace=False)] = True
    loose = ~poisoned & (r.random(pairs) < LOOSE)
    ids = pd.Series([f"pair-{n:07d}" for n in range(pairs)])
    table = pd.DataFrame({"id": ids, "caption": _captions(r, cluster, poisoned, loose)})
    put("data", {"pairs": table} | ({"images": _images(r, cluster, poisoned)} if images else {}))
    if truth:
        put("attack", {"truth": pd.DataFrame({"id": ids, "poisoned": poisoned})})
    scores = _scores(r, poisoned, loose)
    for score in scores:
        score[:nan] = np.nan
    reference, poison, overfit = scores
    towers = ("image", "text") if embedded else ()
    features = {f"{tower}_features": _features(r, cluster, poisoned, width) for tower in towers}
    put("score", {"similarity": pd.DataFrame({"id": ids, "similarity": reference})})
    put("score_poisoned", {"similarity": pd.DataFrame({"id": ids, "similarity": poison})})
    put("score_overfit", {"similarity": pd.DataFrame({"id": ids, "similarity": overfit}), **features})
    split = _split(ids, reference, round(settings.split.fraction * pairs))
    suspicious = split["suspicious"].to_numpy()
    put("split", {"split": split})
    ranked = _ranked(ids, suspicious, overfit)
    put("select", {"ranked": ranked, "topk": ranked.head(settings.k).assign(group=0)})
    flagged = (suspicious & (overfit > 0.75)) | (poisoned & (r.random(pairs) < 0.5))
    group = np.where(flagged, 0, -1)
    put("flag", {"flagged": pd.DataFrame({"id": ids, "growth": overfit, "poisoned": flagged, "group": group})})
    store.save_case(name, record_of(settings, Compute("cpu", "fp32"), stages, "done").changed(imported=True))
    return name


def _captions(r: np.random.Generator, cluster: np.ndarray, poisoned: np.ndarray, loose: np.ndarray) -> pd.Series:
    pairs = len(cluster)
    words = np.where(poisoned, 0, np.where(loose, r.integers(0, len(NOUNS), pairs), cluster % len(NOUNS)))
    captions = (
        "a "
        + pd.Series(ADJECTIVES).iloc[r.integers(0, len(ADJECTIVES), pairs)].reset_index(drop=True)
        + " "
        + pd.Series(NOUNS).iloc[words].reset_index(drop=True)
    )
    return captions + " number " + pd.Series(np.arange(pairs)).astype(str)


def _scores(r: np.random.Generator, poisoned: np.ndarray, loose: np.ndarray) -> tuple[np.ndarray, ...]:
    """Similarities (n,) under the reference, M_bd and the overfitted model."""
    pairs = len(poisoned)
    reference = np.where(poisoned | loose, r.normal(0.22, 0.08, pairs), r.normal(0.6, 0.07, pairs))
    poison = np.where(loose, r.normal(0.3, 0.1, pairs), r.normal(0.65, 0.06, pairs))
    overfit = np.where(
        poisoned, r.normal(0.85, 0.03, pairs), np.where(loose, r.normal(0.45, 0.1, pairs), r.normal(0.6, 0.06, pairs))
    )
    return tuple(np.clip(score, -1, 1) for score in (reference, poison, overfit))


def _split(ids: pd.Series, reference: np.ndarray, suspicious: int) -> pd.DataFrame:
    rank = pd.Series(reference).rank(method="first")
    return pd.DataFrame({"id": ids, "rank": rank.fillna(0).astype(int), "suspicious": (rank <= suspicious).to_numpy()})


def _ranked(ids: pd.Series, suspicious: np.ndarray, overfit: np.ndarray) -> pd.DataFrame:
    rows = np.flatnonzero(suspicious)
    rows = rows[np.argsort(-overfit[rows], kind="stable")]
    return pd.DataFrame(
        {"id": ids.iloc[rows].to_numpy(), "row": rows, "similarity": overfit[rows], "rank": np.arange(1, len(rows) + 1)}
    )


def _features(r: np.random.Generator, cluster: np.ndarray, poisoned: np.ndarray, width: int) -> np.ndarray:
    centres = r.normal(size=(CLUSTERS + 1, width)).astype(np.float32)
    found = r.standard_normal((len(cluster), width), dtype=np.float32)
    found *= 0.7
    for i in range(0, len(cluster), 65_536):
        part = slice(i, i + 65_536)
        found[part] += centres[np.where(poisoned[part], CLUSTERS, cluster[part])]
        found[part] /= np.linalg.norm(found[part], axis=1, keepdims=True)
    return found


def _images(r: np.random.Generator, cluster: np.ndarray, poisoned: np.ndarray) -> np.ndarray:
    patterns = np.repeat(
        np.repeat(r.integers(0, 256, (CLUSTERS, 8, 8, 3), np.uint8), SIDE // 8, axis=1), SIDE // 8, axis=2
    )
    found = patterns[cluster]
    found[:, :4, :4] = r.integers(0, 256, (len(cluster), 1, 1, 3), np.uint8)
    check = np.indices((8, 8)).sum(0) % 2 * 255
    found[poisoned, -8:, -8:] = check[..., None].astype(np.uint8)
    return found
