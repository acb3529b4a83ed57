"""The page Check: what each step has and lacks, what it leads to, and that a reload and a link keep it."""

import json
import os
import signal
import time

import pytest
from harness import html_of, page, words
from ingested import encoded, folder, packed
from streamlit.testing.v1 import AppTest

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core import roots
from ubt.core.files import REFERENCE
from ubt.ui import drop, roles, server
from ubt.ui.check_steps import BADGES
from ubt.ui.errors import plain
from ubt.workflows import jobs, made_here, reference_health
from ubt.workflows.import_model import import_model
from ubt.workflows.ingest import Wanted, import_labelled, import_pairs

HOSTILE = '<img src=x onerror="alert(1)"> [a](http://evil.example) :red[x].zip'


def steps(at: AppTest) -> list[str]:
    """The titles of the steps."""
    return [e.label for e in at.expander if "**" in e.label]


def states(at: AppTest) -> list[str]:
    """What the titles say of each step's state."""
    return [next(name for name, badge in BADGES.items() if badge in title) for title in steps(at)]


def pairs_in(path, count: int = 40, name: str = "own.zip"):
    """A zip of so many pairs and labels of noise, one broken, one twice, all but one tiny."""
    rows = [(f"i/{n}.png", f"picture number {n}", "cat" if n % 2 else "owl") for n in range(count)]
    rows += [rows[0], ("i/gone.png", "gone", "cat")]
    table = "image,caption,label\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows)
    images = [(f"i/{n}.png", encoded(n, width=60 if not n else 20, height=60)) for n in range(count)]
    path.mkdir(exist_ok=True)
    return packed(path / name, [("captions.csv", table.encode()), ("labels.csv", table.encode()), *images])


@pytest.fixture
def store(cache) -> Store:
    return Store(cache)


@pytest.fixture
def given(store, tmp_path) -> dict[str, str]:
    """Pairs, a suspect, a clean reference and labelled images in the cache."""
    path = pairs_in(tmp_path / "p")
    labelled = import_labelled(store, path)
    return {
        "pairs": import_pairs(store, path),
        "model": import_model(store, str(REFERENCE), "", "suspect"),
        "labels": labelled,
    }


def test_an_empty_cache_shows_five_steps_and_opens_the_first(store):
    at = page("check")
    assert len(steps(at)) == 5
    assert states(at) == ["missing", "missing", "missing", "optional", "waits"]
    assert [e.label for e in at.expander if e.proto.expanded and "**" in e.label] == steps(at)[:1]
    assert "0 of 3 complete" in at.get("progress")[0].proto.text


def test_each_step_says_what_it_has_and_the_next_one_opens(given, store):
    at = page("check")
    assert states(at) == ["complete", "complete", "missing", "optional", "waits"]
    assert plain("40 of 42 pairs") not in steps(at)[0] and "41 of 42 pairs can be used" in steps(at)[0]
    assert "1 broken · 1 duplicate · 39 tiny" in steps(at)[0]
    assert [e.label for e in at.expander if e.proto.expanded and "**" in e.label] == [steps(at)[2]]
    assert "2 of 3 complete" in at.get("progress")[0].proto.text
    listed = {tuple(d.value["reason"].unique()) for d in at.dataframe}
    assert listed == {("missing file",), ("tiny image", "duplicate pair")}
    assert {b.label for b in at.get("download_button")} >= {"Save 1 as CSV", "Save 40 as CSV"}
    assert "Still missing: reference" in words(at)


def test_without_a_clean_model_folds_can_be_chosen_and_a_case_is_made_and_shown(given, store):
    at = page("check")
    at.selectbox(key="check-reference").set_value("folds").run()
    assert states(at) == ["complete", "complete", "complete", "optional", "ready"]
    said = words(at)
    assert "makeshift" in said
    assert "pairs are few" in said
    assert plain("CA before and after: without labelled images") in said
    assert "Takes " in said
    at.selectbox(key="check-labels").set_value(given["labels"]).run()
    assert states(at)[3] == "complete"
    next(b for b in at.button if b.label == "Keep for later").click().run()
    assert not at.exception
    assert at.title[0].value == "Overview"
    assert "The answer will be one of three" in words(at)
    (name,) = store.names()
    again = page("check", reference="folds", labels=given["labels"])
    again.button(key="open-check").click().run()
    assert again.title[0].value == "Overview"
    assert again.selectbox(key="case").value == name
    settings = CaseSettings.from_dict(store.record(name).settings)
    own = settings.own
    assert (own.pairs, own.suspect, own.reference, own.test) == (given["pairs"], given["model"], "", given["labels"])
    assert (settings.data.pairs, settings.select.k, settings.split.fraction) == (41, 4, 0.5)


