"""The page Image: the gate that it asks for, and what it shows of an image."""

import io

import numpy as np
import pandas as pd
import pytest
from harness import charts, html_of, page, words
from PIL import Image
from tiny import CPU

from ubt.attacks import AttackSettings, Planted
from ubt.attacks.badnet import BadNetSettings
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.files import REFERENCE
from ubt.core.run import compute
from ubt.data import scenes
from ubt.evaluation.trigger_places import COLUMNS
from ubt.ui import image_form
from ubt.workflows import gate as gates
from ubt.workflows import jobs, made_here, sources, trigger_places
from ubt.workflows.import_model import import_model

SMALL = gates.GateSettings(clean=40, held=24)


@pytest.fixture
def model(cache) -> str:
    return import_model(Store(cache), str(REFERENCE))


@pytest.fixture
def made(cache, model, monkeypatch) -> str:
    """A gate that was made, small, with the detectors that take one pass."""
    watch = gates.Watch(model, classes=scenes.CLASSES, detectors=("mixed", "masking"), settings=SMALL)
    key = gates.calibrate(Store(cache), watch, CPU)
    monkeypatch.setattr(image_form.jobs, "imported", lambda store, lock: key)
    return key


def test_without_a_model_it_asks_for_one(cache):
    at = page("image")
    assert not at.exception and "No model is here yet" in words(at)
    assert not any(b.key == "image-start" for b in at.button)


def test_the_button_says_what_it_takes_and_starts_the_job(cache, model, monkeypatch):
    begun = []
    monkeypatch.setattr(jobs, "start_import", lambda store, wanted, wait=15.0: begun.append(wanted) or True)
    at = page("image")
    assert not at.exception and "Takes about" in words(at)
    at.selectbox(key="image-reference").set_value("").run()
    at.button(key="image-start").click().run()
    (wanted,) = begun
    assert wanted == made_here.gate_of(model, "", sources.SCENES, [], wanted.options["of"])
    assert model in wanted.options["of"]


def test_an_image_is_judged_as_soon_as_it_is_there(made):
    at = page("image")
    assert not at.exception and "shown here" in words(at)
    out = io.BytesIO()
    Image.fromarray(np.asarray(scenes.draw_many(3, [10**8], 96)[0])).save(out, "PNG")
    at.file_uploader(key="image-file").set_value(("one.png", out.getvalue(), "image/png")).run()
    assert not at.exception
    said = words(at)
    assert "Cannot tell" in said and "takes 99 clean images at least" in said, said
    assert "mixed" in html_of(at) and len(charts(at)) == 3
    at.select_slider(key="image-fpr").set_value(0.1).run()
    assert "score as high" in words(at) and "takes 99" not in words(at)
    at.file_uploader(key="image-file").set_value(("two.png", b"no image", "image/png")).run()
    assert not at.exception and any("not an image" in e.value for e in at.error)


def test_a_pair_of_the_case_in_view_is_judged_and_the_purified_model_asked_too(full, tiny_case, made):
    at = page("image", case=tiny_case.name)
    assert not at.exception
    answers = charts(at)[0]["data"]
    assert [bars["name"] for bars in answers] == ["this model"], "it is not the model of this case"
    before = charts(at)[0]["data"][0]["x"]
    at.segmented_control(key="lens-kind").set_value("attack").run()
    assert not at.exception and at.selectbox(key="lens-attack").value == "badnet", "the case's own comes first"
    assert "Without the trigger: this model" in words(at)
    moved = charts(at)[0]["data"][0]["x"]
    assert moved != before
    at.slider(key="lens-strength").set_value(0).run()
    assert charts(at)[0]["data"][0]["x"] == before, "a trigger of no strength changes nothing"
    for name in ("sig", "badclip", "badnet"):
        at.selectbox(key="lens-attack").set_value(name).run()
        assert not at.exception
    for kind in ("pattern", "drawn"):
        at.segmented_control(key="lens-kind").set_value(kind).run()
        assert not at.exception
    at.number_input(key="lens-squares-side").set_value(3).run()
    assert not at.exception and at.session_state["lens-squares"] == "100010001"
    at.button(key="lens-clear").click().run()
    assert not at.exception and at.session_state["lens-squares"] == "." * 9
    assert charts(at)[0]["data"][0]["x"] == before, "nothing is painted"
    at.text_input(key="lens-caption").set_value("a photo of a banana").run()
    assert "cosine with the caption" in html_of(at)
    at.text_input(key="image-id").set_value("no such pair").run()
    assert not at.exception and "No pair of this case is called" in words(at)


