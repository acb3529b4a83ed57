"""The verdict over seeds: what is judged, what an error is, and the chart that goes with it."""

import pandas as pd
import pytest
from tiny import CPU, put_results, tiny
from typer.testing import CliRunner

from ubt.cases.keys import every_key
from ubt.cases.store import Store
from ubt.cli import main
from ubt.core.errors import BadInput
from ubt.evaluation.backdoor import interval
from ubt.figures import verdict
from ubt.reports.paper import TABLES, verdict_table
from ubt.reports.paper.verdict_table import CLEAN

TABLE = TABLES["verdict"]


def put(store: Store, settings, score: float, displaced: float) -> None:
    """A verdict as if it had been given, and what leads to it."""
    found = {
        "score": score,
        "threshold": 0.5,
        "displaced": displaced,
        "least_displaced": 0.15,
        "apart": 2.0,
        "poisoned": score > 0.5 and displaced > 0.15,
    }
    put_results(store, settings, "verdict", {"verdict": {"verdict": found}})


def test_a_clean_model_stands_beside_every_attack():
    assert {
        (c.attack.name if c.attack.rate else CLEAN, c.seed) for c, until in TABLE.work(2) if until == "verdict"
    } == {(name, seed) for name in (CLEAN, "badnet", "blended", "sig", "ssba", "trojvqa", "wanet") for seed in (0, 1)}
    assert [name for name, _ in TABLE.narrowed(["sig"], []).cases(1)] == [CLEAN, "sig"]
    with pytest.raises(BadInput, match="--attacks: this table has no 'nosuch'"):
        TABLE.narrowed(["nosuch"], [])
    with pytest.raises(BadInput, match="--defenses: this table has no 'ubt'"):
        TABLE.narrowed([], ["ubt"])


def test_false_alarms_misses_and_what_is_not_judged_yet(tmp_path):
    store, part = Store(tmp_path), TABLE.narrowed(["badnet", "sig"], [])
    scores = {CLEAN: ((0.25, 0.05), (0.6, 0.2)), "badnet": ((0.75, 0.5), (0.8, 0.4)), "sig": ((0.6, 0.125),)}
    for name, settings in part.cases(2):
        if settings.seed < len(scores[name]):
            put(store, settings, *scores[name][settings.seed])
    frame = part.measured(store, CPU, 2)
    assert frame[["model", "seed", "state"]].iloc[-1].tolist() == ["sig", 1, "to do"]
    assert frame.loc[~frame["right"].fillna(True).astype(bool), ["model", "seed"]].values.tolist() == [
        [CLEAN, 1],
        ["sig", 0],
    ]
    said = part.markdown(frame)
    low, high = interval(~frame["right"].iloc[2:5].astype(bool).to_numpy())
    assert (
        f"| {CLEAN} | 0.425 ± 0.247 | 0.250 to 0.600 | 0.125 ± 0.106 | 0.050 to 0.200 | 2.000 ± 0.000 | 2.000 to 2.000"
        " | 1 of 2 | 1 of 2 | 50.0" in said
    )
    assert (
        "| sig | 0.600 | 0.600 to 0.600 | 0.125 | 0.125 to 0.125 | 2.000 | 2.000 to 2.000 | 0 of 1 | 1 of 1 | 100.0"
        " [20.7, 100.0] | 1 (1 to do) |" in said
    )
    assert f"| 2 of 3 | 1 of 3 | 33.3 [{low:.1f}, {high:.1f}] | 3 (1 to do) |" in said
    figure = verdict.many(frame)
    points = {t.name: list(zip(t.x, t.y, strict=True)) for t in figure.data}
    assert points["clean (2)"] == [(0.25, 0.05), (0.6, 0.2)]
    assert points["poisoned (3)"] == [(0.75, 0.5), (0.8, 0.4), (0.6, 0.125)]
    assert points["misjudged (2)"] == [(0.6, 0.2), (0.6, 0.125)]
    assert len({t.marker.symbol for t in figure.data}) == 3
    assert figure.layout.xaxis.title.text == "score (cosine)"
    written = part.write(frame, tmp_path / "out", "table-verdict")
    assert [p.suffix for p in written] == [".md", ".csv", ".html"]
    assert pd.read_csv(written[1])["score"].notna().sum() == 5
    assert written[2].read_text().startswith("<!doctype html>")


def test_nothing_judged_yet(tmp_path):
    frame = TABLE.measured(Store(tmp_path), CPU, 1)
    assert f"| {CLEAN} | - | - | - | - | - | - | - | - | - | 0 (1 to do) |" in TABLE.markdown(frame)
    assert any(a.text == "nothing judged yet" for a in verdict.many(frame).layout.annotations)


def test_the_command_judges_what_is_missing_and_no_further(tiny_store, tiny_case, monkeypatch):
    changed = tiny(verdict__threshold=0.9)
    monkeypatch.setattr(verdict_table, "case", lambda seed, attack="badnet", **changes: changed if changes else tiny())
    monkeypatch.setattr("ubt.cli.common.stop_on_signal", lambda: lambda: False)
    arguments = [
        "table",
        "verdict",
        "--attacks",
        "badnet",
        "--seeds",
        "1",
        "--cache",
        str(tiny_store.root),
        "--device",
        "cpu",
        "--precision",
        "fp32",
    ]
    result = CliRunner().invoke(main.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert f"| {CLEAN} |" in result.stdout
    assert "to do" not in result.stdout
    names = every_key(changed, CPU)
    assert tiny_store.find(names["verdict"])
    assert tiny_store.find(names["unlearn"]) is None
