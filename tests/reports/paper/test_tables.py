"""Tables are made of cases: what is reported, what is measured, what is missing."""

import dataclasses
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tiny import CPU, put

from ubt.cases.pipeline import create, upto
from ubt.cases.store import Store
from ubt.defenses import DEFENSES
from ubt.reports.paper import TABLES, defense_tables
from ubt.reports.paper.published import FIGURES, reported
from ubt.reports.paper.table_iv import ATTACKS, STRATEGIES

TABLE = TABLES["4"]


def case(attack: str, strategy: str, seed: int):
    return defense_tables.case(seed, attack, unlearn__masked=strategy, published__masked=strategy)


MODELS = ("clean", "poisoned", "purified", "published")


def finish(store: Store, settings, ca: float, state: str = "done") -> None:
    """A case as if it had been run."""
    shutil.rmtree(store.root / "cases" / settings.name(CPU), ignore_errors=True)
    name = create(store, settings, CPU)
    for n, model in enumerate(MODELS if state == "done" else ()):
        put(store, settings, f"evaluate_{model}", {"ca": ca + n, "asr": 10.0 * n, "ra": 80.0, "target_recall": 90.0})
    store.save_case(name, store.record(name).changed(state=state))


def test_the_reported_figures_are_the_papers():
    assert reported("4", "badnet", "UBT (text mask + GA)") == {"ca": 61.51, "asr": 0.00}
    assert reported("4", "blended", "image mask + GA") == {"ca": 59.90, "asr": 0.20}
    assert reported("4", "blended", "no defence") == {"ca": 62.58, "asr": 97.99}
    assert reported("8", "", "cleanclip")["total"] == 14226
    assert reported("4", "sig", "GA") == {}, "the paper says nothing of it"


def test_every_reported_figure_stands_in_its_table():
    lines = pd.read_csv(FIGURES, dtype=str)["table"].value_counts()
    assert lines.to_dict() == {n: sum(len(row.reported) for row in TABLES[n].rows) for n in lines.index}


def test_each_strategy_is_a_case_of_its_own():
    work = TABLE.work(2)
    assert len(work) == 2 * 2 * 4
    assert {until for _, until in work} == {None}
    assert {(c.attack.name, c.seed, c.published.masked, c.unlearn.masked) for c, _ in work} == {
        (a, s, m, m) for a in ATTACKS for s in (0, 1) for m in STRATEGIES.values()
    }


def test_means_and_spreads_over_seeds_and_what_is_missing(tmp_path):
    store = Store(tmp_path)
    for seed, ca in enumerate((90.0, 94.0)):
        finish(store, case("badnet", "text", seed), ca)
    finish(store, case("badnet", "image", 0), 80.0)
    finish(store, case("badnet", "image", 1), 80.0, "failed")
    finish(store, case("blended", "none", 0), 80.0, "cancelled")
    frame = TABLE.measured(store, CPU, 2).set_index(["attack", "method"])
    ours = frame.loc[("badnet", "UBT (text mask + GA)")]
    assert ours["ours CA"] == statistics.fmean((92, 96))
    assert ours["ours CA spread"] == pytest.approx(statistics.stdev((92, 96)))
    assert ours["as published ASR"] == 30
    assert ours["reported ASR"] == 0
    assert frame.loc[("badnet", "no defence"), "ours CA"] == 93
    name = case("badnet", "text", 1).name(CPU)
    shutil.rmtree(store.root / "artefacts" / store.record(name).artefacts["mask"])
    store.save_case(name, store.record(name).changed(artefacts=store.record(name).artefacts | {"mask": "mask-0"}))
    again = TABLE.measured(store, CPU, 2).set_index(["attack", "method"]).loc[("badnet", "UBT (text mask + GA)")]
    assert (again["seeds"], again["state"], again["ours CA"]) == (1, "1 outdated", 92)
    part = frame.loc[("badnet", "image mask + GA")]
    assert (part["seeds"], part["state"]) == (1, "1 failed")
    assert pd.isna(part["ours CA spread"])
    gone = frame.loc[("blended", "GA")]
    assert pd.isna(gone["ours CA"])
    assert (gone["seeds"], gone["state"]) == (0, "1 cancelled, 1 to do")
    finish(store, case("badnet", "text", 1), 94.0)
    text = TABLE.markdown(TABLE.measured(store, CPU, 2))
    assert "| badnet | UBT (text mask + GA) | 61.51 | 0.00 | 93.00 / 97.00 |" in text
    assert "0 (1 cancelled, 1 to do)" in text
    written = TABLE.write(TABLE.measured(store, CPU, 2), tmp_path / "out", "table-4")
    assert [p.name for p in written] == ["table-4.md", "table-4.csv"]
    assert pd.read_csv(written[1])["ours CA"].notna().sum() == 4


