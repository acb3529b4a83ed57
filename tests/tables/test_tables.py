"""Tables are made of cases: what is reported, what is measured, what is missing."""

import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tiny import CPU

from ubt.cases import Store
from ubt.pipeline import create
from ubt.tables import TABLES
from ubt.tables.unlearning import REPORTED, STRATEGIES, case

TABLE = TABLES["4"]


def finish(store: Store, settings, ca: float, state: str = "done") -> None:
    """Put a case on record as if it had been run, with made-up figures."""
    shutil.rmtree(store.root / "cases" / settings.name(CPU), ignore_errors=True)
    name = create(store, settings, CPU)
    figures = {m: {"ca": ca + n, "asr": 10.0 * n, "target_recall": 90.0} for n, m in enumerate(("clean", "poisoned", "purified", "published"))}
    store.save_case(name, store.record(name) | {"state": state} | ({"metrics": figures} if state == "done" else {}))


def test_the_reported_figures_are_the_papers():
    assert REPORTED["badnet"]["UBT (text mask + GA)"] == (61.51, 0.00)
    assert REPORTED["blended"]["image mask + GA"] == (59.90, 0.20)
    assert REPORTED["blended"]["no defence"] == (62.58, 97.99)


def test_each_strategy_is_a_case_of_its_own():
    cases = TABLE.cases(2)
    assert len(cases) == 2 * 2 * 4
    assert {(c.attack.name, c.seed, c.published.masked, c.unlearn.masked) for c in cases} == {
        (a, s, m, m) for a in REPORTED for s in (0, 1) for m in STRATEGIES.values()
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
    store.save_case(name, store.record(name) | {"artefacts": store.record(name)["artefacts"] | {"mask": "mask-0"}})
    again = TABLE.measured(store, CPU, 2).set_index(["attack", "method"]).loc[("badnet", "UBT (text mask + GA)")]
    assert (again["seeds"], again["state"], again["ours CA"]) == (1, "1 outdated", 92)
    finish(store, case("badnet", "text", 1), 94.0)
    part = frame.loc[("badnet", "image mask + GA")]
    assert (part["seeds"], part["state"]) == (1, "1 failed")
    assert pd.isna(part["ours CA spread"])
    gone = frame.loc[("blended", "GA")]
    assert pd.isna(gone["ours CA"])
    assert (gone["seeds"], gone["state"]) == (0, "1 cancelled, 1 to do")
    text = TABLE.markdown(TABLE.measured(store, CPU, 2))
    assert "| badnet | UBT (text mask + GA) | 61.51 | 0.00 | 95.00 ± 2.83 |" in text
    assert "0 (1 cancelled, 1 to do)" in text
    written = TABLE.write(TABLE.measured(store, CPU, 2), tmp_path / "out", "table-4")
    assert [p.name for p in written] == ["table-4.md", "table-4.csv"]
    assert pd.read_csv(written[1])["ours CA"].notna().sum() == 4


def ubt(*arguments):
    return subprocess.run([sys.executable, "-m", "ubt", *arguments], capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])


def test_what_the_command_refuses(tmp_path):
    assert ubt("table", "9").returncode == 2
    (tmp_path / "file").write_text("")
    assert "expected a folder" in ubt("table", "4", "--out", str(tmp_path / "file")).stderr
