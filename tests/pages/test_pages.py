"""Every page through Streamlit's own test harness: empty, half done, finished, damaged, deleted."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from harness import charts, html_of, page, slider, words
from streamlit.testing.v1 import AppTest
from tiny import CPU, tiny

from ubt.attacks import ATTACKS
from ubt.cases.catalog import CASE
from ubt.cases.pipeline import Pipeline, create, upto
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.files import file_digest
from ubt.ui.errors import plain
from ubt.ui.navigation import PAGES
from ubt.workflows import jobs

ROOT = Path(__file__).parents[2]


def row(at: AppTest) -> list[str]:
    """The cells of D_susp's row in the table of counts."""
    table = next(h.proto.body for h in at.get("html") if "D_susp: lowest" in h.proto.body)
    return re.findall("<td>(.*?)</td>", table.split("<tbody>")[1].split("</tr>")[0])


@pytest.mark.parametrize("name", PAGES)
def test_without_a_case_a_page_says_what_to_do(cache, name):
    at = page(name)
    said = words(at)
    own = {
        "overview": "Press Run",
        "triggers": "What an attack plants",
        "check": "Nothing leaves this machine",
        "scan": "No model is here yet",
        "image": "No model is here yet",
        "data": "drop a file, or name its path",
        "learn": "The walk needs",
        "whatif": "lacks them",
        "help": "Everything that you can set",
    }
    assert own.get(name, "No case is open") in said


@pytest.mark.parametrize("name", PAGES)
def test_a_case_that_was_not_run_is_offered(cache, name):
    case = create(Store(cache), tiny(), CPU)
    at = page(name)
    assert not charts(at)
    assert at.session_state["case"] == case
    assert "Run" in {b.label for b in at.button}
    said = {
        "overview": "No verdict yet",
        "cases": "Choose rows by their boxes",
        "triggers": "What an attack plants",
        "tokens": "No pair has been attributed",
        "unlearn": "Not trained yet",
        "inspect": "not been scored",
        "separation": "not been scored",
        "neighbours": "There are no pairs",
        "map": "There are no pairs",
        "review": "not been scored",
        "compare": "Nothing has been measured yet",
        "patches": "have not been located",
        "check": "Nothing leaves this machine",
        "scan": "No model is here yet",
        "image": "No model is here yet",
        "data": "No pairs have been imported",
        "learn": "The walk needs",
        "whatif": "lacks them",
        "help": "Everything that you can set",
    }
    assert said[name] in words(at)
    assert started(at) == said_to_take(at)


def started(at: AppTest) -> int:
    """How many buttons there are that start work."""
    begin = "Run", "Resume", "Try again", "Unlearn", "Compute the missing", "Draw the map", "Build the index", "Try it"
    return sum(b.label.startswith(begin) for b in at.button)


def said_to_take(at: AppTest) -> int:
    """How many captions say what some work takes."""
    return sum("Takes " in c.value or "the rest takes " in c.value for c in at.caption)


def test_buttons_that_start_work_say_what_it_takes(full, tiny_case):
    create(full, tiny(seed=9), CPU)
    for name, text in (("overview", ""), ("unlearn", ""), ("map", ""), ("map", tiny_case.name), ("compare", "")):
        at = page(name, **{"case": text} if text else {})
        assert started(at) == said_to_take(at) > 0, name


def test_the_form_says_what_a_case_takes_and_starts_nothing_before_the_button(cache):
    at = page("overview")
    assert "Takes about 2 min on two cores; this machine has not been timed yet." in words(at)
    at.number_input(key="first-demo-badnet-data.pairs").set_value(1_000_000).run()
    assert re.search(r"Takes about \d+ (h|min)", words(at))
    assert "Takes about 1 min" not in words(at)
    assert Store(cache).names() == []


def test_the_first_histogram_comes_before_any_training(cache):
    store = Store(cache)
    Pipeline(store, CPU).run(tiny(), upto("score"))
    at = page("separation")
    assert len(charts(at)) == 1
    assert [b.label for b in at.button if b.label.startswith("Run up to")] == ["Run up to score\\_poisoned"]
    assert slider(at, "threshold").disabled
    assert not slider(at, "fraction").disabled


def test_a_cancel_pressed_as_a_stage_ends_is_heard(cache, monkeypatch):
    store = Store(cache)
    name = create(store, tiny(), CPU)
    store.save_case(name, store.record(name).changed(state="running"))
    with store.lock(name):
        at = page("overview")
        first = jobs.status(store, name)
        later = replace(first, steps=first.steps | {"attack": jobs.Step("done")})
        told = iter([first, later])
        monkeypatch.setattr(jobs, "status", lambda *a: next(told, later))
        at.button(key="cancel").click().run()
        assert not at.exception
        assert store.cancel_flag(name).exists()


