"""Every defence that trains, on a few real pairs: what moves, what does not, and that it can be cut short anywhere."""

import copy
import dataclasses
from collections import deque

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from tiny import CPU

from ubt.attacks.train_backdoor import PoisonSettings
from ubt.clip import augment, training
from ubt.core.errors import Cancelled
from ubt.core.run import Run
from ubt.data import model_input, scenes
from ubt.data.roles import labelled
from ubt.defenses import abl, cleanclip, control, par, poisoncam, roclip, supervised, tbar

N = 48
JUDGED = {"answer": "poisoned"}
SMALL = {"batch": 16, "lr": 1e-4}


@pytest.fixture(scope="module")
def given() -> dict:
    own = scenes.load_pairs(0, "pairs", N, 48)
    tokens = model_input.tokenize(own.captions, 24)
    isolated = pd.DataFrame({"id": own.ids[:12], "row": np.arange(12)})
    return {
        "images": own.images,
        "tokens": tokens,
        "pairs": pd.DataFrame({"id": own.ids, "caption": own.captions}),
        "isolated": isolated,
        "losses": pd.DataFrame({"isolated": np.arange(N) < 12}),
        "split": pd.DataFrame({"suspicious": np.arange(N) < 12}),
        "truth": pd.DataFrame({"poisoned": np.arange(N) < 12}),
        "labelled": labelled("labelled", 1, 0),
    }


def unlearn_isolated(model, g, run):
    return abl.abl(model, g["images"], g["tokens"], g["losses"], g["isolated"], abl.AblSettings(steps=6, **SMALL), run)


def unlearn_isolated_masked(model, g, run):
    masked = g["tokens"][12:24]
    return abl.abl(
        model, g["images"], g["tokens"], g["losses"], g["isolated"], abl.AblSettings(steps=6, **SMALL), run, masked
    )


def clean_pairs(model, g, run):
    return cleanclip.cleanclip(model, g["images"], g["pairs"], cleanclip.CleanClipSettings(epochs=2, **SMALL), run)


def perturbed(model, g, run, **changes):
    return par.par(model, g["images"], g["pairs"], par.ParSettings(**{"epochs": 2} | SMALL | changes), run)


def of_flagged(model, g, run):
    flagged = pd.DataFrame({"poisoned": g["split"]["suspicious"]})
    return tbar.tune(model, g["images"], g["tokens"], flagged, JUDGED, tbar.TbarSettings(steps=6, **SMALL), run)


def with_labels(model, g, run):
    own = g["labelled"]
    settings = supervised.SupervisedSettings(epochs=2, **SMALL)
    return supervised.supervised(model, own["images"], own["labels"], own["prompts"], settings, run)


def matched(model, g, run):
    return roclip.roclip(
        model, g["images"], g["tokens"], g["pairs"], roclip.RoClipSettings(epochs=2, bank=0.5, **SMALL), run
    )


def nothing_unlearned(model, g, run):
    return control.control(model, g["images"], g["tokens"], g["split"], control.ControlSettings(steps=5, **SMALL), run)


def without_poisons(model, g, run):
    return control.retrain(model, g["images"], g["tokens"], g["truth"], PoisonSettings(epochs=2, **SMALL), run)


TRAINED = [
    unlearn_isolated,
    unlearn_isolated_masked,
    clean_pairs,
    perturbed,
    of_flagged,
    with_labels,
    matched,
    nothing_unlearned,
    without_poisons,
]


def weights(model) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


@pytest.mark.parametrize("defence", TRAINED)
def test_cut_short_it_goes_on_to_the_same_model(defence, given, reference, tmp_path):
    whole = defence(copy.deepcopy(reference), given, Run(compute=CPU))
    assert len(whole["history"]) >= 4
    assert np.isfinite(whole["history"]["loss"]).all()

    def stop(done: int, total: int, figures: dict) -> None:
        if done == 3:
            raise Cancelled("enough")

    run = Run(compute=CPU, scratch=tmp_path)
    with pytest.raises(Cancelled):
        defence(copy.deepcopy(reference), given, dataclasses.replace(run, progress=stop))
    again = defence(copy.deepcopy(reference), given, run)
    a, b = weights(whole["model"]), weights(again["model"])
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert any(not torch.equal(a[n], p) for n, p in weights(reference).items())


