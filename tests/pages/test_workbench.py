"""The workbench's pages through Streamlit's test harness: selection, neighbours, map, review, over cases that lack this
or that.
"""

import json

import numpy as np
import pytest
from harness import charts, html_of, page, slider, words

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.bench_runs.case import generate
from ubt.core.errors import UbtError
from ubt.pairs import query
from ubt.pairs.annotations import Review
from ubt.ui import pairs
from ubt.ui.view import opened
from ubt.workflows import jobs

SELECTED = "similarity_overfit > 0.5 and suspicious"


def review(store: Store, name: str) -> Review:
    return Review(store.root / "cases" / name / "review.sqlite")


def queue(at) -> dict:
    """What the page tells the browser of the pairs in review."""
    (told,) = (e.proto for e in at.get("bidi_component") if e.proto.component_name == "ubt_review")
    return json.loads(told.json)


def shown(at) -> str:
    """The pair that the browser shows first."""
    told = queue(at)
    return told["pairs"][str(told["at"][1])]["id"]


def send(at, *decisions: dict, pair: str | None = None) -> None:
    """Run the page as when the browser sends decisions, numbered on."""
    sent = [*at.session_state["sent"]] if "sent" in at.session_state else []
    sent += [{"number": len(sent) + n, **one} for n, one in enumerate(decisions, 1)]
    at.session_state["sent"] = sent
    message = {"attempt": f"tab:{len(sent)}", "pair": pair, "want": None, "holds": [], "boxes": {"tab": sent}}
    at.session_state[f"queue-{queue(at)['case']}"] = {"sent": message}
    at.run()
    assert not at.exception


def selected(case) -> np.ndarray:
    overfit = case.artefacts["score_overfit"]["similarity"]["similarity"].to_numpy()
    return (overfit > 0.5) & case.artefacts["split"]["split"]["suspicious"].to_numpy()


@pytest.mark.parametrize("name", ["separation", "neighbours", "review", "map"])
def test_one_selection_is_counted_alike_on_every_page(mapped, tiny_case, name):
    at = page(name, select=SELECTED)
    truth = tiny_case.artefacts["attack"]["truth"]["poisoned"].to_numpy()
    rows = selected(tiny_case)
    told = f"{(rows & truth).sum()} poisoned" if name != "review" else "an estimated"
    assert f":blue-badge[{rows.sum()} of 600] selected; {told}" in words(at)
    assert at.text_input(key="rule").value == SELECTED
    at.button(key="select-clear").click().run()
    assert "No pair of 600 is selected" in words(at)
    at.button(key="select-back").click().run()
    assert f":blue-badge[{rows.sum()} of 600]" in words(at)
    assert at.query_params["select"] == SELECTED


def test_a_query_typed_in_is_applied_and_kept_on_the_next_page(full, tiny_case):
    at = page("separation")
    at.text_input(key="rule").set_value(SELECTED).run()
    assert f"{selected(tiny_case).sum()} of 600" in words(at)
    truth = tiny_case.artefacts["attack"]["truth"]["poisoned"].to_numpy()
    veils = " ".join(str(e.proto) for e in at.get("bidi_component") if e.proto.component_name == "ubt_veil")
    assert f"poisoned ({(selected(tiny_case) & truth).sum()} of {truth.sum()})" in veils
    at.switch_page("pages/review.py").run()
    assert f"{selected(tiny_case).sum()} of 600" in words(at)


def test_a_note_that_says_nothing_new_is_no_action_that_undo_would_take_back(full, tiny_case):
    at = page("review")
    pair = shown(at)
    send(
        at, {"do": "label", "pair": pair, "label": "backdoor"}, {"do": "note", "pair": pair, "note": ""}, {"do": "undo"}
    )
    assert review(full, tiny_case.name).labels().empty
    send(at, {"do": "note", "pair": pair, "note": "odd"})
    assert review(full, tiny_case.name).labels()["note"].tolist() == ["odd"]


