"""The workbench in a real Chromium: brush, lasso, click, label by key, undo, follow a link, export; two browsers at
once.
"""

import io
import json
import zipfile

import numpy as np
import pandas as pd
from harness import drag, go, no_traceback, press, rule_of, said
from matplotlib.path import Path as Outline
from playwright.sync_api import expect

from ubt.cli.app_in_browser import settle
from ubt.cli.bench_runs.review import compared, press_keys
from ubt.pairs import query
from ubt.pairs.annotations import Review
from ubt.pairs.events import LABELS


def exported(tab, kind: str) -> tuple[pd.DataFrame, dict]:
    tab.get_by_role("button", name="Export", exact=True).click()
    with tab.expect_download() as download:
        tab.locator(f".st-key-export-{kind} button").click()
    with zipfile.ZipFile(download.value.path()) as z:
        name = next(n for n in z.namelist() if n.startswith("pairs."))
        read = {"CSV": pd.read_csv, "parquet": pd.read_parquet, "JSONL": lambda f: pd.read_json(f, lines=True)}[kind]
        found = read(io.BytesIO(z.read(name))), json.loads(z.read("about.json"))
    tab.keyboard.press("Escape")
    return found


def exported_as_tuned(tab, tiny_case, brushed: set[str]) -> set[str]:
    """Move the sliders of fraction and k, and export what they say; D_susp as tuned."""
    for name, said_then in (("fraction", "D_susp: lowest 14 %"), ("k", "D_topk: first 8")):
        tab.locator(f"[class*=st-key-{name}-] input[type=range]").focus()
        for _ in range(4):
            tab.keyboard.press("ArrowRight")
        tab.get_by_text(said_then).wait_for()
        settle(tab)
    frame, about = exported(tab, "CSV")
    assert about["tuned"] == {"split.fraction": 0.14, "select.k": 8, "threshold": about["tuned"]["threshold"]}
    assert (about["address"]["fraction"], about["address"]["k"]) == ("14", "8")
    assert about["settings"]["select"]["k"] == 4
    reference = tiny_case.artefacts["score"]["similarity"]["similarity"].to_numpy()
    ids = tiny_case.artefacts["data"]["pairs"]["id"].to_numpy()
    tuned = set(ids[np.argsort(reference, kind="stable")[:84]])
    assert set(frame["id"][frame["suspicious_tuned"]]) == tuned & brushed
    assert set(frame["id"][frame["topk_tuned"]]) > set(frame["id"][frame["topk"]])
    assert {"suspicious_tuned", "topk_tuned", "flagged_tuned"} <= set(about["columns"])
    return tuned