def test_where_a_patch_works_is_measured_for_the_models_of_the_gate(full, tiny_case, made, monkeypatch):
    begun = []
    at = page("image", case=tiny_case.name)
    at.segmented_control(key="lens-kind").set_value("attack").run()
    target = at.selectbox(key=f"places-target-{tiny_case.name}").value
    assert not at.exception and target == "banana", "the case's own target comes first"
    monkeypatch.setattr(jobs, "start_import", lambda store, wanted, wait=15.0: begun.append(wanted) or True)
    at.button(key="places-start").click().run()
    (wanted,) = begun
    watch, how = full.open(made)["about"]["watch"], wanted.options
    assert (wanted.kind, wanted.source) == ("places", watch["model"])
    assert (how["top"], how["left"], how["opacity"], how["target"]) == (40, 40, 1.0, "banana")
    assert full.open(how["patch"])["pixels"].shape == (7, 7, 4)
    at.slider(key="lens-strength").set_value(50).run()
    at.button(key="places-start").click().run()
    assert begun[1].options["opacity"] == 0.5, "as strong as it is now"


def test_a_result_is_shown_for_the_patch_it_is_of_alone(full, tiny_case, made, monkeypatch):
    at = page("image", case=tiny_case.name)
    at.segmented_control(key="lens-kind").set_value("attack").run()
    found = []
    monkeypatch.setattr(jobs, "start_import", lambda store, wanted, wait=15.0: found.append(wanted) or True)
    at.button(key="places-start").click().run()
    how = {name: value for name, value in found[0].options.items() if name != "of"}
    asked = trigger_places.Asked(found[0].source, **how | {"classes": tuple(how["classes"])})
    rows = [(by, 0, 0, 7, 1.0, 50.0, 40.0, 60.0, 10, "suspect") for by in ("place", "size", "opacity")]
    rates = pd.DataFrame(rows, columns=[*COLUMNS, "model"])
    about = {"target": "banana", "natural": {"suspect": 1.0}, "images": 10, "at": [40, 40], "opacity": 1.0}
    about |= {name: getattr(asked, name) for name in ("model", "reference", "patch")}
    full.put(asked.key(compute()), {"rates": rates, "about": about}, {"stage": "places", "brought": True, "of": []})
    at.run()
    assert not at.exception and "Strength 100 %" in words(at)
    assert not any(b.key == "places-start" for b in at.button) and "measured last" not in words(at)
    at.slider(key="lens-strength").set_value(50).run()
    assert "As it was when it was measured last" in words(at), "of the patch as it was, and it says so"
    assert any(b.key == "places-start" for b in at.button)
    at.segmented_control(key="lens-kind").set_value("none").run()
    assert "Strength 100 %" not in words(at)


def test_an_attack_keeps_its_own_opacity_under_the_lens(full, tiny_case, made, monkeypatch):
    faint = BadNetSettings(opacity=0.5)
    monkeypatch.setattr(CaseSettings, "attacks", property(lambda case: (Planted(AttackSettings(), faint),)))
    at = page("image", case=tiny_case.name)
    at.segmented_control(key="lens-kind").set_value("attack").run()
    assert not at.exception
    begun = []
    monkeypatch.setattr(jobs, "start_import", lambda store, wanted, wait=15.0: begun.append(wanted) or True)
    at.button(key="places-start").click().run()
    pixels = full.open(begun[0].options["patch"])["pixels"]
    assert set(np.unique(pixels[..., :3])) == {0, 255} and set(np.unique(pixels[..., 3])) == {128}


def test_the_page_triggers_has_a_drawing_for_the_attack_that_is_drawn(cache):
    at = page("triggers")
    at.selectbox(key="lab-attack").set_value("drawn").run()
    assert not at.exception and "PSNR" in words(at) + html_of(at)
    at.button(key="lab-clear").click().run()
    assert not at.exception and "draw something" in " ".join(e.value for e in at.error)
