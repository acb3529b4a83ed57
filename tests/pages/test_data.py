"""The page Data as a user meets it: empty, a look before reading, importing as a job, hostile input in words, cases
made of what was imported.
"""

import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
from harness import html_of, page, words
from ingested import encoded, folder, packed
from streamlit.testing.v1 import AppTest

from ubt.cases.finished import places, shown_path
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.files import REFERENCE
from ubt.workflows import jobs, uploads
from ubt.workflows.import_model import import_model
from ubt.workflows.ingest import Wanted, import_labelled, import_pairs

HOSTILE = [
    ("images/0.png", "<script>alert(1)</script> =1+1"),
    ("../../etc/passwd", "out"),
    ("images/9.png", "gone"),
    ("images/1.png", ""),
]


def at_part(part: str, **query) -> AppTest:
    at = page("data", **query)
    at.get("button_group")[0].set_value(part).run()
    assert not at.exception
    return at


def typed(at: AppTest, kind: str, path) -> AppTest:
    at.text_input(key=f"path-{kind}").set_value(str(path)).run()
    assert not at.exception
    return at


def test_an_empty_part_says_what_it_is_for(cache):
    at = page("data")
    assert "No pairs have been imported" in words(at)
    for part, said in {
        "model": "No model has been",
        "labelled": "optional for an audit",
        "case": "This needs pairs and labelled images",
    }.items():
        at.get("button_group")[0].set_value(part).run()
        assert said in words(at)


def test_pairs_are_shown_before_they_are_read_then_imported_as_a_job(cache, tmp_path):
    at = typed(page("data"), "pairs", folder(tmp_path / "mine", HOSTILE + [("images/2.png", "fine")]))
    assert "recognised] table, image from *image*" in words(at)
    shown = html_of(at)
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script" not in shown
    for reason in ("path leaves the root", "missing file", "empty caption"):
        assert f"will be left out: {reason}" in shown
    assert not Store(cache).all_imported("pairs")
    at.button(key="import-pairs").click().run()
    ends = time.monotonic() + 60
    while not Store(cache).all_imported("pairs") or jobs.being_imported(Store(cache)):
        assert time.monotonic() < ends
        time.sleep(0.05)
    at.run()
    assert not at.exception
    said = {"rows read": "5", "kept": "2", "left out": "3", "duplicate": "0", "tiny": "2"}
    assert {m.label: m.value for m in at.metric} == said
    listed, odd = (d.value for d in at.dataframe)
    assert odd["reason"].tolist() == ["tiny image"] * 2
    assert listed["reason"].tolist() == ["path leaves the root", "missing file", "empty caption"]
    at.multiselect[0].set_value(["missing file"]).run()
    assert at.dataframe[0].value["image"].tolist() == ["images/9.png"]
    assert any(b.label.startswith("Save 1 as CSV") for b in at.get("download_button"))
    assert "again" in at.button(key="import-pairs").label


def test_columns_that_are_not_recognised_are_chosen(cache, tmp_path):
    table = folder(tmp_path / "odd", table=b"where,said\nimages/0.png,one\nimages/1.png,two\n")
    at = typed(page("data"), "pairs", table)
    assert "expected one image column" in words(at).replace("\\", "")
    at.selectbox(key=f"column-image-pairs-{table}").set_value("where").run()
    at.selectbox(key=f"column-caption-pairs-{table}").set_value("said").run()
    assert not at.error
    assert "image from *where*, text from *said*" in words(at)


@pytest.mark.parametrize("kind", ["pairs", "labelled"])
def test_a_path_that_is_no_source_is_refused_in_words(cache, kind):
    at = at_part(kind) if kind != "pairs" else page("data")
    for path in ("/nosuch/<b>x</b>.csv", "/etc/passwd", "\0", "~nobody-there/x", "*", "{0..99999999}.tar", "-" * 3000):
        typed(at, kind, path)
        assert len(at.error) == 1
        assert "expected" in at.error[0].value
        assert "unexpected" not in at.error[0].value
        assert "<b>" not in at.error[0].value.replace("\\<b\\>", "")


def test_a_model_that_would_run_code_is_refused_in_words_by_its_job(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "nice", lambda by: by)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    (tmp_path / "evil.pt").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    wanted = Wanted("model", str(tmp_path / "evil.pt"), {"state": "suspect"})
    assert jobs.main(str(cache), "--import", json.dumps(vars(wanted))) == 1
    assert not (tmp_path / "ran").exists()
    store = Store(cache)
    assert jobs.imported(store, jobs.import_lock(wanted)) == ""
    (store.root / "work" / f"{jobs.import_lock(wanted)}.log").write_text("evil.pt: expected weights, got <i>code</i>\n")
    at = at_part("model")
    at.session_state["importing-model"] = jobs.import_lock(wanted)
    at.run()
    assert "got \\<i\\>code" in at.error[0].value