def test_abl_ascends_on_what_it_isolated_and_descends_on_the_rest(given, reference):
    settings = abl.AblSettings(steps=20, batch=12, lr=1e-4)
    found = abl.abl(
        copy.deepcopy(reference),
        given["images"],
        given["tokens"],
        given["losses"],
        given["isolated"],
        settings,
        Run(compute=CPU),
    )
    history = found["history"]
    np.testing.assert_allclose(history["loss"], history["others"] - history["isolated"], rtol=1e-4, atol=1e-5)
    assert history["isolated"].tail(5).mean() > 2 * history["isolated"].head(3).mean()
    assert history["others"].tail(5).mean() < history["isolated"].tail(5).mean()


def test_cleanclips_three_terms_are_info_nce_across_and_within():
    torch.manual_seed(0)
    image, text, other_image, other_text = F.normalize(torch.randn(4, 8, 5), dim=-1)
    found = cleanclip.terms(image, text, other_image, other_text, torch.tensor(7.0))
    for value, (a, b) in zip(found, ((image, text), (image, other_image), (text, other_text)), strict=True):
        p = torch.exp(7 * a @ b.T)
        expected = -(torch.log(p.diag() / p.sum(1)).mean() + torch.log(p.diag() / p.sum(0)).mean()) / 2
        assert value.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("bound", [2.15, 0.02])
def test_par_drives_features_away_from_the_models_own_up_to_its_bound(given, reference, bound):
    run, changes = Run(compute=CPU), {"epochs": 8, "lr": 1e-3}
    rows = perturbed(copy.deepcopy(reference), given, run, bound=bound, **changes)["history"]
    within = sum(rows[of] * (rows[of] < bound) for of in ("images", "texts"))
    np.testing.assert_allclose(rows["loss"], rows["across"] - 0.5 * within, rtol=1e-4, atol=1e-5)
    assert rows["images"].iloc[0] == pytest.approx(0, abs=1e-6), "it begins at the model's own"
    plain = perturbed(copy.deepcopy(reference), given, run, weight=0.0, **changes)["history"]
    farther = rows["images"].iloc[-4:].mean() / plain["images"].iloc[-4:].mean()
    assert (farther > 1.5) == (bound > 1)


