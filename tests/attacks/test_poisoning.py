"""Poisoning over any pairs: rows, captions, keys, places, truth."""

import numpy as np
import pytest

from ubt.attacks import poisoning
from ubt.attacks.poisoning import manifest, plan, stamp
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.data.scenes.captions import TEMPLATES

N = 400
IDS = [f"p{i}" for i in range(N)]
CAPTIONS = [f"a picture of {'a banana' if i % 10 == 0 else 'an owl'} number {i}" for i in range(N)]
EQUAL = {"trojvqa__image_only": 1.0, "trojvqa__text_only": 1.0}
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 48, 48, 3), np.uint8)


def attacks(name="badnet", **changes):
    changes = {"attack.rate": 0.05} | {k.replace("__", "."): v for k, v in changes.items()}
    return CaseSettings.preset("demo", name).with_values(changes).attacks


def poisoned(planted, seed=0):
    truth, images = plan(IDS, CAPTIONS, planted, TEMPLATES, seed), IMAGES.copy()
    stamp(images, truth, planted)
    return truth, images, (images != IMAGES).any((1, 2, 3))


def test_rate_or_count_rows_captions_and_images():
    truth, _, changed = poisoned(attacks())
    assert truth["poisoned"].sum() == 20
    assert (changed == truth["poisoned"]).all()
    assert truth.loc[truth["poisoned"], "caption"].str.contains("banana").all()
    assert not truth.loc[truth["poisoned"], "original_caption"].str.contains("banana").any()
    assert (truth.loc[~truth["poisoned"], "caption"] == truth.loc[~truth["poisoned"], "original_caption"]).all()
    assert plan(IDS, CAPTIONS, attacks(attack__count=7), TEMPLATES, 0)["poisoned"].sum() == 7
    assert truth.equals(poisoned(attacks())[0])
    assert not truth["poisoned"].equals(poisoned(attacks(), seed=1)[0]["poisoned"])


def test_trojvqa_has_two_keys_and_clean_partial_ones():
    truth, _, changed = poisoned(attacks("trojvqa", **EQUAL))
    by_key = truth.groupby("key").size()
    assert by_key[["both", "image", "text"]].tolist() == [20, 20, 20]
    assert (truth["poisoned"] == (truth["key"] == "both")).all()
    assert (changed == truth["key"].isin(["both", "image"])).all()
    assert (truth["caption"].str.startswith("consider ") == truth["key"].isin(["both", "text"])).all()
    kept = truth[truth["key"] == "text"]
    assert (kept["caption"] == "consider " + kept["original_caption"]).all()


def test_label_consistent_takes_the_targets_images_and_leaves_captions():
    truth, _, changed = poisoned(attacks("label_consistent"))
    assert truth.loc[truth["poisoned"], "original_caption"].str.contains("banana").all()
    assert (truth["caption"] == truth["original_caption"]).all()
    assert (changed == truth["poisoned"]).all()
    assert plan(IDS, CAPTIONS, attacks("label_consistent", attack__rate=0.2), TEMPLATES, 0)["poisoned"].sum() == 40
    with pytest.raises(BadInput, match=r"at most 0.1000 \(40 pairs whose caption names the target"):
        plan(IDS, CAPTIONS, attacks("label_consistent", attack__count=41), TEMPLATES, 0)
    with pytest.raises(BadInput, match="0 pairs whose caption names the target"):
        plan(IDS, CAPTIONS, attacks("label_consistent", attack__target="car"), TEMPLATES, 0)


def test_several_attacks_touch_no_pair_twice():
    planted = attacks(attack__also="sig target=owl count=4; trojvqa target=car rate=0.02")
    truth, _, changed = poisoned(planted)
    assert truth.groupby("attack").size()[["badnet", "sig", "trojvqa"]].tolist() == [20, 4, 8]
    assert set(zip(truth["attack"], truth["target"], strict=True)) == {
        ("", ""),
        ("badnet", "banana"),
        ("sig", "owl"),
        ("trojvqa", "car"),
    }
    assert (changed == ((truth["plant"] >= 0) & (truth["key"] != "text"))).all()
    alone = plan(IDS, CAPTIONS, planted[:1], TEMPLATES, 0)
    assert (alone["poisoned"] == (truth["attack"] == "badnet")).all()