@pytest.mark.parametrize(
    "text", ["similarity_overfit >", "nosuch > 1", "__import__('os')", "caption > 3", "(" * 200, "poisoned and \x00"]
)
def test_a_broken_query_is_said_and_the_selection_stays(full, tiny_case, text):
    at = page("separation", select=text)
    assert not at.exception
    assert any("This query cannot be applied" in e.value and "Nothing is selected" in e.value for e in at.error)
    assert len(charts(at)) == 3
    at.text_input(key="rule").set_value(SELECTED).run()
    assert not at.error
    at.text_input(key="rule").set_value(text).run()
    assert at.text_input(key="rule").value == text.strip()
    assert f":blue-badge[{selected(tiny_case).sum()} of 600]" in words(at)
    assert at.query_params["select"] == SELECTED
    at.button(key="select-clear").click().run()
    assert not at.error
    assert "No pair of 600 is selected" in words(at)


def test_an_unknown_column_names_the_nearest_one(full):
    at = page("separation")
    at.text_input(key="rule").set_value("similarity overfit > 0.5").run()
    assert any("did you mean similarity" in e.value.replace("\\", "") for e in at.error)


def test_the_box_says_what_is_selected_on_every_page(mapped):
    at = page("separation", select=SELECTED)
    for name in ("neighbours", "review", "map", "separation", "neighbours"):
        at.switch_page(f"pages/{name}.py").run()
        assert at.text_input(key="rule").value == SELECTED, name


def test_what_a_browser_sends_late_is_no_edit_and_no_link(full):
    """The panel of the running job asks every few seconds, with what the browser had when it asked."""
    at = page("separation", select=SELECTED)
    at.text_input(key="rule").set_value("topk").run()
    at.button(key="select-back").click().run()
    at.text_input(key="rule").set_value("topk")
    at.query_params["select"] = "topk"
    at.run()
    assert at.text_input(key="rule").value == SELECTED
    assert at.query_params["select"] == SELECTED


def test_a_run_of_a_fragment_follows_no_link(full, monkeypatch):
    at = page("separation", select=SELECTED)
    monkeypatch.setattr("ubt.ui.query_params.in_fragment", lambda: True)
    at.query_params["select"] = "topk"
    at.run()
    assert at.query_params["select"] == SELECTED
    monkeypatch.setattr("ubt.ui.query_params.in_fragment", lambda: False)
    at.query_params["select"] = "topk"
    at.run()
    assert at.text_input(key="rule").value == "topk"


def test_a_defender_cannot_select_by_the_truth(full):
    at = page("separation", select="poisoned")
    at.toggle(key="reveal").set_value(False).run()
    assert any("cannot be applied" in e.value for e in at.error)
    assert "No pair of 600 is selected" in words(at)
    at.toggle(key="reveal").set_value(True).run()
    at.button(key="select-back").click().run()
    assert not at.error
    assert ":blue-badge[30 of 600]" in words(at)


def test_an_empty_selection_is_said(full):
    for name in ("separation", "neighbours", "review"):
        at = page(name, select="similarity_overfit > 2")
        assert not at.exception
        assert "No pair matches this query" in words(at)


def test_a_view_keeps_the_query_and_opens_again(full, tiny_case):
    at = page("separation", select=SELECTED)
    next(t for t in at.text_input if t.label == "Name").set_value("<b>mine</b>")
    next(b for b in at.button if b.label == "Save").click().run()
    assert not at.exception
    saved = review(full, tiny_case.name).views()
    assert saved["<b>mine</b>"]["rule"] == SELECTED
    at.run()
    at.button(key="drop-<b>mine</b>").click().run()
    assert not review(full, tiny_case.name).views()


def test_thresholds_come_from_the_address_and_odd_ones_do_not_break_it(full):
    at = page("separation", threshold="0.4", fraction="20")
    assert slider(at, "threshold").value == 0.4
    assert "D_susp: lowest 20 %" in html_of(at)
    at = page("separation", threshold="nonsense", fraction="1e9", k="-4")
    assert not at.exception
    assert len(charts(at)) == 3


def test_a_link_to_another_page_moves_the_sliders_too(full):
    at = page("review", fraction="20", k="9")
    at.switch_page("pages/separation.py").run()
    assert [slider(at, name).value for name in ("fraction", "k")] == [20, 9]
    assert "D_susp: lowest 20 %" in html_of(at)


