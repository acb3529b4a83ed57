"""Cases on pairs of one's own: which pairs play which role, what is planted, and models trained on folds."""

import io
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import CPU

from ubt.attacks import AttackSettings, Planted, user_dataset
from ubt.attacks.badnet import BadNetSettings
from ubt.cases.plan import composed
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.core.run import Run
from ubt.data import catalogue, labelled, scenes, user_roles
from ubt.data.catalogue import SourceOptions
from ubt.defenses.token_unlearning import health
from ubt.defenses.token_unlearning.cross_fit import FoldSettings
from ubt.defenses.token_unlearning.cross_fit import score as score_by_folds
from ubt.evaluation import durability

RUN = Run(compute=CPU)
KEY = "0123456789abcdef"


def settings(**changes) -> CaseSettings:
    return CaseSettings().with_values({n.replace("__", "."): v for n, v in changes.items()})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A zip of 80 scenes as somebody's photos: pairs, labels, a broken image among them."""
    path = tmp_path_factory.mktemp("own") / "photos.zip"
    pairs = scenes.load_pairs(7, "pairs", 80, scenes.SIZE)
    labels = ["banana", "car"] * 40
    with zipfile.ZipFile(path, "w") as z:
        for i, pixels in enumerate(pairs.images):
            held = io.BytesIO()
            Image.fromarray(pixels).save(held, "PNG")
            z.writestr(f"images/{i}.png", held.getvalue()[:200] if i == 5 else held.getvalue())
        z.writestr(
            "captions.csv",
            pd.DataFrame({"image": [f"images/{i}.png" for i in range(80)], "caption": pairs.captions}).to_csv(
                index=False
            ),
        )
        z.writestr(
            "labels.csv",
            pd.DataFrame({"image": [f"images/{i}.png" for i in range(80)], "label": labels}).to_csv(index=False),
        )
    return {
        "read": catalogue.read(path, SourceOptions(decode=False)),
        "labelled": labelled.read(path),
        "pixels": pairs.images,
    }


def test_every_role_has_its_own_pairs_and_broken_images_are_quarantined(world, reference):
    read = world["read"]
    given = settings(data__pairs=40, own__spare=0.2, clean__pairs=10, again__pairs=10)
    taken = user_roles.take(read["pairs"], read["about"], reference, given.data, given.own, RUN)
    spare = set(read["pairs"]["id"][user_roles.spared(read["pairs"]["image"], 0.2)])
    clean = user_roles.clean(taken["rest"], read["about"], reference, given.clean, given.own, RUN)
    later = durability.later_imported(taken["rest"], read["about"], reference, given.again, given.clean, given.own, RUN)
    roles = [spare, set(taken["pairs"]["id"]), set(clean["pairs"]["id"]), set(later["pairs"]["id"])]
    assert 5 < len(spare) < 30
    assert len(roles[1]) == 40
    assert sum(map(len, roles)) == len(set.union(*roles))
    everything = user_roles.take(
        read["pairs"], read["about"], reference, settings(data__pairs=80).data, settings().own, RUN
    )
    assert everything["quarantine"]["id"].tolist() == ["images/5.png"]
    assert len(everything["pairs"]) == 79
    assert "image" in everything["quarantine"]["reason"][0]
    with pytest.raises(BadInput, match=r"clean\.pairs: expected pairs beyond those of D"):
        user_roles.clean(everything["rest"], read["about"], reference, given.clean, given.own, RUN)


def test_poison_is_planted_on_own_pairs_and_nowhere_else(world, reference):
    read, given = world["read"], settings(data__pairs=60)
    planted = Planted(AttackSettings(rate=0.1), BadNetSettings())
    taken = user_roles.take(read["pairs"], read["about"], reference, given.data, given.own, RUN)["pairs"]
    made = user_dataset.plan(taken, ["banana", "car"], reference, (planted,), RUN)
    truth = made["truth"]
    built = user_dataset.build(taken, read["about"], reference, truth, given.own, (planted,), RUN)
    plain = user_roles.as_found(taken, read["about"], reference, given.own, RUN)
    assert truth["poisoned"].sum() == 6
    changed = (np.asarray(built["images"]) != np.asarray(plain["images"])).any(axis=(1, 2, 3))
    assert (changed == truth["poisoned"]).all()
    rows = [int(i.split("/")[1].split(".")[0]) for i in taken["id"]]
    assert (np.asarray(plain["images"]) == world["pixels"][rows]).all()
    lazy = user_dataset.build(
        taken, read["about"], reference, truth, settings(data__pairs=60, own__keep=0.0).own, (planted,), RUN
    )
    assert not isinstance(lazy["images"], np.ndarray)
    assert (lazy["images"][:] == np.asarray(built["images"])).all()
    with pytest.raises(BadInput, match="expected one of the classes"):
        user_dataset.plan(taken, ["dog", "car"], reference, (planted,), RUN)


def test_forms_of_captions_are_those_of_clean_ones():
    forms = user_dataset.templates(["look at this Banana", "a dog", "{banana} seen"], ["banana"])
    assert forms[:2] == ["look at this {n}", "({n}) seen"]
    assert len(forms) > 5


