"""The page Image: the gate that it asks for, and what it shows of an image."""

import io

import numpy as np
import pytest
from harness import charts, html_of, page, words
from PIL import Image
from tiny import CPU

from ubt.cases.store import Store
from ubt.core.files import REFERENCE
from ubt.data import scenes
from ubt.ui import image_form
from ubt.workflows import gate as gates
from ubt.workflows import jobs, made_here, sources
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
    begun, of_gate = [], set()

    def imported(store, lock):
        return made if lock in of_gate else ""

    monkeypatch.setattr(jobs, "imported", lambda store, lock: of_gate.add(lock) or made)
    at = page("image", case=tiny_case.name)
    monkeypatch.setattr(jobs, "imported", imported)
    at.segmented_control(key="lens-kind").set_value("attack").run()
    assert not at.exception and at.selectbox(key="places-target").value == "banana", "the case's own target comes first"
    monkeypatch.setattr(jobs, "start_import", lambda store, wanted, wait=15.0: begun.append(wanted) or True)
    at.button(key="places-start").click().run()
    (wanted,) = begun
    watch = full.open(made)["about"]["watch"]
    assert (wanted.kind, wanted.source) == ("places", watch["model"])
    assert wanted.options["at"] == [40, 40] and wanted.options["target"] == "banana"
    assert full.open(wanted.options["patch"])["pixels"].shape == (7, 7, 3)


def test_the_page_triggers_has_a_drawing_for_the_attack_that_is_drawn(cache):
    at = page("triggers")
    at.selectbox(key="lab-attack").set_value("drawn").run()
    assert not at.exception and "PSNR" in words(at) + html_of(at)
    at.button(key="lab-clear").click().run()
    assert not at.exception and "draw something" in " ".join(e.value for e in at.error)
