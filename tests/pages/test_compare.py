"""The page Compare through Streamlit's test harness."""

import json
import re

from harness import charts, page, words
from ingested import folder
from tiny import CPU, tiny

from ubt.cases.pipeline import create
from ubt.cases.store import Store
from ubt.cli.bench_runs.case import generate
from ubt.reports.paper import TABLES, compare
from ubt.workflows import jobs
from ubt.workflows.ingest import Wanted, import_labelled, import_wanted


def test_the_open_case_is_there_in_figures_and_pictures(full, tiny_case):
    at = page("compare", defences=",".join(compare.METHODS))
    told = at.dataframe[0].value.set_index("defence")
    assert list(told.index) == [m.title for m in compare.METHODS.values()]
    m = tiny_case.metrics
    assert told.loc["UBT, ours", ["CA", "ASR", "RA", "target recall"]].tolist() == [
        m["purified"][k] for k in ("ca", "asr", "ra", "target_recall")
    ]
    assert told["state"].tolist() == ["measured"] * 4 + ["not run yet"] * (len(compare.METHODS) - 4)
    assert told.loc[told["state"] != "measured", ["CA", "ASR", "RA", "target recall", "KL"]].isna().all(axis=None)
    scatter, curves, times = charts(at)
    marks = [t for t in scatter["data"] if t["mode"] == "markers"]
    assert [t["customdata"][0] for t in marks] == [
        [tiny_case.name, method] for method in ("clean", "poisoned", "ubt", "ubt_published")
    ]
    assert {t["name"] for t in curves["data"]} == {"no defence", "UBT, ours", "UBT, as published"}
    assert {t["y"][0] for t in times["data"]} == {"no defence", "UBT, ours", "UBT, as published"}
    assert "compare-csv" in {b.key for b in at.get("download_button")}


def ticked(at) -> list[str]:
    """The defences whose boxes are ticked."""
    return [method for method in compare.METHODS if at.checkbox(key=f"defences-{method}").value]


def test_ours_cleanclip_and_roclip_come_first_and_each_says_what_it_takes(full, tiny_case):
    at = page("compare")
    assert ticked(at) == ["poisoned", "ubt", "cleanclip", "roclip"]
    assert "defences" not in at.query_params
    label = {method: at.checkbox(key=f"defences-{method}").label for method in compare.METHODS}
    assert re.search(r"took \d+ s", label["ubt"])
    assert "took" not in label["cleanclip"]
    assert re.search(r"about \d+|a few", label["cleanclip"])
    assert "CleanCLIP, PAR and TBAR need clean pairs" in words(at).replace("\\", "")
    assert "oracle: without the poisons needs the truth" in words(at).replace("\\", "")
    at.checkbox(key="defences-abl").check().run()
    assert at.query_params["defences"] == "poisoned,ubt,abl,cleanclip,roclip"
    at.checkbox(key="defences-abl").uncheck().run()
    assert "defences" not in at.query_params


def test_on_a_case_that_cannot_be_run_the_others_are_greyed_and_say_why(cache):
    given = generate(Store(cache), 1000, width=16)
    at = page("compare", case=given, defences="poisoned,cleanclip")
    assert not ticked(at)
    assert all(at.checkbox(key=f"defences-{method}").disabled for method in compare.METHODS)
    assert "Imported as it is" in words(at)
    assert "Choose at least one defence" in words(at)
    create(Store(cache), tiny(), CPU)
    at = page("compare")
    assert ticked(at) == ["poisoned", "ubt", "cleanclip", "roclip"]


def test_the_missing_cells_alone_are_one_job(full, tiny_case, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "start_each", lambda store, title, work, wait: asked.append((title, list(work))) or True)
    at = page("compare", defences="ubt,cleanclip,abl")
    assert "1 of 3 cells measured; the rest takes about" in words(at)
    at.button(key="each-compare").click().run()
    assert not at.exception
    assert asked == [("compare", [(tiny_case.name, "evaluate_abl"), (tiny_case.name, "evaluate_cleanclip")])]