def test_defences_beside_the_case_they_are_run_on(tmp_path):
    """Of one attack: what a cell needs, what it measures, its seconds, and a defence that failed."""
    three = dataclasses.replace(TABLES["3"], rows=tuple(r for r in TABLES["3"].rows if r.labels[0] == "badnet"))
    (settings,) = {case for case, _ in three.work(1)}
    wanted = {until for _, until in three.work(1)}
    assert wanted == {None} | {d.judged for n, d in DEFENSES.items() if "ubt" not in n} | {
        f"kl_{n}"
        for n in (
            "poisoned",
            "purified",
            "published",
            "abl",
            "abl_masked",
            "cleanclip",
            "par",
            "tbar",
            "supervised",
            "roclip",
            "gentle",
            "poisoncam",
            "control",
        )
    }
    store = Store(tmp_path)
    finish(store, settings, 90.0)
    put(store, settings, "evaluate_cleanclip", {"ca": 88.0, "asr": 5.0, "ra": 70.0, "target_recall": 95.0})
    frame = three.measured(store, CPU, 1).set_index("method")
    assert frame.loc["CleanCLIP", "state"] == "1 partial"
    assert pd.isna(frame.loc["CleanCLIP", "measured CA"])
    put(store, settings, "kl_cleanclip", {"kl": 0.25})
    name = settings.name(CPU)
    store.save_case(name, store.record(name).changed(errors={"evaluate_abl": {"state": "failed", "error": "no"}}))
    frame = three.measured(store, CPU, 1).set_index("method")
    clean = frame.loc["CleanCLIP"]
    assert (clean["measured CA"], clean["measured ASR"], clean["measured KL"], clean["measured RA"]) == (
        88,
        5,
        0.25,
        70,
    )
    assert (clean["reported ASR"], clean["reported KL"]) == (14.6, 0.263)
    assert (frame.loc["ABL", "state"], frame.loc["ABL", "seeds"]) == ("1 failed", 0)
    assert pd.isna(frame.loc["ABL", "measured ASR"])
    eight = TABLES["8"].measured(store, CPU, 1).set_index("method")
    assert eight.loc["CleanCLIP", ["measured training, s", "measured defence, s", "measured total, s"]].tolist() == [
        1,
        2,
        3,
    ]
    assert eight.loc["no defence", ["measured training, s", "measured defence, s"]].tolist() == [1, 0]
    own = {s.name for s in upto("unlearn") if s.role == "defender"}
    assert eight.loc["UBT, ours", "measured defence, s"] == len(own) == 9
    assert eight.loc["UBT, as published", "reported defence, s"] == 7402
    assert pd.isna(eight.loc["UBT, ours", "reported defence, s"]), "the paper has no such form"


def test_what_abl_leaves_stands_beside_what_the_paper_reports(tmp_path):
    table, store = TABLES["abl"], Store(tmp_path)
    assert [row.labels for row in table.rows] == [
        (a, m) for a in ("badnet", "blended", "sig", "ssba") for m in ("no defence", "ABL")
    ]
    settings = table.rows[2].case(0)
    finish(store, settings, 90.0)
    put(
        store,
        settings,
        "left_poisoned",
        {"ca": 90.0, "asr": 95.0, "found": 0.0, "isolated": 0.4, "clean": 0.5, "poisoned": 0.8},
    )
    put(
        store,
        settings,
        "left_abl",
        {"ca": 89.0, "asr": 96.0, "found": 0.0, "isolated": 0.1, "clean": 0.5, "poisoned": 0.9},
    )
    frame = table.narrowed(["blended"], []).measured(store, CPU, 1).set_index("method")
    assert frame["measured similarity of the poisons left"].tolist() == [0.8, 0.9]
    assert frame["measured similarity of what is isolated"].tolist() == [0.4, 0.1]
    assert frame["measured ASR"].tolist() == [95, 96]
    assert frame["reported ASR"].tolist() == [97.99, 99.95]


def test_the_reported_figures_of_every_defence_are_the_papers():
    def reported(number: str, *labels: str) -> dict:
        return next(r.reported for r in TABLES[number].rows if r.labels == labels)

    assert reported("1", "trojvqa", "UBT, as published") == {"ca": 62.13, "asr": 0.0}
    assert reported("2", "blended", "ABL + text mask") == {"ca": 50.69, "asr": 99.94}
    assert reported("3", "sig", "CleanCLIP") == {"ca": 59.44, "asr": 48.48, "kl": 0.787}
    assert reported("3", "sig", "ABL") == {}
    assert reported("5", "CleanCLIP") == {"ca": 59.38}
    assert reported("8", "RoCLIP") == {"training": 53946, "total": 53946}


def ubt(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "ubt", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[3],
    )


def test_what_the_command_refuses(tmp_path):
    assert ubt("table", "11").returncode == 2
    (tmp_path / "file").write_text("")
    assert "expected a folder" in ubt("table", "4", "--out", str(tmp_path / "file")).stderr