def test_brush_lasso_click_and_link_say_the_same_ids_and_leave_as_files(app, mapped, tiny_map, tab, chrome, tiny_case):
    store, (_, made) = mapped, tiny_map
    ids = tiny_case.artefacts["data"]["pairs"]["id"].to_numpy()
    overfit = tiny_case.artefacts["score_overfit"]["similarity"]["similarity"].to_numpy(np.float32)
    address = app(store.root)
    tab.goto(f"{address}/separation?case={tiny_case.name}")
    tab.locator(".st-key-chart-similarity_overfit .nsewdrag").wait_for()
    settle(tab)
    told = [chart.get_attribute("aria-label") for chart in tab.locator("[data-testid=stPlotlyChart]").all()]
    assert len(told) == 3
    assert all("clean (570): from" in text and "poisoned (30): from" in text for text in told)
    fills = "[...new Set([...document.querySelectorAll('.js-plotly-plot text')].map(e => getComputedStyle(e).fill))]"
    assert tab.evaluate(fills) == [tab.locator("h1").evaluate("e => getComputedStyle(e).color")]
    drag(tab, "chart-similarity_overfit", [(0.8, 0.3), (0.9, 0.6), (1.0, 0.7)])
    tab.get_by_text("selected;").wait_for()
    low, _, high = rule_of(tab).removeprefix("similarity_overfit between ").partition(" and ")
    brushed = set(ids[(overfit >= float(low)) & (overfit <= float(high))])
    assert 0 < len(brushed) < 600
    assert f"{len(brushed)} of 600 selected" in said(tab)
    for kind in ("CSV", "JSONL", "parquet"):
        frame, about = exported(tab, kind)
        assert set(frame["id"]) == brushed
        assert about["rule"] == rule_of(tab)
        assert about["settings"]["data"]["pairs"] == 600
        assert about["address"].items() >= {"case": tiny_case.name, "select": about["rule"], "k": "4"}.items()
        assert about["tuned"]["split.fraction"] == about["settings"]["split"]["fraction"] == 0.12
        assert "suspicious_tuned" not in frame
    tuned = exported_as_tuned(tab, tiny_case, brushed)
    first = said(tab)

    other = chrome.new_context(viewport={"width": 1920, "height": 1080})
    second = other.new_page()
    second.goto(tab.url)
    second.get_by_text("selected;").wait_for()
    assert said(second) == first
    assert rule_of(second) == rule_of(tab)
    other.close()

    go(tab, "Map")
    tab.locator(".st-key-map-overfit .nsewdrag").wait_for()
    assert said(tab) == first
    drag(tab, "map-overfit", [(0.05, 0.05), (0.95, 0.05), (0.95, 0.55), (0.05, 0.55), (0.05, 0.05)])
    tab.wait_for_function("document.querySelector('.st-key-rule input').value.startsWith('map_joint_overfit inside')")
    xy = np.array(made["xy_overfit"])
    corners = [tuple(map(float, p.split())) for p in rule_of(tab).split("(", 1)[1].rstrip(")").split(",")]
    outlined = set(ids[Outline(corners).contains_points(xy)])
    assert 0 < len(outlined) < 600
    assert f"{len(outlined)} of 600 selected" in said(tab)
    frame, about = exported(tab, "parquet")
    assert set(frame["id"]) == outlined
    assert about["tuned"]["split.fraction"] == 0.14
    assert set(frame["id"][frame["suspicious_tuned"]]) == tuned & outlined

    card = tab.locator(".ubt-card[data-pair]").first
    pair = card.get_attribute("data-pair")
    card.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.querySelector('.st-key-rule input').value.startsWith('id in')")
    assert "1 of 600 selected" in said(tab)
    assert rule_of(tab) == query.among([pair])
    press(tab, "Back")
    tab.wait_for_function("document.querySelector('.st-key-rule input').value.startsWith('map_joint')")
    assert f"{len(outlined)} of 600 selected" in said(tab)
    box = tab.locator(".st-key-rule input")
    box.fill("topk and similarity_ov")
    assert tab.locator("#ubt-words-rule option").evaluate_all("all => all.map(o => o.value)") == [
        "topk and similarity_overfit"
    ]
    no_traceback(tab)


def shown(tab) -> str:
    """Id of the pair in review."""
    return tab.locator(".ubt-review").get_attribute("data-pair")


def saved(tab) -> str:
    """Wait until the server has confirmed every decision; what the page then says."""
    tab.locator(".ubt-review-saved", has_text="All decisions are saved.").wait_for()
    return tab.locator(".ubt-review-saved").inner_text()


def given(kept: Review) -> dict[str, str]:
    return kept.labels().dropna(subset="label").set_index("id")["label"].to_dict()


def pressed_in_fast_sequence(tab, kept: Review, keys: str, labels: dict[str, str]) -> dict[str, str]:
    """Press keys without a wait, each about the pair then on the screen; returns the labels that follow."""
    labels, decided = dict(labels), [*labels]
    for key in keys:
        pair = shown(tab)
        tab.keyboard.press(key)
        if key in "123":
            labels[pair] = LABELS[int(key) - 1]
            decided.append(pair)
        elif key == "z":
            last = decided.pop()
            labels.pop(last)
            assert shown(tab) == last
    saved(tab)
    assert given(kept) == labels
    return labels


