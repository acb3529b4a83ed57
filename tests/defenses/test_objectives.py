"""The defences' objectives against references written out, and what each may see."""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from tiny import CPU, tiny

from ubt.attacks import ATTACKS
from ubt.cases.catalog import LAB, every
from ubt.cases.pipeline import Pipeline, upto
from ubt.clip import augment
from ubt.core.run import Run
from ubt.defenses import DEFENSES, abl
from ubt.defenses.abl import pair_losses
from ubt.defenses.poisoncam import LocateSettings, activation, clusters, locate, masked, windows


def unit(*shape: int) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_a_pairs_loss_is_its_share_of_info_nce():
    image, text = unit(2, 50, 8)
    logits = torch.from_numpy(10 * image @ text.T)
    own = torch.arange(50)
    expected = (F.cross_entropy(logits, own, reduction="none") + F.cross_entropy(logits.T, own, reduction="none")) / 2
    np.testing.assert_allclose(pair_losses(image, text, 10.0, 50, 3, seed=1), expected, rtol=1e-5)


def test_no_defence_but_the_oracle_sees_the_truth_and_none_the_test_set():
    known, oracle = {s.name: s for s in every()}, DEFENSES["retrain"].model
    judges = {s.name for s in every() if s.role == "judge"}
    for stage in every():
        owners = {source.split(".")[0] for source in stage.inputs.values()}
        if stage.role == "defender":
            assert not owners & {"attack", "test", *judges}, stage.name
            assert not {"attack", "attacks", *ATTACKS} & set(stage.settings), stage.name
    for defense in DEFENSES.values():
        led = [s for s in upto(defense.model) if s.role != "defender" and s.name not in {lab.name for lab in LAB}]
        assert [s.name for s in led] == ([oracle] if defense.model == oracle else [])
    assert known[oracle].inputs["truth"] == "attack.truth"


def test_captions_are_edited_by_words_and_alike_for_one_seed():
    texts = ["a photo of a red car next to a tree", "car", "an owl"]
    edited = augment.captions(texts, [1, 2])
    assert edited == augment.captions(texts, [1, 2])
    assert edited != texts
    assert edited[1] == "car"
    assert set(" ".join(edited).split()) <= set(" ".join(texts).split())
    assert len({tuple(augment.captions(texts, [s])) for s in range(20)}) > 5


def test_images_are_disturbed_half_of_them_by_noise_and_by_an_erased_part():
    batch = np.random.default_rng(0).integers(60, 196, (400, 24, 24, 3), np.uint8)
    found = augment.disturbed(batch, [3]).numpy()
    assert found.dtype == np.uint8 and (found == augment.disturbed(batch, [3]).numpy()).all()
    changed = (found != batch).any(-1).mean((1, 2))
    noisy = changed > 0.5
    assert abs(noisy.mean() - 0.5) < 0.1
    assert abs((found[noisy].astype(int) - batch[noisy]).std() - 0.2 * 255) < 3
    erased = (found == 0).all(-1).mean((1, 2))[~noisy]
    assert abs((erased > 0).mean() - 0.5) < 0.1 and erased.max() <= 0.02


def test_images_are_augmented_each_on_its_own_and_alike_for_one_seed():
    one = np.random.default_rng(0).integers(0, 256, (1, 24, 24, 3), np.uint8)
    batch = np.repeat(one, 16, axis=0)
    found = augment.images(batch, [0, 1])
    assert found.dtype == torch.uint8
    assert found.shape == batch.shape
    assert torch.equal(found, augment.images(batch, [0, 1]))
    assert len({f.numpy().tobytes() for f in found}) > 8
    state = torch.random.get_rng_state()
    augment.images(batch, [5])
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("strategy", ["full coverage", "interval", "random"])
def test_windows_lie_inside_and_full_coverage_covers(strategy):
    corners = windows(48, 40, 12, strategy, 1)
    seen = np.zeros((48, 40), bool)
    for y, x in corners:
        assert 0 <= y <= 36
        assert 0 <= x <= 28
        seen[y : y + 12, x : x + 12] = True
    assert seen.all() or strategy != "full coverage"
    assert (
        len(windows(48, 40, 12, "random", 1))
        == len(windows(48, 40, 12, "interval", 1))
        < len(windows(48, 40, 12, "full coverage", 1))
    )