def test_cases_and_defences_of_the_address(full, tiny_case):
    given, new = generate(full, 1000, width=16), create(full, tiny(seed=7), CPU)
    at = page(
        "compare",
        case=tiny_case.name,
        compared=f"{tiny_case.name},{given},{new},nosuch<b>",
        defences="poisoned,ubt,nosuch",
    )
    assert at.multiselect(key="compared").value == [tiny_case.name, given, new]
    told = at.dataframe[0].value
    assert told["state"].tolist() == ["measured"] * 2 + [compare.GIVEN] * 2 + ["not run yet"] * 2
    assert "1 of 3 cases are drawn" in words(at)
    assert "2 of 4 cells measured" in words(at)
    at.segmented_control(key="compare-rows").set_value("Means over cases")
    at.selectbox(key="one-case").set_value(new).run()
    assert at.dataframe[0].value["cases"].tolist() == ["1 of 3"] * 2
    assert "Nothing of this case has been measured yet" in words(at)
    for method in ticked(at):
        at.checkbox(key=f"defences-{method}").uncheck()
    at.run()
    assert "Choose at least one defence" in words(at)
    at.multiselect(key="compared").set_value([]).run()
    assert "Choose at least one case" in words(at)
    assert not at.exception


def test_the_choice_goes_along_with_the_open_case_until_it_is_changed(full, tiny_case):
    other = create(full, tiny(seed=7), CPU)
    at = page("compare", case=tiny_case.name)
    assert at.multiselect(key="compared").value == [tiny_case.name]
    at.selectbox(key="case").set_value(other).run()
    assert at.multiselect(key="compared").value == [other]
    assert "compared" not in at.query_params
    at.multiselect(key="compared").set_value([other, tiny_case.name]).run()
    assert at.query_params["compared"] == f"{other},{tiny_case.name}"
    at.selectbox(key="case").set_value(tiny_case.name).run()
    assert at.multiselect(key="compared").value == [other, tiny_case.name]


def test_why_a_cell_failed_is_shown_as_text(cache):
    store = Store(cache)
    name = create(store, tiny(), CPU)
    store.save_case(name, store.record(name).changed(state="failed", error="<b>no</b> *room*"))
    at = page("compare", defences="ubt")
    assert not at.exception
    assert not charts(at)
    assert at.dataframe[0].value["state"].tolist() == ["failed: <b>no</b> *room*"]
    assert any("no\\<\\/b\\> \\*room\\*" in e.value for e in at.error)


def test_every_table_opens_without_a_case(cache):
    at = page("compare", tables="true")
    for name in [n for n in TABLES if n != "4"]:
        at.segmented_control(key="paper-table").set_value(name).run()
        assert not at.exception, name
        assert f"python -m ubt table {name}" in words(at)
        assert "cells of this table measured" in words(at)
        assert any(k and k.startswith("paper-attacks") for k in (b.key for b in at.get("button_group"))) == bool(
            TABLES[name].attacks
        )
    assert "Traceback" not in json.dumps(words(at))


def test_what_no_chosen_case_can_be_run_with_is_greyed_out_and_why(cache, tmp_path):
    store = Store(cache)
    rows = [(f"images/{i}.png", f"a thing {i}") for i in range(40)]
    pairs = import_wanted(store, Wanted("pairs", str(folder(tmp_path / "pairs", rows, images=40))))
    labels = import_labelled(
        store, folder(tmp_path / "labels", table=b"image,label\nimages/0.png,banana\nimages/1.png,cat\n")
    )
    settings = tiny(own__pairs=pairs, own__test=labels, select__k=2, data__pairs=40)
    create(store, settings, CPU)
    at = page("compare")
    assert not at.error
    boxes = {method: at.checkbox(key=f"defences-{method}") for method in compare.METHODS}
    assert boxes["cleanclip"].disabled and not boxes["cleanclip"].value
    assert "clean pairs beyond the 40 of D" in boxes["cleanclip"].help
    assert "about" not in boxes["cleanclip"].label
    assert boxes["ubt"].value and not boxes["ubt"].disabled
    assert "clean pairs beyond the 40 of D" in words(at)
    create(store, tiny(), CPU)
    at = page("compare", compared=",".join(store.names()))
    assert not at.checkbox(key="defences-cleanclip").disabled
    told = at.dataframe[0].value.set_index(["case", "defence"])["state"]
    assert sorted(told.xs("CleanCLIP", level="defence"))[0].startswith("cannot be run: it needs clean pairs")