def contradicted(tab, second, kept: Review, first: str, labels: dict[str, str]) -> None:
    """Two sessions label a pair differently: both are told, and each takes back its own alone."""
    assert shown(second) == first
    second.keyboard.press("1" if labels[first] != "backdoor" else "2")
    second.keyboard.press("k")
    saved(second)
    text = second.locator(".ubt-review-contradiction")
    expect(text).to_contain_text(f"another session said {labels[first]}")
    expect(text).to_contain_text("this session said")
    tab.keyboard.press("z")
    assert "Undone: 1 decision." in saved(tab)
    assert given(kept)[first] != labels[first]
    assert len(given(kept)) == len(labels) - 1
    second.keyboard.press("z")
    saved(second)
    assert given(kept)[first] == labels[first]


def agreed(second, kept: Review, first: str) -> None:
    """Who gives a pair the label that another session gave it is recorded as well, and can take it back."""
    assert shown(second) == first
    before = kept.labels().set_index("id").loc[first]
    for key, changed in ((str(LABELS.index(before["label"]) + 1), True), ("z", False)):
        second.keyboard.press(key)
        saved(second)
        now = kept.labels().set_index("id").loc[first]
        assert now["label"] == before["label"]
        assert (now["who"] != before["who"]) == changed


def by_keyboard_alone(tab, kept: Review) -> str:
    """Buttons have names, in one row at 1280 px; a note is typed and kept; no answer steals the focus."""
    bar = tab.get_by_role("group", name="Decide on the pair shown").get_by_role("button")
    names = ["Backdoor", "Clean", "Unsure", "No decision", "Undo", "Previous", "Next"]
    for button, name in zip(bar.all(), names, strict=True):
        expect(button).to_have_accessible_name(name)
    assert len({button.bounding_box()["y"] for button in bar.all()}) == 1
    pair = shown(tab)
    tab.get_by_role("textbox", name="Note", exact=True).fill("odd, 1 2 3 z")
    assert shown(tab) == pair
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Unsure").focus()
    tab.keyboard.press("Enter")
    saved(tab)
    assert shown(tab) != pair
    settle(tab)
    assert tab.evaluate("document.activeElement.innerText").startswith("Unsure")
    assert kept.labels().set_index("id").loc[pair, ["label", "note"]].tolist() == ["unsure", "odd, 1 2 3 z"]
    return pair


def test_two_browsers_label_at_the_speed_of_the_screen_and_nothing_goes_astray(app, full, tab, chrome, tiny_case):
    kept = Review(full.root / "cases" / tiny_case.name / "review.sqlite")
    address = app(full.root)
    other = chrome.new_context(viewport={"width": 1280, "height": 900})
    second = other.new_page()
    second.set_default_timeout(60_000)
    for t, rule in ((tab, "similarity_reference < 2"), (second, "similarity_reference > -2")):
        t.goto(f"{address}/review?case={tiny_case.name}&select={rule}")
        t.locator(".ubt-review").wait_for()
    first = shown(tab)
    wanted, _ = press_keys(tab, 60)
    saved(tab)
    assert len(wanted) == 60
    assert given(kept) == wanted
    assert compared(kept, wanted | {first: "none"}) == {"wrong": 1, "lost": 0}
    expect(tab.locator("[data-testid=stProgress]", has_text="60 of 600")).to_be_visible()
    labels = pressed_in_fast_sequence(tab, kept, "12zzz3jk12z", wanted)
    contradicted(tab, second, kept, first, labels)
    agreed(second, kept, first)
    other.close()
    pair = by_keyboard_alone(tab, kept)

    go(tab, "Separation")
    go(tab, "Review")
    tab.locator(".ubt-review").wait_for()
    before = given(kept)
    tab.keyboard.press("z")
    assert "Undone: 1 decision." in saved(tab)
    assert given(kept) == {p: label for p, label in before.items() if p != pair}
    assert shown(tab) == pair
    tab.keyboard.press("1")
    tab.keyboard.press("2")
    tab.reload()  # at once: what was not confirmed is sent again
    tab.locator(".ubt-review").wait_for()
    settle(tab)
    assert len(given(kept)) == len(before) + 1
    no_traceback(tab)
