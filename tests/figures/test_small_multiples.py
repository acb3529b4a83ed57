"""Small multiples hold the numbers they were given, on shared axes, and say what is missing."""

import io
import os
import xml.etree.ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ubt.core.chromium import chromium
from ubt.core.errors import UbtError
from ubt.figures.export import WIDTH, chart_page, pictures
from ubt.figures.small_multiples import panels


def frame(*states: str) -> pd.DataFrame:
    lines = []
    for n, state in enumerate(states):
        line = {
            "row": "UBT",
            "panel": f"panel {n} <b>",
            "AUROC in D_susp": None,
            "AUROC over D": None,
            "similarity": None,
            "poisoned": None,
            "state": state,
        }
        if not state:
            line |= {
                "AUROC over D": 0.875,
                "similarity": np.r_[np.full(30, 0.41), np.full(2, 0.81)],
                "poisoned": np.arange(32) >= 30,
            }
        lines.append(line)
    return pd.DataFrame(lines)


def drawn(figure):
    return [trace for trace in figure.data if trace.customdata is not None]


def test_each_panel_shows_shares_of_each_population():
    figure = panels(frame("", "", ""), 2)
    assert [t.name for t in drawn(figure)] == ["clean (30)", "poisoned (2)"] * 3
    assert all(np.isclose(sum(t.y), 100) for t in drawn(figure))
    assert [t.xaxis for t in drawn(figure)] == ["x", "x", "x2", "x2", "x3", "x3"]
    assert [t.name for t in figure.data if t.showlegend is not False] == ["clean", "poisoned"]
    clean, poisoned = drawn(figure)[:2]
    assert clean.line.dash != poisoned.line.dash
    titles = [a.text for a in figure.layout.annotations]
    assert (
        len(
            [
                a
                for a in panels(frame("", "").assign(row=["UBT", "ABL"]), 2).layout.annotations
                if a.text.startswith(("<b>UBT, p", "<b>ABL, p"))
            ]
        )
        == 2
    )
    assert titles[0] == "<b>panel 0 &lt;b&gt;</b><br>AUROC 0.875 over D<br>30 clean, 2 poisoned"


def test_axes_are_shared_and_titled_once():
    figure = panels(frame("", "", "", ""), 2)
    assert len({tuple(axis.range) for axis in figure.select_yaxes()}) == 1
    assert figure.layout.yaxis.range[1] > 100
    assert {tuple(axis.range) for axis in figure.select_xaxes()} == {(0.25, 1)}
    assert {tuple(axis.range) for axis in panels(frame("to do"), 2).select_xaxes()} == {(-1, 1)}
    assert [a.title.text for a in figure.select_xaxes()] == ["", "", "cosine similarity", "cosine similarity"]
    assert [a.title.text for a in figure.select_yaxes()] == ["share of its pairs (%)", "", "share of its pairs (%)", ""]


def test_what_is_missing_says_so():
    figure = panels(frame("to do", "", "failed"), 3)
    said = [a.text for a in figure.layout.annotations]
    assert "not computed yet" in said
    assert "not computed yet<br>(failed)" in said
    assert {t.xaxis for t in drawn(figure)} == {"x2"}
    assert not panels(frame("to do"), 1).data


def test_a_page_needs_nothing_beside_it():
    text = chart_page(panels(frame("to do"), 1), "A <title>", "A & b")
    assert "<h1>A &lt;title&gt;</h1>" in text
    assert "A &amp; b" in text
    assert "<script src" not in text
    assert len(text) > 1e6


def test_chromium_draws_png_and_svg():
    if chromium() is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium, or UBT_CHROMIUM)")
    figure = panels(frame("", "to do"), 2)
    made = pictures(figure, ["PNG", "SVG"])
    with Image.open(io.BytesIO(made["PNG"])) as picture:
        assert (picture.format, picture.size) == ("PNG", (2 * WIDTH, 2 * figure.layout.height))
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    svg = xml.etree.ElementTree.fromstring(made["SVG"])
    assert svg.tag.endswith("svg")
    assert "not computed yet" in "".join(svg.itertext())


def test_a_browser_that_does_not_start_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setenv("UBT_CHROMIUM", "/bin/false")
    with pytest.raises(UbtError, match="Chromium did not draw the figure"):
        pictures(panels(frame("to do"), 1), ["PNG"])
