"""A reference that is trained on pairs of one's own, its health, and what an audit with it can say."""

import json
import os
import signal
from pathlib import Path

import pytest
from ingested import encoded, packed
from tiny import CPU

from ubt.cases.store import Store
from ubt.core.errors import BadInput, Cancelled
from ubt.core.files import REFERENCE
from ubt.workflows import audit, jobs, made_here, reference_health
from ubt.workflows.import_model import forget, import_model, opened
from ubt.workflows.ingest import Wanted, import_labelled, import_pairs, trained_on, write_pairs
from ubt.workflows.prospects import counts, prospects

BRIEF = {"share": 1.0, "size": 32, "batch": 8, "epochs": 1, "width": 32, "layers": 1}


def own(folder: Path, pairs: int = 24, sides: int = 40) -> Path:
    """A zip of pairs and of labelled images, all noise."""
    rows = "".join(f"i/{n}.png,picture number {n},{'cat' if n % 2 else 'owl'}\n" for n in range(pairs))
    images = [(f"i/{n}.png", encoded(n, width=sides, height=sides)) for n in range(pairs)]
    table = f"image,caption,label\n{rows}".encode()
    (inside := folder / f"{pairs} of {sides}").mkdir(exist_ok=True)
    return packed(inside / "own.zip", [("captions.csv", table), ("labels.csv", table), *images])


@pytest.fixture
def noise(tmp_path) -> tuple[Store, str, str]:
    """A store with pairs and labelled images of noise, and their names."""
    store, path = Store(tmp_path / "cache"), own(tmp_path)
    return store, import_pairs(store, path), import_labelled(store, path)


@pytest.fixture(scope="module")
def known(tiny_case, tiny_store, tmp_path_factory) -> tuple[Store, str, str]:
    """A store with pairs that the shipped reference knows, and with that reference."""
    root = tmp_path_factory.mktemp("known")
    write_pairs(tiny_store, tiny_case.name, root / "pairs.zip")
    store = Store(root / "cache")
    return store, import_pairs(store, root / "pairs.zip"), import_model(store, str(REFERENCE), "", "clean")


def test_a_reference_is_trained_on_pairs_goes_on_when_cut_short_and_says_what_it_was_trained_on(noise):
    store, pairs, labelled = noise
    wanted = Wanted("reference", pairs, BRIEF | {"labelled": labelled})

    def stop(done: int, total: int, figures: dict) -> None:
        if done >= 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        made_here.make(store, wanted, CPU, stop)
    assert [p.name for p in (store.root / "work").glob("reference-*") if p.is_dir()], "what it goes on from"
    key = made_here.make(store, wanted, CPU)
    assert made_here.make(store, wanted, CPU) == key, "the same recipe is the same model"
    card = opened(store, key)["card"]
    assert (card["state"], card["name"], card["source"]) == ("clean", "trained on own.zip", "trained here")
    assert 0 <= card["CA, percent"] <= 100
    assert trained_on(store, pairs, key) == 1.0
    assert not [p for p in (store.root / "work").glob("reference-*") if p.is_dir()]
    plain = made_here.make(store, Wanted("reference", pairs, BRIEF | {"epochs": 2}), CPU)
    assert "CA, percent" not in opened(store, plain)["card"]