def test_views_that_are_deleted_by_a_double_click_are_one(full, tiny_case, monkeypatch):
    monkeypatch.setattr("ubt.ui.selection.AGAIN", 60)
    kept = review(full, tiny_case.name)
    for name in "ab":
        kept.save_view(name, "topk", {"page": "separation"})
    at = page("separation")
    at.button(key="drop-a").click().run()
    at.button(key="drop-b").click().run()
    assert list(kept.views()) == ["b"]


def test_an_address_that_lags_behind_the_hand_moves_nothing_back_and_a_link_does(full, monkeypatch):
    monkeypatch.setattr("ubt.ui.stale.LAG", 60)
    at = page("separation")
    for hand, address in ((13.0, None), (14.0, "13"), (15.0, "13")):
        slider(at, "fraction").set_value(hand)
        if address:
            at.query_params["fraction"] = address
        at.run()
        assert slider(at, "fraction").value == hand
    at.query_params["fraction"] = "14"
    at.run()
    assert slider(at, "fraction").value == 15
    at.query_params["fraction"] = "20"
    at.run()
    assert slider(at, "fraction").value == 20


def test_curves_are_drawn_when_they_are_opened(full):
    at = page("separation", curves="true")
    assert len(charts(at)) == 5
    assert "AUROC: reference, in D 0." in words(at)


def test_the_papers_figures_open_without_their_cases(cache):
    at = page("separation", papers="true")
    assert not at.exception
    assert "cases of this figure" in words(at)
    assert len(charts(at)) == 1
    tokens = page("tokens", papers="true")
    assert not tokens.exception
    assert "cases of this figure" in words(tokens)
    assert len(tokens.get("image")) == 1
    assert [b.label for b in tokens.get("download_button")] == ["Save"]


def test_without_a_browser_the_page_offers_what_it_can_save(cache, monkeypatch):
    monkeypatch.setattr("ubt.ui.paper_results.chromium", lambda: None)
    kinds = {
        n: next(g for g in page(n, papers="true").get("button_group") if str(g.key).startswith("paper-kind")).options
        for n in ("separation", "tokens")
    }
    assert kinds == {"separation": ["HTML", "CSV"], "tokens": ["PNG", "SVG", "HTML", "CSV"]}


def test_neighbours_of_a_pair_are_those_of_plain_numpy(full, tiny_case):
    pair = tiny_case.artefacts["select"]["topk"]["id"].iloc[0]
    at = page("neighbours", pair=pair)
    scored = tiny_case.artefacts["score_overfit"]
    image, text = np.array(scored["image_features"]), np.array(scored["text_features"])
    ids = tiny_case.artefacts["data"]["pairs"]["id"].to_numpy()
    row = int(np.flatnonzero(ids == pair)[0])
    similarity = (image @ image[row] + text @ text[row]) / 2
    similarity[row] = -9
    nearest = ids[np.argsort(-similarity)[:20]]
    grid = html_of(at)
    assert sum(f'data-pair="{i}"' in grid for i in nearest) >= 19
    drawn = next(c for c in charts(at) if c["layout"]["xaxis"]["title"]["text"] == "rank")
    assert drawn["layout"]["yaxis"]["title"]["text"] == "cosine similarity"
    flagged = set(tiny_case.artefacts["flag"]["flagged"].query("poisoned")["id"]) | set(
        tiny_case.artefacts["select"]["topk"]["id"]
    )
    assert f"**{sum(i in flagged for i in nearest)} of the 20 nearest are flagged**" in words(at)


def test_neighbours_of_a_caption_and_an_unknown_pair(full):
    at = page("neighbours", pair="<script>nosuch")
    assert any("There is no pair" in w.value for w in at.warning)
    at.segmented_control[0].set_value("a caption").run()
    assert not at.exception
    assert "nearest are flagged" in words(at)
    at.text_input(key="query-caption").set_value("").run()
    assert not at.exception


def test_the_map_draws_every_model_and_any_colour(mapped, tiny_case):
    at = page("map", select=SELECTED)
    figure = charts(at)[0]
    assert {t["type"] for t in figure["data"]} == {"scattergl"}
    at.selectbox(key="colour").set_value("cluster").run()
    at.selectbox(key="colour").set_value("similarity_reference").run()
    assert not at.exception
    at = page("map", select="cluster = 0")
    assert ":blue-badge[" in words(at)


