"""*Inspect*: what it shows follows the selection and the truth switch; what the sliders say is exported and applied."""

import io
import json
import zipfile

import pytest
from harness import html_of, page, slider, words

from ubt.cases import demo, store
from ubt.core import files
from ubt.pairs.annotations import Review
from ubt.ui import pair_export
from ubt.workflows import jobs


def labelled(cache, case: str) -> dict[str, str]:
    return Review(cache.root / "cases" / case / "review.sqlite").labels().set_index("id")["label"].dropna().to_dict()


def press_label(at, name: str):
    return next(b for b in at.button if (b.key or "").startswith(f"label-{name}-")).click()


def test_the_truth_is_nowhere_once_it_is_hidden(full, tiny_case):
    at = page("inspect")
    assert "in truth" in words(at)
    assert "poisoned, truth " in words(at)
    at.toggle(key="reveal").set_value(False).run()
    assert not at.exception
    assert "truth" not in words(at)
    assert "◆" not in html_of(at)
    assert "poisoned</" not in html_of(at)


def test_a_label_is_given_once_and_leads_to_the_next_pair(full, tiny_case):
    at = page("inspect")
    first = at.session_state["pair"]
    old = next(b for b in at.button if (b.key or "").startswith("label-backdoor-"))
    old.click().run()
    second = at.session_state["pair"]
    assert second != first
    assert labelled(full, tiny_case.name) == {first: "backdoor"}
    assert f"label-backdoor-{second}" in {b.key for b in at.button}
    assert f"label-backdoor-{first}" not in {b.key for b in at.button}


def test_a_bulk_label_leaves_what_was_labelled_since_it_was_offered(full, tiny_case):
    at = page("inspect", select="topk and label is missing")
    at.session_state["act"] = True
    at.run()
    first = at.session_state["pair"]
    Review(full.root / "cases" / tiny_case.name / "review.sqlite").label([first], "backdoor", "another")
    at.button(key="bulk-clean").click().run()
    found = labelled(full, tiny_case.name)
    assert found.pop(first) == "backdoor"
    assert set(found.values()) == {"clean"}


def test_an_export_has_the_thresholds_of_when_it_is_pressed(full, tiny_case, monkeypatch):
    saved = {}
    monkeypatch.setattr(pair_export, "_button", lambda view, kind, made, *rest, **more: saved.__setitem__(kind, made))
    at = page("inspect")
    assert not saved
    at.session_state["export"] = True
    at.run()
    slider(at, "fraction").set_value(20.0).run()
    with zipfile.ZipFile(io.BytesIO(saved["CSV"]("CSV"))) as z:
        about = json.loads(z.read("about.json"))
    assert about["tuned"]["split.fraction"] == 0.2
    assert about["address"]["fraction"] == "20"


@pytest.mark.parametrize("case", [None, "ready-badnet"])
def test_what_the_sliders_say_is_run_as_a_case(full, tiny_case, monkeypatch, case):
    started = []
    monkeypatch.setattr(jobs, "start", lambda store, name, until=None: started.append(name) or True)
    for module in (store, demo) if case else ():
        monkeypatch.setattr(module, "READY", files.READY)
    at = page("inspect", **({"case": case} if case else {}))
    assert "as-case" not in {b.key for b in at.button}
    slider(at, "fraction").set_value(20.0).run()
    at.button(key="as-case").click().run()
    assert not at.exception
    (made,) = started
    assert full.record(made).settings["split"]["fraction"] == 0.2
    assert at.session_state["case"] == made


def test_what_the_threshold_catches_is_unlearned_from(full, tiny_case, monkeypatch):
    started = []
    monkeypatch.setattr(jobs, "start", lambda store, name, until=None: started.append(name) or True)
    at = page("inspect")
    slider(at, "threshold").set_value(round(slider(at, "threshold").value - 0.1, 2)).run()
    said = next(b.label for b in at.button if b.key == "with-flagged")
    at.button(key="with-flagged").click().run()
    confirmed = full.record(started[0]).settings["select"]["confirmed"].split("\n")
    assert said.startswith(f"Unlearn with the {len(confirmed)} of D_susp at")


def test_before_anything_is_flagged_the_grid_holds_pairs_and_nothing_is_said_of_a_split(full, tiny_case):
    record = full.record(tiny_case.name)
    kept = {s: key for s, key in record.artefacts.items() if s in ("attack", "data", "reference", "score")}
    full.save_case(tiny_case.name, record.changed(artefacts=kept))
    at = page("inspect")
    assert "24 of 600 pairs" in words(at)
    assert "D_normal" not in " ".join(c.value for c in at.caption)