def test_a_link_and_a_reload_keep_what_was_chosen(given, store, tmp_path):
    other = import_pairs(store, pairs_in(tmp_path / "q", count=30, name="second.zip"))
    at = page("check")
    assert at.selectbox(key="check-pairs").value == other
    at.selectbox(key="check-pairs").set_value(given["pairs"]).run()
    at.selectbox(key="check-reference").set_value("folds").run()
    kept = dict(at.query_params)
    assert (kept["pairs"], kept["model"], kept["reference"]) == (given["pairs"], given["model"], "folds")
    again = page("check", **kept)
    assert steps(again) == steps(at)
    assert again.selectbox(key="check-pairs").value == given["pairs"]


def test_a_link_to_what_is_not_there_or_hostile_starts_as_without(given, store):
    for query in (
        {"pairs": "pairs-0123456789abcdef"},
        {"model": "<script>"},
        {"reference": "../../etc"},
        {"labels": "\0"},
    ):
        at = page("check", **query)
        assert states(at) == ["complete", "complete", "missing", "optional", "waits"]
        assert not at.error


def test_a_dropped_zip_becomes_pairs_and_its_hostile_name_stays_text(store, tmp_path, monkeypatch):
    monkeypatch.setenv(roots.ROOTS, "")
    at = page("check")
    assert "reads no files of its machine" in words(at)
    content = pairs_in(tmp_path / "p").read_bytes()
    at.file_uploader[0].set_value((HOSTILE, content, "application/zip")).run()
    assert not at.exception
    assert "recognised]" in words(at)
    assert "will be left out: missing file" not in html_of(at), "the first rows are good"
    at.button(key="import-pairs").click().run()
    waited(lambda: store.all_imported("pairs") and not jobs.being_imported(store))
    at.run()
    assert states(at)[0] == "complete"
    (about,) = (a["about"] for a in store.all_imported("pairs").values())
    assert not set(about["path"].rsplit("/", 1)[-1]) & set("<>[]:\"'()")
    assert "<img" not in html_of(at).replace('<img alt=""', "")
    assert not at.file_uploader[0].value, "the place is empty again"


def waited(done) -> None:
    ends = time.monotonic() + 60
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.zip", b"no zip"), ("a.parquet", b"x"), ("a.csv", b"a,b\n1,2\n"), ("a.tar", b""), ("a.zip", b"")],
)
def test_a_dropped_file_that_is_none_is_refused_in_words_and_can_be_replaced(store, name, content):
    at = page("check")
    at.file_uploader[0].set_value((name, content, "")).run()
    assert not at.exception
    assert not [e for e in at.error if "unexpected" in e.value]
    assert at.error or "has no rows" in words(at)
    assert not [b for b in at.button if b.key == "import-pairs" and at.error]
    at.file_uploader[0].clear().run()
    assert not at.error


def test_a_table_alone_says_that_it_brings_no_images(store, tmp_path):
    at = page("check")
    at.file_uploader[0].set_value(("captions.csv", b"image,caption\na.png,one\n", "text/csv")).run()
    assert "A table alone brings no images" in words(at)
    assert "will be left out: missing file" in html_of(at)


def test_a_checkpoint_is_dropped_with_its_configuration_beside_it(store):
    at = page("check")
    files = [
        ("open_clip_model.safetensors", (REFERENCE / "open_clip_model.safetensors").read_bytes(), ""),
        ("open_clip_config.json", (REFERENCE / "open_clip_config.json").read_bytes(), ""),
    ]
    next(u for u in at.file_uploader if "checkpoint" in u.label).set_value(files).run()
    assert not at.error
    at.button(key="import-suspect").click().run()
    waited(lambda: store.all_imported("model") and not jobs.being_imported(store))
    at.run()
    assert states(at)[1] == "complete"
    (card,) = (a["card"] for a in store.all_imported("model").values())
    assert (card["state"], card["assumed"]) == ("suspect", [])


def test_two_checkpoints_that_are_dropped_together_are_refused(store):
    at = page("check")
    files = [("a.pt", b"1", ""), ("b.safetensors", b"2", ""), ("open_clip_config.json", b"{}", "")]
    next(u for u in at.file_uploader if "checkpoint" in u.label).set_value(files).run()
    assert any(plain("expected one file of weights, got a.pt, b.safetensors") in e.value for e in at.error)
    assert not [b for b in at.button if b.key == "import-suspect"]
    assert not (store.root / "uploads").exists()


