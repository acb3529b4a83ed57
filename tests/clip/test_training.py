import threading

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from ubt.clip import models, training
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.run import Compute
from ubt.core.settings import FitSettings
from ubt.data import model_input, scenes

CPU = Compute("cpu", "fp32")
SMALL = models.SCENES_CLIP | {
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def pairs():
    p = scenes.load_pairs(0, "pairs", 64, 16)
    return p.images, model_input.tokenize(p.captions, 24)


def test_contrastive_loss_is_equation_1():
    rng = np.random.default_rng(0)
    image, text = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, 9, 5)))
    tau = 0.07
    s = image @ text.T / tau
    n = len(s)
    expected = -(
        sum(s[i, i] - logsumexp(s[i]) for i in range(n)) + sum(s[j, j] - logsumexp(s[:, j]) for j in range(n))
    ) / (2 * n)
    got = training.contrastive_loss(torch.tensor(image), torch.tensor(text), torch.tensor(1 / tau, dtype=torch.float64))
    assert got.item() == pytest.approx(expected, rel=1e-12)


def fit(pairs, steps=12, config=SMALL, **kwargs):
    model = models.create(config, 0)
    batches = training.PairBatches(*pairs, 16, seed=3)
    history = training.fit(
        model, training.info_nce, batches, steps, FitSettings(lr=1e-3), CPU, vocabulary=pairs[1], **kwargs
    )
    return model, history


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_training_lowers_the_loss_and_is_deterministic(pairs):
    (a, first), (b, second) = fit(pairs, 60), fit(pairs, 60)
    assert first == second
    assert equal(a, b)
    assert first[-1]["loss"] < first[0]["loss"] - 0.2


def test_a_run_cut_short_anywhere_resumes_to_the_same_weights(pairs, tmp_path):
    whole, history = fit(pairs)
    for cut in (1, 5, 11):
        checkpoint = training.Checkpoint(tmp_path / f"{cut}.safetensors")

        def stop(done, total, figures, cut=cut):
            if done == cut:
                raise Cancelled("stop")

        with pytest.raises(Cancelled):
            fit(pairs, checkpoint=checkpoint, progress=stop)
        resumed, rows = fit(pairs, checkpoint=checkpoint)
        assert rows == history
        assert equal(resumed, whole)


def test_a_resnet_resumes_with_its_running_means(pairs, tmp_path):
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    config, checkpoint = (
        SMALL | {"embed_dim": 16, "vision_cfg": vision},
        training.Checkpoint(tmp_path / "cut.safetensors"),
    )

    def stop(done, total, figures):
        if done == 2:
            raise Cancelled("stop")

    whole, _ = fit(pairs, 4, config=config)
    with pytest.raises(Cancelled):
        fit(pairs, 4, config=config, checkpoint=checkpoint, progress=stop)
    resumed, _ = fit(pairs, 4, config=config, checkpoint=checkpoint)
    assert equal(resumed, whole)
    assert whole.visual.bn1.num_batches_tracked == 4


def one_bit(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 64]) + content[-8:]


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a checkpoint" * 50, one_bit]
)
def test_a_damaged_checkpoint_is_said_and_training_starts_over(pairs, tmp_path, caplog, damage):
    whole, _ = fit(pairs)
    path = tmp_path / "c.safetensors"

    def stop(done, total, figures):
        if done == 4:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        fit(pairs, checkpoint=training.Checkpoint(path), progress=stop)
    path.write_bytes(damage(path.read_bytes()))
    again, _ = fit(pairs, checkpoint=training.Checkpoint(path))
    assert "starts over" in caplog.text
    assert equal(again, whole)


def test_a_checkpoint_interval_that_is_no_number_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("UBT_CHECKPOINT_SECONDS", "often")
    with pytest.raises(BadInput, match="a number of seconds"):
        training.Checkpoint.under(tmp_path)


def test_frozen_parameters_stay(pairs):
    model, _ = fit(pairs, 3, frozen=("logit_scale",))
    assert model.logit_scale.item() == models.create(SMALL, 0).logit_scale.item()