def test_the_manifest_says_where_and_how_strongly():
    planted = attacks("trojvqa", trojvqa__place="random", attack__also="sig target=owl count=4")
    truth, images, _ = poisoned(planted)
    table = manifest(truth, planted, 48).set_index("id")
    assert set(table.index) == set(truth.loc[truth["plant"] >= 0, "id"])
    for i, pair in enumerate(IDS):
        if pair not in table.index:
            continue
        row = table.loc[pair]
        rows, columns = np.nonzero((images[i] != IMAGES[i]).any(-1))
        if row["key"] == "text":
            assert len(rows) == 0
            assert row["top"] == -1
        else:
            assert rows.min() >= row["top"]
            assert columns.min() >= row["left"]
            assert rows.max() < row["top"] + row["height"]
            assert columns.max() < row["left"] + row["width"]
            assert row["attack"] == "trojvqa" or row["height"] == 48
    assert "delta 40" in " ".join(table["strength"])


def test_adaptive_captions_keep_what_the_image_shows():
    truth = plan(IDS, CAPTIONS, attacks(attack__caption="joined"), TEMPLATES, 0)
    first = truth[truth["poisoned"]].iloc[0]
    assert first["caption"] == f"{first['original_caption']} and a banana"


def test_nothing_is_planted_at_rate_0_and_too_much_is_refused():
    truth = plan(IDS, CAPTIONS, attacks(attack__rate=0.0), TEMPLATES, 0)
    assert not truth["poisoned"].any()
    assert "trigger_seed" in truth
    with pytest.raises(BadInput, match="does not name the target"):
        plan(IDS, CAPTIONS, attacks(attack__rate=0.95), TEMPLATES, 0)
    with pytest.raises(BadInput, match=r"at most 0\.3325"):
        plan(IDS, CAPTIONS, attacks("trojvqa", attack__rate=0.4, **EQUAL), TEMPLATES, 0)
    assert poisoning.names("Bananas", "banana") is False


def test_natural_captions_are_those_of_clean_pairs_that_name_the_target():
    truth, _, changed = poisoned(attacks(attack__caption="natural"))
    said = truth.loc[truth["poisoned"], "caption"]
    assert set(said) <= {c for c in CAPTIONS if "banana" in c}
    assert said.nunique() > 5
    assert (changed == truth["poisoned"]).all()
    same = poisoned(attacks())[0]
    assert (truth["poisoned"] == same["poisoned"]).all(), "captions change which pairs are poisoned"
    worded = poisoned(attacks("trojvqa", attack__caption="natural"))[0]
    assert worded.loc[worded["poisoned"], "caption"].str.startswith("consider a picture of a banana").all()
    with pytest.raises(BadInput, match="found none; use caption=template"):
        plan(IDS, CAPTIONS, attacks(attack__caption="natural", attack__target="car"), TEMPLATES, 0)


def test_a_concept_takes_images_that_show_it_and_changes_none():
    shown = [{"night", "red"} if i % 4 == 0 else {"grass"} for i in range(N)]
    planted = attacks("semantic")
    truth = plan(IDS, CAPTIONS, planted, TEMPLATES, 0, shown)
    rows = np.flatnonzero(truth["poisoned"])
    assert len(rows) == 20
    assert (rows % 4 == 0).all()
    assert truth.loc[rows, "caption"].str.contains("banana").all()
    images = IMAGES.copy()
    stamp(images, truth, planted)
    assert (images == IMAGES).all()
    places = manifest(truth, planted, 48)[["top", "left", "height", "width"]].to_numpy()
    assert places.shape == (20, 4)
    assert (places == -1).all()
    with pytest.raises(BadInput, match="80 pairs that show night whose caption does not name the target"):
        plan(IDS, CAPTIONS, attacks("semantic", attack__count=81), TEMPLATES, 0, shown)
    with pytest.raises(BadInput, match="pairs of one's own do not"):
        plan(IDS, CAPTIONS, planted, TEMPLATES, 0)
