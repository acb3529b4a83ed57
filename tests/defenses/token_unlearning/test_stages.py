"""Each stage alone, against an independent computation in numpy."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import CPU, tiny

from ubt.attacks.lab_dataset import plan
from ubt.clip import attribution, models, training
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE
from ubt.core.run import Run
from ubt.data import model_input, scenes
from ubt.defenses.token_unlearning.mask import MaskSettings, mask
from ubt.defenses.token_unlearning.overfit import OverfitSettings, alignment, overfit
from ubt.defenses.token_unlearning.retain import RetainSettings, flag, restored, retain, without_common
from ubt.defenses.token_unlearning.select import SelectSettings, resolve_k, select
from ubt.defenses.token_unlearning.split import SplitSettings, split
from ubt.defenses.token_unlearning.unlearn import PublishedSettings, UnlearnSettings, as_published, ours
from ubt.defenses.token_unlearning.verdict import VerdictSettings
from ubt.evaluation import masks
from ubt.evaluation.judge import diagnose, left

RUN = Run(seed=0, compute=CPU)


def frame(similarity) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": [f"p{i}" for i in range(len(similarity))], "row": np.arange(len(similarity)), "similarity": similarity}
    )


def unit(*shape, seed=0):
    v = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def numbers(n, seed=0):
    return np.random.default_rng(seed).random(n)


@pytest.fixture(scope="module")
def pairs():
    p = scenes.load_pairs(0, "pairs", 48, 48)
    return pd.DataFrame({"id": p.ids, "caption": p.captions}), p.images, model_input.tokenize(p.captions, 24)


def test_split_takes_the_least_similar():
    s = numbers(200)
    out = split(frame(s), SplitSettings(fraction=0.1), RUN)["split"]
    assert set(np.flatnonzero(out["suspicious"])) == set(np.argsort(s)[:20])
    assert out["rank"].iloc[s.argmin()] == 1
    assert list(out["id"]) == [f"p{i}" for i in range(200)]


def test_select_is_equation_4():
    s, reference = numbers(200, 1), numbers(200, 2)
    cut = split(frame(reference), SplitSettings(fraction=0.2), RUN)["split"]
    nothing = np.eye(len(s), dtype=np.float32)
    out = select(frame(s), cut, nothing, nothing, SelectSettings(k=7), VerdictSettings(), RUN)
    suspicious = np.argsort(reference)[:40]
    expected = sorted(suspicious, key=lambda i: -s[i])
    assert out["ranked"]["row"].tolist() == expected
    assert out["topk"]["id"].tolist() == [f"p{i}" for i in expected[:7]]
    assert out["topk"]["similarity"].is_monotonic_decreasing


def test_k_is_the_papers_and_is_checked():
    assert resolve_k(SelectSettings(), 500_000, 5000) == 70
    assert resolve_k(SelectSettings(), 10_000, 600) == 10
    with pytest.raises(BadInput, match="at most 5"):
        resolve_k(SelectSettings(k=6), 100, 5)


def test_equation_3(pairs, reference):
    table, images, tokens = pairs
    cut = pd.DataFrame({"id": table["id"], "suspicious": np.arange(48) < 16})
    losses = []
    for regularise in (True, False):
        model = models.load(REFERENCE)
        s = OverfitSettings(steps=1, batch=16, regularise=regularise)
        losses.append(overfit(model, images, tokens, cut, s, RUN)["history"]["loss"].iloc[0])
    seed = training.batch_seed(0, "overfit")
    first = training.PairBatches(images, tokens, 16, seed, np.arange(16)).at(0)
    second = training.PairBatches(images, tokens, 16, seed + 1, np.arange(16, 48)).at(0)
    image, text = (
        models.embed_images(reference, images).astype(float),
        models.embed_tokens(reference, tokens).astype(float),
    )
    align = np.mean(((image[first] * text[first]).sum(1) - 1) ** 2)
    logits = np.exp(reference.logit_scale.item()) * image[second] @ text[second].T
    log_softmax = [
        z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)) - z.max(1, keepdims=True)
        for z in (logits, logits.T)
    ]
    contrastive = -np.mean([np.diag(z).mean() for z in log_softmax])
    assert losses[1] == pytest.approx(align, abs=1e-5)
    assert losses[0] == pytest.approx(align + contrastive, abs=1e-4)


def test_alignment_is_the_mean_square_distance_from_one():
    s = 2 * numbers(50) - 1
    assert alignment(torch.tensor(s)).item() == pytest.approx(np.mean((s - 1) ** 2))


BACKDOORED = {"answer": "poisoned", "groups": [0]}
UNTOUCHED = [{"answer": "not poisoned", "groups": []}, {"answer": "cannot tell", "groups": [0]}]


def _unlearn_inputs(pairs, k=3):
    table, images, tokens = pairs
    topk = pd.DataFrame({"id": table["id"][:k], "row": np.arange(k), "similarity": 0.9, "group": 0})
    masked = model_input.tokenize(["banana"] * k, 24)
    maps = np.random.default_rng(5).random((k, 6, 6)).astype(np.float32)
    return {
        "images": images,
        "tokens": tokens,
        "topk": topk,
        "masked_tokens": masked,
        "attributed": topk[["id", "row"]],
        "maps": maps,
        "how": {"image_threshold": 0.3},
    }


def _restore_inputs(pairs, flagged=(5, 7)):
    """D_topk is rows 0 to 2, the flagged ones join it; every second row was looked at."""
    table, row = pairs[0], np.unique([0, 1, 2, *flagged, *range(8, 48, 2)])
    poisoned = np.isin(row, [0, 1, 2, *flagged])
    kept = ~poisoned & (row >= 16)
    found = {
        "id": table["id"].to_numpy()[row],
        "row": row,
        "growth": 1 - row / 100,
        "poisoned": poisoned,
        "group": np.where(poisoned, 0, -1),
    }
    retained = pd.DataFrame(found | {"kept": kept, "anchor": kept & (row >= 40)})
    restored = unit(len(row), 128, seed=8)
    restored[poisoned, 0] += 1
    return _unlearn_inputs(pairs) | {
        "retain": retained,
        "features": unit(len(row), 128, seed=7),
        "restored": restored / np.linalg.norm(restored, axis=1, keepdims=True),
    }


def test_equation_7_over_equation_6s_product(pairs, reference):
    inputs = _unlearn_inputs(pairs)
    model = models.load(REFERENCE)
    s = PublishedSettings(steps=1, batch=18)
    loss = as_published(model, **inputs, verdict=BACKDOORED, settings=s, run=RUN)["history"]["loss"].iloc[0]
    image = models.embed_images(reference, inputs["images"][:3])
    text = models.embed_tokens(reference, inputs["tokens"][:3])
    masked = models.embed_tokens(reference, model_input.tokenize(["banana"] * 3, 24))
    product = [float(i @ t) for i in image for t in text] + [float(i @ t) for i in image for t in masked]
    assert len(product) == 18
    assert loss == pytest.approx(np.mean(product), abs=1e-5)
    without = PublishedSettings(steps=1, batch=9, masked="none")
    loss = as_published(models.load(REFERENCE), **inputs, verdict=BACKDOORED, settings=without, run=RUN)["history"][
        "loss"
    ]
    assert loss.iloc[0] == pytest.approx(np.mean(product[:9]), abs=1e-5)


@pytest.mark.parametrize("flagged", [True, False])
def test_our_objective_is_eq_7_down_to_the_restored_level_and_two_cosines(pairs, reference, flagged):
    """Whether D_topk's own images are flagged or not."""
    inputs = _restore_inputs(pairs)
    own = inputs["retain"]["row"] < 3
    inputs["retain"].loc[own, "poisoned"] = flagged
    inputs["retain"].loc[own, "group"] = 0 if flagged else -1
    s = UnlearnSettings(steps=1, batch=5, keep_batch=100, anchor_batch=0, margin=0.2, restore=0.5, keep=3.0)
    loss = ours(models.load(REFERENCE), **inputs, verdict=BACKDOORED, settings=s, run=RUN)["history"].iloc[0]
    row = inputs["retain"]["row"].tolist()
    wide, kept = [0, 1, 2, 5, 7], inputs["retain"].query("kept")["row"].tolist()
    texts = np.concatenate([models.embed_tokens(reference, t) for t in (inputs["tokens"][:3], inputs["masked_tokens"])])
    now = {i: models.embed_images(reference, inputs["images"][[i]])[0] for i in (*wide, *kept)}
    clean = (inputs["retain"]["kept"] & ~inputs["retain"]["anchor"]).to_numpy()
    unlearned = inputs["retain"]["row"].isin(wide).to_numpy()
    led_to = without_common(inputs["restored"], np.where(unlearned, 0, -1), clean)
    assert (led_to[unlearned, 0] < inputs["restored"][unlearned, 0] - 0.1).all()
    inputs["restored"] = led_to
    back, before = ({i: inputs[name][row.index(i)] for i in row} for name in ("restored", "features"))
    pushed = np.mean([max(0.0, now[i] @ t - (back[i] @ t - 0.2)) for i in wide for t in texts])
    led, held = np.mean([now[i] @ back[i] for i in wide]), np.mean([now[i] @ before[i] for i in kept])
    assert loss["loss"] == pytest.approx(pushed + 0.5 * (1 - led) + 3 * (1 - held), abs=1e-4)
    assert (loss["restored"], loss["kept"]) == (pytest.approx(led, abs=1e-5), pytest.approx(held, abs=1e-5))


