"""Trade-off, curves and times hold the figures they were given."""

import numpy as np
import pandas as pd

from ubt.defenses import DEFENSES
from ubt.figures import tradeoff
from ubt.figures.alt_text import described
from ubt.reports.paper.compare import METHODS


def frame(**cells: tuple[float, float]) -> pd.DataFrame:
    """Cells of one case: method to CA and ASR."""
    rows = [
        {
            "case": "a",
            "method": m,
            "defence": METHODS[m].title,
            "possible": METHODS[m].possible,
            "CA": ca,
            "ASR": asr,
            "RA": 50.0,
            "target recall": 90.0,
            "KL": None,
            "natural ASR": 4.0,
            "state": "",
        }
        for m, (ca, asr) in cells.items()
    ]
    return pd.DataFrame(rows)


def test_the_front_is_what_nothing_beats():
    r = np.random.default_rng(0)
    asr, ca = r.integers(0, 12, 60).astype(float), r.integers(80, 92, 60).astype(float)
    better = (
        (asr[None] <= asr[:, None])
        & (ca[None] >= ca[:, None])
        & ((asr[None] < asr[:, None]) | (ca[None] > ca[:, None]))
    )
    beaten = better.any(axis=1)
    found = tradeoff.front(asr, ca)
    assert {(asr[i], ca[i]) for i in found} == {(a, c) for a, c, b in zip(asr, ca, beaten, strict=True) if not b}
    assert len({(asr[i], ca[i]) for i in found}) == len(found)
    assert not len(tradeoff.front(np.array([]), np.array([])))


def test_the_scatter_holds_every_cell_and_its_front_what_a_defender_can_have():
    cells = frame(
        clean=(99, 4), poisoned=(98, 100), ubt=(97, 1), cleanclip=(90, 9), retrain=(98.5, 0), abl=(np.nan, np.nan)
    )
    figure = tradeoff.scatter(cells, {"a": "<b>case</b>"})
    marks = {t.customdata[0][1]: t for t in figure.data if t.mode == "markers"}
    assert set(marks) == {"clean", "poisoned", "ubt", "cleanclip", "retrain"}
    assert (marks["cleanclip"].x[0], marks["cleanclip"].y[0]) == (3, 90)
    assert {m for m, t in marks.items() if t.marker.symbol.endswith("-open")} == {"clean", "retrain"}
    assert "&lt;b&gt;case" in marks["ubt"].hovertemplate
    assert "KL" not in marks["ubt"].hovertemplate
    assert all(
        f in marks["ubt"].hovertemplate for f in ("CA 97.00 %", "ASR 1.00 %", "RA 50.00 %", "target recall 90.00 %")
    )
    (line,) = (t for t in figure.data if t.mode == "lines")
    assert line.line.shape == "hv"
    assert (list(line.x), list(line.y)) == ([1, 10, 10], [97, 98, 98])
    assert figure.layout.shapes[0].x0 == 2
    assert "natural 4.00 %" in figure.layout.annotations[0].text
    said = {a.text for a in figure.layout.annotations if a.name == "label"}
    assert said == {*(METHODS[m].title for m in marks), "Pareto front"}
    plain = tradeoff.scatter(cells, {"a": "case"}, stretched=False)
    assert next(t for t in plain.data if t.name == "CleanCLIP").x[0] == 9
    assert plain.layout.xaxis.title.text == "ASR (%)"


def test_marks_that_coincide_are_drawn_apart_each_with_a_line_to_its_place():
    same = {m: (97.2, 16.0) for m in ("poisoned", "ubt", "ubt_published")}
    figure = tradeoff.scatter(frame(**same, clean=(99, 4)), {"a": "case"})
    marks = {t.customdata[0][1]: (t.x[0], t.y[0]) for t in figure.data if t.mode == "markers"}
    assert len(set(marks.values())) == 4
    assert marks["poisoned"] == (4, 97.2)
    leads = [t for t in figure.data if t.mode == "lines" and t.name != "Pareto front"]
    assert {(t.x[0], t.y[0]) for t in leads} == {(4, 97.2)}
    assert {(t.x[1], t.y[1]) for t in leads} == {marks["ubt"], marks["ubt_published"]}
    assert all("ASR 16.00 %" in t.meta for t in figure.data if (t.name or "").startswith("UBT"))
    assert described(figure).count("UBT, as published") == 1


def test_cases_are_panels_and_a_defence_looks_the_same_in_each():
    both = pd.concat([frame(ubt=(97, 1), abl=(90, 80)).assign(case=c) for c in "abcd"])
    figure = tradeoff.scatter(both, {c: f"case {c}" for c in "abcd"})
    ours = [t for t in figure.data if t.name == "UBT, ours"]
    assert len({t.xaxis for t in ours}) == 4
    assert len({(t.marker.color, t.marker.symbol) for t in ours}) == 1
    assert not figure.layout.showlegend
    assert {t.customdata[0][0] for t in ours} == set("abcd")


def test_methods_differ_in_more_than_hue():
    looks = {m: tradeoff.look(m) for m in METHODS}
    assert set(looks) == {*tradeoff.LOOKS, *(name for name, defense in DEFENSES.items() if defense.look)}
    assert len({(symbol, METHODS[m].possible) for m, (_, symbol, _) in looks.items()}) == len(looks)
    assert len(tradeoff.look("one that came later")) == 3


def test_curves_and_times():
    seen = pd.DataFrame(
        {
            "method": ["ubt"] * 2 + ["abl"] * 2,
            "defence": ["UBT, ours"] * 2 + ["ABL"] * 2,
            "step": [0, 40, 0, 80],
            "share": [0, 100, 0, 100],
            "ca": [98, 97, 98, 90],
            "asr": [100, 1, 100, 80],
        }
    )
    figure = tradeoff.curves(seen)
    assert [list(t.y) for t in figure.data] == [[98, 97], [100, 1], [98, 90], [100, 80]]
    assert figure.data[0].line.dash != figure.data[2].line.dash
    assert figure.data[3].customdata.tolist() == [[0, 80], [80, 80]]
    took = pd.DataFrame(
        [
            ("ubt", "UBT, ours", "score", "defence", 5.0),
            ("ubt", "UBT, ours", "poison", "training", 50.0),
            ("ubt", "UBT, ours", "unlearn", "defence", 20.0),
        ],
        columns=["method", "defence", "stage", "part", "seconds"],
    )
    bars = tradeoff.times(took)
    assert [(t.text, t.x[0]) for t in bars.data] == [("poison", 50), ("score", 5), ("unlearn", 20)]
    assert bars.data[0].marker.pattern.shape
    assert not bars.data[1].marker.pattern.shape
    assert bars.layout.annotations[0].text == " 75 s"
