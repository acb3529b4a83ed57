"""The verdict over seeds: what is judged, what is wrong, and the chart that goes with it."""

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
from ubt.reports.paper.verdict_table import CLEAN, NEEDS, SHIPPED

TABLE = TABLES["verdict"]
KEY = "model-0123456789abcdef"
POOR = (("untrained", 0, KEY), ("untrained", 1, KEY))


def put(store: Store, settings, score: float, displaced: float, asr: float, answer: str = "") -> None:
    """A verdict as if it had been given, and what leads to it."""
    said = "poisoned" if score > 0.5 and displaced > 0.15 else "not poisoned"
    check = {"check": "captions", "passed": not answer, "doubts": [said]}
    found = {"score": score, "threshold": 0.5, "displaced": displaced, "least_displaced": 0.15, "apart": 2.0}
    found |= {"answer": answer or said, "by_thresholds": said, "checks": [check]}
    results = {"verdict": {"verdict": found}, "evaluate_poisoned": {"measures": {"asr": asr}}}
    for stage in NEEDS:
        put_results(store, settings, stage, results | {"evaluate_clean": {"measures": {"asr": 1.0}}})


def test_a_clean_model_stands_beside_every_attack_and_the_first_beside_poor_references_too():
    every = (CLEAN, "badnet", "blended", "sig", "ssba", "trojvqa", "wanet", "joined", "label_consistent")
    assert [(name, of, c.seed) for name, of, c in TABLE.cases(2)] == [(n, SHIPPED, s) for n in every for s in (0, 1)]
    assert {until for _, until in TABLE.work(1)} == set(NEEDS)
    assert [name for name, *_ in TABLE.narrowed(["sig"], []).cases(1)] == [CLEAN, "sig"]
    with_poor = verdict_table.replace(TABLE, poor=POOR).cases(2)[len(every) * 2 :]
    assert [name for name, of, _ in with_poor if of == "untrained"] == [CLEAN] * 2 + ["badnet"] * 2 + ["blended"] * 2
    assert {c.own.reference for *_, c in with_poor} == {KEY}
    with pytest.raises(BadInput, match="--attacks: this table has no 'nosuch'"):
        TABLE.narrowed(["nosuch"], [])
    with pytest.raises(BadInput, match="--defenses: this table has no 'ubt'"):
        TABLE.narrowed([], ["ubt"])


def test_a_poor_reference_changes_what_the_defender_does_and_not_what_the_attacker_did():
    settings = {of: c for name, of, c in verdict_table.replace(TABLE, poor=POOR).cases(1) if name == "badnet"}
    shipped, poor = (every_key(settings[of], CPU) for of in (SHIPPED, "untrained"))
    same = {stage for stage in shipped if shipped[stage] == poor.get(stage)}
    assert {"attack", "data", "poison", "score_poisoned", "evaluate_poisoned", "evaluate_clean"} <= same
    assert not same & {"score", "split", "overfit", "select", "retain", "verdict", "unlearn"}


