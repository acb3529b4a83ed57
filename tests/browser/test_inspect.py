"""*Inspect* in a real Chromium: one screen, one selection, thresholds that are dragged, a pair that is looked at."""

import numpy as np
from harness import drag, no_traceback, rule_of, said

from ubt.cli.app_in_browser import page_link, settle
from ubt.pairs.annotations import Review
from ubt.workflows.open_case import open_case

FITS = """() => {
  const main = document.querySelector('[data-testid=stMain]');
  return [main.scrollHeight - main.clientHeight, document.documentElement.scrollWidth - innerWidth];
}"""


def chosen(tab) -> str:
    settle(tab)
    return tab.locator(".ubt-card.chosen").get_attribute("data-pair")


def opened(tab, address: str, case: str) -> None:
    tab.goto(f"{address}/inspect?case={case}")
    tab.locator("[class*=st-key-map-] .nsewdrag").wait_for()
    tab.locator(".ubt-card.chosen").wait_for()
    settle(tab)


def dragged(tab, number: int, by: float) -> None:
    """Drag a threshold's line, by its number, so many pixels to the right."""
    box = tab.locator(".ubt-line").nth(number).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] - 8
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(x + by, y, steps=4)
    tab.mouse.up()
    settle(tab)


def test_all_parts_stand_on_one_screen(app, mapped, tab, tiny_case):
    tab.set_viewport_size({"width": 1440, "height": 900})
    opened(tab, app(mapped.root), tiny_case.name)
    assert tab.evaluate(FITS) == [0, 0]
    assert tab.locator("[data-testid=stPlotlyChart]").count() == 4
    for slider, chart in (("fraction", "similarity_reference"), ("threshold", "similarity_overfit")):
        under, over = (
            tab.locator(f"[class*=st-key-{key}]").first.bounding_box() for key in (f"{slider}-", f"chart-{chart}")
        )
        assert under["x"] <= over["x"] + over["width"] / 2 <= under["x"] + under["width"], slider
    dragged(tab, 0, 25)
    tab.locator(".st-key-as-case button").wait_for()
    settle(tab)
    assert tab.evaluate(FITS) == [0, 0]
    no_traceback(tab)


def test_a_line_is_dragged_or_moved_by_key_and_the_case_with_it_is_one_click_away(app, mapped, tab, tiny_case):
    opened(tab, app(mapped.root), tiny_case.name)
    reference = np.sort(tiny_case.artefacts["score"]["similarity"]["similarity"].to_numpy())
    lines = tab.locator(".ubt-line")
    assert lines.count() == 2
    before = float(lines.nth(0).get_attribute("aria-valuenow"))
    dragged(tab, 0, 25)
    tab.wait_for_function(
        "before => +document.querySelector('.ubt-line:not(.dragged)').getAttribute('aria-valuenow') > before + 1e-6",
        arg=before,
    )
    tab.wait_for_function("new URL(location).searchParams.has('fraction')")
    settle(tab)
    percent = float(tab.evaluate("new URL(location).searchParams.get('fraction')"))
    cut = float(lines.nth(0).get_attribute("aria-valuenow"))
    assert percent > 12
    assert abs(cut - reference[round(6 * percent) - 1]) < 0.001
    tab.get_by_text(f"Run a case with {percent:g} % and k = 4").wait_for()

    threshold = float(lines.nth(1).get_attribute("aria-valuenow"))
    lines.nth(1).focus()
    for _ in range(3):
        tab.keyboard.press("ArrowLeft")
    tab.wait_for_function("new URL(location).searchParams.has('threshold')")
    settle(tab)
    assert abs(float(tab.evaluate("new URL(location).searchParams.get('threshold')")) - (threshold - 0.03)) < 1e-9
    assert rule_of(tab) == ""
    no_traceback(tab)


def test_a_click_looks_at_a_pair_a_key_labels_it_and_the_selection_stays(app, mapped, tab, tiny_case):
    opened(tab, app(mapped.root), tiny_case.name)
    kept = Review(mapped.root / "cases" / tiny_case.name / "review.sqlite")
    drag(tab, "chart-similarity_overfit", [(0.5, 0.3), (0.7, 0.6), (1.0, 0.7)])
    tab.get_by_text("selected;").wait_for()
    brushed, counted = rule_of(tab), said(tab)
    cards = tab.locator(".ubt-grid").first.locator("[data-pair]")
    third = cards.nth(2).get_attribute("data-pair")
    cards.nth(2).click()
    tab.locator(f".ubt-card.chosen[data-pair='{third}']").wait_for()
    assert rule_of(tab) == brushed
    assert tab.locator(".ubt-words span").count() > 0
    tab.keyboard.press("1")
    tab.locator(f".ubt-card:not(.chosen)[data-pair='{third}'] b", has_text="backdoor").first.wait_for()
    assert kept.labels().set_index("id")["label"].dropna().to_dict() == {third: "backdoor"}
    assert chosen(tab) == cards.nth(3).get_attribute("data-pair")
    assert said(tab) == counted
    assert tab.locator(".ubt-ring").is_visible()

    cards.nth(5).click(modifiers=["Shift"])
    tab.wait_for_function("document.querySelector('.st-key-rule input').value.includes(' or id in ')")
    assert rule_of(tab).startswith(f"({brushed}) or id in")
    no_traceback(tab)


