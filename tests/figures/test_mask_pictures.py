"""Figs. 5 and 8 as pictures: every format, text that means harm or has no letters, and images that are not drawn
twice.
"""

import dataclasses
import io
import xml.etree.ElementTree

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from ubt.figures import mask_pictures


@pytest.mark.filterwarnings("ignore:Glyph")
def test_figures_5_and_8_are_saved_in_every_format():
    image, heat = np.zeros((48, 48, 3), np.uint8), np.linspace(0, 1, 48 * 48).reshape(48, 48)
    texts = ["a", "$x_1$", "<script>alert(1)</script>", "香蕉", "🍌", "\ufffe\x01", "W" * 300] + ["word"] * 40
    rows = [
        mask_pictures.Explained(
            image, heat, heat > 0.3, t, np.linspace(0, 1, len(t)), np.ones(len(t), bool), np.zeros(len(t), bool)
        )
        for t in (texts, ["banana"], [])
    ]
    for draw, threshold in ((mask_pictures.words_figure, 0.1), (mask_pictures.heat_figure, 0.3)):
        for blocks in (
            [mask_pictures.Block(rows)],
            [mask_pictures.Block(rows[:1], "one", "M_bd"), mask_pictures.Block([], "one", "other", "none")],
            [mask_pictures.Block([])],
            [],
        ):
            with Image.open(io.BytesIO(mask_pictures.saved(draw(blocks, threshold), "PNG"))) as picture:
                assert picture.format == "PNG"
        svg, page = (
            mask_pictures.saved(draw([mask_pictures.Block(rows)], threshold), kind).decode() for kind in ("SVG", "HTML")
        )
        xml.etree.ElementTree.fromstring(svg)
        assert "<script" not in svg + page
        assert page.startswith("<!doctype html>")
    assert "banana" in mask_pictures.saved(mask_pictures.words_figure([mask_pictures.Block(rows)], 0.1), "SVG").decode()


@pytest.mark.filterwarnings("ignore:Glyph")
def test_every_word_of_figure_5_lies_in_its_column():
    texts = ["W" * n for n in (3, 8, 60, 200)] + ["香蕉"] * 30 + ["word"] * 40
    some = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8)), np.zeros((8, 8), bool)
    row = mask_pictures.Explained(
        *some, texts, np.ones(len(texts)), np.ones(len(texts), bool), np.zeros(len(texts), bool)
    )
    cut = mask_pictures.Explained(*some, ["seen", "beyond"], np.ones(2), np.ones(2, bool), np.array([False, True]))
    figure = mask_pictures.words_figure(
        [mask_pictures.Block([row, cut], "one", "M_bd"), mask_pictures.Block([row], "two")], 0.1
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    said = [text.get_text() for text in figure.texts]
    assert said[2:3] + said[-5:] == ["one, M_bd", "share of the caption's relevance:", "0", "0.25", "0.5", "1"]
    words = [text for text in figure.texts[2:-5] if text.get_text() not in ("one, M_bd", "two")]
    for text in words:
        box = text.get_window_extent(renderer).transformed(figure.transFigure.inverted())
        assert any(
            left - 0.001 <= box.x0 and box.x1 <= right + 0.001
            for left, right in (mask_pictures.LEFT, mask_pictures.RIGHT)
        ), text
        assert 0 < box.y0 < box.y1 < 1
    assert len(words) == 4 * len(texts) + 2
    assert "beyond" not in {t.get_text() for t in words}


def explained(grey: int) -> mask_pictures.Explained:
    image, none = np.full((8, 8, 3), grey, np.uint8), np.zeros(0)
    return mask_pictures.Explained(
        image, np.zeros((8, 8)), np.zeros((8, 8), bool), [], none, none.astype(bool), none.astype(bool)
    )


def test_images_that_two_models_read_are_drawn_once():
    rows, other = [explained(10), explained(20)], [explained(10), explained(30)]
    blocks = [
        mask_pictures.Block(rows, "BadNet", "M_bd"),
        mask_pictures.Block(rows, "BadNet", "ours"),
        mask_pictures.Block(other, "Blended", "M_bd"),
    ]
    said = [text.get_text() for text in mask_pictures.heat_figure(blocks, 0.3).texts]
    of = [[f"relevance\n{model}", f"kept above 0.3\n{model}"] for model in ("M_bd", "ours")]
    assert said == ["BadNet", "image", *of[0], *of[1], "Blended", "image", *of[0]]
    first = mask_pictures.heat_figure(blocks, 0.3).axes[0].images[0].get_array()
    assert set(np.unique(first)) == {10, 20, 150, 255}


def test_a_sign_is_drawn_in_a_font_that_has_it():
    assert mask_pictures.font_with("a") == "DejaVu Sans"
    watch = mask_pictures.font_with("\u231a")
    assert watch != "DejaVu Sans"
    assert font_manager.get_font(font_manager.findfont(watch)).get_char_index(0x231A)
    assert mask_pictures.font_with("\U0010fffd") == ""
    row = dataclasses.replace(
        explained(0), words=["\u231a"], scores=np.ones(1), kept=np.ones(1, bool), cut=np.zeros(1, bool)
    )
    assert (
        watch
        in next(
            t for t in mask_pictures.words_figure([mask_pictures.Block([row])], 0.1).texts if t.get_text() == "\u231a"
        ).get_fontfamily()
    )
