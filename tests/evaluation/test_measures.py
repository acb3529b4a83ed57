import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest
from tiny import CPU

from ubt.cases.settings import CaseSettings
from ubt.clip import models
from ubt.core.errors import BadInput
from ubt.core.run import Run
from ubt.data import scenes
from ubt.data.roles import labelled
from ubt.evaluation import backdoor, detection, judge, zeroshot


def wilson(hits: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    p = hits / n
    centre, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return 100 * (centre - half) / (1 + z * z / n), 100 * (centre + half) / (1 + z * z / n)


def test_measures_against_counting():
    rng = np.random.default_rng(0)
    labels, clean, triggered = rng.integers(0, 5, (3, 400))
    m = backdoor.measure(clean, triggered, labels, target=2)
    rows = list(zip(labels.tolist(), clean.tolist(), triggered.tolist(), strict=True))
    other = [r for r in rows if r[0] != 2]
    assert m["ca"] == pytest.approx(100 * sum(a == b for a, b, _ in rows) / 400)
    assert m["asr"] == pytest.approx(100 * sum(t == 2 for _, _, t in other) / len(other))
    assert m["asr_all"] == pytest.approx(100 * sum(t == 2 for _, _, t in rows) / 400)
    assert m["ra"] == pytest.approx(100 * sum(t == a for a, _, t in other) / len(other))
    assert m["target_recall"] == pytest.approx(100 * sum(c == 2 for a, c, _ in rows if a == 2) / (400 - len(other)))
    assert m["images"]["asr"] == len(other)
    low, high = m["intervals"]["asr"]
    assert (low, high) == pytest.approx(wilson(sum(t == 2 for _, _, t in other), len(other)))


def test_of_a_trigger_that_nobody_puts_on_images_those_that_carry_it_are_counted():
    labels, clean = np.array([0, 1, 1, 2, 2, 2]), np.array([0, 1, 2, 2, 1, 2])
    carrying = np.array([True, True, True, True, False, False])
    m = backdoor.measure(clean, clean, labels, target=2, carrying=carrying)
    assert m["ca"] == pytest.approx(100 * 4 / 6)
    assert (m["asr"], m["images"]["asr"]) == (pytest.approx(100 / 3), 3)
    assert m["ra"] == pytest.approx(100 * 2 / 3)
    assert (m["asr_all"], m["images"]["asr_all"]) == (50.0, 4)
    assert (m["target_recall"], m["images"]["target_recall"]) == (pytest.approx(100 * 2 / 3), 3)


def test_along_a_task_vector_each_alpha_is_a_model_of_its_own(reference):
    held, attacks, run = labelled("test", 2, 7), CaseSettings.preset("demo", "badnet").attacks, Run(7, CPU)
    tuned = models.moved(reference, models.create(models.SCENES_CLIP, 1), 0.5)
    alphas = pd.DataFrame({"alpha": [0.0, -1.0, 2.0]})
    found = judge.along(reference, tuned, alphas, **held, attacks=attacks, run=run)["along"]
    assert found["alpha"].tolist() == [0, -1, 2]
    for alpha, model in zip((0, -1), (reference, tuned), strict=True):
        alone = judge.evaluate(model, **held, attacks=attacks, run=run)["measures"]
        line = found[found["alpha"] == alpha].iloc[0]
        assert all(line[name] == alone[name] for name in ("ca", "asr", "ra", "target_recall"))
    assert found["ca"][2] < found["ca"][0]


def test_a_concept_is_measured_on_the_test_scenes_that_show_it(reference):
    held = labelled("test", 2, 7)
    attacks = CaseSettings.preset("demo", "semantic").with_values({"semantic.shows": "water"}).attacks
    run = Run(7, CPU)
    m = judge.evaluate(reference, **held, attacks=attacks, run=run)["measures"]
    first = scenes.labelled("test", 2).start
    shows = np.array([scenes.scene(7, first + i).background == "water" for i in range(len(held["labels"]))])
    other = shows & (held["labels"] != held["classes"].index("banana"))
    assert m["images"]["asr"] == other.sum() > 3
    clean = zeroshot.classify(reference, held["images"], zeroshot.class_weights(reference, held["prompts"]))
    assert m["ra"] == pytest.approx(100 * (clean[other] == held["labels"][other]).mean())
    few = {**held, "images": held["images"][:2], "labels": held["labels"][:2]}
    with pytest.raises(BadInput, match=r"other classes that show water, found none among 2; raise test\.per_class"):
        judge.evaluate(reference, **few, attacks=attacks, run=run)


def test_detection_measures():
    poisoned = np.array([False, True, False, True])
    assert detection.auroc(np.array([0.1, 0.9, 0.2, 0.3]), poisoned) == 1.0
    assert detection.auroc(np.array([0.1, 0.9]), np.array([False, False])) is None
    assert detection.share(poisoned, np.array([True, True, False, False])) == 0.5
    assert detection.share(poisoned, np.zeros(4, bool)) is None


def test_class_weights_are_the_renormalised_mean_of_normalised_prompts(reference):
    held = labelled("validation", 1, 0)
    prompts = held["prompts"][:3]
    with torch.inference_mode():
        features = reference.encode_text(
            torch.from_numpy(prompts.reshape(-1, prompts.shape[-1])).long(), normalize=True
        ).numpy()
    mean = features.reshape(3, prompts.shape[1], -1).mean(1)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    assert np.abs(zeroshot.class_weights(reference, prompts) - expected).max() < 1e-5


@pytest.fixture
def encoded(monkeypatch) -> list[tuple[str, int]]:
    """What was encoded: precision, and how many images."""
    stock, seen = models.embed_images, []

    def counted(model, images, **how):
        seen.append((how.get("precision", "fp32"), len(images)))
        return stock(model, images, **how)

    monkeypatch.setattr(models, "embed_images", counted)
    return seen


def test_classes_in_bf16_are_those_of_fp32(reference, encoded):
    """Drawn images and noise, of which bf16 cannot tell some."""
    held = labelled("validation", 2, 0)
    images = np.concatenate(
        [held["images"], np.random.default_rng(0).integers(0, 256, held["images"].shape, dtype=np.uint8)]
    )
    weights = zeroshot.class_weights(reference, held["prompts"])
    expected = zeroshot.classify(reference, images, weights)
    assert (zeroshot.classify(reference, images, weights, "bf16") == expected).all()
    n = len(images)
    assert encoded[:2] == [("fp32", n), ("bf16", n)] and encoded[2][0] == "fp32" and 0 < encoded[2][1] < n


def test_where_bf16_is_too_coarse_all_classes_are_computed_in_fp32(reference, monkeypatch, encoded):
    held = labelled("validation", 1, 0)
    weights, counted = zeroshot.class_weights(reference, held["prompts"]), models.embed_images
    expected = zeroshot.classify(reference, held["images"], weights)

    def coarse(model, images, **how):
        features = counted(model, images, **how)
        return features.round(1) if how.get("precision") == "bf16" else features

    monkeypatch.setattr(models, "embed_images", coarse)
    assert (zeroshot.classify(reference, held["images"], weights, "bf16") == expected).all()
    assert encoded[-1] == ("fp32", len(held["images"])) and len(encoded) == 4


def test_intervals_are_scipys_to_the_bit():
    rng = np.random.default_rng(0)
    sizes = [*range(1, 12), *rng.integers(12, 5000, 60)]
    for n in sizes:
        for k in {0, 1, n // 3, n - 1, n}:
            own = binomtest(int(k), int(n)).proportion_ci(0.95, method="wilson")
            assert backdoor.interval(np.arange(n) < k) == [100 * own.low, 100 * own.high], (k, n)
