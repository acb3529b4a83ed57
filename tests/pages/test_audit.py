"""An audit on every page: no ground truth anywhere, estimates instead, copies, and images that have vanished."""

import errno
from pathlib import Path

import pytest
from harness import charts, html_of, page, slider, words
from tiny import CPU

from ubt.cases.pipeline import create
from ubt.cases.plan import composed
from ubt.cases.settings import CaseSettings
from ubt.ui import case_picker
from ubt.ui.navigation import PAGES
from ubt.workflows import jobs

SAID = {
    "overview": "judged **poisoned**",
    "separation": "The imported model",
    "unlearn": "so there is no ASR",
    "compare": "its truth is unknown",
    "patches": "have not been located",
    "map": "There is no map",
}


def test_every_page_shows_an_audit_without_the_truth(audited, tiny_audit):
    at = page("overview")
    for name in PAGES:
        at = at.switch_page("pages/overview.py" if name == "overview" else f"pages/{name}.py").run()
        assert not at.exception, name
        assert not [e for e in at.error if "judged" not in e.value], name
        assert SAID.get(name, "") in words(at), name
        assert not {t.key for t in at.toggle} & {"reveal", "told"}, name
        shown = html_of(at)
        assert "</span> poisoned" not in shown, name
        assert "recall of all poisons" not in shown, name


def test_overview_says_verdict_and_estimates_of_an_audit(audited, tiny_audit):
    at = page("overview")
    shown, m = html_of(at), tiny_audit[1].metrics
    for row in m["estimates"]["measures"].values():
        assert f"{row['pull']:.3f}" in shown
        assert f"{row['left']:.2f}" in shown
    assert f"{m['estimates']['found']['flagged']:,} of 600" in shown
    assert "Import" in shown
    assert "Attacker" not in shown
    for stage in composed(CaseSettings.from_dict(m["settings"]).own).case:
        assert f"✓ {stage.name}" in shown
    assert len(charts(at)) == 2
    assert {b.label for b in at.get("download_button")} == {"flagged.csv", "audit.json"}
    assert at.selectbox(key="case").options == [case_picker.label(tiny_audit[1].name)]
    assert at.selectbox(key="case").options[0].startswith("audit of suspect, 600 pairs, seed 0")
    at.button(key="duplicate").click().run()
    assert not at.exception
    assert "Attack" not in {s.label for s in at.selectbox}
    table = next(d.value for d in at.dataframe if "setting" in d.value)
    assert not [n for n in table["setting"] if n.split(".")[0] in ("own", "attack", "badnet")]


def test_a_copy_of_an_audit_with_other_thresholds_is_an_audit(audited, tiny_audit, monkeypatch):
    monkeypatch.setattr(jobs, "start", lambda store, name, until=None: True)
    at = page("separation")
    slider(at, "k").set_value(7).run()
    next(b for b in at.button if b.label.startswith("Run a case with") and "k = 7" in b.label).click().run()
    assert not at.exception
    (name,) = set(audited.names()) - {tiny_audit[1].name}
    before, after = (CaseSettings.from_dict(audited.record(n).settings) for n in (tiny_audit[1].name, name))
    assert (after.own, after.select.k) == (before.own, 7)


def test_an_audit_counts_among_no_lab_cases(audited, tiny_audit):
    other = create(
        audited, CaseSettings.from_dict(audited.record(tiny_audit[1].name).settings).with_values({"seed": 5}), CPU
    )
    audited.save_case(other, audited.record(tiny_audit[1].name).changed(artefacts={"verdict": "verdict-x"}))
    assert [t.get("name") for t in charts(page("overview", case=tiny_audit[1].name))[0]["data"]] == [None]
    assert page("compare").multiselect[0].options == []


@pytest.mark.parametrize("name", ["separation", "neighbours", "review", "tokens"])
def test_images_that_have_vanished_are_said_and_the_page_stays(audited, tiny_audit, name, monkeypatch):
    """Vanished for this process alone: other workers read the same zip."""
    stat, lost = Path.stat, tiny_audit[2].resolve()

    def gone(path: Path, **how):
        if path == lost:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return stat(path, **how)

    monkeypatch.setattr(Path, "stat", gone)
    at = page(name)
    assert not [e for e in at.error if "unexpected" in e.value]
    assert any("can no longer be read" in w.value and "put it back" in w.value for w in at.warning)
    assert html_of(at).count("data:image/png") > 0