def test_the_pointer_on_a_point_shows_its_image_and_large_parts_keep_the_selection(
    app, mapped, tiny_map, tab, tiny_case
):
    opened(tab, app(mapped.root), tiny_case.name)
    box = tab.locator("[class*=st-key-map-] .nsewdrag").bounding_box()
    place = """row => {
      const chart = document.querySelector('[class*=st-key-map-] .js-plotly-plot'), all = chart._fullLayout;
      const trace = chart._fullData.find(t => [...t.customdata || []].includes(row));
      const at = [...trace.customdata].indexOf(row);
      return [all.xaxis.d2p(trace.x[at]), all.yaxis.d2p(trace.y[at])];
    }"""
    xy = np.array(tiny_map[1]["xy_overfit"])
    row = int(np.argmax(np.sort(np.linalg.norm(xy[:, None] - xy[None], axis=2), axis=1)[:, 1]))  # nothing lies near it
    x, y = tab.evaluate(place, row)
    tab.mouse.move(box["x"] + x + 30, box["y"] + y + 30)
    tab.mouse.move(box["x"] + x, box["y"] + y, steps=5)
    tip = tab.locator(".ubt-hover:not([hidden])")
    tip.wait_for()
    assert tip.inner_text().strip() == tiny_case.artefacts["data"]["pairs"]["caption"].iloc[row]
    assert tip.locator("img").count() == 1
    tab.mouse.move(box["x"] - 30, box["y"] - 30)
    tip.wait_for(state="hidden")

    drag(tab, "chart-similarity_overfit", [(0.5, 0.3), (0.7, 0.6), (1.0, 0.7)])
    tab.get_by_text("selected;").wait_for()
    counted, rule = said(tab), rule_of(tab)
    tab.get_by_role("link", name="Map, large").click()
    tab.get_by_role("heading", level=1, name="Map").wait_for()
    assert (said(tab), rule_of(tab)) == (counted, rule)
    no_traceback(tab)


def test_a_term_is_explained_where_it_stands_and_a_caption_is_no_term(app, mapped, tab, tiny_case):
    tab.goto(f"{app(mapped.root)}/separation?case={tiny_case.name}")
    cell = tab.locator(".ubt-table td", has_text="D_topk").first
    cell.wait_for()
    settle(tab)
    box = cell.bounding_box()
    tip = tab.locator(".ubt-term:not([hidden])")
    tab.mouse.move(box["x"] + 22, box["y"] + box["height"] / 2)
    tip.wait_for()
    assert tip.inner_text().startswith("D_topk The k pairs of D_susp")
    tab.mouse.move(40, 20)
    tip.wait_for(state="hidden")
    no_traceback(tab)


COVERED = """[...document.querySelectorAll('.ubt-veil')].filter(veil => {
  const [a, b] = [veil, veil.closest('.js-plotly-plot').querySelector('.nsewdrag')].map(e => e.getBoundingClientRect());
  const off = ['left', 'top', 'width', 'height'].some(side => Math.abs(a[side] - b[side]) > 1);
  return off || !veil.nextElementSibling.matches('.main-svg'); }).map(veil => veil.ariaLabel)"""
"""Veils that do not lie over their chart's plot, below its names and hover labels."""
SHADED = """key => { const c = document.querySelector(`[class*=st-key-${key}] .ubt-veil`);
  const chart = c.closest('.js-plotly-plot'), all = chart._fullLayout;
  const at = (x, y) => c.getContext('2d').getImageData(
    devicePixelRatio * all.xaxis.d2p(x), devicePixelRatio * all.yaxis.d2p(y), 1, 1).data[3];
  const traces = chart._fullData.filter(t => t.customdata);
  return traces.flatMap(t => Array.from(t.customdata, (row, n) => [row, at(t.x[n], t.y[n])])); }"""