def test_the_endings_that_can_be_dropped_are_those_that_can_be_read():
    from ubt.clip.safe_load import SUFFIXES

    assert drop.WEIGHTS == SUFFIXES
    assert {".zip", ".csv", ".parquet"} <= set(drop.endings("pairs"))


@pytest.fixture
def in_this_process(monkeypatch):
    monkeypatch.setattr(os, "nice", lambda by: by)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)

    def run(root, wanted: Wanted) -> bool:
        return jobs.main(str(root.root), "--import", json.dumps(vars(wanted))) == 0

    monkeypatch.setattr(jobs, "start_import", run)


def test_a_reference_is_trained_here_its_health_is_shown_and_chance_is_said_in_red(
    given, store, tmp_path, in_this_process
):
    at = page("check")
    at.get("button_group")[-1].set_value("train").run()
    assert "that you know to be clean" in words(at)
    other = import_pairs(store, pairs_in(tmp_path / "q", count=30, name="clean.zip"))
    at = page("check", pairs=given["pairs"])
    at.get("button_group")[-1].set_value("train").run()
    assert at.selectbox(key="clean-pairs").value is None, "nobody has said that the newest ones are clean"
    at.selectbox(key="clean-pairs").set_value(other).run()
    at.number_input(key="reference-epochs").set_value(1).run()
    assert any("Takes " in c.value for c in at.caption)
    at.button(key="train-reference").click().run()
    at.run()
    assert not at.exception
    (key,) = (k for k, a in store.all_imported("model").items() if a["card"]["state"] == "clean")
    assert at.selectbox(key="check-reference").value == key
    found = reference_health.checks(store, key, given["pairs"], "")
    assert found, "its health is looked at without being asked"
    assert states(at)[2] == "bad"
    assert ":red[**" in steps(at)[2]
    assert "2 of 3 complete.** Next: another reference" in at.get("progress")[0].proto.text
    (red,) = [e for e in at.error if "retrieval" in e.value and "train one below" in e.value]
    assert plain("chance 50.0") in red.value
    assert "the answer can only be **cannot tell**" in words(at)
    assert states(at)[4] == "ready", "it can be run all the same"


@pytest.mark.parametrize("mine", [False, True])
def test_pairs_are_imported_while_others_are_chosen_to_train_on(given, store, tmp_path, mine):
    at = page("check", pairs=given["pairs"])
    at.get("button_group")[-1].set_value("train").run()
    wanted = Wanted("pairs", str(tmp_path / "more.zip"))
    lock = jobs.import_lock(wanted)
    with store.lock(lock):
        (store.scratch(lock) / "wanted.json").write_text(json.dumps(vars(wanted)))
        if mine:
            at.session_state["importing-clean"] = lock
        at.run()
        assert not at.exception and not at.error
        assert [b.label for b in at.button].count("Cancel") == 1 + mine


def test_pairs_that_were_imported_to_train_on_are_chosen(given, store, tmp_path):
    first, newest = (import_pairs(store, pairs_in(tmp_path / n, count=30, name=f"{n}.zip")) for n in "qr")
    at = page("check", pairs=given["pairs"])
    at.get("button_group")[-1].set_value("train").run()
    assert at.selectbox(key="clean-pairs").value is None
    at.session_state["imported-clean"] = first
    at.run()
    assert at.selectbox(key="clean-pairs").value == first
    at.selectbox(key="clean-pairs").set_value(newest).run()
    assert at.selectbox(key="clean-pairs").value == newest


def test_where_others_import_too_only_what_this_session_brought_is_chosen(given, store, monkeypatch):
    import_model(store, str(REFERENCE), "", "clean")
    monkeypatch.setattr(server, "shared", lambda: True)
    at = page("check")
    assert states(at) == ["missing", "missing", "missing", "optional", "waits"]
    assert given["pairs"] not in at.query_params.values()
    at.session_state["imported-pairs"] = given["pairs"]
    at.run()
    assert at.selectbox(key="check-pairs").value == given["pairs"]
    assert states(at) == ["complete", "missing", "missing", "optional", "waits"]
    link = page("check", pairs=given["pairs"], model=given["model"])
    assert states(link)[:2] == ["complete", "complete"]