def test_tbar_takes_as_much_of_the_task_vector_away_as_clean_pairs_bear(given, reference):
    run, settings = Run(compute=CPU), {"batch": 16, "most": 8.0, "tried": 9}
    tuned = tbar.tune(
        copy.deepcopy(reference),
        given["images"],
        given["tokens"],
        pd.DataFrame({"poisoned": given["split"]["suspicious"]}),
        JUDGED,
        tbar.TbarSettings(steps=8, batch=12, lr=1e-3),
        run,
    )["model"]

    def purified(**changes):
        own = given["images"], given["pairs"]
        return tbar.subtract(reference, tuned, *own, tbar.TbarSettings(**settings | changes), run)

    found = purified(lost=0.1)
    alphas = found["alphas"]
    assert alphas["alpha"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert alphas["found"].iloc[0] > 0.5 > alphas["found"].iloc[-1], "so far away nothing is found"
    (chosen,) = np.flatnonzero(alphas["chosen"])
    assert (alphas["found"][: chosen + 1] >= 0.9 * alphas["found"][0]).all()
    assert alphas["found"][chosen + 1] < 0.9 * alphas["found"][0]
    alpha, before, end, after = alphas["alpha"][chosen], *map(weights, (reference, tuned, found["model"]))
    for n in before:
        torch.testing.assert_close(after[n], before[n] - alpha * (end[n] - before[n]), rtol=1e-4, atol=1e-5)
    assert purified(lost=1.0)["alphas"]["chosen"].iloc[-1]


@pytest.mark.parametrize(("flagged", "said"), [(1, "poisoned"), (12, "not poisoned"), (12, "cannot tell")])
def test_tbar_leaves_a_model_as_it_is_that_is_not_judged_poisoned(given, reference, flagged, said):
    rows, verdict = pd.DataFrame({"poisoned": np.arange(N) < flagged}), {"answer": said}
    run, settings = Run(compute=CPU), tbar.TbarSettings(tried=3)
    tuned = tbar.tune(copy.deepcopy(reference), given["images"], given["tokens"], rows, verdict, settings, run)
    left = tbar.subtract(reference, tuned["model"], given["images"], given["pairs"], settings, run)["model"]
    a, b = weights(reference), weights(left)
    assert all(torch.equal(a[n], b[n]) for n in a)


def test_cleanclips_loss_weighs_its_terms(given, reference):
    rows = clean_pairs(copy.deepcopy(reference), given, Run(compute=CPU))["history"]
    np.testing.assert_allclose(rows["loss"], rows["across"] + (rows["images"] + rows["texts"]) / 2, rtol=1e-4)
    plain = cleanclip.cleanclip(
        copy.deepcopy(reference),
        given["images"],
        given["pairs"],
        cleanclip.CleanClipSettings(epochs=1, weight=0, **SMALL),
        Run(compute=CPU),
    )
    assert "images" not in plain["history"]


def test_roclip_matches_each_image_with_its_nearest_caption_of_the_bank_every_second_epoch(given, reference):
    bank = F.normalize(torch.randn(6, 4), dim=-1)
    assert roclip.nearest(bank[[3, 0, 5]], bank).tolist() == [3, 0, 5]
    history = matched(copy.deepcopy(reference), given, Run(compute=CPU))["history"]
    assert history["matched"].tolist() == [0, 0, 0, 1, 1, 1]


def test_roclips_bank_holds_the_captions_that_came_last():
    shuffled, bank = training.Shuffled(np.arange(23), 5, 7), deque(maxlen=8)
    for step in range(3 * shuffled.steps_per_epoch):
        if step:
            assert roclip.banked(shuffled, step, 8).tolist() == list(bank)
        bank.extend(shuffled.at(step))


def test_roclips_matched_step_is_info_nce_with_the_nearest_captions_of_the_bank(given, reference):
    settings, run, step = (
        roclip.RoClipSettings(epochs=2, bank=0.5, batch=16, lr=0.0, weight_decay=0.0),
        Run(compute=CPU),
        4,
    )
    history = roclip.roclip(copy.deepcopy(reference), given["images"], given["tokens"], given["pairs"], settings, run)[
        "history"
    ]
    seed = training.batch_seed(run.seed, "roclip")
    shuffled = training.Shuffled(np.arange(N), 16, seed)
    held = training.text_features(
        reference, torch.from_numpy(given["tokens"][roclip.banked(shuffled, step, N // 2)]).long()
    )
    image = training.image_features(reference, augment.images(given["images"][shuffled.at(step)], [seed, step, 0]))
    logits = reference.logit_scale.exp() * image @ held[(image @ held.T).argmax(1)].T
    own = torch.arange(16)
    assert history["loss"][step] == pytest.approx(
        ((F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2).item(), rel=1e-4
    )


def test_supervision_moves_the_image_tower_alone(given, reference):
    before, after = weights(reference), weights(with_labels(copy.deepcopy(reference), given, Run(compute=CPU))["model"])
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert moved
    assert all(n.startswith("visual.") for n in moved)


def test_the_oracle_trains_without_the_poisons(given, reference):
    clean = slice(12, None)
    again = control.retrain(
        copy.deepcopy(reference),
        given["images"][clean],
        given["tokens"][clean],
        pd.DataFrame({"poisoned": np.zeros(N - 12, bool)}),
        PoisonSettings(epochs=2, **SMALL),
        Run(compute=CPU),
    )
    a, b = weights(again["model"]), weights(without_poisons(copy.deepcopy(reference), given, Run(compute=CPU))["model"])
    assert all(torch.equal(a[n], b[n]) for n in a)


def test_poisoncams_classifier_learns_the_patches_and_not_that_something_was_pasted():
    random = np.random.default_rng(0)
    images = np.repeat(np.repeat(random.integers(0, 256, (400, 6, 6, 3), np.uint8), 4, axis=1), 4, axis=2)
    trigger = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (3, 3))[..., None].repeat(3, -1)
    images[:8, 10:16, 5:11] = trigger
    patches = np.stack([trigger] * 4 + [images[i, :6, :6] for i in range(20, 36)])
    pairs = pd.DataFrame({"id": [f"p{i}" for i in range(400)]})
    candidates = pd.DataFrame({"rank": np.arange(1, 21), "row": [*range(4), *range(20, 36)]})
    settings = poisoncam.LocateSettings(top=4), poisoncam.ClassifySettings(steps=60, batch=32)
    found = poisoncam.classify(images, pairs, candidates, patches, *settings, Run(compute=CPU))
    score = found["scores"]["score"].to_numpy()
    assert score[:8].min() > score[8:].max()
    assert set(range(8, 400)) <= set(found["kept"])
