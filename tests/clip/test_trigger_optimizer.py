"""The optimiser of triggers: what each form does to images, and that it finds what an objective asks for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import CPU

from ubt.clip import models
from ubt.clip.training import Shuffled
from ubt.clip.trigger_optimizer import Additive, Masked, OptimizeSettings, Overlay, Patch, optimize
from ubt.core.errors import Cancelled
from ubt.core.files import REFERENCE
from ubt.core.run import Run
from ubt.data import model_input, scenes

BRIEF = OptimizeSettings(steps=12, batch=8)
SOME = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def scene():
    """Images, and the text feature of what they are to be taken for."""
    model = models.load(REFERENCE)
    tokens = model_input.tokenize(["a photo of a banana."], scenes.CONTEXT)
    text = torch.from_numpy(models.embed_tokens(model, tokens))
    return model, scenes.draw_many(100, scenes.ROLES["validation"][:32], 48), text


def found(scene, overlay: Overlay, settings=BRIEF, run=None) -> list[dict]:
    """What `optimize` makes of an overlay that is to bring images to the text."""
    model, images, text = scene
    rows = Shuffled(np.arange(len(images)), settings.batch, 0)

    def asked(features, batch, overlay):
        loss = 1 - (features @ batch["text"].T).mean()
        return loss, {"similarity": 1 - loss.detach()}

    def batches(step):
        return {"images": torch.from_numpy(images[rows.at(step)]), "text": text}

    return optimize(overlay, model, batches, asked, settings, run or Run(0, CPU))


def test_a_patch_replaces_its_place_and_nothing_else():
    patch = Patch(2, 10, 19, 5, 0)
    out = patch(SOME)
    assert out.shape == (2, 4, 3, 48, 48)
    inside = np.zeros((48, 48), bool)
    inside[19:29, 5:15] = True
    changed = (out != SOME).any(dim=2).numpy()
    assert not changed[:, :, ~inside].any()
    assert changed[:, :, inside].mean() > 0.99
    own = torch.from_numpy(patch.patches()).permute(0, 3, 1, 2).float() / 255
    assert (out[:, :, :, 19:29, 5:15] - own[:, None]).abs().max() <= 0.5 / 255 + 1e-6
    assert (patch.patches()[0] == Patch(1, 10, 19, 5, 0).patches()[0]).all()


def test_a_masked_pattern_is_a_mixture_by_its_mask():
    masked = Masked(1, 48, 48, 0, mask=0.25)
    assert masked.size().item() == pytest.approx(0.25, abs=1e-4)
    pattern = (masked.values.tanh() + 1) / 2
    assert torch.allclose(masked(SOME)[0], 0.75 * SOME + 0.25 * pattern, atol=1e-4)


def test_an_added_pattern_stays_within_its_bound_and_in_range():
    added = Additive(3, 48, 48, 8 / 255, 0)
    with torch.no_grad():
        added.values.mul_(100)
    out = added(SOME)
    assert (out - SOME).abs().max() <= 8 / 255 + 1e-6
    assert out.min() >= 0
    assert out.max() <= 1


@pytest.mark.parametrize(
    "overlay", [lambda: Patch(1, 12, 18, 18, 0), lambda: Masked(1, 48, 48, 0), lambda: Additive(2, 48, 48, 16 / 255, 0)]
)
def test_it_comes_closer_to_what_is_asked_and_the_model_stays_as_it_was(scene, overlay):
    model = scene[0]
    before = {n: p.clone() for n, p in model.named_parameters()}
    made = overlay()
    history = found(scene, made)
    assert len(history) == BRIEF.steps
    first, last = (np.mean([h["similarity"] for h in part]) for part in (history[:3], history[-3:]))
    assert last > first + 0.01
    assert all(torch.equal(before[n], p) and p.requires_grad and p.grad is None for n, p in model.named_parameters())
    assert not model.training
    again = overlay()
    found(scene, again)
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True))


def test_stopped_and_gone_on_with_it_ends_as_if_undisturbed(scene, tmp_path):
    undisturbed = Patch(1, 10, 19, 19, 0)
    found(scene, undisturbed)

    def stop(done, total, figures):
        if done == 5:
            raise Cancelled("stopped")

    run = Run(0, CPU, scratch=tmp_path)
    with pytest.raises(Cancelled):
        found(scene, Patch(1, 10, 19, 19, 0), run=replace(run, progress=stop))
    resumed = Patch(1, 10, 19, 19, 1)
    assert len(found(scene, resumed, run=run)) == BRIEF.steps
    assert (resumed.patches() == undisturbed.patches()).all()
