"""Sweeps are made of cases: which, what is measured of each, which are marked, and the command that goes on where it
was.
"""

import dataclasses
import statistics

import pandas as pd
import pytest
from tiny import CPU, put, tiny
from typer.testing import CliRunner

from ubt.cases.keys import every_key
from ubt.cases.pipeline import create
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli import main
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.reports.paper import SWEEPS
from ubt.reports.paper.sweep import Factor, Measure, Sweep
from ubt.workflows import jobs


@dataclasses.dataclass(frozen=True)
class Tiny(Sweep):
    """Sweeps over the tiny case."""

    def case(self, seed: int, attack: str, values: tuple[float, ...]) -> CaseSettings:
        return tiny(seed=seed, **{f.setting.replace(".", "__"): v for f, v in zip(self.factors, values, strict=True)})


K = Factor("select.k", "k", (3, 5), 5)
SCORE = Measure("score", "", "verdict", "score", entry="verdict", scale=100)
SWEEP = Tiny("Sizes", "A source.", (Factor("select.pool", "pool", (0,), 0), K), (SCORE,))


@pytest.mark.parametrize("name", SWEEPS)
def test_every_cell_is_a_case_and_one_is_the_default_itself(name):
    sweep, default = SWEEPS[name], CaseSettings.preset("demo")
    cases = [case for case, _ in sweep.work(1)]
    assert len({case.name(CPU) for case in cases}) == len(sweep.cells())
    (own,) = {case for case in cases if case == default}
    assert every_key(own, CPU) == every_key(default, CPU)
    assert [case.seed for case, _ in sweep.work(2)][-1] == 1
    assert {case.attack.name for case, _ in sweep.narrowed(["sig", "ssba"]).work(1)} == {"sig", "ssba"}
    for factor in sweep.factors:
        shown = [factor.shown(v) for v in factor.values]
        assert shown == sorted(set(shown))


def test_the_papers_choices():
    assert [f.paper for f in SWEEPS["susp-k"].factors] == [0.01, 0]
    assert SWEEPS["susp-k"].case(0, "badnet", (0.01, 0)).k == SWEEPS["susp-k"].factors[1].shown(0) == 10
    assert [f.paper for f in SWEEPS["lr-steps-published"].factors] == [1e-5, 16]
    assert [f.paper for f in SWEEPS["cleanclip-data"].factors] == [2000]


def judged(store: Store, case: CaseSettings, ca: float) -> None:
    create(store, case, CPU)
    put(store, case, "judge", {"recall": 0.97, "precision": None}, "detection")
    put(store, case, "evaluate_purified", {"ca": ca, "asr": 0.5})


def test_means_spreads_marks_and_what_is_missing(tmp_path):
    sweep, store = SWEEPS["susp-k"], Store(tmp_path)
    own = tuple(f.default for f in sweep.factors)
    for seed, ca in enumerate((96.0, 98.0)):
        judged(store, sweep.case(seed, "badnet", own), ca)
    judged(store, sweep.case(0, "badnet", (0.1, 5)), 90.0)
    for seed, state in enumerate(("failed", "cancelled")):
        name = create(store, sweep.case(seed, "badnet", (0.01, 0)), CPU)
        store.save_case(name, store.record(name).changed(state=state))
    frame = sweep.measured(store, CPU, 2)
    at = frame.set_index(["D_susp, % of D", "k"])
    default, paper = (at[at[mark]] for mark in ("default", "paper"))
    assert default.index.tolist() == [(100 * own[0], 10)]
    assert paper.index.tolist() == [(1, 10)]
    assert (default["CA, ours"].item(), default["CA, ours spread"].item()) == (
        97,
        pytest.approx(statistics.stdev((96, 98))),
    )
    assert (default["split recall"].item(), default["seeds"].item(), default["state"].item()) == (97, 2, "")
    assert pd.isna(default["precision@k"].item())
    assert (paper["seeds"].item(), paper["state"].item()) == (0, "1 failed, 1 cancelled")
    assert paper["CA, ours"].isna().all()
    assert (at.loc[(10, 5), "CA, ours"], at.loc[(10, 5), "state"]) == (90, "1 to do")
    text = sweep.markdown(frame)
    assert (
        "badnet: CA, ours (%), by D_susp, % of D (down) and k (across):\n\n| D_susp, % of D | 5 | 10 | 20 | 40 |"
        in text
    )
    assert "| 1 | 2 to do | 1 failed, 1 cancelled† | 2 to do | 2 to do |" in text
    assert "| **96.00 / 98.00** |" in text
    assert "| 10 | 90.00 (1 to do) |" in text
    written = sweep.write(frame, tmp_path / "out", "sweep-susp-k")
    assert [p.name for p in written] == ["sweep-susp-k.md", "sweep-susp-k.csv", "sweep-susp-k.html"]
    assert pd.read_csv(written[1])["CA, ours"].notna().sum() == 2
    assert written[2].read_text().startswith("<!doctype html>")