def test_masking_the_trigger_changes_the_cluster():
    """An encoder that sees nothing but whether a red square is there."""

    def embed(images: np.ndarray) -> np.ndarray:
        red = ((images[..., 0] > 200) & (images[..., 1] < 50)).sum((1, 2))
        return np.stack([red == 16, red != 16], axis=1).astype(np.float32)

    image = np.full((16, 16, 3), 60, np.uint8)
    image[4:8, 8:12] = 255, 0, 0
    corners = windows(16, 16, 4, "full coverage", 0)
    changes, drop = activation(embed(image[None])[0], embed(masked(image, corners, 4)), np.eye(2, dtype=np.float32))
    hit = [abs(y - 4) < 4 and abs(x - 8) < 4 for y, x in corners]
    assert changes.tolist() == hit
    assert (drop > 0).tolist() == hit


def test_the_patches_that_take_others_along_rank_first(monkeypatch):
    """An encoder that sees whether a red square of 16 pixels is there, and else whether the image is dark; six of 66
    images have the square.
    """

    def embed(model, images: np.ndarray) -> np.ndarray:
        red = ((images[..., 0] > 200) & (images[..., 1] < 50)).sum((1, 2)) / 16
        dark = np.median(images[..., 1], axis=(1, 2)) < 100
        x = np.stack([red, (1 - red) * dark, (1 - red) * ~dark], axis=1)
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr("ubt.clip.models.embed_images", embed)
    images, red = np.full((66, 16, 16, 3), 60, np.uint8), np.arange(66) % 11 == 0
    images[::2] = 180
    images[red, 4:8, 8:12] = 255, 0, 0
    pairs = pd.DataFrame({"id": [f"p{i}" for i in range(66)]})
    found = locate(
        torch.nn.Linear(1, 1),
        images,
        embed(None, images),
        pairs,
        LocateSettings(clusters=3, images=66, pasted=66),
        Run(),
    )["candidates"]
    assert found["changes"].tolist() == red.tolist()
    assert found["flips"].tolist() == red.astype(float).tolist(), "of those that were not in the cluster before"
    assert sorted(found["rank"][red]) == [1, 2, 3, 4, 5, 6]
    assert ((found["y"][red] > 0) & (found["y"][red] < 8) & (found["x"][red] > 4) & (found["x"][red] < 12)).all()


def test_clusters_are_those_of_the_data():
    centres = unit(3, 8)
    points = centres[np.arange(90) % 3] + 0.05 * unit(90, 8)
    found = clusters(points / np.linalg.norm(points, axis=1, keepdims=True), 3, seed=1)
    assert sorted((found @ centres.T).argmax(1)) == [0, 1, 2]
    assert (found @ centres.T).max(1).min() > 0.98


def test_abl_isolates_the_pairs_of_lowest_loss():
    image, text = unit(2, 100, 8)
    text[:5] = image[:5]
    model = torch.nn.Module()
    model.logit_scale = torch.nn.Parameter(torch.tensor(2.0))
    pairs = pd.DataFrame({"id": [f"p{i}" for i in range(100)]})
    found = abl.isolate(model, image, text, pairs, abl.IsolateSettings(fraction=0.05, batch=50), Run())
    assert sorted(found["isolated"]["row"]) == [0, 1, 2, 3, 4]
    assert found["losses"]["isolated"].sum() == 5
    assert not found["flagged"]["poisoned"].any()


def test_what_abl_leaves_is_measured_under_both_models(full):
    settings = tiny(isolate__steps=2, isolate__rounds=1, abl__steps=2, abl__batch=8, abl__lr=1e-3)
    before, after = (
        Pipeline(full, CPU).run(settings, upto(f"left_{model}")).artefacts for model in ("poisoned", "abl")
    )
    isolated = after["abl_isolate"]["losses"]["isolated"].to_numpy()
    rest = after["attack"]["truth"]["poisoned"].to_numpy() & ~isolated
    found = [a[f"left_{m}"]["measures"] for a, m in ((before, "poisoned"), (after, "abl"))]
    scores = [
        a[s]["similarity"]["similarity"].to_numpy() for a, s in ((before, "score_poisoned"), (after, "score_after_abl"))
    ]
    assert [m["poisoned"] for m in found] == pytest.approx([s[rest].mean() for s in scores])
    assert [m["isolated"] for m in found] == pytest.approx([s[isolated].mean() for s in scores])
    assert found[0]["isolated"] > found[1]["isolated"]
    assert found[1]["asr"] == after["evaluate_abl"]["measures"]["asr"]
