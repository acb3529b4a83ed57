"""What pages, report and command line say of a verdict with three answers, and of one that an earlier version gave."""

from html import escape, unescape

import pytest
from harness import html_of, page, words
from typer.testing import CliRunner

from ubt.cli.main import app
from ubt.defenses.token_unlearning import verdict
from ubt.reports.case_report import contents
from ubt.reports.case_report.html import page as drawn
from ubt.ui.errors import plain

WHICH = "reference, retrieval of D_normal's captions"


def replaced(store, case, found: dict) -> str:
    """A case whose verdict is another one; its name."""
    store.write("verdict-other", {"verdict": found}, {"stage": "verdict", "version": 6, "seconds": 1.0})
    record = store.record(case.name)
    changes = {"artefacts": record.artefacts | {"verdict": "verdict-other"}}
    store.save_case(case.name, record.changed(**changes, metrics=record.metrics | {"verdict": found}))
    return case.name


@pytest.fixture
def untold(full, tiny_case) -> dict:
    """A verdict that a check puts in doubt, of the case in `full`."""
    found = tiny_case.artefacts["verdict"]["verdict"]
    checks = [c | {"passed": False, "said": "beats <51 %"} if c["check"] == WHICH else c for c in found["checks"]]
    found = found | {"answer": "cannot tell", "checks": checks}
    replaced(full, tiny_case, found)
    return found


def test_overview_says_that_nothing_can_be_told_why_and_what_to_do(full, untold):
    at = page("overview")
    said, tables = words(at), html_of(at)
    assert "**cannot tell** whether this model is poisoned" in said
    assert not at.error
    assert not [s for s in at.success if "judged" in s.value]
    (why,) = verdict.reasons(untold)
    assert plain(why["advice"]) in said
    assert "these pairs and this model's use of them" in said
    for check in untold["checks"]:
        assert escape(check["said"]) in tables and check["check"] in unescape(tables)
    assert [e.label for e in at.expander if "Health checks" in e.label] == ["What it rests on. Health checks: 1 failed"]
    assert "cannot tell" in words(page("tokens"))
    assert not page("separation").error


def test_report_and_command_line_say_the_same(full, untold, tiny_case):
    text = unescape(drawn(contents.report(full, tiny_case.name)))
    assert "cannot tell whether this model is poisoned" in text
    for check in untold["checks"]:
        assert check["said"] in text and check["why"] in text
    shown = CliRunner().invoke(app, ["cases", "show", tiny_case.name, "--cache", str(full.root)])
    printed = " ".join(shown.output.split())
    assert "verdict: cannot tell, left untouched" in printed
    assert f"no {WHICH}: beats <51 %" in printed
    assert f"cannot tell: {WHICH}" in printed


def test_all_passed_is_said_beside_a_plain_answer(full, tiny_case):
    at = page("overview")
    assert [e.label for e in at.expander if "Health checks" in e.label] == [
        "What it rests on. Health checks: all passed"
    ]
    assert "judged **poisoned**" in words(at)


@pytest.mark.parametrize(("poisoned", "said"), [(True, "judged **poisoned**"), (False, "**cannot tell** whether")])
def test_a_verdict_of_an_earlier_version_is_shown_without_a_green_light(full, tiny_case, poisoned, said):
    found = {k: v for k, v in tiny_case.artefacts["verdict"]["verdict"].items() if k not in ("answer", "checks")}
    replaced(full, tiny_case, found | {"poisoned": poisoned})
    at = page("overview")
    assert said in words(at)
    assert not [s for s in at.success if "judged" in s.value]
    assert "earlier version" in html_of(at)