def test_a_lab_case_is_made_of_what_was_imported(cache, tmp_path):
    store = Store(cache)
    pairs = import_pairs(store, folder(tmp_path / "p", [(f"images/{i % 3}.png", f"caption {i}") for i in range(60)]))
    labelled = import_labelled(
        store, folder(tmp_path / "l", table=b"image,label\nimages/0.png,cat\nimages/1.png,owl\n")
    )
    import_model(store, str(REFERENCE), "", "suspect")
    at = at_part("model")
    assert "state, as you know it" in html_of(at)
    at = page("data", part="case", kind="audit")  # as an old link has it
    assert not at.exception
    target = next(s for s in at.selectbox if s.label == "Target label")
    assert target.options == ["cat", "owl"]
    target.set_value("owl")
    next(b for b in at.button if b.label == "Keep for later").click().run()
    assert not at.exception
    assert (at.title[0].value, list(at.error)) == ("Overview", [])
    (made,) = store.names()
    settings = CaseSettings.from_dict(store.record(made).settings)
    own = settings.own
    assert (own.pairs, own.test, own.audits, settings.attack.target) == (pairs, labelled, False, "owl")


def test_a_reference_trained_on_all_of_the_pairs_is_refused_in_words(cache, tmp_path):
    store = Store(cache)
    pairs = import_pairs(store, folder(tmp_path / "p", [(f"images/{i % 3}.png", f"caption {i}") for i in range(60)]))
    import_labelled(store, folder(tmp_path / "l", table=b"image,label\nimages/0.png,cat\nimages/1.png,owl\n"))
    card = store.imported(import_model(store, str(REFERENCE), "", "clean"))["card"]
    keys = {share: f"model-{int(100 * share):016}" for share in (1.0, 0.25)}
    for share, key in keys.items():
        said = card | {"name": f"of {share}", "made_from": {"trained_on": {"pairs": pairs, "share": share}}}
        store.write(key, {"card": said}, {"stage": "model", "brought": True, "seconds": 0.0})
    at = page("data", part="case")
    at.selectbox(key="own-reference").set_value(keys[1.0]).run()
    assert not at.exception
    (error,) = at.error
    assert "got one trained on 100 % of them; choose another reference" in error.value.replace("\\", "")
    at.selectbox(key="own-reference").set_value(keys[0.25]).run()
    assert not at.exception and not [e.value for e in at.error]
    assert at.number_input(key="own-spare").value == 0.25


def test_of_a_dropped_file_the_name_alone_is_shown_and_exported(cache, tmp_path):
    store = Store(cache)
    made = packed(tmp_path / "m.zip", [("captions.csv", b"image,caption\na.png,one\n"), ("a.png", encoded(1))])
    dropped = uploads.keep(store, [("mine.zip", made.read_bytes())], (".zip",))
    weights = [(p.name, p.read_bytes()) for p in REFERENCE.glob("open_clip_*")]
    key = import_pairs(store, dropped)
    import_model(store, str(uploads.keep(store, weights, (".safetensors",))), "", "suspect")
    for at, name in (page("data"), "mine.zip"), (at_part("model"), "open_clip_model.safetensors"):
        shown = html_of(at) + words(at).replace("\\", "")
        assert name in shown
        assert str(uploads.folder(store)) not in shown
    (model,) = store.all_imported("model")
    at.session_state[f"card-{model}"] = True
    (whole,) = at.run().json
    assert '"open_clip_model.safetensors"' in whole.value
    assert str(uploads.folder(store)) not in whole.value
    frame = store.imported(key)["pairs"].assign(id="p0")
    store.write("take-1", {"pairs": frame}, {"stage": "take", "seconds": 0.0})
    record = SimpleNamespace(artefacts={"take": "take-1"})
    settings = SimpleNamespace(own=SimpleNamespace(pairs=key))
    case = SimpleNamespace(has=lambda stage: True, record=record, settings=settings, audits=True)
    found, said = places(case, store)
    assert found.tolist() == ["a.png"]
    assert said.endswith(" in mine.zip")
    assert shown_path(store, "/data/pairs.csv") == "/data/pairs.csv"
    assert shown_path(store, "hf-hub:a/b") == "hf-hub:a/b"