def test_a_loss_that_is_not_finite_ends_the_run(pairs):
    with pytest.raises(UbtError, match="lower the learning rate"):
        training.fit(
            models.create(SMALL, 0),
            lambda m, b: (m.logit_scale * float("nan"), {}),
            training.PairBatches(*pairs, 16, 0),
            3,
            FitSettings(),
            CPU,
        )


def test_scenes_are_trained_on_without_storing_them(pairs):
    indices = scenes.ROLES["pairs"][:64]
    stored, history = fit(pairs, 3)
    streamed, rows = fit((scenes.Drawn(0, indices, 16), pairs[1]), 3)
    assert rows == history
    assert equal(stored, streamed)


def test_learning_rate_rises_then_falls():
    s = FitSettings(lr=1.0, warmup=0.1)
    rates = [training.learning_rate(i, 100, s) for i in range(100)]
    assert rates[9] == max(rates) == 1.0
    assert rates[0] == pytest.approx(0.1)
    assert rates[-1] < 0.01
    assert training.learning_rate(99, 100, FitSettings(lr=1.0, schedule="constant")) == 1.0


def test_batches_cover_an_epoch_once_and_depend_on_the_step_alone(pairs):
    batches = training.PairBatches(*pairs, 16, 1)
    epoch = np.concatenate([batches.at(i) for i in range(4)])
    assert sorted(epoch) == list(range(64))
    assert (batches.at(2) == training.PairBatches(*pairs, 16, 1).at(2)).all()
    with pytest.raises(UbtError, match="at least one pair"):
        training.PairBatches(*pairs, 16, 1, rows=np.empty(0, int))


def test_being_observed_changes_nothing_and_reads_words_outside_the_vocabulary(pairs):
    seen, told = [], []
    outside = model_input.tokenize(["xylophone zeppelin"], 24)
    assert not np.isin(outside, pairs[1]).all()

    def observe(step: int, model) -> dict[str, float]:
        seen.append((step, models.embed_tokens(model, outside)))
        return {"asr": 7.0}

    watched, history = fit(pairs, observe=observe, progress=lambda done, total, figures: told.append(figures))
    alone, same = fit(pairs)
    assert equal(watched, alone)
    assert history == same
    assert [s for s, _ in seen] == [0, 5, 10, 12]
    assert [f.get("asr") for f in told] == [7.0 if s in (5, 10, 12) else None for s in range(1, 13)]
    fresh = models.create(SMALL, 0)
    assert np.allclose(seen[0][1], models.embed_tokens(fresh.eval(), outside), atol=1e-6)


class Read:
    """Images that are read when they are asked for, as `ubt.data.images.Images`."""

    def __init__(self, pixels, broken=-1):
        self.pixels, self.broken, self.threads = pixels, broken, set()

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, rows):
        self.threads.add(threading.current_thread().name)
        if self.broken in rows:
            raise UbtError("it has vanished")
        return self.pixels[rows]


def test_images_that_are_read_are_read_ahead_and_train_the_same(pairs):
    images, tokens = pairs
    weights, read = [], Read(images)
    for source in (images, read):
        model = models.create(SMALL, 1)
        batches = training.PairBatches(source, tokens, 16, 3)
        training.fit(model, training.info_nce, batches, 5, FitSettings(batch=16), CPU, vocabulary=tokens)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
    assert threading.current_thread().name not in read.threads


def test_an_image_that_cannot_be_read_ends_the_fit_with_its_own_error(pairs):
    images, tokens = pairs
    batches = training.PairBatches(Read(images, broken=7), tokens, 16, 3)
    with pytest.raises(UbtError, match="it has vanished"):
        training.fit(
            models.create(SMALL, 1), training.info_nce, batches, 5, FitSettings(batch=16), CPU, vocabulary=tokens
        )
    assert not [t for t in threading.enumerate() if t.name.startswith("batches")]