def test_one_setting_before_and_after(tmp_path):
    sweep, store = SWEEPS["cleanclip-poisons"].narrowed(["sig"]), Store(tmp_path)
    case = sweep.case(0, "sig", (0.06,))
    put(store, case, "evaluate_poisoned", {"ca": 97.0, "asr": 99.0})
    assert sweep.measured(store, CPU, 1)["state"].tolist() == ["to do"] * 5
    put(store, case, "evaluate_cleanclip", {"ca": 96.0, "asr": 40.0})
    frame = sweep.measured(store, CPU, 1)
    assert frame.iloc[-1][["poisons, of 10,000 pairs", "ASR, M_bd", "ASR, CleanCLIP", "state"]].tolist() == [
        600,
        99,
        40,
        "",
    ]
    assert "| 600 | 97.00 | 99.00 | 96.00 | 40.00 |" in sweep.markdown(frame)
    assert "| **to do** |" not in sweep.markdown(frame)
    assert sweep.lines(frame)[1][2][-1] == "the default"


def test_similarities_have_their_own_unit(tmp_path):
    sweep, store = SWEEPS["abl-lr"], Store(tmp_path)
    case = sweep.case(0, "badnet", (2e-5,))
    for model, similarity in (("poisoned", 0.5331), ("abl", 0.6)):
        put(store, case, f"left_{model}", {"ca": 98.0, "asr": 99.0, "poisoned": similarity, "clean": 0.5})
    frame = sweep.measured(store, CPU, 1)
    text = sweep.markdown(frame)
    assert (
        "ASR, ABL (%) | similarity of the poisons left, M_bd (cosine) | similarity of the poisons left, ABL (cosine) |"
        in text
    )
    assert "| 2e-05 | 98.00 | 98.00 | 99.00 | 99.00 | 0.533 | 0.600 | 0.500 | 0.500 |" in text
    assert [axis.title.text for axis in sweep.figure(frame).select_yaxes()] == [
        "percent",
        "percent",
        "cosine",
        "cosine",
    ]


def test_shared_stages_are_expected_once(tmp_path):
    store, work = Store(tmp_path), [(case, CPU, stage) for case, stage in SWEEP.work(1)]
    whole = jobs.remaining(store, work).seconds
    assert whole == jobs.remaining(store, work + work).seconds
    assert jobs.remaining(store, work[:1]).seconds < whole < 2 * jobs.remaining(store, work[:1]).seconds
    for case, _, stage in work:
        put(store, case, stage, {})
    assert jobs.remaining(store, []).seconds == 0


@pytest.fixture
def run(full, monkeypatch, tmp_path):
    """Runs the command over the finished tiny case."""
    monkeypatch.setitem(SWEEPS, "susp-k", SWEEP)
    monkeypatch.setattr("ubt.cli.common.stop_on_signal", lambda: lambda: False)
    arguments = [
        "sweep",
        "susp-k",
        "--cache",
        str(full.root),
        "--device",
        "cpu",
        "--precision",
        "fp32",
        "--out",
        str(tmp_path / "out"),
    ]
    return lambda: CliRunner().invoke(main.app, arguments)


def test_interrupted_it_goes_on_where_it_was(run, full, monkeypatch):
    def made() -> dict[str, int]:
        return {p.name: (p / "manifest.json").stat().st_mtime_ns for p in (full.root / "artefacts").iterdir()}

    before, asked = made(), []
    with monkeypatch.context() as m:
        m.setattr("ubt.cli.common.stop_on_signal", lambda: lambda: asked.append(1) or len(made()) > len(before) + 2)
        assert isinstance(run().exception, Cancelled)
    cut = made()
    assert len(before) < len(cut)
    assert "cancelled" in SWEEP.measured(full, CPU, 1)["state"].tolist()
    result = run()
    assert result.exit_code == 0
    assert made().items() >= cut.items()
    frame = SWEEP.measured(full, CPU, 1)
    assert frame["state"].eq("").all()
    score = full.open(every_key(SWEEP.case(0, "badnet", (0, 5)), CPU)["verdict"])["verdict"]["score"]
    assert frame.set_index(["pool", "k"]).loc[(0, 5), "score"] == pytest.approx(100 * score)
    assert f"{100 * score:.2f}" in result.stdout
    monkeypatch.setattr("ubt.cases.pipeline.Pipeline.run", None)
    assert run().exit_code == 0


def test_a_cell_that_fails_says_so_and_is_no_number(run, full, tmp_path, monkeypatch):
    from ubt.defenses.token_unlearning.verdict import verdict

    asked = []

    def fails(topk, *given, **named):
        asked.append(len(topk))
        if asked[-1] == 5 and asked.count(5) == 1:
            raise UbtError("five is too many")
        return verdict(topk, *given, **named)

    with monkeypatch.context() as m:
        m.setattr("ubt.defenses.token_unlearning.verdict.verdict", fails)
        result = run()
    assert "1 of 6 cells failed and give no figure" in str(result.exception)
    assert "five is too many" in str(result.exception)
    assert result.stdout.count("| failed† |") == result.stdout.count("failed") == 1
    table = pd.read_csv(tmp_path / "out" / "sweep-susp-k.csv").set_index(["pool", "k"])
    assert table.index[table["score"].isna()].tolist() == [(0, 5)]
    assert run().exit_code == 0


def test_what_the_command_refuses(tmp_path):
    for arguments, said in (
        (["nosuch"], "unknown sweep 'nosuch'; expected one of: susp-k"),
        (["susp-k", "--attacks", "wanet"], "--attacks: .* 'wanet'"),
    ):
        with pytest.raises(BadInput, match=said):
            CliRunner().invoke(main.app, ["sweep", *arguments, "--cache", str(tmp_path)], catch_exceptions=False)
