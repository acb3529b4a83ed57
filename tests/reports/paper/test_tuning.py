"""Every method is tuned by as many trials, on seeds that no table reports."""

import dataclasses

from typer.testing import CliRunner

from ubt.cli.main import app
from ubt.defenses import DEFENSES
from ubt.reports.paper import FIGURES, SWEEPS, TABLES
from ubt.reports.paper.tuning import SEED, TRIALS, is_default


def test_as_many_trials_each_and_the_default_is_one_of_them():
    assert len({len(trials) for trials in TRIALS.values()}) == 1
    for name, trials in TRIALS.items():
        assert len({tuple(t.items()) for t in trials}) == len(trials)
        assert sum(map(is_default, trials)) == 1, name
    untuned = set(DEFENSES) - set(TRIALS)
    assert untuned == {"abl_masked", "control", "gentle", "retrain"}


def test_what_tunes_is_never_reported():
    assert {case.seed for case, _ in TABLES["tuning"].work(2)} == {SEED, SEED + 1}
    for kind, sheets, option, least in (
        ("table", TABLES, "--seeds", SEED + 1),
        ("sweep", SWEEPS, "--seeds", SEED + 1),
        ("figure", FIGURES, "--seed", SEED),
    ):
        refused = CliRunner().invoke(app, [kind, next(iter(sheets)), option, str(least)])
        assert refused.exit_code == 2
        assert str(least - 1) in refused.output
    reported = [t for name, t in TABLES.items() if name != "tuning"]
    assert {case.seed for table in reported for case, _ in table.work(2)} == {0, 1}


def test_a_trial_shares_what_does_not_depend_on_it():
    one = dataclasses.replace(TABLES["tuning"], rows=TABLES["tuning"].rows[:2])
    assert [until for _, until in one.work(1)] == [None, None]
