"""The paper's figures are made of cases: which, what is measured, what is missing, and the command that makes them."""

import io

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from tiny import CPU, tiny
from typer.testing import CliRunner

from ubt.cases.catalog import CASE
from ubt.cases.keys import keys
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli import main
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE
from ubt.reports.paper import FIGURES
from ubt.reports.paper.figure import Panel
from ubt.reports.paper.separation_figures import FIGURES as SEPARATION
from ubt.reports.paper.separation_figures import Separation


def tiny_figure(inside: bool, **changes) -> Separation:
    """The tiny case beside another one."""
    return Separation(
        "Fig. 0: tiny",
        "A source.",
        (Panel("here", lambda seed: tiny(seed=seed)), Panel("there", lambda seed: tiny(seed=seed, **changes))),
        2,
        inside,
    )


def test_the_figures_cases_are_the_papers_in_proportion():
    default = CaseSettings.preset("demo")
    cases = {
        name: [case for case, stage in figure.work(0) if stage == "score_overfit"]
        for name, figure in SEPARATION.items()
    }
    assert all(default in found for found in cases.values())
    assert all(case.seed == 3 for figure in SEPARATION.values() for case, _ in figure.work(3))
    assert {stage for figure in SEPARATION.values() for _, stage in figure.work(0)} == {"score_overfit", "score_abl"}
    assert [case for case, stage in FIGURES["3"].work(0) if stage == "score_abl"] == cases["3"]
    assert [case.attack.name for case in cases["3"]] == ["badnet", "blended", "sig", "ssba"]
    assert [case.overfit.regularise for case in cases["4"]] == [False, True]
    assert [(c.data.pairs, c.attack.poisons(c.data.pairs)) for c in cases["6"]] == [
        (n, n // 50) for n in (5000, 10000, 15000, 20000)
    ]
    assert [c.attack.poisons(c.data.pairs) for c in cases["7"]] == [100, 130, 200, 270, 400, 600]
    assert [name for name, figure in SEPARATION.items() if figure.inside] == ["4"]


@pytest.mark.parametrize("inside", [False, True])
def test_what_is_measured_and_what_is_missing(tiny_store, tiny_case, inside):
    figure = tiny_figure(inside, overfit__steps=7)
    frame = figure.measured(tiny_store, CPU, 0)
    here, there = (line for _, line in frame.iterrows())
    similarity = tiny_case.artefacts["score_overfit"]["similarity"]["similarity"].to_numpy()
    poisoned = tiny_case.artefacts["attack"]["truth"]["poisoned"].to_numpy()
    suspicious = tiny_case.artefacts["split"]["split"]["suspicious"].to_numpy()
    shown = suspicious if inside else np.ones(600, bool)
    assert (here["case"], here["state"], here["pairs"], here["poisons"]) == (tiny_case.name, "", 600, 30)
    assert here["poisons in D_susp"] == (poisoned & suspicious).sum()
    assert here["AUROC over D"] == pytest.approx(roc_auc_score(poisoned, similarity))
    assert here["AUROC in D_susp"] == pytest.approx(roc_auc_score(poisoned[suspicious], similarity[suspicious]))
    assert here["clean mean"] == pytest.approx(similarity[shown & ~poisoned].mean())
    assert here["poisoned mean"] == pytest.approx(similarity[shown & poisoned].mean())
    assert np.array_equal(here["similarity"], similarity[shown])
    assert np.array_equal(here["poisoned"], poisoned[shown])
    assert there["state"] == "to do"
    assert frame.loc[1, ["poisons", "AUROC over D", "clean mean"]].isna().all()
    text = figure.markdown(frame)
    assert "| UBT, there (to do) | 600 | - | - | - | - | - | - |" in text
    assert f"similarity of the clean, {'D_susp' if inside else 'D'} |" in text


def test_nothing_measured(tmp_path):
    figure = tiny_figure(False, overfit__steps=7)
    frame = figure.measured(Store(tmp_path), CPU, 0)
    assert frame["state"].tolist() == ["to do", "to do"]
    assert len(pd.read_csv(io.BytesIO(figure.saved(frame, ["CSV"])["CSV"]))) == 2


def test_the_command_computes_what_is_missing_as_far_as_needed(full, tiny_case, tmp_path, monkeypatch, caplog):
    changes = {"overfit__steps": 1, "overfit__regularise": False}
    monkeypatch.setitem(FIGURES, "4", tiny_figure(True, **changes))
    monkeypatch.setattr("ubt.cli.common.stop_on_signal", lambda: lambda: False)
    monkeypatch.setattr("ubt.core.chromium.chromium", lambda: None)
    arguments = [
        "figure",
        "4",
        "--cache",
        str(full.root),
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--out",
        str(tmp_path / "out"),
    ]
    before = full.record(tiny_case.name)
    result = CliRunner().invoke(main.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "to do" not in result.stdout
    assert "| UBT, there | 600 | 30 |" in result.stdout
    names = keys(tiny(**changes), CPU, CASE, REFERENCE)
    assert full.find(names["score_overfit"])
    assert full.find(names["select"]) is None
    assert full.record(tiny_case.name) == before
    page = (tmp_path / "out" / "figure-4.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "plotly.js v" in page
    assert "<script src" not in page
    assert (
        "no PNG and no SVG is written, for they need a browser: expected Chromium, found none; install it"
        in caplog.text
    )
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"figure-4.html", "figure-4.csv"}
    table = pd.read_csv(tmp_path / "out" / "figure-4.csv")
    assert table["poisons"].tolist() == [30, 30]
    assert "similarity" not in table

    monkeypatch.setattr("ubt.cases.pipeline.Pipeline.run", None)
    assert CliRunner().invoke(main.app, arguments, catch_exceptions=False).exit_code == 0


def test_what_the_command_refuses(tmp_path):
    with pytest.raises(BadInput, match="unknown figure '9'; expected one of: 3, 4, 5, 6, 7, 8"):
        CliRunner().invoke(main.app, ["figure", "9", "--cache", str(tmp_path / "c")], catch_exceptions=False)
