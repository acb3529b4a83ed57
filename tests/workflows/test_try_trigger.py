"""The ASR of a hypothesis over a case: by labelled images the case's own ASR, by pairs without them, from the command
line.
"""

import io

import numpy as np
import pytest
from PIL import Image
from tiny import CPU
from typer.testing import CliRunner

from ubt.cli.main import app
from ubt.core.errors import BadInput
from ubt.core.run import Run
from ubt.evaluation.trigger_hypothesis import Hypothesis
from ubt.workflows import derived, try_trigger

RUN = Run(compute=CPU)
CHECKERBOARD = np.repeat((np.indices((7, 7)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
CORNER = {"top": 40 / 48, "left": 40 / 48}


def tried(store, record, hypothesis, pixels=CHECKERBOARD):
    return derived.make(
        store,
        record,
        "probe",
        try_trigger.options(store, record, hypothesis, try_trigger.keep(store, record, pixels)),
        RUN,
    )


def test_the_true_trigger_has_the_asr_that_the_case_measured(full, tiny_case):
    record = full.record(tiny_case.name)
    made = tried(full, record, Hypothesis(target="Banana", **CORNER))
    for model in ("clean", "poisoned", "purified", "published"):
        seen, target = (
            tiny_case.artefacts[f"evaluate_{model}"]["predictions"],
            tiny_case.artefacts["test"]["classes"].index("banana"),
        )
        others = seen[seen["label"] != target]
        otherwise, rates = others[others["clean"] != target], made["measures"][model]
        assert rates["images"] == {"natural": len(others), "asr": len(otherwise), "control": len(otherwise)}
        assert rates["asr"] == pytest.approx(100 * (otherwise["triggered"] == target).mean())
        assert rates["natural"] == pytest.approx(100 * (others["clean"] == target).mean())
    assert set(made["readings"]["model"]) == set(try_trigger.models_of(False))
    full.prune()
    assert full.find(made.path.name) is not None
    assert full.find(try_trigger.trigger(record, CHECKERBOARD)) is not None
    full.delete(tiny_case.name)
    assert not [p for p in (full.root / "artefacts").iterdir() if p.name.startswith(("probe", "trigger"))]


def test_without_labels_kept_pairs_are_asked_and_the_truth_is_not_read(full, tiny_case):
    record = full.record(tiny_case.name)
    blind = record.changed(artefacts={s: k for s, k in record.artefacts.items() if s not in ("test", "attack")})
    made = tried(full, blind, Hypothesis(target="banana", images=40, bank=20, word="consider", **CORNER))
    assert made["about"] == {
        "images": 40,
        "labelled": False,
        "texts": 22,
        "control_word": made["about"]["control_word"],
    }
    assert made["about"]["control_word"] not in ("", "consider", "banana")
    assert not made["readings"]["before"].str.contains("banana").all()
    words = try_trigger.suggested(full, blind)
    assert not set(words) & try_trigger.STOPWORDS
    with pytest.raises(BadInput, match="stage poison"):
        tried(full, blind.changed(artefacts={"data": record.artefacts["data"]}), Hypothesis(target="banana"))


def test_meaning_tells_a_trigger_from_a_patch_and_from_the_target_itself():
    def rates(asr, control=1.0):
        return {
            "asr": asr,
            "control": control,
            "intervals": {"asr": [asr - 3, asr + 3], "control": [control - 0.5, control + 1]},
        }

    assert "works as a trigger" in try_trigger.meaning(
        {"poisoned": rates(95), "clean": rates(4), "purified": rates(3)}, "dog"
    )
    assert "After purification it is 3.0 %" in try_trigger.meaning(
        {"poisoned": rates(95), "clean": rates(4), "purified": rates(3)}, "dog"
    )
    assert "no backdoor" in try_trigger.meaning({"poisoned": rates(95), "clean": rates(90)}, "dog")
    assert "no more than the control" in try_trigger.meaning({"poisoned": rates(4), "clean": rates(1)}, "dog")
    assert "far from always" in try_trigger.meaning({"poisoned": rates(25), "clean": rates(1)}, "dog")


def test_the_command_prints_the_same_table_and_refuses_what_is_no_trigger(full, tiny_case, tmp_path):
    file = tmp_path / "patch.png"
    Image.fromarray(CHECKERBOARD).save(file)

    def call(*arguments):
        return CliRunner().invoke(
            app,
            ["probe", tiny_case.name, "--target", "banana", "--images", "20", "--cache", str(full.root), *arguments],
        )

    said = call("--patch", str(file), "--place", "0.8333,0.8333")
    assert said.exit_code == 0
    assert "20 labelled images" in said.output
    assert "taken for 'banana'" in said.output
    for wrong, why in (
        (("--patch", str(tmp_path / "none.png")), "image file"),
        (("--patch", str(file), "--place", "corner"), "TOP,LEFT"),
        (("--patch", str(file), "--found", "1"), "got several"),
        (("--found", "1"), "PoisonCAM"),
        ((), "a patch, a pattern or a word"),
    ):
        refused = call(*wrong)
        assert isinstance(refused.exception, BadInput)
        assert why in str(refused.exception)


def test_a_file_is_decoded_like_any_image_that_nobody_vouches_for():
    def encoded(width, height):
        file = io.BytesIO()
        Image.fromarray(np.full((height, width, 3), 9, np.uint8)).save(file, "PNG")
        return file.getvalue()

    assert try_trigger.loaded(encoded(5, 3), "f", 48, 48).shape == (3, 5, 3)
    assert try_trigger.loaded(encoded(96, 48), "f", 48, 48).shape == (24, 48, 3)
    assert try_trigger.loaded(encoded(96, 50), "f", 48, 48, whole=True).shape == (48, 48, 3)
    for content in (b"", b"cos\nsystem\n(S'id'\ntR.", encoded(400, 1)):
        with pytest.raises(BadInput, match="refused"):
            try_trigger.loaded(content, "f", 48, 48)
