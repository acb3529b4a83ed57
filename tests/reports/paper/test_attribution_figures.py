"""Figs. 5 and 8 hold what the masks of D_topk hold, of poisons alone, and say what is missing."""

import dataclasses
import io

import numpy as np
import pandas as pd
from tiny import CPU, tiny
from typer.testing import CliRunner

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli import main
from ubt.evaluation.masks import judged
from ubt.reports.paper import FIGURES
from ubt.reports.paper.attribution_figures import Masked, panels


def tiny_figure(images: bool, **changes) -> Masked:
    """The tiny case beside another one, each as two models read it."""
    cases = {"here": lambda seed: tiny(seed=seed), "there": lambda seed: tiny(seed=seed, **changes)}
    return Masked("Fig. 0: tiny", "A source.", panels(cases), most=3, images=images)


def poisons_of(case) -> pd.DataFrame:
    found, truth = case.artefacts["mask"]["attributed"], case.artefacts["attack"]["truth"]
    return found[found["topk"] & truth["poisoned"].iloc[found["row"]].to_numpy()]


def test_the_figures_cases_are_those_of_the_paper():
    default = CaseSettings.preset("demo")
    assert {(c.attack.name, c.attack.caption, until) for c, until in FIGURES["5"].work(0)} == {
        ("badnet", caption, until) for caption in ("template", "joined") for until in ("mask", "mask_published")
    }
    assert [(c.attack.name, until) for c, until in FIGURES["8"].work(0)] == [
        (a, u) for a in ("badnet", "blended") for u in ("mask_published", "mask")
    ]
    assert all(
        default in dict(FIGURES[n].work(0)) and dict(FIGURES[n].work(3)).keys() != dict(FIGURES[n].work(0)).keys()
        for n in "58"
    )


def test_words_are_those_of_the_mask_and_a_caption_comes_once(tiny_store, tiny_case):
    figure = tiny_figure(False, select__k=11)
    frame = figure.measured(tiny_store, CPU, 0)
    assert frame["state"].tolist() == ["", "", "to do", "to do"]
    pairs = tiny_case.artefacts["data"]["pairs"].set_index("id")["caption"]
    captions = pairs[poisons_of(tiny_case)["id"]]
    expected = captions[~captions.duplicated()].index[:3].tolist()
    assert expected
    assert frame["ids"][0] == frame["ids"][1] == expected
    table = pd.read_csv(io.BytesIO(figure.saved(frame, ["CSV"])["CSV"]))
    for stage, reading in (("mask", "overfitted model (ours)"), ("mask_published", "M_bd (published)")):
        words = tiny_case.artefacts[stage]["words"]
        words = words[words["id"].isin(expected) & ~words["cut"]]
        part = table[(table["poisons"] == "here") & (table["read by"] == reading)]
        assert part["word"].tolist() == words["word"].tolist()
        assert np.allclose(part["score"], words["score"])
        assert part["kept"].astype(bool).tolist() == words["kept"].tolist()
    assert table["state"].iloc[-1] == "to do"
    text = figure.markdown(frame)
    masked = tiny_case.artefacts["mask"]["masked"].set_index("id")["masked"]
    assert all(
        f"| here | overfitted model (ours) | {pair} | " in text and f" | {masked[pair]} |" in text for pair in expected
    )
    assert "| there | M_bd (published) (to do) | - | - | - |" in text


def test_shares_of_image_and_trigger_are_those_the_judge_finds(tiny_store, tiny_case):
    figure = dataclasses.replace(tiny_figure(True, select__k=5), most=100)
    frame = figure.measured(tiny_store, CPU, 0)
    poisons, made = poisons_of(tiny_case), tiny_case.artefacts
    assert frame["ids"][1] == poisons["id"].tolist()
    maps, words, attack = made["mask"]["maps"][poisons.index], made["mask"]["words"], made["attack"]
    whole = judged(poisons, maps, words, attack["truth"], attack["manifest"], (48, 48), 0.3, set())
    assert np.isclose(np.mean(frame["covered"][1]), whole["covered"])
    assert np.isclose(np.mean(frame["inside"][1]), whole["trigger_inside"])
    images = made["data"]["images"]
    assert all(np.array_equal(e.image, images[row]) for e, row in zip(frame["shown"][1], poisons["row"], strict=True))


def test_the_command_runs_as_far_as_the_masks_and_writes_every_file(full, tiny_case, tmp_path, monkeypatch):
    monkeypatch.setitem(FIGURES, "8", tiny_figure(True, mask__image_threshold=0.4))
    monkeypatch.setattr("ubt.cli.common.stop_on_signal", lambda: lambda: False)
    monkeypatch.setattr("ubt.core.chromium.chromium", lambda: None)
    arguments = [
        "figure",
        "8",
        "--cache",
        str(full.root),
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(main.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "to do" not in result.stdout
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        f"figure-8.{ending}" for ending in ("png", "svg", "html", "csv")
    }
    assert (tmp_path / "out" / "figure-8.png").read_bytes().startswith(b"\x89PNG")
    assert "<h1>Fig. 0: tiny</h1>" in (tmp_path / "out" / "figure-8.html").read_text()


def test_nothing_measured_is_drawn_as_such(tmp_path):
    for images in (False, True):
        figure = tiny_figure(images, select__k=5)
        frame = figure.measured(Store(tmp_path), CPU, 0)
        svg = figure.saved(frame, ["SVG"])["SVG"].decode()
        assert svg.count("not computed yet") == 4
        assert "| here | M_bd (published) (to do) | - | - | - |" in figure.markdown(frame)


def test_captions_cannot_break_the_table(tiny_store, tiny_case):
    figure = tiny_figure(False, select__k=9)
    frame = figure.measured(tiny_store, CPU, 0)
    evil = dataclasses.replace(
        frame["shown"][0][0],
        words=["=1|2", "<b>", "![x](y)"],
        scores=np.ones(3),
        kept=np.ones(3, bool),
        cut=np.zeros(3, bool),
    )
    frame.at[0, "shown"] = [evil, *frame["shown"][0][1:]]
    line = figure.markdown(frame).splitlines()[4]
    assert line.replace("\\|", "").count("|") == 6
    assert "\\<b\\>" in line
    assert "\\!\\[x\\]" in line
    assert "'=1|2" in figure.saved(frame, ["CSV"])["CSV"].decode()