def test_ours_moves_images_alone_and_none_towards_a_group_that_is_no_backdoor(pairs, reference):
    inputs = _restore_inputs(pairs)
    out = ours(models.load(REFERENCE), **inputs, verdict=BACKDOORED, settings=UnlearnSettings(steps=2), run=RUN)
    before, after = reference.state_dict(), out["model"].state_dict()
    moved = {n for n in before if not torch.equal(before[n], after[n])}
    assert moved
    assert all(n.startswith("visual.") for n in moved)
    assert not any("asr" in c.lower() or "ca" in c.lower().split("_") for c in out["history"].columns)
    two = dict(inputs, topk=inputs["topk"].assign(group=[0, 0, 1]))
    less = dict(inputs, topk=inputs["topk"].iloc[:2], masked_tokens=inputs["masked_tokens"][:2])
    settings = UnlearnSettings(steps=1, batch=4, anchor_batch=0, keep_batch=100)
    losses = [
        ours(models.load(REFERENCE), **given, verdict=BACKDOORED, settings=settings, run=RUN)["history"]["loss"][0]
        for given in (two, less)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.parametrize("form", [ours, as_published])
def test_a_model_that_is_not_judged_poisoned_is_left_untouched(pairs, reference, form):
    given = _restore_inputs(pairs) if form is ours else _unlearn_inputs(pairs)
    settings = UnlearnSettings() if form is ours else PublishedSettings()
    for verdict in UNTOUCHED:
        out = form(models.load(REFERENCE), **given, verdict=verdict, settings=settings, run=RUN)["model"]
        assert all(
            torch.equal(a, b) for a, b in zip(out.state_dict().values(), reference.state_dict().values(), strict=True)
        )


def _turned(reference, seed=3):
    """What a model that turned the reference's features, and nothing else, makes of them."""
    return reference @ np.linalg.qr(np.random.default_rng(seed).normal(size=(reference.shape[1],) * 2))[0].astype(
        np.float32
    )


def test_restored_features_are_the_models_own_but_for_the_poisons():
    reference = unit(400, 16, seed=1)
    clean = _turned(reference)
    model = clean.copy()
    model[:20] = unit(1, 16, seed=9)
    back, scatter = restored(reference, model, np.arange(400), ridge=1e-6)
    assert scatter < 0.01
    assert np.linalg.norm(back, axis=1) == pytest.approx(1, abs=1e-5)
    assert ((back * clean).sum(1) > 0.99).all()
    assert ((back[:20] * model[:20]).sum(1) < 0.9).all()


def test_what_a_groups_images_share_and_kept_ones_do_not_is_left_out_of_where_they_are_led():
    """Two groups that the reference draws each its own way, 40 and 30 of 200; and none that it does not draw."""
    group = np.repeat([-1, 0, 1], [130, 40, 30])
    kept, shown = group < 0, np.random.default_rng(0).standard_normal((200, 32))
    normal = lambda a: a / np.linalg.norm(a, axis=1, keepdims=True)  # noqa: E731
    drawn = shown.copy()
    drawn[group == 0, 0] += 6
    drawn[group == 1, 1] += 6
    back, led = normal(drawn), without_common(normal(drawn), group, kept)
    assert led.dtype == np.float32 and np.allclose(np.linalg.norm(led, axis=1), 1, atol=1e-5)
    assert np.array_equal(led[kept], back[kept].astype(np.float32))
    for g in (0, 1):
        own = group == g
        assert back[own, g].min() > 0.4 and led[own, g].mean() < 0.15
        what_it_shows = [(normal(shown) * f).sum(1)[own].mean() for f in (back, led)]
        assert what_it_shows[1] > what_it_shows[0] + 0.1, "each image is nearer to where it is without the trigger"
    undrawn = normal(shown)
    assert (without_common(undrawn, group, kept) * undrawn).sum(1).min() > 0.98
    few = np.where(np.arange(200) == 150, 0, -1)
    assert np.array_equal(without_common(back, few, kept), back.astype(np.float32)), "of one image nothing is common"
    for count in (2, 3, 5):
        moved = []
        for start in range(0, 120, count):
            some = np.where((np.arange(200) >= start) & (np.arange(200) < start + count), 0, -1)
            led = without_common(undrawn, some, kept & (some < 0))
            moved.append(1 - (led * undrawn).sum(1)[some == 0].mean())
        assert np.mean(moved) < 0.03, "and of a few hardly anything"
    assert np.array_equal(without_common(back, group, np.zeros(200, bool)), back.astype(np.float32))


def test_the_scatter_of_the_map_is_that_of_images_it_was_not_fitted_on(monkeypatch):
    monkeypatch.setattr("ubt.defenses.token_unlearning.retain.TRIMMED", 0.0)
    reference, ridge, rows = unit(40, 12, seed=1), 0.5, np.arange(40)
    model, cosines = unit(40, 8, seed=2), []
    for row in rows:
        a, b = reference[rows != row].astype(float), model[rows != row].astype(float)
        put = reference[row] @ np.linalg.solve(a.T @ a + ridge * np.eye(12), a.T @ b)
        cosines.append(put @ model[row] / np.linalg.norm(put))
    assert restored(reference, model, rows, ridge)[1] == pytest.approx(np.median(1 - np.array(cosines)), abs=1e-4)


def test_flagged_are_images_that_left_their_place_towards_the_captions():
    n, poisons = 200, np.arange(12)
    reference, target = unit(n, 32, seed=2), unit(1, 32, seed=1)
    image, text = _turned(reference), unit(n, 32, seed=4)
    image[poisons], text[poisons] = target, target
    image[190:] = unit(10, 32, seed=5)
    split_ = pd.DataFrame({"id": [f"p{i}" for i in range(n)], "suspicious": np.arange(n) < 10})
    topk = pd.DataFrame({"id": ["p0", "p1"], "row": [0, 1], "similarity": 0.9, "group": 0})
    out = flag(topk, split_, image, text, reference, RetainSettings(), RUN)["flagged"]
    assert np.flatnonzero(out["poisoned"]).tolist() == poisons.tolist()
    assert (out["group"] == np.where(out["poisoned"], 0, -1)).all()


def test_a_group_that_did_not_move_claims_no_image_beside_one_that_did():
    n = 120
    reference, (target, other) = unit(n, 32, seed=2), unit(2, 32, seed=1)
    near = (target + other) / np.linalg.norm(target + other)
    image, text = _turned(reference), unit(n, 32, seed=4)
    image[:10], text[:10], text[10:14] = target, target, near
    split_ = pd.DataFrame({"id": [f"p{i}" for i in range(n)], "suspicious": np.arange(n) < 14})
    row = [0, 1, 10, 11]
    topk = pd.DataFrame({"id": [f"p{r}" for r in row], "row": row, "similarity": 0.9, "group": [0, 0, 1, 1]})
    out = flag(topk, split_, image, text, reference, RetainSettings(), RUN)["flagged"]
    assert out["group"][:10].tolist() == [0] * 10
    assert not (out["group"] == 1).any()


def test_retain_looks_at_a_part_of_d_and_keeps_none_that_is_suspicious(pairs, reference):
    table, images, tokens = pairs
    split_ = pd.DataFrame({"id": table["id"], "suspicious": np.arange(48) < 8})
    topk = pd.DataFrame({"id": table["id"][:2], "row": [0, 1], "similarity": 0.9, "group": 0})
    known = models.embed_images(reference, images), models.embed_tokens(reference, tokens)
    out = retain(reference, images, tokens, topk, split_, *known, RetainSettings(pool=20, anchors=3), RUN)
    found = out["retain"]
    assert set(range(8)) <= set(found["row"])
    assert 28 <= len(found) <= 31
    assert found["row"].is_monotonic_increasing
    assert not found["kept"][found["row"] < 8].any()
    like = np.argsort(-np.where(np.arange(48) < 8, -1, known[0] @ known[1][:2].mean(0)))[:3]
    assert set(found["row"][found["anchor"]]) == set(like) - set(found["row"][found["poisoned"]])
    assert np.abs(out["features"] - known[0][found["row"]]).max() < 1e-5
    assert out["groups"]["displaced"][0] == pytest.approx(
        1 - np.mean((out["features"] * out["restored"]).sum(1)[:2]), abs=1e-6
    )


def attributed(reference, pairs, captions, settings, flagged=()):
    """The mask stage on D made of the first images with these captions, the first three of them D_topk."""
    table = pd.DataFrame({"id": [f"p{i}" for i in range(len(captions))], "caption": captions})
    topk = pd.DataFrame({"id": table["id"][:3], "row": range(3), "similarity": 0.5, "group": 0})
    retained = pd.DataFrame(
        {"id": table["id"], "row": np.arange(len(captions)), "poisoned": np.isin(np.arange(len(captions)), flagged)}
    )
    return mask(
        reference, pairs[1][: len(captions)], model_input.tokenize(captions, 24), table, topk, retained, settings, RUN
    )


def test_masks_keep_what_scores_and_are_tokenised_anew(reference, pairs):
    captions = ["a photo of a banana.", "<b>x</b> 香蕉 🍌", "!!! ...", pairs[0]["caption"][3], "word " * 200]
    for settings in (
        MaskSettings(),
        MaskSettings(rewrite="ids"),
        MaskSettings(method="leave one out"),
        MaskSettings(text_threshold=1.0),
    ):
        out = attributed(reference, pairs, captions, settings, flagged=[1, 3, 4])
        assert out["attributed"]["row"].tolist() == [0, 1, 2, 3, 4]
        assert out["attributed"]["topk"].tolist() == [True, True, True, False, False]
        assert out["maps"].shape == (5, 6, 6)
        table = out["words"]
        assert table.groupby("id")["score"].sum().to_numpy() == pytest.approx(1)
        assert table.groupby("id")["kept"].any().all()
        first = table[table["id"] == "p0"]
        assert first["word"].tolist() == ["a", "photo", "of", "a", "banana"]
        above = first["score"] > settings.text_threshold
        if settings.rewrite == "words":
            assert first["kept"].tolist() == (above if above.any() else first["score"] == first["score"].max()).tolist()
        if settings.rewrite == "ids":
            own = out["masked"]["masked"][0].replace(".", "").split()
            assert own == first["word"][first["kept"]].tolist()
        if settings.rewrite == "words":
            assert out["masked"]["masked"][0] == " ".join(first["word"][first["kept"]])
            assert (out["tokens"] == model_input.tokenize(out["masked"]["masked"].tolist(), 24)).all()
        else:
            own = set(model_input.tokenize(captions[:1], 24)[0])
            assert set(out["tokens"][0]) <= own | {0}
    _, maps = attribution.attribute(reference, pairs[1][3:4], model_input.tokenize(captions[3:4], 24))
    again = attributed(reference, pairs, captions, MaskSettings(), flagged=[3])
    assert np.abs(again["maps"][3] - maps[0]).max() < 1e-4


@pytest.mark.parametrize(
    ("masked", "images", "captions"), [("none", 1, 1), ("text", 1, 2), ("image", 2, 1), ("image and text", 2, 2)]
)
def test_the_four_strategies_of_table_4(pairs, reference, masked, images, captions):
    """The mean similarity over D_unlearn's pairs, made by hand from whole and masked images and captions."""
    inputs = _unlearn_inputs(pairs)
    settings = PublishedSettings(steps=1, batch=9 if masked == "none" else 18, masked=masked)
    loss = as_published(models.load(REFERENCE), **inputs, verdict=BACKDOORED, settings=settings, run=RUN)["history"][
        "loss"
    ].iloc[0]
    hidden = np.where(
        attribution.image_masks(inputs["maps"], 48, 48, 0.3)[..., None], inputs["images"][:3], [123, 117, 104]
    ).astype(np.uint8)
    image = [models.embed_images(reference, inputs["images"][:3]), models.embed_images(reference, hidden)]
    text = [
        models.embed_tokens(reference, inputs["tokens"][:3]),
        models.embed_tokens(reference, inputs["masked_tokens"]),
    ]
    products = [image[0] @ text[0].T] + ([image[images - 1] @ text[captions - 1].T] if masked != "none" else [])
    assert loss == pytest.approx(np.mean(products), abs=1e-5)


def test_masks_are_judged_against_the_word_and_the_patch():
    maps = np.zeros((2, 6, 6), np.float32)
    maps[0, 5, 5] = maps[1, 0, 0] = 1
    rows = pd.DataFrame({"id": ["a", "b"], "row": [0, 1], "topk": True})
    spoken = [
        ("a", 0, "consider", 0.5, True),
        ("a", 1, "banana", 0.4, True),
        ("a", 2, "photo", 0.1, False),
        ("b", 0, "photo", 0.95, True),
        ("b", 1, "banana", 0.05, False),
    ]
    table = pd.DataFrame(spoken, columns=["id", "position", "word", "score", "kept"])
    truth = pd.DataFrame({"id": ["a", "b"], "poisoned": True})
    manifest = pd.DataFrame({"id": ["a", "b"], "target": "banana", "top": 40, "left": 40, "height": 7, "width": 7})
    got = masks.judged(rows, maps, table, truth, manifest, (48, 48), 0.3, {"consider"})
    assert (got["poisons"], got["target_first"], got["target_kept"]) == (2, 0.5, 0.5)
    assert got["words_kept"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert (got["trigger_inside"], got["trigger_found"]) == (0.5, 0.5)
    assert got["covered"] == pytest.approx(attribution.image_masks(maps, 48, 48, 0.3).mean())
    table.loc[table["word"] == "banana", "word"] = "bananas"
    other = masks.judged(
        rows, maps, table, truth, manifest.assign(top=0, left=0, height=48, width=48), (48, 48), 0.3, {"consider"}
    )
    assert (other["poisons"], other["said"], other["target_first"], other["target_kept"]) == (2, 0, 0, 0)
    assert other["trigger_inside"] is None
    nobody = masks.judged(rows, maps, table, truth.assign(poisoned=False), manifest, (48, 48), 0.3, set())
    assert nobody["poisons"] == 0
    assert nobody["target_first"] is None


def test_the_plan_of_scenes_keeps_roles_and_seeds_apart():
    s = tiny()
    made = plan(s.data, s.attacks, RUN)
    truth = made["truth"]
    assert truth["poisoned"].sum() == len(made["manifest"]) == 30
    assert truth.equals(plan(s.data, s.attacks, RUN)["truth"])
    assert not truth["poisoned"].equals(plan(s.data, s.attacks, Run(1, CPU))["truth"]["poisoned"])


def test_a_low_asr_is_explained(pairs):
    s = tiny(poison__epochs=1, poison__lr=1e-6, badnet__side=0.03)
    truth = pd.DataFrame({"poisoned": [True] * 30, "plant": 0})
    low, high = ({"attacks": [{"asr": asr, "target_recall": 99.0}]} for asr in (3.0, 99.0))
    found = diagnose(low, pairs[1], truth, s.data, s.attacks, s.poison, RUN)
    text = " ".join(f["what"] for f in found["findings"])
    assert "exposures" in text
    assert "learning rate" in text
    assert "PSNR" in text
    assert all(f["change"] for f in found["findings"])
    took = diagnose(high, pairs[1], truth, s.data, s.attacks, s.poison, RUN)
    assert took["findings"] == []
    assert {"exposures", "schedule", "visibility", "survival", "target's clean recall"} == {
        c["check"] for c in took["checks"]
    }


def test_what_is_isolated_and_what_is_left_are_told_apart():
    similarity, isolated = (
        frame([0.1, 0.2, 0.4, 0.8, 0.9]),
        pd.DataFrame({"isolated": [True, False, True, False, False]}),
    )
    measures, truth = {"ca": 90.0, "asr": 80.0, "ra": 1.0}, pd.DataFrame({"poisoned": [False, False, True, True, True]})
    found = left(similarity, measures, isolated, truth, RUN)["measures"]
    assert found == pytest.approx(
        {"ca": 90, "asr": 80, "found": 100 / 3, "isolated": 0.25, "clean": 0.2, "poisoned": 0.85}
    )
    assert set(left(similarity, measures, isolated, truth & False, RUN)["measures"]) == {
        "ca",
        "asr",
        "isolated",
        "clean",
    }


def test_two_backdoors_are_grouped_before_the_product():
    """Two captions, two triggers: each group gives its own k; a crowd of unlike pairs makes none."""
    n, k = 60, 4
    a, b = unit(2, 32, seed=1)
    crowd = unit(n, 32, seed=2)
    text, image = crowd.copy(), unit(n, 32, seed=3)
    text[:10], image[:10] = a, a
    text[10:30], image[10:30] = b, b
    similarity = frame((image * text).sum(1) + np.where(np.arange(n) < 10, 0.01, 0))
    split_ = pd.DataFrame({"id": similarity["id"], "suspicious": True})
    settings = (SelectSettings(k=k), VerdictSettings(threshold=0.5))
    topk = select(similarity, split_, image, text, *settings, RUN)["topk"]
    assert [(topk["row"][topk["group"] == g] // 10).unique().tolist() for g in (0, 1)] == [[0], [1]]
    assert topk.groupby("group").size().tolist() == [k, k]
    plain = select(similarity, split_, image, text, SelectSettings(k=k, pool=0), VerdictSettings(), RUN)["topk"]
    assert (plain["row"] < 10).all()
    alone = select(
        similarity.assign(similarity=(unit(n, 32, seed=3) * crowd).sum(1)),
        split_,
        unit(n, 32, seed=3),
        crowd,
        *settings,
        RUN,
    )["topk"]
    assert alone["group"].eq(0).all()
    assert len(alone) == k
