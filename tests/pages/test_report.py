"""The report shows what the pages show, and is a button away."""

import json

from harness import charts, html_of, page, words

from ubt.reports.case_report import Chart, Table
from ubt.reports.case_report.contents import report

WHERE = {
    "Score and displacement of D_topk": "overview",
    "CA, ASR, RA and target recall of every model": "overview",
    "Clean reference": "separation",
    "Poisoned model (M_bd)": "separation",
    "Overfitted model": "separation",
    "While unlearning, purified, ours": "unlearn",
    "While unlearning, purified, published": "unlearn",
    "Change of recall of the classes that changed": "unlearn",
    "How many captions of D_topk say and keep each word": "tokens",
}


def test_its_figures_and_counts_are_the_apps(full, tiny_case):
    told = report(full, tiny_case.name)
    opened = {name: page(name, case=tiny_case.name) for name in set(WHERE.values())}
    drawn = {name: [chart["data"] for chart in charts(at)] for name, at in opened.items()}
    mine = {
        b.title: json.loads(b.figure.to_json())["data"] for s in told.sections for b in s.blocks if isinstance(b, Chart)
    }
    assert set(mine) == set(WHERE)
    for title, data in mine.items():
        assert data in drawn[WHERE[title]], title
    for section, name in (("Verdict", "overview"), ("Before and after", "overview"), ("Separation", "separation")):
        table = next(b for s in told.sections if s.title == section for b in s.blocks if isinstance(b, Table))
        shown = html_of(opened[name])
        assert all(f">{cell}</td>" in shown for row in table.rows for cell in row[1:]), section


def test_the_overview_hands_it_over(full, tiny_case):
    at = page("overview", case=tiny_case.name)
    at.button(key="report").click().run()
    assert not at.exception
    assert "limits" in words(at)
    assert len(at.get("download_button")) >= 2
