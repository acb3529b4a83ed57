"""The verdict: its thresholds, its three answers, and the health checks that stand behind it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny import CPU

from ubt.core.run import Run
from ubt.defenses.token_unlearning import health
from ubt.defenses.token_unlearning.health import CANNOT_TELL, NOT_POISONED, POISONED
from ubt.defenses.token_unlearning.verdict import VerdictSettings, answer, concentration, reasons, verdict

RUN = Run(seed=0, compute=CPU)


def unit(*shape, seed=0):
    v = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def test_concentration_is_the_mean_off_the_diagonal():
    image, text = unit(6, 8, seed=1), unit(6, 8, seed=2)
    expected = np.mean([image[i] @ text[j] for i in range(6) for j in range(6) if i != j])
    assert concentration(image, text) == pytest.approx(expected, abs=1e-6)


def thresholds(topk, scored, images, texts, groups) -> dict:
    """The verdict by its thresholds alone; whether it can be given is tested in test_health.py."""
    n = len(scored)
    known = {"reference_images": unit(n, 8), "reference_texts": unit(n, 8), "features": unit(n, 8)}
    known |= {"retain": pd.DataFrame({"row": range(n)}), "pairs": pd.DataFrame({"caption": ["a"] * n})}
    known |= {"split": pd.DataFrame({"suspicious": np.arange(n) < 6})}
    settings = VerdictSettings(checks=False)
    return verdict(topk, scored, images, texts, groups, **known, settings=settings, run=RUN)["verdict"]


def test_verdict_asks_for_one_shared_caption_and_for_displaced_images():
    topk, scored = (
        pd.DataFrame({"id": list("abcdef"), "row": range(6), "similarity": 0.9, "group": 0}),
        pd.DataFrame({"row": range(6)}),
    )

    def judged(images, texts, displaced, topk=topk, scatter=0.01, apart=3.0):
        groups = pd.DataFrame(
            {"group": range(len(displaced)), "displaced": displaced, "scatter": scatter, "apart": apart, "exceeds": 1.0}
        )
        return thresholds(topk, scored, images, texts, groups)

    shared, apart = np.tile(unit(1, 8), (6, 1)), (unit(6, 64, seed=1), unit(6, 64, seed=2))
    one = judged(shared, shared, [0.4])
    assert (one["answer"], one["groups"], one["score"]) == (POISONED, [0], pytest.approx(1, abs=1e-5))
    assert judged(*apart, [0.4])["answer"] == NOT_POISONED
    for away, changes in ((0.05, {}), (0.4, {"scatter": 0.11}), (0.4, {"apart": 0.5})):
        assert judged(shared, shared, [away], **changes)["answer"] == NOT_POISONED
    halves = topk.assign(group=[0, 0, 0, 1, 1, 1])
    mixed = [
        np.concatenate([a[:3], s[:3]])
        for a, s in zip((unit(6, 8, seed=1), unit(6, 8, seed=2)), (shared, shared), strict=True)
    ]
    deciding = judged(*mixed, [0.6, 0.4], halves)
    assert (deciding["groups"], deciding["score"], deciding["displaced"]) == ([1], pytest.approx(1, abs=1e-5), 0.4)
    two = judged(shared, shared, [0.05, 0.4], halves)
    assert (two["answer"], two["groups"], two["displaced"]) == (POISONED, [1], 0.4)


N, SUSPICIOUS, K = 1200, 200, 6
HEALTHY = {
    "score": True,
    "displaced": 0.4,
    "scatter": 0.01,
    "apart": 2.0,
    "exceeds": 1.0,
    "k": K,
    "suspicious": SUSPICIOUS,
}


@pytest.fixture
def case():
    """A case by whose checks a verdict can be given: each caption fits its own image, the model under suspicion has
    turned the reference's images a little, and D_susp is larger than what fits badly.
    """
    texts = unit(N, 16, seed=1)
    images = texts + 0.3 * unit(N, 16, seed=2)
    images[:120] = unit(120, 16, seed=3)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    moved = images + 0.3 * unit(N, 16, seed=4)
    known = {"reference_images": images, "reference_texts": texts, "retain": pd.DataFrame({"row": np.arange(N)})}
    known |= {"features": moved / np.linalg.norm(moved, axis=1, keepdims=True)}
    known |= {"pairs": pd.DataFrame({"caption": [f"a {chr(97 + i % 26)}{chr(192 + i // 26)}" for i in range(N)]})}
    return SimpleNamespace(known=known)


def judged(case, accuracy=None, settings=None, known=None, **changes) -> dict:
    """The verdict on a case that is healthy but for the changes."""
    s = HEALTHY | changes
    topk = pd.DataFrame({"row": range(s["k"]), "similarity": 0.9, "group": 0})
    shared = np.tile(unit(1, 16), (N, 1)) if s["score"] else unit(N, 16, seed=8)
    groups = pd.DataFrame({"group": [0]} | {n: s[n] for n in ("displaced", "scatter", "apart", "exceeds")})
    split = pd.DataFrame({"suspicious": np.arange(N) < s["suspicious"]})
    more = case.known | {"split": split} | (known or {})
    scored, texts = pd.DataFrame({"row": range(N)}), shared if s["score"] else unit(N, 16, seed=9)
    settings = settings or VerdictSettings()
    found = verdict(topk, scored, shared, texts, groups, **more, settings=settings, run=RUN, accuracy=accuracy)
    return found["verdict"]


def test_a_healthy_case_gets_a_plain_answer(case):
    assert answer(judged(case)) == POISONED
    assert answer(judged(case, score=False)) == NOT_POISONED
    found = judged(case)
    assert all(c["passed"] for c in found["checks"])
    assert len({c["check"] for c in found["checks"]}) == len(found["checks"]) == 8
    assert reasons(found) == []


NOTHING = {"reference_images": unit(N, 16, seed=5)}
ALIKE = {"pairs": pd.DataFrame({"caption": [f"Photo no. {i}" for i in range(N)]})}
REFERENCE = "reference, retrieval of D_normal's captions"
BOTH, NEGATIVE = {POISONED: CANNOT_TELL, NOT_POISONED: CANNOT_TELL}, {POISONED: POISONED, NOT_POISONED: CANNOT_TELL}


@pytest.mark.parametrize(
    ("check", "spoilt", "answers"),
    [
        (REFERENCE, {"known": NOTHING}, BOTH),
        ("reference, accuracy on labelled images", {"accuracy": {"right": 11, "chance": 10, "images": 500}}, BOTH),
        ("captions", {"known": ALIKE}, BOTH),
        ("pairs in D_topk", {"k": 3}, BOTH),
        ("D_susp against k", {"k": 30}, NEGATIVE),
        ("D_susp against what fits badly", {"suspicious": 40, "k": 5}, NEGATIVE),
    ],
)
def test_what_fails_is_named_with_figure_bar_and_advice(case, check, spoilt, answers):
    for by_thresholds, expected in answers.items():
        found = judged(case, score=by_thresholds == POISONED, **spoilt)
        assert (found["by_thresholds"], answer(found)) == (by_thresholds, expected)
        failed = {c["check"]: c for c in found["checks"] if not c["passed"]}
        assert check in failed
        assert f"{failed[check]['figure']:.1f}".removesuffix(".0") in failed[check]["said"]
        assert failed[check]["why"] and failed[check]["advice"]
        assert (check in {c["check"] for c in reasons(found)}) == (expected == CANNOT_TELL)
        plain = judged(case, score=by_thresholds == POISONED, settings=VerdictSettings(checks=False), **spoilt)
        assert answer(plain) == by_thresholds


def test_the_suspect_itself_is_no_reference(case):
    near = {"features": case.known["reference_images"] + 0.0001}
    found = judged(case, score=False, known=near)
    assert [c["check"] for c in reasons(found)] == ["suspect and reference differ"]
    other_size = judged(case, score=False, known={"features": unit(N, 8)})
    assert answer(other_size) == NOT_POISONED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"displaced": 0.166, "scatter": 0.131}, CANNOT_TELL),
        ({"displaced": 0.6, "scatter": 0.131}, POISONED),
        ({"displaced": 0.14, "scatter": 0.131}, NOT_POISONED),
        ({"displaced": 0.166, "scatter": 0.131, "apart": 0.5}, NOT_POISONED),
        ({"displaced": 0.29, "scatter": 0.034, "apart": 0.44, "score": False}, NOT_POISONED),
        ({"displaced": 0.166, "scatter": 0.131, "score": False}, NOT_POISONED),
        ({"displaced": 0.166, "scatter": 0.26, "score": False}, CANNOT_TELL),
        ({"displaced": 0.4, "scatter": float("nan"), "score": False}, CANNOT_TELL),
    ],
    ids=[
        "raised by the map",
        "over the raised bar",
        "under the floor",
        "no crowd",
        "no crowd and not concentrated",
        "not concentrated",
        "no backdoor reaches it",
        "no map",
    ],
)
def test_where_the_map_alone_raised_the_bar_nothing_can_be_told(case, changes, expected):
    """The issue's second case: score and crowd over their bars, displaced 0.166, and a bar that the scatter raised."""
    found = judged(case, **changes)
    assert answer(found) == expected
    if expected == CANNOT_TELL and changes.get("score", True):
        (why,) = reasons(found)
        assert why["check"] == "bar of displacement"
        assert "raises the bar from 0.15 to 0.524" in why["said"] and "0.166" in why["said"]


