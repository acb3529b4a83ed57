"""The page Cases through Streamlit's test harness."""

import re

import pytest
from harness import charts, html_of, page, words
from tiny import CPU, tiny

from ubt.cases.marks import mark, set_mark
from ubt.cases.pipeline import create
from ubt.cases.store import Store
from ubt.core.files import READY

HOSTILE = '<img src=x onerror="alert(1)"> **b** $x$ :red[y] [z](http://a)'


def several(store: Store, count: int) -> list[str]:
    """That many cases in a cache."""
    settings = [tiny(seed=seed % 40, split__fraction=0.1 + seed / 500) for seed in range(count)]
    first = store.record(create(store, settings[0], CPU))
    for n, case in enumerate(settings):
        store.save_case(case.name(CPU), first.changed(settings=case.to_dict(), updated=float(n)))
    return [case.name(CPU) for case in settings]


def titles(at) -> list[str]:
    return at.dataframe[0].value["title"].tolist()


def test_every_case_is_a_row_with_what_it_came_to(full, tiny_case):
    other = create(full, tiny(seed=7, attack__caption="joined"), CPU)
    table = page("cases").dataframe[0].value
    rows = table.set_index("title")
    done, new = rows.iloc[1], rows.iloc[0]
    m = tiny_case.metrics
    assert [done["CA before"], done["CA after"]] == [m["poisoned"]["ca"], m["purified"]["ca"]]
    assert [done["ASR before"], done["ASR after"]] == [m["poisoned"]["asr"], m["purified"]["asr"]]
    assert (done["verdict"], done["state"], done["attack"]) == ("poisoned", "finished", "badnet")
    assert done["took"] == pytest.approx(sum(m["seconds"].values()))
    assert (new["state"], new["seed"], new["caption"]) == ("not run yet", 7, "joined")
    assert new[["CA before", "verdict", "took"]].isna().all()
    assert "caption joined" in rows.index[0]
    assert other not in rows.columns


def test_what_is_there_of_an_unfinished_case_is_shown(full, tiny_case):
    record = full.record(tiny_case.name)
    full.save_case(tiny_case.name, record.changed(metrics=None, state="partial"))
    (row,) = page("cases").dataframe[0].value.to_dict("records")
    assert row["state"] == "partly run"
    assert row["CA before"] == tiny_case.metrics["poisoned"]["ca"]
    assert row["verdict"] == "poisoned"


def test_built_in_cases_are_there_too_and_stay(cache, monkeypatch):
    from ubt.cases import demo, store

    for module in (store, demo):
        monkeypatch.setattr(module, "READY", READY)
    at = page("cases", compare="ready-badnet,ready-clean")
    assert set(at.dataframe[0].value["state"]) == {"built-in"}
    assert at.button(key="delete").disabled
    assert not at.button(key="pin").disabled
    assert "built\\-in" in words(at)
    assert "ASR, purified, ours, %" in html_of(at)


def test_search_finds_words_numbers_and_settings(cache):
    store = Store(cache)
    several(store, 6)
    create(store, tiny(seed=2, attack__caption="joined"), CPU)
    at = page("cases", find="joined seed=2")
    assert len(titles(at)) == 1
    assert "1 of 7 cases" in words(at)
    at.text_input(key="find").set_value("split.fraction=0.106").run()
    assert len(titles(at)) == 1
    at.text_input(key="find").set_value("BADNET 4").run()
    assert at.dataframe[0].value["seed"].tolist() == [4]
    at.text_input(key="find").set_value("(.*[").run()
    assert "No case has all these words" in words(at)
    assert not at.exception


def test_records_are_read_once_until_they_change(cache, monkeypatch):
    store, read = Store(cache), []
    names = several(store, 300)
    record = Store.record
    monkeypatch.setattr(Store, "record", lambda self, name: read.append(name) or record(self, name))
    at = page("cases")
    assert len(at.dataframe[0].value) == 300
    assert len(set(titles(at))) == 300
    once = len(read)
    assert once <= 300 + 12  # the case in view is looked at beside
    read.clear()
    for text in ("seed=3", ""):
        at.text_input(key="find").set_value(text).run()
    assert len(read) <= 24
    store.save_case(names[5], store.record(names[5]).changed(state="failed", error="no"))
    read.clear()
    at.run()
    assert names[5] in read
    assert len(read) <= 14
    assert "failed" in set(at.dataframe[0].value["state"])


