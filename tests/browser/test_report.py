"""A report in a real Chromium without a network: nothing runs, nothing is fetched, and it prints."""

import numpy as np

from ubt.figures.similarity import histogram
from ubt.reports.case_report import Card, Cards, Chart, Folded, Report, Said, Section, Table
from ubt.reports.case_report.html import page

HOSTILE = (
    '"><script>document.title = "ran"</script><img src="http://example.invalid/x.png" onerror="document.title ='
    ' 1">\u202e'
)


def test_it_opens_offline_and_runs_nothing(chrome, tmp_path):
    score = np.random.default_rng(0).random(200)
    card = Card(np.zeros((48, 48, 3), np.uint8), [(HOSTILE, 0.5, True)], [HOSTILE], True)
    blocks = [
        Said(HOSTILE, "bad"),
        Chart(HOSTILE, histogram(score, score > 0.9)),
        Table([HOSTILE], [[HOSTILE]]),
        Cards([card]),
        Folded(HOSTILE, [Said(HOSTILE)]),
    ]
    (tmp_path / "report.html").write_text(page(Report(HOSTILE, HOSTILE, [Section(HOSTILE, blocks)])))
    context = chrome.new_context(offline=True, viewport={"width": 1280, "height": 720}, color_scheme="dark")
    tab, asked, told = context.new_page(), [], []
    tab.on("request", lambda r: asked.append(r.url))
    tab.on("dialog", lambda d: told.append(d.message))
    tab.on("console", lambda m: told.append(m.text))
    tab.goto((tmp_path / "report.html").as_uri())
    assert [url for url in asked if not url.startswith("data:")] == [(tmp_path / "report.html").as_uri()]
    assert not told
    assert tab.title().startswith('">')
    assert "<script>" in tab.get_by_role("heading", level=1).inner_text()
    assert tab.get_by_role("img").first.get_attribute("aria-label").count("highest") == 2
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.tagName") == "A"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.querySelector('details').open")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280
    assert tab.evaluate("getComputedStyle(document.querySelector('svg')).color") == "rgb(228, 234, 240)"
    assert tab.pdf(format="A4").startswith(b"%PDF")
    context.close()