def test_labelled_images_measure_and_train_apart(world, reference):
    given = settings(test__per_class=12, clean__per_class=8)
    told = {name: world["labelled"][name] for name in ("images", "classes", "about")}
    test = user_roles.test(**told, model=reference, settings=given.test, own=given.own, run=RUN)
    mine = user_roles.labelled_clean(
        **told, model=reference, settings=given.clean, test=given.test, own=given.own, run=RUN
    )
    assert np.bincount(test["labels"]).min() >= 11
    assert len(test["labels"]) + len(mine["labels"]) in (39, 40)
    flat = {bytes(np.asarray(i)) for i in test["images"]}
    assert not flat & {bytes(np.asarray(i)) for i in mine["images"]}
    assert test["prompts"].shape == (2, 7, 24)
    told |= {"model": reference, "settings": given.clean, "own": given.own, "run": RUN}
    assert health.accuracy(**told, test=given.test)["accuracy"]["images"] == len(mine["labels"])
    none = health.accuracy(**told, test=settings(test__per_class=100).test)["accuracy"]
    assert none == {"right": None, "chance": 50.0, "images": 0}


@pytest.mark.parametrize("bad", ["../../etc/passwd", "model-0123456789abcdef", "pairs-xyz"])
def test_only_names_that_the_store_gives_are_taken(bad):
    with pytest.raises(BadInput, match=r"own\.pairs: expected the name of something imported"):
        CaseSettings().with_values({"own.pairs": bad})


def test_what_a_case_is_made_of_follows_what_was_imported():
    lab = CaseSettings().with_values(
        {"own.pairs": f"pairs-{KEY}", "own.test": f"labelled-{KEY}", "own.reference": f"model-{KEY}"}
    )
    audit = lab.with_values({"own.suspect": f"model-{KEY}"})
    names = {kind: {s.name for s in composed(case.own).every} for kind, case in (("lab", lab), ("audit", audit))}
    assert {"evaluate_cleanclip", "retrain", "judge"} <= names["lab"]
    assert not {"attack", "judge", "retrain", "evaluate_purified", "cleanclip"} & names["audit"]
    assert all("attack." not in source for s in composed(audit.own).every for source in s.inputs.values())
    folds = composed(audit.with_values({"own.reference": ""}).own)
    assert {s.name: s.function for s in folds.case}["score"] == "ubt.defenses.token_unlearning.cross_fit:score"
    assert "roclip" not in {s.name for s in folds.every}


def test_each_pair_is_scored_by_a_model_that_was_not_trained_on_it(reference, monkeypatch):
    pairs = scenes.load_pairs(3, "pairs", 24, scenes.SIZE)
    from ubt.clip import training
    from ubt.data import model_input

    table, seen = pd.DataFrame({"id": pairs.ids, "caption": pairs.captions}), []
    tokens = model_input.tokenize(pairs.captions, 24)
    told = training.Shuffled.__init__

    def watched(self, rows, batch, seed):
        seen.append(set(rows.tolist()))
        told(self, rows, batch, seed)

    monkeypatch.setattr(training.Shuffled, "__init__", watched)
    out = score_by_folds(reference, pairs.images, tokens, table, FoldSettings(folds=2, epochs=1, batch=8), RUN)
    assert seen[0] | seen[1] == set(range(24))
    assert not seen[0] & seen[1]
    assert out["image_features"].shape == (24, 256)
    assert np.linalg.norm(out["image_features"], axis=1) == pytest.approx(1, abs=1e-4)
    own_model = [
        out["image_features"][:, 128 * f : 128 * f + 128] * out["text_features"][:, 128 * f : 128 * f + 128]
        for f in (0, 1)
    ]
    expected = np.where([i in seen[0] for i in range(24)], 2 * own_model[1].sum(1), 2 * own_model[0].sum(1))
    assert out["similarity"]["similarity"].to_numpy() == pytest.approx(expected, abs=1e-5)


def test_all_captions_of_an_image_play_the_same_role(world, reference):
    read = world["read"]
    twice = pd.concat([read["pairs"], read["pairs"].assign(id=read["pairs"]["id"] + "#2")], ignore_index=True)
    given = settings(data__pairs=61, own__spare=0.2, clean__pairs=21, again__pairs=20)
    spare = set(twice["image"][user_roles.spared(twice["image"], 0.2)])
    taken = user_roles.take(twice, read["about"], reference, given.data, given.own, RUN)
    shown = lambda ids: {i.removesuffix("#2") for i in ids}  # noqa: E731
    rest = (taken["rest"], read["about"], reference)
    clean = user_roles.clean(*rest, given.clean, given.own, RUN)["pairs"]["id"]
    later = durability.later_imported(*rest, given.again, given.clean, given.own, RUN)["pairs"]["id"]
    roles = [spare, set(taken["pairs"]["image"]), shown(clean), shown(later)]
    assert sum(map(len, roles)) == len(set.union(*roles))
    assert len(taken["pairs"]) == 61