def test_while_somebody_else_trains_a_reference_another_can_be_trained(given, store, tmp_path):
    other = import_pairs(store, pairs_in(tmp_path / "q", count=30, name="clean.zip"))
    at = page("check", pairs=given["pairs"])
    at.get("button_group")[-1].set_value("train").run()
    at.selectbox(key="clean-pairs").set_value(other).run()
    side = store.imported(given["model"])["card"]["preprocessing"]["size"]
    side = side if isinstance(side, int) else min(side)
    theirs = made_here.reference(other, 30, 1.0, side, 7)
    lock = jobs.import_lock(theirs)
    (store.root / "work" / lock).mkdir()
    (store.root / "work" / lock / "wanted.json").write_text(json.dumps(vars(theirs)))
    with store.lock(lock):
        at.run()
        assert lock in jobs.being_imported(store)
        assert at.button(key="train-reference")
        at.number_input(key="reference-epochs").set_value(7).run()
        assert "This training is already running" in words(at)
        assert not [b for b in at.button if b.key == "train-reference"]
        at.session_state["importing-trained"] = lock
        at.run()
        assert not [s for s in at.selectbox if s.key == "clean-pairs"], "its own training hides the form"
    assert not at.exception


def test_a_healthy_reference_is_said_to_be_and_one_not_looked_at_offers_to(given, store, monkeypatch):
    clean = import_model(store, str(REFERENCE), "", "clean")
    at = page("check", reference=clean)
    assert states(at)[2] == "bad", "it is the very model that is checked"
    assert "the very model" in words(at)
    made = {"check": "reference, retrieval", "figure": 90.0, "passed": True, "said": "90 %", "why": "", "advice": ""}
    other = "model-0123456789abcdef"
    card = store.imported(clean)["card"] | {"digest": "x", "name": "*other*"}
    store.write(other, {"card": card}, {"stage": "model", "brought": True, "seconds": 0.0})
    at = page("check", reference=other)
    assert states(at)[2] == "unknown"
    assert at.button(key="health").label == "Look at its health"
    name = reference_health.key_of(other, given["pairs"], "")
    store.write(name, {"checks": [made], "pairs": 41}, {"stage": "health", "brought": True, "seconds": 0.0})
    at = page("check", reference=other)
    assert states(at)[2] == "complete"
    assert "healthy, it knows these pairs" in steps(at)[2] and plain("*other*") in steps(at)[2]
    assert [b.key for b in at.button if b.key == "health"] == []
    at.selectbox(key="check-labels").set_value(given["labels"]).run()
    assert at.button(key="health").label == "Look at it with the labelled images"


def test_a_job_that_failed_says_why_and_the_way_on_stays(given, store, tmp_path):
    at = page("check")
    wanted = Wanted("model", str(tmp_path / "evil.pt"), {"state": "clean"})
    lock = jobs.import_lock(wanted)
    (store.root / "work" / f"{lock}.log").write_text("evil.pt: expected weights, got <b>code</b>\n")
    at.session_state["importing-reference"] = lock
    at.run()
    assert any("got \\<b\\>code" in e.value for e in at.error)
    assert at.text_input(key="path-reference")
    assert len(at.file_uploader) == 4
    wanted = made_here.reference("pairs-0123456789abcdef", 40, 1.0, 48, 1)
    (store.root / "work" / f"{jobs.import_lock(wanted)}.log").write_text("it: expected a batch, got none\n")
    at.session_state["importing-trained"] = jobs.import_lock(wanted)
    at.run()
    assert any("expected a batch" in e.value for e in at.error)
    (store.root / "work" / f"{jobs.import_lock(wanted)}.log").unlink()
    at.run()
    assert "training it again goes on from there" in words(at)


def test_too_few_pairs_are_missing_pairs(store, tmp_path):
    import_pairs(store, folder(tmp_path / "few"))
    import_model(store, str(REFERENCE), "", "suspect")
    at = page("check", reference="folds")
    assert states(at) == ["missing", "complete", "complete", "optional", "waits"]
    assert any("at least 16 pairs" in e.value for e in at.error)
    assert at.get("progress")[0].proto.text == "**2 of 3 complete.** Next: pairs."
    assert "Still missing: pairs." in words(at)


def test_a_reader_sees_every_step_and_can_start_nothing(given, store, monkeypatch):
    monkeypatch.setenv(roles.ANALYSTS, "ana@team.example")
    monkeypatch.setattr(roles, "asked", lambda: "proxy")
    monkeypatch.setattr(roles, "claims", lambda: {"email": "bo@team.example"})
    at = page("check", pairs=given["pairs"], model=given["model"], reference="folds")
    assert states(at) == ["complete", "complete", "complete", "optional", "ready"]
    assert "Analysts import here" in words(at)
    assert not at.file_uploader
    run = next(b for b in at.button if b.label == "Run")
    assert run.disabled
    before = sorted(p for p in store.root.rglob("*") if p.is_file())
    for button in (b for b in at.button if b.disabled):
        button.proto.disabled = False
        button.click().run()
        assert not at.exception
    assert sorted(p for p in store.root.rglob("*") if p.is_file()) == before
    assert not store.names()