def test_separation_counts_follow_the_sliders(full, tiny_case):
    at = page("separation")
    assert len(charts(at)) == 3
    truth = tiny_case.artefacts["attack"]["truth"]["poisoned"].to_numpy()
    reference = tiny_case.artefacts["score"]["similarity"]["similarity"].to_numpy()

    for percent in (12.0, 20.0):
        slider(at, "fraction").set_value(percent).run()
        rows = np.argsort(reference, kind="stable")[: round(6 * percent)]
        _, pairs, estimated, poisoned, precision, _ = row(at)
        assert estimated.endswith(" %") if percent == 12.0 else estimated == "not estimated"
        assert (int(pairs), int(poisoned)) == (len(rows), truth[rows].sum())
        assert precision == f"{100 * truth[rows].mean():.1f} %"
    assert "Run a case with 20 % and k = 4" in {b.label for b in at.button}
    at.toggle(key="reveal").set_value(False).run()
    tables = [h.proto.body for h in at.get("html")]
    assert not any("recall of all poisons" in t or "</span> poisoned" in t for t in tables)
    assert all(len([t for t in c["data"] if "pairs" in t["name"]]) == 1 for c in charts(at))


def test_the_split_of_the_page_is_the_stages(full, tiny_case):
    at = page("separation")
    split = tiny_case.artefacts["split"]["split"]
    assert row(at)[:2] == ["D_susp: lowest 12 %", str(split["suspicious"].sum())]
    grid = next(h.proto.body for h in at.get("html") if '<div class="ubt-card"' in h.proto.body)
    best = tiny_case.artefacts["select"]["topk"]["similarity"].tolist()
    assert all(f"similarity {s:.3f}" in grid for s in best)
    assert grid.count("<img") == len(best)


def test_overview_shows_verdict_and_measures(full, tiny_case):
    at = page("overview")
    assert "judged **poisoned**" in words(at)
    m = full.case(tiny_case.name).metrics
    body = " ".join(h.proto.body for h in at.get("html"))
    for model in ("clean", "poisoned", "purified", "published"):
        assert f"{m[model]['ca']:.2f}" in body
        assert f"{m[model]['asr']:.2f}" in body
    for stage in CASE:
        assert f"✓ {stage.name}" in body
    assert len(charts(at)) == 2
    glance = next(h.proto.body for h in at.get("html") if "Attack success rate" in h.proto.body)
    shown = re.findall(r"width:([\d.]+)%.*?<b>([\d.]+) %</b>", glance)
    assert shown == [(f"{m[w][k]:.2f}", f"{m[w][k]:.1f}") for k in ("asr", "ca") for w in ("poisoned", "purified")]
    cards = next(h.proto.body for h in at.get("html") if '<div class="ubt-card"' in h.proto.body)
    assert cards.count("<img") == cards.count("◆") == 4
    assert "to-learn" not in {b.key for b in at.button}


def test_overview_shows_the_verdict_among_those_of_other_cases(full, tiny_case):
    record = full.record(tiny_case.name)
    assert [t["x"] for t in charts(page("overview", case=tiny_case.name))[0]["data"]] == [
        [record.metrics["verdict"]["score"]]
    ]
    for rate, key, score in (
        (0.0, "verdict-a", 0.25),
        (0.0, "verdict-a", 0.25),
        (0.05, "verdict-b", 0.75),
        (0.05, "verdict-c", None),
    ):
        settings = tiny(attack__rate=rate, seed=len(full.names()))
        changed = {"settings": settings.to_dict(), "artefacts": record.artefacts | {"verdict": key}}
        full.save_case(
            settings.name(CPU),
            record.changed(**changed, metrics=record.metrics | {"verdict": {"score": score, "displaced": 0.25}}),
        )
    drawn = charts(page("overview", case=tiny_case.name))[0]["data"]
    assert [(t["name"], t["x"], t["y"]) for t in drawn[:2]] == [
        ("other cases, clean (1)", [0.25], [0.25]),
        ("other cases, poisoned (1)", [0.75], [0.25]),
    ]
    assert drawn[0]["marker"]["symbol"] != drawn[1]["marker"]["symbol"]


