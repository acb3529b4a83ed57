"""What pages, report and command line say of a verdict with three answers, and of one that an earlier version gave."""

from html import escape, unescape

import pytest
from harness import html_of, page, words
from tiny import CPU, tiny
from typer.testing import CliRunner

from ubt.cases.pipeline import Pipeline
from ubt.cases.store import Store
from ubt.cli.main import app
from ubt.defenses.token_unlearning import verdict
from ubt.reports.case_report import contents
from ubt.reports.case_report.html import page as drawn
from ubt.ui.errors import plain
from ubt.workflows.export_model import card

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


WOULD = "The other two answers would have meant"


def judged(store, name: str, changes: dict) -> None:
    """An audit whose verdict is another one."""
    record = store.record(name)
    found = store.open(record.artefacts["verdict"])["verdict"] | changes
    store.write("verdict-other", {"verdict": found}, {"stage": "verdict", "version": 6, "seconds": 1.0})
    store.save_case(name, record.changed(artefacts=record.artefacts | {"verdict": "verdict-other"}))


@pytest.mark.parametrize(
    ("held", "shown", "ways"),
    [
        ("poisoned", "error", ["Look at the flagged pairs", "Take the purified model"]),
        ("not poisoned", "success", ["Scan the model itself", "Check another model, or other pairs"]),
        ("cannot tell", "warning", ["Change what failed, and run again", "Scan the model itself"]),
    ],
)
def test_an_audit_begins_with_the_answer_that_holds_large_and_the_others_small(audited, tiny_audit, held, shown, ways):
    checks = tiny_audit[1].artefacts["verdict"]["verdict"]["checks"]
    failed = [c | {"passed": False} if c["check"] == WHICH else c for c in checks]
    judged(audited, tiny_audit[1].name, {"answer": held, "checks": failed if held == "cannot tell" else checks})
    at = page("overview")
    assert not at.exception
    (large,) = [e for e in at.get(shown) if e.value.startswith("## ")]
    assert f"**{held}**" in large.value and "Measured: score" in large.value
    if held == "cannot tell":
        assert plain("take a clean model") in large.value
    small = [m.value for m in at.markdown if m.value.startswith(":") and "**: " in m.value]
    others = {"poisoned", "not poisoned", "cannot tell"} - {held}
    assert [any(f"**{o[0].upper()}{o[1:]}**" in m for m in small) for o in others] == [True, True]
    assert len(small) == 2
    assert WOULD in words(at)
    assert [link.proto.label for link in at.get("page_link") if link.proto.label in ways] == ways
    titles = [s.value for s in at.subheader]
    assert titles.index("Verdict") < titles.index("Before and after") < titles.index("Stages")


@pytest.mark.parametrize("with_folds", [False, True])
def test_a_verdict_that_cannot_tell_leads_back_to_the_check_with_what_it_had(audited, tiny_audit, with_folds):
    judged(audited, tiny_audit[1].name, {"answer": "cannot tell"})
    record = audited.record(tiny_audit[1].name)
    if with_folds:
        settings = record.settings | {"own": record.settings["own"] | {"reference": ""}}
        audited.save_case(tiny_audit[1].name, record.changed(settings=settings))
    at = page("overview")
    (link,) = [link.proto for link in at.get("page_link") if "Change what failed" in link.proto.label]
    own = audited.record(tiny_audit[1].name).settings["own"]
    assert f"pairs={own['pairs']}" in link.query_string and f"model={own['suspect']}" in link.query_string
    assert f"reference={own['reference'] or 'folds'}" in link.query_string
    assert bool(own["reference"]) != with_folds


def test_an_attacked_model_leaves_d_clean_and_its_page_leads_to_the_scan(cache):
    changes = {"badencoder__steps": 3, "badencoder__images": 64, "verdict__threshold": 0.99, "data__pairs": 300}
    case = Pipeline(Store(cache), CPU).run(tiny(attack__name="badencoder", **changes))
    m, store = case.metrics, Store(cache)
    assert m["verdict"]["answer"] in ("not poisoned", "cannot tell")
    assert m["select"]["auroc"] is None and not case.artefacts["attack"]["truth"]["poisoned"].any()
    assert [c["check"] for c in m["checks"]] == ["visibility", "survival", "target's clean recall"]
    assert card(store, case.name, "poison")["state"] == "poisoned"
    said = words(at := page("overview"))
    assert not at.exception and "D is clean" in said and "no pair can give it away" in said
    assert "its model was attacked (badencoder → banana)" in said
    assert "badencoder → banana (the model, no pair)" in unescape(drawn(contents.report(store, case.name)))
    scan = page("scan").selectbox(key="scan-model")
    assert scan.options[0] == "the poisoned model of the case in view"
