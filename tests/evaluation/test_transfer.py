"""Downstream stages: other labelled images and retrieval, on scenes, on sets of one's own, and what they refuse."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tiny import CPU, tiny

from ubt.cases.catalog import every
from ubt.cases.keys import keys
from ubt.cases.pipeline import Pipeline, upto
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.core.run import Run
from ubt.data import model_input, scenes
from ubt.evaluation import transfer
from ubt.evaluation.backdoor import interval
from ubt.evaluation.judge import blocks
from ubt.evaluation.stages import downstream_name
from ubt.evaluation.transfer import DownstreamSettings

RUN = Run(compute=CPU)


def given(**changes) -> dict:
    settings = CaseSettings().with_values({n.replace("__", "."): v for n, v in changes.items()})
    return {"attacks": settings.attacks, "downstream": settings.downstream}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes of two classes as somebody's labelled images, one broken and one that is not there, and as captions."""
    path = tmp_path_factory.mktemp("brought")
    (path / "labels").mkdir()
    names, labels, captions = [], [], []
    for i, kind in enumerate(("banana", "car") * 6):
        first = next(n for n in scenes.ROLES["test"] if n % len(scenes.CLASSES) == scenes.CLASSES.index(kind))
        Image.fromarray(scenes.draw(0, first + i * len(scenes.CLASSES), scenes.SIZE)).save(path / f"labels/{i}.png")
        names, labels, captions = (
            [*names, f"{i}.png"],
            [*labels, kind.title()],
            [*captions, f"a photo of a {kind}, number {i // 4}"],
        )
    (path / "labels/11.png").write_bytes(b"no image")
    names, labels, captions = [*names, "gone.png"], [*labels, "Car"], [*captions, "a photo of a car, gone"]
    pd.DataFrame({"image": names, "label": labels}).to_csv(path / "labels/labels.csv", index=False)
    pd.DataFrame({"image": names * 2, "caption": captions + [f"{c}!" for c in captions]}).to_csv(
        path / "labels/captions.csv", index=False
    )
    return path / "labels"


def test_a_case_is_measured_downstream_without_training_anything_again(tiny_case, full):
    changed = tiny(downstream__per_class=1, downstream__images=150, downstream__k=3)
    had = keys(tiny(), CPU, every(), Pipeline(full, CPU).reference)
    stages = tuple(
        {
            s.name: s
            for kind in ("zeroshot", "retrieval")
            for m in ("clean", "purified")
            for s in upto(downstream_name(kind, f"evaluate_{m}"))
        }.values()
    )
    order = {s.name: i for i, s in enumerate(every())}
    case = Pipeline(full, CPU).run(changed, tuple(sorted(stages, key=lambda s: order[s.name])))
    assert all(case.artefacts[n].path.name == had[n] for n in ("poison", "unlearn", "test") if n in case.artefacts)
    shot, found = (
        case.artefacts[downstream_name(kind, "evaluate_clean")]["measures"] for kind in ("zeroshot", "retrieval")
    )
    assert shot["images"]["ca"] == len(scenes.CLASSES)
    assert shot["ca"] > 90
    assert shot["asr"] < 20
    assert (found["images"]["ca"], found["k"], found["captions"]) == (150, 3, 750)
    assert found["distinct"] <= found["captions"]
    assert found["i2t_1"] == found["ca"] <= found["i2t_5"] <= found["i2t_10"]
    assert found["t2i_1"] <= found["t2i_5"]
    assert found["ca"] > 5 * 100 / 150
    assert found["intervals"]["asr"] == pytest.approx(
        interval(np.arange(found["images"]["asr"]) < round(found["asr"] * found["images"]["asr"] / 100))
    )
    drawn = case.artefacts["captions"]["images"]
    assert (drawn[0] == scenes.draw(0, scenes.ROLES["retrieval"][0], scenes.SIZE)).all()


def test_a_labelled_set_of_ones_own(folder, reference):
    of = DownstreamSettings(set=str(folder))
    made = transfer.labelled(reference, of, RUN)
    assert made["classes"] == ["Banana", "Car"]
    assert made["quarantine"].to_numpy().tolist() == [["gone.png", "missing file"], ["11.png", "not an image"]]
    assert made["prompts"].shape[:2] == (2, 7)
    assert transfer.labelled(reference, DownstreamSettings(set=str(folder), templates="80"), RUN)["prompts"].shape[
        :2
    ] == (2, 80)
    parts = {n: made[n] for n in ("images", "labels", "prompts", "classes")}
    found = transfer.zeroshot(reference, **parts, **given(downstream__set=str(folder)), run=RUN)["measures"]
    assert found["images"] == {"ca": 11, "asr": 5, "asr_all": 11, "ra": 5, "target_recall": 6}
    assert found["ca"] > 90
    with pytest.raises(BadInput, match=f"{folder}: expected the target 'cup' among its 2 classes"):
        transfer.zeroshot(reference, **parts, **given(attack__target="cup", downstream__set=str(folder)), run=RUN)
    with pytest.raises(BadInput, match=r"/data/dtd/dtd/labels/test1\.txt: expected the target"):
        transfer.zeroshot(
            reference, **parts, **given(attack__target="cup", downstream__set="dtd", downstream__root="/data"), run=RUN
        )
    one = {**parts, "images": parts["images"][:1], "labels": parts["labels"][:1]}
    with pytest.raises(BadInput, match=r"images of the target 'Banana' and of other classes, got 1 of 1"):
        transfer.zeroshot(reference, **one, **given(), run=RUN)
    assert len(transfer.labelled(reference, DownstreamSettings(set=str(folder), per_class=2), RUN)["labels"]) >= 3