def test_recipes_are_ones_that_can_be_trained():
    from ubt.workflows.pretrain_pairs import OwnRecipe

    for kept, side in ((16, 224), (600, 48), (100_000, 50), (3, 20)):
        how = made_here.reference("pairs-0", kept, 0.5, side, 3).options
        recipe = OwnRecipe().with_values(how)
        assert recipe.architecture()["vision_cfg"]["image_size"] in (48, 64)
        assert recipe.batch <= max(2, kept // 2)
    assert (OwnRecipe().patch, OwnRecipe().batch) == (made_here.PATCH, made_here.BATCH)


def test_health_is_good_where_a_reference_knows_the_pairs_and_at_chance_where_it_knows_nothing(known, noise):
    store, pairs, good = known
    assert reference_health.checks(store, good, pairs, "") is None
    made_here.make(store, made_here.health(good, pairs), CPU)
    found = reference_health.checks(store, good, pairs, "")
    assert [c["check"] for c in found] == ["reference, retrieval of these captions", "captions"]
    assert reference_health.failed(found) == []
    assert store.prune() == 0
    store, pairs, labelled = noise
    bad = made_here.make(store, Wanted("reference", pairs, BRIEF), CPU)
    other = import_pairs(store, own(store.root.parent, pairs=30))
    made_here.make(store, made_here.health(bad, other, labelled), CPU)
    found = reference_health.checks(store, bad, other, labelled)
    assert len(found) == 3
    retrieval = reference_health.failed(found)[0]
    assert retrieval["check"].startswith("reference, retrieval")
    assert reference_health.at_chance(retrieval) == (retrieval["figure"] < 55)
    assert reference_health.at_chance(retrieval | {"figure": 51.0})
    assert not reference_health.at_chance(retrieval | {"figure": 65.0})
    accuracy = found[2] | {"figure": 11.0}
    assert reference_health.at_chance(accuracy, 10) and not reference_health.at_chance(accuracy | {"figure": 60.0}, 10)


def test_health_of_a_reference_that_was_trained_on_a_part_is_of_the_other_part(noise, monkeypatch):
    store, pairs, _ = noise
    half = made_here.make(store, Wanted("reference", pairs, BRIEF | {"share": 0.6, "batch": 4}), CPU)
    key = made_here.make(store, made_here.health(half, pairs), CPU)
    assert store.find(key)["pairs"] == 24 - store.imported(half)["card"]["made_from"]["images"]
    forget(store, half)
    assert store.prune() > 0
    assert store.find(key) is None, "nothing is left of a model that was deleted"


def test_too_few_pairs_for_either_are_said(tmp_path):
    store = Store(tmp_path / "cache")
    pairs = import_pairs(store, own(tmp_path, pairs=4))
    reference = import_model(store, str(REFERENCE), "", "clean")
    with pytest.raises(BadInput, match="expected at least 8 pairs"):
        made_here.make(store, made_here.health(reference, pairs), CPU)
    with pytest.raises(BadInput, match="expected at least a batch of 8"):
        made_here.make(store, Wanted("reference", pairs, BRIEF), CPU)
    with pytest.raises(BadInput, match="expected one of reference, health"):
        made_here.make(store, Wanted("nosuch", pairs), CPU)


def test_a_job_makes_them_and_says_what_they_are_called(noise, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda by: by)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    store, pairs, _ = noise
    wanted = Wanted("reference", pairs, BRIEF)
    assert jobs.main(str(store.root), "--import", json.dumps(vars(wanted))) == 0
    key = jobs.imported(store, jobs.import_lock(wanted))
    assert key in store.all_imported("model")
    assert jobs.main(str(store.root), "--import", json.dumps(vars(made_here.health(key, pairs)))) == 0
    assert reference_health.checks(store, key, pairs, "")


def test_what_an_audit_can_say_follows_what_it_is_given(known):
    store, pairs, reference = known
    suspect = import_model(store, str(REFERENCE), "", "suspect")
    changes = {"own.suspect": suspect, "own.pairs": pairs, "data.pairs": 600}
    folds = prospects(store, audit.CaseSettings().with_values(changes), None)
    assert any("makeshift" in c.said for c in folds.cautions)
    assert any("CA before and after" in said for said in folds.cannot)
    assert folds.hopeless, "600 pairs are too few for the paper's k"
    settings = audit.CaseSettings().with_values(changes | {"own.reference": reference, "select.k": 4})
    unknown = prospects(store, settings, None)
    assert any("not known yet" in c.said for c in unknown.cautions)
    assert not unknown.hopeless
    check = {"check": "reference, x", "passed": False, "said": "51 %", "advice": "take another"}
    bad = prospects(store, settings, [check])
    assert [c for c in bad.cautions if c.grave] == [c for c in bad.cautions if c.advice == "take another"]
    assert bad.hopeless
    assert not prospects(store, settings, [check | {"passed": True}]).hopeless
    few = prospects(store, settings.with_values({"split.fraction": 0.02}), None)
    assert any("D_susp has 12 pairs" in c.said for c in few.cautions)
    assert any("pairs are few" in c.said for c in few.cautions)


@pytest.mark.parametrize("pairs", [16, 24, 40, 333, 600, 1600, 50_000])
def test_few_pairs_start_with_settings_that_can_come_to_a_verdict(pairs):
    settings = audit.CaseSettings().with_values({"data.pairs": pairs, "attack.rate": 0.0} | audit.starting(pairs))
    assert settings.k >= 4
    if pairs < 64:
        assert settings.split.fraction == 0.5
    else:
        assert round(pairs * settings.split.fraction) >= 8 * settings.k


def test_pairs_that_the_reference_was_trained_on_are_left_out_or_it_is_said_that_they_are_not(noise):
    store, pairs, _ = noise
    half = made_here.make(store, Wanted("reference", pairs, BRIEF | {"share": 0.6, "batch": 4}), CPU)
    settings = audit.without_seen(store, pairs, half)
    assert settings == {"own.spare": 0.6, "data.pairs": 24 - store.imported(half)["card"]["made_from"]["images"]}
    whole = made_here.make(store, Wanted("reference", pairs, BRIEF), CPU)
    assert audit.without_seen(store, pairs, whole) == {}
    other = import_pairs(store, own(store.root.parent, pairs=30))
    assert audit.without_seen(store, other, half) == {}
    suspect = import_model(store, str(REFERENCE), "", "suspect")
    for reference, said in ((half, "which the audit leaves out"), (whole, "all of these pairs")):
        case = audit.settings_of(store, pairs, suspect, reference, changes=audit.starting(24))
        assert any(said in c.said for c in prospects(store, case, None).cautions)


def test_counts_say_what_nobody_counted(noise):
    store, pairs, _ = noise
    assert counts(store.imported(pairs)) == {"read": 24, "used": 24, "broken": 0, "duplicate": 0, "tiny": 0}
    tiny = import_pairs(store, own(store.root.parent, sides=16))
    assert counts(store.imported(tiny))["tiny"] == 24
    undecoded = import_pairs(store, own(store.root.parent), audit.SourceOptions(decode=False))
    said = counts(store.imported(undecoded))
    assert (said["duplicate"], said["tiny"]) == (None, None)