def test_unlearn_shows_both_forms_and_what_classes_lost(full, tiny_case):
    at = page("unlearn")
    m = full.case(tiny_case.name).metrics
    values = [x.value for x in at.metric]
    for which in ("purified", "published"):
        assert f"{m[which]['asr']:.2f}" in values
        assert f"{m[which]['ca']:.2f}" in values
    drawn = charts(at)
    assert len(drawn) == 4
    names = {t["name"] for t in drawn[0]["data"]}
    assert {"CA, sample", "ASR, sample", "D_unlearn's similarity", "images led back", "images kept"} <= names
    assert [b.label for b in at.get("download_button")] == ["Purified, ours (zip)", "Purified, published (zip)"]


def test_a_clean_model_is_left_byte_identical_and_said_to_be(cache):
    case = Pipeline(Store(cache), CPU).run(tiny(attack__rate=0, verdict__threshold=0.99, data__pairs=300))
    m, weights = Store(cache).case(case.name).metrics, "model/open_clip_model.safetensors"
    assert (
        len(
            {
                case.artefacts[stage].manifest["files"][weights]["sha256"]
                for stage in ("poison", "unlearn", "unlearn_published")
            }
        )
        == 1
    )
    assert m["verdict"]["answer"] == "not poisoned", m["verdict"]["checks"]
    assert m["split"]["recall"] is None
    assert m["select"]["auroc"] is None
    assert m["purified"]["ca"] == m["poisoned"]["ca"]
    assert "not poisoned" in words(page("overview"))
    assert "No pair was poisoned in this case." in words(page("overview"))
    assert "This verdict is about D." in words(page("overview")), "the page Scan is about the model"
    assert "poisoned model" not in html_of(page("overview")).split("Clean accuracy")[0].split("Attack success")[1]
    assert "Nothing was unlearned" in words(page("unlearn"))
    assert len(charts(page("separation"))) == 3


def test_a_case_is_made_with_the_settings_of_the_form(cache):
    at = page("overview")
    at.number_input(key="first-demo-badnet-select.k").set_value(3)
    at.selectbox(key="first-demo-badnet-attack.target").set_value("cat")
    at.button(key="first-demo-badnet-keep").click().run()
    assert not at.exception
    (name,) = Store(cache).names()
    settings = Store(cache).record(name).settings
    assert (settings["select"]["k"], settings["attack"]["target"], settings["data"]["pairs"]) == (3, "cat", 10_000)
    assert at.session_state["case"] == name
    assert jobs.status(Store(cache), name).state == "new"


def test_settings_that_cannot_be_are_refused_in_words(cache):
    at = page("overview")
    at.number_input(key="first-demo-badnet-select.k").set_value(5000)
    at.button(key="first-demo-badnet-run").click().run()
    assert not at.exception
    assert any("expected at most 600" in e.value.replace("\\", "") for e in at.error)
    assert Store(cache).names() == []


def test_deleting_asks_first(full, tiny_case):
    at = page("overview")
    at.button(key="delete").click().run()
    assert at.button(key="really-delete").label == "Delete"
    assert full.names() == [tiny_case.name]


@pytest.mark.parametrize("name", PAGES)
def test_a_case_deleted_elsewhere_is_said(full, tiny_case, name):
    at = page(name)
    full.delete(tiny_case.name)
    at.run()
    assert not at.exception
    assert "There is no case" in words(at)
    assert tiny_case.name in words(at).replace("\\", "")


def test_an_address_with_an_unknown_case_is_said_and_escaped_and_a_new_one_is_offered(full):
    at = page("overview", case="../../etc/<b>x</b>[a](http://b)")
    said = " ".join(w.value for w in at.warning)
    assert "There is no case" in said
    assert "\\<b\\>" in said
    assert "\\[a\\]\\(http" in said
    at.button(key="new-instead").click().run()
    assert not at.exception
    assert at.button(key="new-demo-badnet-run").label == "Run"


def test_an_address_opens_its_case(full, tiny_case):
    other = create(full, tiny(seed=9), CPU)
    assert page("overview").session_state["case"] == other
    assert page("overview", case=tiny_case.name).session_state["case"] == tiny_case.name


def test_a_damaged_result_is_said_and_made_again(full, tiny_case):
    path = full.root / "artefacts" / tiny_case.artefacts["score"].path.name / "similarity.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    at = page("separation")
    assert "expected the bytes its manifest describes" in words(at).replace("\\", "")
    mend = next(b for b in at.button if b.label.startswith("Set it aside"))
    mend.click().run()
    assert not at.exception
    while jobs.status(full, tiny_case.name).running:
        pass
    assert len(charts(page("separation"))) == 3