def test_pin_and_rename_change_what_is_shown_and_nothing_else(full, tiny_case):
    other = create(full, tiny(seed=7), CPU)
    record = (full.root / "cases" / tiny_case.name / "case.json").read_bytes()
    at = page("cases", compare=f"{tiny_case.name},{other}")
    assert titles(at)[1].startswith("badnet 5 %, seed 0")
    at.session_state["chosen"] = [tiny_case.name]
    at.run()
    at.button(key="pin").click().run()
    assert mark(full, tiny_case.name).pinned
    assert at.dataframe[0].value["pinned"].tolist() == ["★", ""]
    assert titles(at)[0].startswith("badnet 5 %, seed 0")
    assert at.selectbox(key="case").options[0] == titles(at)[0]
    at.button(key="rename").click().run()
    assert at.button(key="really-rename").label == "Rename"
    set_mark(full, tiny_case.name, title=HOSTILE)
    at.run()
    assert not at.exception
    assert titles(at)[0] == HOSTILE
    assert HOSTILE in at.selectbox(key="case").options
    assert at.session_state["chosen"] == [tiny_case.name]
    at.button(key="pin").click().run()
    assert titles(at)[1] == HOSTILE
    assert (full.root / "cases" / tiny_case.name / "case.json").read_bytes() == record
    assert set(full.names()) == {other, tiny_case.name}


def test_a_hostile_title_is_text_wherever_it_is_shown(full, tiny_case):
    other = create(full, tiny(seed=7), CPU)
    set_mark(full, tiny_case.name, title=HOSTILE)
    at = page("cases", compare=f"{tiny_case.name},{other}")
    assert "<img" not in html_of(at).replace("&lt;img", "")
    assert not re.search(r"(?<!\\)<img|(?<!\\)\*\*b\*\*|(?<!\\):red", words(at))
    for name in ("overview", "compare"):
        at = page(name, case=tiny_case.name)
        assert not at.exception
        assert not re.search(r"(?<!\\)<img|(?<!\\):red", words(at))


def test_two_cases_are_compared_from_their_address(full, tiny_case):
    other = create(full, tiny(seed=7, split__fraction=0.2), CPU)
    at = page("cases", compare=f"{tiny_case.name},{other}")
    shown = html_of(at)
    differ = re.findall(r"<td>([\w.]+)</td><td[^>]*>([^<]*)</td><td[^>]*>([^<]*)</td></tr>", shown)
    assert ("seed", "0", "7") in differ and ("split.fraction", "0.12", "0.2") in differ
    assert "Settings that differ: 2" in words(at)
    assert f"{tiny_case.metrics['poisoned']['ca']:.2f}" in shown
    assert "no model in common" in words(at)
    (curves,) = charts(at)
    assert {t["name"] for t in curves["data"]} == {"A: CA", "A: ASR"}
    assert at.query_params["compare"] == f"{tiny_case.name},{other}"
    at.button(key="clear-choice").click().run()
    assert "compare" not in at.query_params
    assert "Settings that differ" not in words(at)


def test_the_histograms_follow_the_switch_of_the_truth(full, tiny_case):
    from ubt.cases import demo

    assert demo.names() == []
    settings = tiny(seed=7)
    full.save_case(settings.name(CPU), full.record(tiny_case.name).changed(settings=settings.to_dict()))
    at = page("cases", compare=f"{tiny_case.name},{settings.name(CPU)}")
    histogram, _ = charts(at)
    assert [t["name"][:9] for t in histogram["data"]] == ["A: clean ", "A: poison", "B: clean ", "B: poison"]
    at.session_state["reveal"] = False
    at.run()
    assert [t["name"][:8] for t in charts(at)[0]["data"]] == ["A: pairs", "B: pairs"]
    assert at.segmented_control(key="two-model").value == "overfit"


def test_a_link_to_a_case_that_is_gone_says_so(full, tiny_case):
    at = page("cases", compare=f"{tiny_case.name},gone<b>")
    assert "There is no case gone\\<b\\>" in words(at)
    assert "Settings that differ" not in words(at)
    at = page("cases", compare=f"{tiny_case.name},{tiny_case.name}")
    assert "Settings that differ" not in words(at)


def test_what_cannot_be_read_is_a_row_and_can_be_deleted(full, tiny_case):
    broken = create(full, tiny(seed=7), CPU)
    (full.root / "cases" / broken / "case.json").write_text("{}")
    at = page("cases", case=tiny_case.name, compare=f"{tiny_case.name},{broken}")
    assert not at.exception
    row = at.dataframe[0].value.set_index("title").loc[f"{broken} (damaged)"]
    assert row["state"] == "damaged"
    assert any("expected a readable record" in e.value for e in at.error)
    at.session_state["chosen"] = [broken]
    at.run()
    at.button(key="delete").click().run()
    assert at.button(key="really-delete").label == "Delete"
    assert not at.exception


def test_the_picker_links_to_the_table(full, tiny_case):
    at = page("overview")
    assert any(link.proto.page == "cases" and "All cases (1)" in link.proto.label for link in at.get("page_link"))
