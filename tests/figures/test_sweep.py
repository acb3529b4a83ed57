"""Heat-maps and lines hold the numbers of their cells, mark the right ones, and say what is missing."""

import numpy as np
import pandas as pd

from ubt import figures
from ubt.figures import sweep

MARKS = {"default": "the default", "paper": "the paper's choice"}


def frame(**changes) -> pd.DataFrame:
    """Two by three cells; the last failed."""
    table = [
        {
            "attack": "badnet",
            "rate": rate,
            "k": k,
            "ASR": rate + k,
            "ASR spread": None,
            "CA": 90.0,
            "CA spread": None,
            "seeds": 1,
            "state": "",
            "default": (rate, k) == (10, 2),
            "paper": (rate, k) == (20, 1),
        }
        | changes
        for rate in (10, 20)
        for k in (1, 2, 4)
    ]
    table[-1] |= {"ASR": None, "CA": None, "seeds": 0, "state": "failed <b>"}
    return pd.DataFrame(table)


def maps(figure) -> list:
    return [t for t in figure.data if t.type == "heatmap"]


def test_cells_hold_their_numbers_and_say_them():
    asr, ca = maps(sweep.heat(frame(), "rate", "k", {"ASR": False, "CA": True}, MARKS))
    assert np.array_equal(asr.z, [[11, 12, 14], [21, 22, np.nan]], equal_nan=True)
    assert asr.text.tolist() == [["11.00", "12.00", "14.00"], ["21.00", "22.00", ""]]
    assert (asr.reversescale, ca.reversescale) == (True, False)
    assert (asr.zmin, asr.zmax) == (11, 22)
    assert (ca.zmin, ca.zmax) == (87.5, 92.5)
    (spread,) = maps(
        sweep.heat(frame(**{"ASR spread": 0.5, "seeds": 2, "state": "1 failed"}), "rate", "k", {"ASR": False}, MARKS)
    )
    assert spread.text[0][0] == "11.00<br>± 0.50<br>(1 failed)"


def test_axes_have_titles_and_the_settings_values():
    figure = sweep.heat(frame(), "rate", "k", {"ASR": False}, MARKS)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("k", "rate")
    assert list(figure.layout.xaxis.ticktext) == ["1", "2", "4"]
    assert list(figure.layout.yaxis.ticktext) == ["10", "20"]


def test_marks_stand_at_the_right_cell_of_every_map():
    figure = sweep.heat(frame(), "rate", "k", {"ASR": False, "CA": True}, MARKS)
    for said, centre in (("the default", (1, 0)), ("the paper's choice", (0, 1))):
        shapes = [s for s in figure.layout.shapes if s.name == said]
        assert {((s.x0 + s.x1) / 2, (s.y0 + s.y1) / 2) for s in shapes} == {centre}
        assert {s.xref for s in shapes} == {"x", "x2"}
        assert said in {t.name for t in figure.data}
    dashes = {
        name: {s.line.dash for s in figure.layout.shapes if s.name == name and s.line.color == figures.INK}
        for name in MARKS.values()
    }
    assert not set.intersection(*dashes.values())
    assert not sweep.heat(frame(paper=False), "rate", "k", {"ASR": False}, {"paper": "x"}).layout.shapes


def test_a_cell_without_a_number_says_why():
    figure = sweep.heat(frame(), "rate", "k", {"ASR": False}, MARKS)
    (why,) = [a for a in figure.layout.annotations if a.text == "failed &lt;b&gt;"]
    assert (why.x, why.y) == (2, 1)
    assert all(np.isnan(t.z).all() for t in maps(sweep.heat(frame(ASR=None), "rate", "k", {"ASR": False}, MARKS)))


def test_lines_before_and_after_with_spread_and_marks():
    cells = frame(**{"ASR spread": 0.25}).tail(3).assign(default=[False, True, False], paper=[False, True, False])
    both = pd.concat([cells, cells.assign(attack="sig")])
    figure = sweep.lines(both, "k", {"ASR": {"M_bd": "CA", "after": "ASR"}}, {"ASR": "percent"}, MARKS)
    before, after = figure.data[:2]
    assert (before.name, after.name) == ("M_bd", "after")
    assert list(after.x) == [0, 1, 2]
    assert list(figure.layout.xaxis.ticktext) == ["1", "2", "4"]
    assert np.array_equal(after.y, [21, 22, np.nan], equal_nan=True)
    assert list(after.error_y.array) == [0.25] * 3
    assert after.error_y.visible
    assert not before.error_y.visible
    assert before.line.dash != after.line.dash
    assert before.marker.symbol != after.marker.symbol
    assert {t.yaxis for t in figure.data} == {"y", "y2"}
    low, high = figure.layout.yaxis.range
    assert low < 20.75 < 90 < high
    assert {s.x0 for s in figure.layout.shapes} == {1}
    texts = [a.text.strip() for a in figure.layout.annotations]
    assert texts.count("the default, the paper's choice") == 2
    assert [a.x for a in figure.layout.annotations if a.text == "failed &lt;b&gt;"] == [2, 2]
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("k", "percent")


def test_noise_is_no_cliff():
    cells = frame(ASR=99.9).head(3)
    low, high = sweep.lines(cells, "k", {"ASR": {"M_bd": "ASR"}}, {"ASR": "percent"}, {}).layout.yaxis.range
    assert (low, high) == (97.4, 102.4)
    assert (
        sweep.lines(frame(ASR=None), "k", {"ASR": {"M_bd": "ASR"}}, {"ASR": "percent"}, {}).layout.yaxis.range is None
    )