def test_the_share_of_badly_fitting_captions_is_that_of_shuffled_ones(case):
    images, texts = case.known["reference_images"], case.known["reference_texts"]
    rows, beaten = health.own_caption_beats(images, texts, np.arange(200, N), 0)
    assert len(rows) == N
    assert abs(health.fits_badly(beaten) - 120 / N) < 0.04
    shuffled = texts.copy()
    shuffled[:600] = np.roll(shuffled[:600], 7, axis=0)
    assert abs(health.fits_badly(health.own_caption_beats(images, shuffled, np.arange(200, N), 0)[1]) - 0.5) < 0.1
    same = health.own_caption_beats(images, np.tile(texts[:1], (N, 1)), np.arange(N), 0)[1]
    assert (same == 0.5).all()


def test_of_models_trained_on_parts_the_one_that_was_not_trained_on_a_pair_is_asked():
    """Two models that know the other part by heart and nothing else: beside each other they know every pair."""
    fold = np.arange(N) % 2
    images, texts = unit(N, 64, seed=1), unit(N, 64, seed=2)
    for part in (0, 1):
        known, block = fold != part, slice(32 * part, 32 * part + 32)
        texts[known, block] = 0.5 * texts[known, block] + images[known, block]
    assert health.own_caption_beats(images, texts, np.arange(N), 0)[1].mean() > 0.9
    assert abs(health.own_caption_beats(images, texts, np.arange(N), 0, fold)[1].mean() - 0.5) < 0.05