def test_a_colour_of_the_address_is_taken_and_an_impossible_one_is_not(mapped):
    at = page("map", colour="flagged")
    assert at.selectbox(key="colour").value == "flagged"
    at.selectbox(key="colour").set_value("poisoned").run()
    at.toggle(key="reveal").set_value(False).run()
    assert not at.exception
    assert "poisoned" not in at.selectbox(key="colour").options
    assert "poisoned" not in json.dumps([t.get("name") for c in charts(at) for t in c["data"]])
    at = page("map", colour="nosuch<b>")
    assert not at.exception
    assert charts(at)


def test_a_query_too_long_for_the_address_is_kept_all_the_same(full, tiny_case):
    ids = tiny_case.artefacts["data"]["pairs"]["id"]
    at = page("separation")
    at.text_input(key="rule").set_value(query.among(ids)).run()
    assert f":blue-badge[{len(ids)} of {len(ids)}]" in words(at)
    assert "select" not in at.query_params
    assert "too long for the address" in words(at)
    at.run()
    assert f":blue-badge[{len(ids)} of {len(ids)}]" in words(at)


def test_a_map_that_is_missing_is_offered_and_not_drawn(full):
    at = page("map")
    assert "Draw the map" in {b.label for b in at.button}
    assert not charts(at)


def test_review_keeps_what_the_browser_sends_once_and_takes_back(full, tiny_case):
    at = page("review")
    kept, told = review(full, tiny_case.name), queue(at)
    first = shown(at)
    assert first == tiny_case.artefacts["select"]["topk"]["id"].iloc[0]
    second = told["pairs"][str(dict(told["window"])[told["following"][0]])]["id"]
    send(at, {"do": "label", "pair": first, "label": "backdoor"}, {"do": "label", "pair": second, "label": "clean"})
    send(at, {"do": "label", "pair": "nobody's", "label": "clean"})
    assert queue(at)["acks"] == {"tab": 3}
    assert [(page, n) for page, n, _ in queue(at)["refused"]] == [("tab", 3)]
    assert kept.version() == 2
    assert kept.labels().set_index("id")["label"].to_dict() == {first: "backdoor", second: "clean"}
    assert "backdoor among the 2 decided of this queue" in html_of(at)
    send(at, {"do": "undo", "of": 2})
    assert kept.labels()["id"].tolist() == [first]
    send(at, {"do": "label", "pair": second, "label": "backdoor"}, pair=second)
    assert shown(at) == second
    assert f"Nearest to {second}" in words(at).replace("\\", "")
    kept.label([second], "unsure", "another session")
    at.run()
    (row,) = (row for row, pair in queue(at)["pairs"].items() if pair["id"] == second)
    assert [said[:2] for said in queue(at)["states"][row]["said"]] == [
        ["backdoor", "this session"],
        ["unsure", "another session"],
    ]
    assert "Labelled differently by two sessions" in words(at)
    kept.label([second], "backdoor", "another session")
    at.run()
    assert "Labelled differently" not in words(at)
    assert "Unlearn with the 2 confirmed" in {b.label for b in at.button}
    at.button(key="confirmed").click().run()
    assert not at.exception
    (made,) = set(full.names()) - {tiny_case.name}
    confirmed = CaseSettings.from_dict(full.record(made).settings).select.confirmed.split("\n")
    assert sorted(confirmed) == sorted([first, second])
    jobs.cancel(full, made)


def test_what_cannot_be_saved_is_said_and_done_when_it_is_sent_again(full, tiny_case, monkeypatch):
    at = page("review")
    pair, kept = shown(at), review(full, tiny_case.name)
    with monkeypatch.context() as patched:
        patched.setattr(Review, "receive", lambda *_: (_ for _ in ()).throw(UbtError("the disk is full")))
        send(at, {"do": "label", "pair": pair, "label": "clean"})
        assert (queue(at)["failed"], queue(at)["acks"], kept.version()) == ("the disk is full", {}, 0)
    send(at, {"do": "label", "pair": pair, "label": "unsure"})
    assert (queue(at)["failed"], queue(at)["acks"]) == ("", {"tab": 2})
    assert (kept.version(), kept.labels()["label"].tolist()) == (2, ["unsure"])
    send(at, {"number": 3, "wrong": 1})
    ((tab, number, why),) = queue(at)["refused"]
    assert (queue(at)["failed"], queue(at)["acks"], tab, number) == ("", {"tab": 3}, "tab", 3)
    assert "expected a number and what was decided" in why