def test_a_record_that_cannot_be_read_can_be_deleted(full, tiny_case):
    (full.root / "cases" / tiny_case.name / "case.json").write_text("{}")
    at = page("overview")
    assert "This case cannot be read" in str([e.proto for e in at.error])
    at.button(key="delete-damaged").click().run()
    assert not at.exception
    assert full.names() == []


def test_captions_and_errors_are_never_markup(full, tiny_case):
    hostile = '<img src=x onerror="alert(1)"><script>alert(2)</script> ![x](http://evil/x.png) :red[y]'
    path = full.root / "artefacts" / tiny_case.artefacts["data"].path.name
    pairs = pd.read_parquet(path / "pairs.parquet").assign(caption=hostile)
    pairs.to_parquet(path / "pairs.parquet", index=False)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["pairs.parquet"] = {
        "bytes": (path / "pairs.parquet").stat().st_size,
        "sha256": file_digest(path / "pairs.parquet"),
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
    grid = next(h.proto.body for h in page("separation").get("html") if '<div class="ubt-card"' in h.proto.body)
    assert "&lt;script&gt;alert(2)" in grid
    assert "<script" not in grid
    assert 'onerror="' not in grid
    record = full.record(tiny_case.name)
    full.save_case(tiny_case.name, record.changed(state="failed", error=hostile))
    said = " ".join(e.value for e in page("overview").error)
    assert "\\!\\[x\\]\\(http" in said
    assert "\\<script" in said


@pytest.mark.parametrize("name", ATTACKS)
def test_the_trigger_lab_shows_every_attack_and_makes_a_case_of_it(cache, name):
    at = page("triggers")
    at.selectbox(key="lab-attack").set_value(name).run()
    target = "banana" if name == "badclip" else "cat"
    if target == "cat":
        at.selectbox(key="lab-target").set_value(target).run()
    assert not at.exception
    assert not at.error
    shown = html_of(at)
    assert ("PSNR" in shown) != (name == "semantic")
    assert ("unchanged" in shown) == (name == "semantic")
    assert shown.count("data:image/png") == 24
    assert ("caption kept" in shown) == (name in ("label_consistent", "badencoder"))
    assert ("bits read back" in shown) == (name == "ssba")
    assert ("taken for the target by clean models" in shown) == (name == "badclip")
    assert any("Nothing is put on an image" in c.value for c in at.caption) == (name == "semantic")
    at.button(key="lab-keep").click().run()
    (made,) = Store(cache).names()
    attack = Store(cache).record(made).settings["attack"]
    assert attack["caption"] == ("natural" if name == "badclip" else "template")
    assert (attack["name"], attack["target"]) == (name, target)


def test_the_trigger_lab_moves_settings_refuses_bad_ones_and_adds_to_the_open_case(full, tiny_case):
    at = page("triggers")
    before = html_of(at)
    at.selectbox(key="lab-badnet-profile").set_value("fixed noise").run()
    assert html_of(at) != before
    at.button(key="lab-also").click().run()
    (name,) = set(full.names()) - {tiny_case.name}
    settings = CaseSettings.from_dict(full.record(name).settings)
    assert [a.label for a in settings.attacks] == ["badnet → banana", "badnet → banana"]
    assert settings.attacks[1].trigger.pattern == "fixed noise"
    at = page("triggers")
    at.selectbox(key="lab-attack").set_value("ssba").run()
    at.text_input(key="lab-embedded-ssba.encoder").set_value("/nosuch").run()
    assert not at.exception
    assert any("train\\-stegastamp" in e.value for e in at.error)


def test_a_case_with_two_attacks_shows_each(cache):
    settings = tiny(attack__name="trojvqa", attack__also="sig target=car rate=0.05", data__pairs=200)
    stages = [s for wanted in ("evaluate_poisoned", "diagnose") for s in upto(wanted)]
    Pipeline(Store(cache), CPU).run(settings, tuple(s for s in CASE if s in stages))
    shown = html_of(page("overview"))
    assert "trojvqa → banana: ASR, word only" in shown
    assert "sig → car: ASR" in shown


def test_an_attack_that_poisons_nothing_is_no_target_of_a_finished_case(full, tiny_case):
    record = full.record(tiny_case.name)
    attack = record.settings["attack"] | {"also": "sig target=car rate=0; blended target=bicycle rate=0.5"}
    full.save_case(tiny_case.name, record.changed(settings=record.settings | {"attack": attack}))
    at = page("overview")
    assert "its caption names banana or bicycle." in words(at)
    assert any(plain("banana, bicycle") in s.value for s in at.subheader)


def survivors(at: AppTest) -> dict[str, str]:
    """The table beside the bar chart of words."""
    table = next(h.proto.body for h in at.get("html") if "at these thresholds" in h.proto.body)
    return dict(re.findall("<tr><td>(.*?)</td><td>(.*?)</td></tr>", table))


def spoken(at: AppTest, model: int) -> list[str]:
    """The words drawn for one of the models side by side."""
    drawn = [
        h.proto.body
        for h in at.get("html")
        if "ubt-words" in h.proto.body.split("</style>")[1] and "masked caption" in h.proto.body
    ]
    return re.findall(r'<span class="[a-z ]*" style="[^"]*">(.*?)(?:<sub>|</span>)', drawn[model])


def test_tokens_follow_the_sliders_and_the_caption(full, tiny_case):
    at = page("tokens")
    made = {form: tiny_case.artefacts[form]["words"] for form in ("mask", "mask_published")}
    topk = tiny_case.artefacts["select"]["topk"]["id"].tolist()
    part = made["mask"][made["mask"]["id"].isin(topk)]
    assert len([m for m in at.get("button_group") if m.key and m.key.startswith("models-")]) == 1
    for threshold in (0.1, 0.6, 1.0):
        at.slider(key="text").set_value(threshold).run()
        kept = (part["score"] > threshold) | (
            part.groupby("id")["score"].transform("max").le(threshold)
            & part["score"].eq(part.groupby("id")["score"].transform("max"))
        )
        assert (
            survivors(at)["words kept, mean share of a caption"]
            == f"{100 * kept.groupby(part['id']).mean().mean():.1f} %"
        )
    truth = tiny_case.artefacts["attack"]["truth"].set_index("id")["poisoned"]
    assert survivors(at)["poisoned pairs among them"] == str(truth[topk].sum())
    bars = next(c for c in charts(at) if "grey say the word" in c["layout"]["xaxis"]["title"]["text"])
    assert "banana" in bars["layout"]["yaxis"]["ticktext"]
    at.toggle(key="reveal").set_value(False).run()
    assert "poisoned pairs among them" not in survivors(at)
    assert "Ground truth" not in words(at)
    at.slider(key="image").set_value(1.0).run()
    assert 0 < float(survivors(at)["image kept, mean share of its pixels"].split()[0]) < 3
    assert "Run a case with these thresholds" in {b.label for b in at.button}
    at.text_input(key=f"caption-{tiny_case.name}-{topk[0]}").set_value("<b>a</b> red owl " + "word " * 40).run()
    assert not at.exception
    assert spoken(at, 0)[:4] == ["&lt;b&gt;a&lt;/b&gt;", "red", "owl", "word"]
    assert "lie beyond the model" in words(at)
    at.text_input(key=f"caption-{tiny_case.name}-{topk[0]}").set_value("").run()
    assert not at.exception
    at.selectbox(key="method").set_value("leave one out").run()
    at.selectbox(key="pair").set_value(made["mask"]["id"].iloc[-1]).run()
    assert not at.exception
    assert made["mask"]["id"].iloc[-1] in at.query_params["pair"]


def test_a_pair_of_the_address_is_shown_and_an_unknown_one_is_not(full, tiny_case):
    truth = tiny_case.artefacts["attack"]["truth"]
    clean = truth.loc[~truth["poisoned"], "id"].iloc[50]
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    at.query_params["pair"] = clean
    at.run()
    at.switch_page("pages/tokens.py").run()
    assert at.selectbox(key="pair").value == clean
    assert "Ground truth: clean" in words(at)
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    at.query_params["pair"] = "<script>nosuch"
    at.run()
    at.switch_page("pages/tokens.py").run()
    assert not at.exception
    assert at.selectbox(key="pair").value == tiny_case.artefacts["select"]["topk"]["id"].iloc[0]


def test_the_words_page_says_what_a_table_lacks(full):
    at = page("tokens")
    said = words(at)
    assert "0 of 24 cells of this table measured" in said
    at.slider(key="table-seeds").set_value(1).run()
    assert "0 of 8 cells of this table measured" in words(at)
    assert "Compute the missing 8" in {b.label for b in at.button}


def test_the_picker_says_what_tells_cases_apart(cache):
    store = Store(cache)
    for settings in (
        CaseSettings(),
        CaseSettings().with_values({"unlearn.masked": "image", "published.masked": "image"}),
    ):
        create(store, settings, CPU)
    labels = page("overview").selectbox(key="case").options
    assert sorted(labels, key=len) == [
        "badnet 2 %, seed 0",
        "badnet 2 %, seed 0 · unlearn.masked image, published.masked image",
    ]