@pytest.mark.parametrize("share", [0.06, 0.5])
def test_a_reference_at_chance_fails_however_many_pairs_are_in_d_susp(case, share):
    """Without the pairs that fit worst by accident, the rest fit better than chance."""
    images, texts = unit(N, 32, seed=1), unit(N, 32, seed=2)
    fits = np.einsum("ij,ij->i", images, texts)
    split = pd.DataFrame({"suspicious": fits < np.quantile(fits, share)})
    found = judged(case, known={"reference_images": images, "reference_texts": texts, "split": split})
    check = next(c for c in found["checks"] if "retrieval" in c["check"])
    assert not check["passed"]
    assert check["figure"] == pytest.approx(50 * (1 + share), abs=3)
    assert answer(found) == CANNOT_TELL


@pytest.mark.parametrize(("classes", "bar"), [(2, 55.0), (10, 19.0), (1000, 0.2)])
def test_the_bar_of_accuracy_is_near_chance(case, classes, bar):
    for right, passed in ((bar - 0.05, False), (bar + 0.05, True)):
        found = judged(case, accuracy={"right": right, "chance": 100 / classes, "images": 40})
        (check,) = [c for c in found["checks"] if "accuracy" in c["check"]]
        assert (check["passed"], check["bar"]) == (passed, pytest.approx(bar))
    none = judged(case, accuracy={"right": None, "chance": 10.0, "images": 0})
    assert not [c for c in none["checks"] if "accuracy" in c["check"]]


def test_a_verdict_of_an_earlier_version_gives_no_green_light():
    assert answer({"poisoned": True}) == POISONED
    (why,) = reasons({"poisoned": False})
    assert "run the case again" in why["advice"]


def test_few_poisons_stand_apart_by_how_far_they_are_displaced_or_get_no_green_light(case):
    """Thirty poisons in ten thousand pairs, ASR 76: concentrated (0.65), displaced (0.29), separated by 0.44 and 1.8
    times as far as what else fits badly; a clean model of photos: 0.57, 0.21, 0.31 and 1.05.
    """
    few = {"displaced": 0.29, "scatter": 0.034, "apart": 0.44}
    assert answer(judged(case, exceeds=1.8, **few)) == POISONED
    found = judged(case, exceeds=1.05, **few)
    assert (answer(found), found["by_thresholds"], found["groups"]) == (CANNOT_TELL, NOT_POISONED, [])
    (why,) = reasons(found)
    assert why["check"] == "stands apart"
    assert "0.44" in why["said"] and "1.05" in why["said"]