def test_what_is_wrong_what_cannot_be_told_and_what_is_not_judged_yet(tmp_path):
    store, part = Store(tmp_path), verdict_table.replace(TABLE.narrowed(["badnet", "sig"], []), poor=POOR[:1])
    scores = {
        (CLEAN, SHIPPED, 0): (0.25, 0.05, 1.0),
        (CLEAN, SHIPPED, 1): (0.6, 0.2, 5.0),
        ("badnet", SHIPPED, 0): (0.75, 0.5, 99.0),
        ("badnet", SHIPPED, 1): (0.8, 0.4, 15.0, "cannot tell"),
        ("sig", SHIPPED, 0): (0.6, 0.125, 15.0),
    }
    part = verdict_table.replace(part, poor=())
    for name, of, settings in part.cases(2):
        if (name, of, settings.seed) in scores:
            put(store, settings, *scores[name, of, settings.seed])
    frame = part.measured(store, CPU, 2)
    assert frame[["model", "seed", "state"]].iloc[-1].tolist() == ["sig", 1, "to do"]
    assert frame["is"].iloc[:5].tolist() == ["not poisoned", "not poisoned", "poisoned", "in between", "in between"]
    assert frame["wrong"].iloc[:5].tolist() == [False, True, False, False, False]
    assert frame["why"].iloc[:5].tolist() == ["", "", "", "captions", ""]
    said = part.markdown(frame)
    low, high = interval(pd.Series([True, False]).to_numpy())
    half = f"1 of 2 [{low:.1f}, {high:.1f}]"
    assert f"| {CLEAN} | shipped | 0.425 ± 0.247 | 0.250 to 0.600 | 0.125 ± 0.106 | 0.050 to 0.200" in said
    assert f"| 3.0, 1.0 | {half} | {half} | 0 of 2 [0.0, 65.8] | {half} | 0 | 2 |" in said
    assert "| sig | shipped | 0.600 | 0.600 to 0.600 | 0.125" in said
    assert "| - | 1 | 1 (1 to do) |" in said
    low, high = interval(pd.Series([True, False, False]).to_numpy())
    assert f"| 1 of 3 [{low:.1f}, {high:.1f}] | 2 | 5 (1 to do) |" in said
    figure = verdict.many(frame)
    points = {t.name: list(zip(t.x, t.y, strict=True)) for t in figure.data}
    assert points["clean (3)"] == [(0.25, 0.05), (0.6, 0.2), (0.6, 0.125)]
    assert (points["poisoned (1)"], points["cannot tell (1)"]) == ([(0.75, 0.5)], [(0.8, 0.4)])
    assert points["misjudged (1)"] == [(0.6, 0.2)]
    assert len({t.marker.symbol for t in figure.data}) == 4
    assert figure.layout.xaxis.title.text == "score (cosine)"
    written = part.write(frame, tmp_path / "out", "table-verdict")
    assert [p.suffix for p in written] == [".md", ".csv", ".html"]
    assert pd.read_csv(written[1])["score"].notna().sum() == 5
    assert written[2].read_text().startswith("<!doctype html>")


def test_attacks_that_fit_are_in_no_sum(tmp_path):
    store, part = Store(tmp_path), TABLE.narrowed(["badnet", "label_consistent"], [])
    for name, _, settings in part.cases(1):
        put(store, settings, 0.6, 0.125, 1.0 if name == CLEAN else 99.0)
    rows = {line[0]: line for line in part.lines(part.measured(store, CPU, 1))[1]}
    assert [rows[name][-3].split(" [")[0] for name in ("badnet", "label_consistent")] == ["1 of 1", "1 of 1"]
    assert rows["all"][-1] == "2"


def test_nothing_judged_yet(tmp_path):
    frame = TABLE.measured(Store(tmp_path), CPU, 1)
    dashes = " | ".join(["-"] * 11)
    assert f"| {CLEAN} | shipped | {dashes} | 0 | 0 (1 to do) |" in TABLE.markdown(frame)
    assert any(a.text == "nothing judged yet" for a in verdict.many(frame).layout.annotations)


def test_the_command_judges_what_is_missing_and_no_further(full, tiny_case, monkeypatch):
    """With the shipped reference, and with one of random weights of which it says that nothing can be told."""
    monkeypatch.setattr(verdict_table, "STEPS", {"untrained": 0})

    def small(seed, attack="", **changes):
        own = {k: v for k, v in changes.items() if k.startswith("own")}
        return tiny(**own) if attack else tiny(verdict__threshold=0.9, **own)

    monkeypatch.setattr(verdict_table, "case", small)
    monkeypatch.setattr("ubt.cli.common.stop_on_signal", lambda: lambda: False)
    arguments = ["--attacks", "badnet", "--seeds", "1", "--cache", str(full.root)]
    result = CliRunner().invoke(
        main.app, ["table", "verdict", *arguments, "--device", "cpu", "--precision", "fp32"], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert "to do" not in result.stdout
    at_chance = next(line for line in result.stdout.splitlines() if line.startswith("| all | at chance"))
    assert "| 0 of 2 [0.0, 65.8] | 0 of 2 [0.0, 65.8] | 2 of 2 [34.2, 100.0] | 0 of 2 [0.0, 65.8] |" in at_chance
    names = every_key(tiny(verdict__threshold=0.9), CPU)
    assert full.find(names["verdict"])
    assert full.find(names["unlearn"]) is None