def test_prompts_are_the_sets_own_those_of_imagenet_or_clips():
    def shapes(**changes) -> tuple:
        return transfer.class_prompts(["a", "b"], None, DownstreamSettings(**changes), 24).shape

    assert shapes(set="imagenet") == (2, 80, 24)
    assert shapes(set="imagenet", templates="7") == shapes(set="cifar10") == (2, 7, 24)
    own = [["a photo of a", "one a"], ["a photo of b", "one b"]]
    made = transfer.class_prompts(["a", "b"], own, DownstreamSettings(set="dtd"), 24)
    assert made.shape == (2, 2, 24)
    assert (made[1, 0] == model_input.tokenize(["a photo of b"], 24)[0]).all()


def test_images_of_another_size_are_fitted_before_the_trigger(folder, reference):
    """So that a trigger covers what it covers of the images the model was poisoned with."""
    made = transfer.labelled(reference, DownstreamSettings(set=str(folder)), RUN)
    large = np.asarray(made["images"][:]).repeat(2, axis=1).repeat(2, axis=2)
    rest = {n: made[n] for n in ("labels", "prompts", "classes")}
    a, b = (
        transfer.zeroshot(reference, images, **rest, **given(), run=RUN)["predictions"]
        for images in (np.asarray(made["images"][:]), large)
    )
    assert (a == b).to_numpy().mean() > 0.9


def test_captions_of_ones_own_and_what_lacks_the_target(folder, reference):
    of = DownstreamSettings(captions=str(folder / "captions.csv"))
    made = transfer.captions(reference, of, RUN)
    assert (len(made["images"]), len(made["captions"]), made["captions"]["image"].max()) == (11, 22, 10)
    assert made["quarantine"]["image"].tolist() == ["gone.png", "gone.png", "11.png"]
    parts = {n: made[n] for n in ("images", "captions", "tokens")}
    found = transfer.retrieval(reference, **parts, **given(downstream__captions="x"), run=RUN)["measures"]
    assert (found["captions"], found["distinct"], found["images"]["asr"]) == (22, 12, 5)
    with pytest.raises(BadInput, match=r"expected captions that name the target 'cup' .* got 0 such captions"):
        transfer.retrieval(reference, **parts, **given(attack__target="cup"), run=RUN)
    with pytest.raises(BadInput, match="/data/coco: expected captions that name the target 'cup'"):
        transfer.retrieval(
            reference,
            **parts,
            **given(attack__target="cup", downstream__captions="coco", downstream__root="/data"),
            run=RUN,
        )
    assert len(transfer.captions(reference, DownstreamSettings(captions=of.captions, images=4), RUN)["images"]) == 4


def test_a_large_set_is_read_when_it_is_needed_to_the_same_result(folder, reference, monkeypatch):
    of = DownstreamSettings(set=str(folder), captions=str(folder / "captions.csv"))
    kept = [transfer.labelled(reference, of, RUN)["images"], transfer.captions(reference, of, RUN)["images"]]
    monkeypatch.setattr(transfer, "KEPT", 0)
    lazy = [transfer.labelled(reference, of, RUN)["images"], transfer.captions(reference, of, RUN)["images"]]
    assert all(isinstance(images, np.ndarray) for images in kept)
    assert not any(isinstance(images, np.ndarray) for images in lazy)
    assert all((a == b[:]).all() for a, b in zip(kept, lazy, strict=True))


def test_images_go_by_blocks_as_they_would_at_once(monkeypatch):
    images = scenes.draw_many(0, range(150), scenes.SIZE)
    planted = CaseSettings.preset("demo", "blended").attacks[0]
    whole = next(blocks(images, planted))
    monkeypatch.setattr("ubt.evaluation.judge.BLOCK", 64 * images[0].size)
    parts = list(blocks(images, planted))
    assert [len(p) for p in parts] == [64, 64, 22]
    assert (np.concatenate(parts) == whole).all()


def test_absent_sets_are_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("UBT_DATA", raising=False)
    assert transfer.absent(DownstreamSettings(), "zeroshot") == transfer.absent(DownstreamSettings(), "retrieval") == ""
    assert "dtd/dtd/labels" in transfer.absent(DownstreamSettings(set="dtd", root=str(tmp_path)), "zeroshot")
    assert "dataset_coco.json" in transfer.absent(DownstreamSettings(captions="coco", root=str(tmp_path)), "retrieval")
    assert DownstreamSettings(set="dtd", captions="coco").titles == ("DTD", "COCO")


def test_downstream_stages_are_the_judges_and_only_they_read_them():
    mine = {
        s.name
        for s in every()
        if s.name in ("downstream", "captions") or s.name.startswith(("zeroshot_", "retrieval_"))
    }
    assert all(s.role == "judge" for s in every() if s.name in mine)
    assert not [
        s.name for s in every() if s.name not in mine for source in s.inputs.values() if source.split(".")[0] in mine
    ]