def test_a_bulk_label_is_one_decision_for_the_whole_selection(full, tiny_case):
    at = page("separation", select=SELECTED)
    at.session_state["act"] = True
    at.run()
    at.button(key="bulk-unsure").click().run()
    assert not at.exception
    labels = review(full, tiny_case.name).labels()
    assert len(labels) == selected(tiny_case).sum()
    assert set(labels["label"]) == {"unsure"}
    at = page("review", select="label = unsure")
    assert f"{len(labels)} of 600" in words(at)


@pytest.mark.parametrize("lacks", ["images", "truth", "embedded"])
def test_pages_over_a_case_that_was_imported_and_lacks_something(cache, lacks):
    generate(Store(cache), 5000, width=16, nan=5, **{lacks: False})
    for name in ("overview", "separation", "neighbours", "map", "review", "tokens", "unlearn"):
        at = (
            page(name, select="similarity_overfit > 0.7")
            if name in ("separation", "neighbours", "review")
            else page(name)
        )
        assert not at.exception, name
        assert not [e.value for e in at.error], name
        assert not [b.label for b in at.button if b.label.startswith(("Run", "Resume", "Try again"))], name
        if name == "separation":
            assert "5 pairs have no score" in words(at)
            assert ("an estimated" in words(at)) == (lacks == "truth")
            assert ("no image" in html_of(at)) == (lacks == "images")


def test_a_damaged_file_of_decisions_is_said(full, tiny_case):
    (full.root / "cases" / tiny_case.name / "review.sqlite").write_bytes(b"not a database at all" * 100)
    at = page("review")
    assert not at.exception
    assert at.error
    assert "Traceback" not in json.dumps(words(at))


def test_a_damaged_file_of_decisions_is_set_aside_and_named_on_the_page(full, tiny_case):
    kept = review(full, tiny_case.name)
    ids = tiny_case.artefacts["select"]["topk"]["id"].tolist()
    for pair in ids[:3]:
        kept.label([pair], "backdoor", "ann")
    content = kept.path.read_bytes()
    kept.path.write_bytes(content.replace(f'"pairs": ["{ids[1]}"]'.encode(), f'"pairs": ["{ids[4]}"]'.encode()))
    at = page("review")
    told = words(at) + words(at.run())
    assert "set aside as review" in told
    assert "number 2 could not be read" in told
    assert sorted(kept.labels()["id"]) == sorted([ids[0], ids[2]])


def test_a_label_given_while_the_table_is_made_is_in_the_next(full, tiny_case, monkeypatch):
    """By another session: what is kept of the pairs is kept for all."""
    first, honest = tiny_case.artefacts["data"]["pairs"]["id"].iloc[0], pairs.map_options

    def meanwhile(*given, **more):
        monkeypatch.setattr(pairs, "map_options", honest)
        review(full, tiny_case.name).label([first], "backdoor", "another")
        return honest(*given, **more)

    monkeypatch.setattr(pairs, "map_options", meanwhile)
    view = opened(tiny_case.name)
    assert pairs.table(view).label[0].as_py() is None
    for table in (pairs.table(view), pairs.table_now(view)):
        assert table.label[0].as_py() == "backdoor"


def test_changing_the_case_forgets_its_pair_and_thresholds(full, tiny_case):
    other = generate(full, 1000, width=16)
    at = page("separation", case=tiny_case.name, threshold="0.4", fraction="20")
    at.selectbox(key="case").set_value(other).run()
    assert not at.exception
    assert "D_susp: lowest 1 %" in html_of(at)
    assert slider(at, "threshold").value != 0.4


def test_a_case_older_than_a_group_of_settings_is_not_called_damaged(full, tiny_case):
    record = full.record(tiny_case.name)
    del record.settings["cleanclip"], record.settings["detect"]
    full.save_case(tiny_case.name, record)
    (shown,) = page("review").selectbox(key="case").options
    assert "damaged" not in shown
    assert "seed 0" in shown
