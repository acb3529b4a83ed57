"""The lecture: its slides and exercise sheet say what the page *Learn* says, need nothing beside them, and escape what
captions hold.
"""

import re
from html import unescape

import numpy as np
import pytest
from typer.testing import CliRunner

from ubt.cli.main import app
from ubt.core.errors import BadInput, Forbidden
from ubt.reports.lecture import Shown, Step, exercises, slides
from ubt.reports.lecture.built_in import case, measured, table
from ubt.reports.lecture.shows import CONTROLS, SHOWS
from ubt.reports.lecture.steps import BY_NAME, STEPS

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) **b** a\u202etxt'


@pytest.fixture(scope="module")
def made() -> str:
    return slides.slides(STEPS)


def test_it_fills_an_hour_and_every_step_can_be_taught():
    assert sum(step.minutes for step in STEPS) == 60
    assert [step.number for step in STEPS if step.number] == list(range(1, 11))
    assert set(SHOWS) == {step.name for step in STEPS}
    assert set(CONTROLS) <= set(SHOWS)
    for step in STEPS:
        assert step.notes
        assert step.start().whose
        assert not step.guess or (2 <= len(step.options) <= 4 and step.right < len(step.options) and step.reveal)
        assert step.control is None or step.control.start in step.control.values


def test_slides_are_one_file_that_fetches_and_runs_nothing(made):
    assert made.count("<section") == 1 + len(STEPS) + sum(bool(step.guess) for step in STEPS)
    assert not re.search(r"<(script|link|iframe|object|embed|form)\b|\bon\w+=|@import", made)
    for _, target in re.findall(r'\b(src|href|xlink:href)="([^"]*)"', made):
        assert re.match(r"#|data:image/(png|jpeg);base64,", target), target[:80]
    assert "default-src 'none'" in made
    assert "@media print" in made
    assert made.count("<svg") == sum(step.start().figure is not None for step in STEPS)
    assert len(made) < 1_000_000
    ids = re.findall(r'\bid="([^"]*)"', made)
    assert len(ids) == len(set(ids))


def test_slides_ask_before_they_tell_and_have_the_figures_of_the_walk(made):
    parts = [unescape(re.sub(r"<[^>]+>", "", part)) for part in made.split("<section")[1:]]
    for step in STEPS:
        mine = [part for part in parts if step.heading in part]
        assert len(mine) == 1 + bool(step.guess), step.name
        assert step.start().whose in mine[-1]
        if step.guess:
            assert slides.formatted(step.reveal) not in mine[0]
    assert f"{measured()['purified']['asr']:.1f} %" in parts[-1]


def test_hostile_text_is_text():
    step = Step("x", "t", "i", lambda _: None, 1, "n")
    shown = Shown(HOSTILE, pictures=[(HOSTILE, np.zeros((8, 8, 3), np.uint8))], columns=("a",), rows=[(HOSTILE,)])
    drawn = slides.told(step, shown, "chart-1")
    assert not re.search(r"<(script|img src=x|a)\b", drawn)
    assert drawn.count("&lt;script&gt;") == 4
    assert "\u202e" not in drawn


def test_a_number_has_one_figure():
    """CA and ASR stand with one digit in every step, and are the same in each."""
    ours = {k: f"{measured()['purified'][k]:.1f}" for k in ("ca", "asr")}
    rows = {name: BY_NAME[name].start().rows for name in ("alone", "tradeoff", "summary")}
    assert rows["alone"][2][1:3] == [ours["ca"], ours["asr"]]
    assert ("UBT, ours", ours["ca"], ours["asr"]) in rows["tradeoff"]
    assert f"to {ours['asr']} %" in rows["summary"][-1][-1]
    labels = [note.text for note in BY_NAME["tradeoff"].start().figure.layout.annotations]
    assert any("natural ASR" in text for text in labels)


def test_without_any_loss_of_ca_another_defence_is_the_best():
    """The step's notes say so."""
    step = BY_NAME["tradeoff"]
    assert [step.show(budget).said[0].split("**")[3] for budget in (0.0, 1.0)] == ["RoCLIP", "UBT, ours"]
    assert step.notes == "Move the budget to 0: ours no longer qualifies, RoCLIP does."


def test_the_exercise_sheet_has_an_answer_to_each_task():
    tasks, answers = exercises.sheet(STEPS).split("# Answers")
    numbers = [re.findall(r"^(\d+)\. ", part, re.M) for part in (tasks, answers)]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) >= 15
    assert exercises.BREAK in tasks
    assert "Check, then Overview" in tasks
    assert not re.search(r"[{}]", tasks + answers)


def test_the_answers_quote_the_cases():
    found, pairs = exercises.figures(), table()
    order = np.argsort(pairs.similarity_reference, kind="stable")
    caught = [int(pairs.poisoned[order[: round(p * len(pairs) / 100)]].sum()) for p in range(101)]
    assert caught[found["half"]] == found["half_caught"] > found["poisons"] / 2 >= caught[found["half"] - 1]
    assert caught[found["all"]] == found["poisons"] > caught[found["all"] - 1]
    right = [
        f"precision {found['k'] / k:.1%}" in BY_NAME["topk"].show(k).said[0].replace(" %", "%")
        for k in (found["k"], found["k"] + 1)
    ]
    assert right == [True, True]


def test_the_command_writes_both(tmp_path):
    done = CliRunner().invoke(app, ["slides", "--out", str(tmp_path / "s.html"), "--exercises", str(tmp_path / "e.md")])
    assert done.exit_code == 0
    assert (tmp_path / "s.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "e.md").read_text().startswith("# Backdoors in CLIP")
    assert isinstance(CliRunner().invoke(app, ["slides", "--out", str(tmp_path)]).exception, BadInput)


def test_the_shipped_folder_is_only_read():
    """Where the package is installed nobody may write; a folder made there would be shipped."""
    with pytest.raises(Forbidden):
        case().store.require_writable()
    assert {path.name for path in case().store.root.iterdir()} == {"artefacts", "cases", "whatif.parquet"}