def test_a_lasso_veils_what_is_not_selected_and_no_chart_is_drawn_again(app, mapped, tab, tiny_case):
    opened(tab, app(mapped.root), tiny_case.name)
    before = tab.evaluate("window.charts = [...document.querySelectorAll('.js-plotly-plot')]; window.charts.length")
    assert tab.locator(".ubt-veil").count() == 0
    drag(tab, "map-overfit", [(0.02, 0.02), (0.98, 0.02), (0.98, 0.6), (0.02, 0.6)])
    tab.locator("[class*=st-key-map-overfit] .ubt-veil").wait_for(state="attached")
    settle(tab)
    selected = set(open_case(tiny_case.name, mapped.root).select(rule_of(tab)).index)
    assert 0 < len(selected) < 600
    veil = tab.locator("[class*=st-key-map-overfit] .ubt-veil")
    assert int(veil.get_attribute("data-selected")) == len(selected)
    assert tab.locator(".ubt-veil").count() == 4
    shades = dict(tab.evaluate(SHADED, "map-overfit"))
    assert [shades[row] for row in selected] == [0] * len(selected)
    veiled = [alpha > 150 for row, alpha in shades.items() if row not in selected]
    assert sum(veiled) > len(veiled) / 2
    assert tab.evaluate(COVERED) == []
    tab.set_viewport_size({"width": 1500, "height": 900})
    settle(tab)
    assert tab.evaluate(COVERED) == []
    labels = tab.evaluate("[...document.querySelectorAll('.ubt-veil')].map(e => e.ariaLabel)")
    assert all(label.startswith("Selected: ") for label in labels)
    same = "window.charts.every(c => c.isConnected) && document.querySelectorAll('.js-plotly-plot').length"
    assert tab.evaluate(same) == before
    tab.locator("[class*=st-key-map-overfit] .nsewdrag").dblclick(position={"x": 5, "y": 5})
    tab.locator(".ubt-veil").first.wait_for(state="detached")
    assert rule_of(tab) == ""
    no_traceback(tab)


def test_what_one_part_changes_every_part_that_shows_it_follows(app, mapped, tab, tiny_case):
    opened(tab, app(mapped.root), tiny_case.name)
    cards = tab.locator(".ubt-grid").first.locator("[data-pair]")
    box = tab.locator(".st-key-rule input")
    box.fill("rank <= 3")
    box.press("Enter")
    tab.locator("[class*=st-key-map-overfit] .ubt-veil[data-selected='3']").wait_for(state="attached")
    tab.wait_for_function("document.querySelectorAll('.ubt-grid')[0].querySelectorAll('[data-pair]').length === 3")
    selected = set(open_case(tiny_case.name, mapped.root).select("rank <= 3")["id"])
    assert {card.get_attribute("data-pair") for card in cards.all()} == selected

    tab.get_by_role("button", name="Act", exact=True).click()
    tab.get_by_role("button", name="Label unsure").click()
    labelled = "[...document.querySelectorAll('.ubt-grid')[0].querySelectorAll('[data-pair] b')].map(b => b.innerText)"
    tab.wait_for_function(f"{labelled}.filter(label => label.includes('unsure')).length === 3")
    tab.keyboard.press("Escape")
    box.fill("label = unsure")
    box.press("Enter")
    tab.wait_for_function("document.querySelector('.st-key-rule input').value === 'label = unsure'")
    settle(tab)
    assert said(tab).startswith("3 of 600")
    cards.first.click()
    tab.locator(".ubt-grid").first.locator(".ubt-card.chosen").wait_for()
    settle(tab)
    tab.keyboard.press("2")
    tab.wait_for_function("document.querySelector('.st-key-said').innerText.startsWith('2 of 600')")

    tab.get_by_role("button", name="Back", exact=True).click()
    tab.wait_for_function("document.querySelectorAll('.ubt-grid')[0].querySelectorAll('[data-pair]').length === 3")
    assert rule_of(tab) == "rank <= 3"
    no_traceback(tab)


def test_from_the_start_words_neighbours_labels_exports_and_other_thresholds_are_few_clicks_away(
    app, mapped, tab, tiny_case
):
    start = f"{app(mapped.root)}/?case={tiny_case.name}"

    def begun() -> None:
        tab.goto(start)
        settle(tab)
        tab.evaluate("window.clicks = 0; addEventListener('click', e => { window.clicks += e.isTrusted; }, true)")

    begun()
    page_link(tab, "Inspect").click()
    tab.locator(".ubt-card.chosen").wait_for()
    settle(tab)
    assert tab.locator(".ubt-words span").count() > 0, "a flagged pair's words"
    assert tab.locator(".ubt-grid").nth(1).locator(".ubt-card").count() == 6, "its neighbours"
    tab.keyboard.press("3")
    tab.locator(".ubt-grid").first.locator(".ubt-card b", has_text="unsure").wait_for()
    assert tab.evaluate("window.clicks") == 1
    dragged(tab, 0, 25)
    tab.locator(".st-key-as-case button").wait_for()
    assert tab.evaluate("window.clicks") <= 2, "the third click runs the case"

    begun()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Flagged pairs (CSV)").click()
    assert download.value.suggested_filename == f"flagged-{tiny_case.name}.zip"
    assert tab.evaluate("window.clicks") <= 2
    no_traceback(tab)
