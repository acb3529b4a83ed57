"""What was assumed of imported models stands wherever an audit's results are shown."""

import json
import sys

import pytest
from harness import page, words

from ubt.cases.settings import CaseSettings
from ubt.cli.main import main
from ubt.reports.case_report.contents import report
from ubt.reports.case_report.markdown import markdown
from ubt.workflows import audit, export_model

SAID = {"suspect": ["quick_gelu false, for nothing says it", "OpenAI's mean and std"], "reference": ["a *head*"]}


@pytest.fixture
def assuming(audited, tiny_audit):
    """The audit's cache as if both models had come without a configuration."""
    own = CaseSettings.from_dict(audited.record(tiny_audit[1].name).settings).own
    for role, said in SAID.items():
        old = audited.find(key := getattr(own, role))
        made, about = (
            {"model": old["model"], "card": old["card"] | {"assumed": said}},
            {"brought": True, "seconds": 0.0},
        )
        audited.set_aside(key)
        audited.write(key, made, about)
    return audited


def test_it_stands_under_results_on_the_terminal_in_report_page_and_files(
    assuming, tiny_audit, monkeypatch, capsys, tmp_path
):
    name, wanted = tiny_audit[1].name, "ssumed of the model audited: quick_gelu false, for nothing says it; OpenAI's"

    def told(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ubt", *arguments, "--cache", str(assuming.root)])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 0
        return " ".join("".join(capsys.readouterr()).split())

    assert wanted in told("cases", "show", name)
    assert told("models", "list").count("quick_gelu") == 1
    shown = markdown(report(assuming, name), "files")
    assert wanted in next(iter(shown.values())).decode().replace("\\", "")
    assert "a \\*head\\*" in next(iter(shown.values())).decode()
    monkeypatch.setenv("UBT_CACHE", str(assuming.root))
    page_says = words(page("overview", case=name)).replace("\\", "")
    assert wanted.replace("audited:", "audited**:") in page_says
    account = json.loads(audit.as_json(audit.account(assuming, name, tiny_audit[1].metrics)))
    assert account["assumed"] == {"the model audited": SAID["suspect"], "the clean reference": SAID["reference"]}
    card = export_model.card(assuming, name)
    assert card["assumed"][0] == f"of the model audited: {SAID['suspect'][0]}"
