"""Making again what the documents show: in order, within a budget, and what differs is said."""

import json
import os
import shlex
import signal
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from ubt import __version__
from ubt.cli import reproduce
from ubt.cli.docs import commands
from ubt.cli.main import app
from ubt.core.errors import BadInput, UbtError
from ubt.core.run import compute
from ubt.reports import documents, manifest

SCRIPT = """
import pathlib, signal, sys, time
name, out = sys.argv[1], pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
kept = pathlib.Path(sys.argv[sys.argv.index("--cache") + 1]) / name
kept.parent.mkdir(exist_ok=True)
def stop(*_):
    raise SystemExit(130)
signal.signal(signal.SIGINT, stop)
if name == "broken":
    sys.exit(3)
for step in range(int(kept.read_text()) if kept.exists() else 0, 40 if name == "slow" else 1):
    time.sleep(0.05)
    kept.write_text(str(step + 1))
(out / f"{name}.csv").write_text(f"method,measured CA,measured CA spread,seeds\\nours,{sys.argv[2]},0.1,2\\n")
"""


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """A list of tables that a script makes, and the command on it; what it printed, and its exit code or error."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(reproduce, "COMMAND", (sys.executable, str(script)))
    monkeypatch.setattr(documents, "FOLDER", tmp_path)
    manifest.folder().mkdir()

    def run(entries, *arguments):
        (manifest.folder() / "manifest.json").write_text(json.dumps(entries))
        shared = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"), "--device", "cpu"]
        return CliRunner().invoke(app, ["reproduce", *shared, *arguments])

    return run


def test_each_is_made_compared_and_accepted(listed, tmp_path):
    entries = [{"name": "a", "commands": ["a 98.0"]}, {"name": "b", "commands": ["b 1", "b 2"]}]
    first = listed(entries, "--accept")
    assert first.exit_code == 0, first.output
    assert "the documents have no CSV of it" in first.output
    assert pd.read_csv(manifest.folder() / "b.csv")["measured CA"].tolist() == [1, 2]
    (made, _) = told = manifest.entries()
    assert [e.version for e in told] == [__version__] * 2
    assert made.machine == reproduce.machine(compute("cpu"))
    kept = json.loads((manifest.folder() / "manifest.json").read_text())
    again = listed(kept)
    assert again.output.count("the same to the digit") == 2
    elsewhere = [e | {"machine": "another"} for e in kept]
    elsewhere[0]["commands"] = ["a 98.1"]
    close = listed(elsewhere)
    assert close.exit_code == 0
    assert "0 of 1 figures outside their 95 % interval, 0 without one differ, 0 other differences" in " ".join(
        close.output.split()
    )
    elsewhere[0]["commands"] = ["a 70"]
    far = listed(elsewhere)
    assert isinstance(far.exception, UbtError) and "1 of 2 tables differ: a" in str(far.exception)
    assert "ours: measured CA 98, now 70" in far.output
    kept[0]["commands"] = ["a 98.1"]
    at_home = listed(kept)
    assert isinstance(at_home.exception, UbtError), "the machine and version that made it make the same"
    assert "where it should be the same" in " ".join(at_home.output.split())


def test_a_budget_ends_it_and_the_same_command_goes_on(listed, tmp_path):
    entries = [{"name": "slow", "commands": ["slow 1"]}, {"name": "a", "commands": ["a 1"]}]
    stopped = listed(entries, "--budget", str(0.7 / 3600))
    assert stopped.exit_code == reproduce.UNFINISHED, stopped.output
    assert "the budget is spent; to be made: slow, a" in " ".join(stopped.output.split())
    kept = tmp_path / "cache" / "slow"
    assert not kept.exists() or int(kept.read_text()) < 40
    assert "the documents have no CSV" in listed(entries).output
    assert (tmp_path / "out" / "slow.csv").is_file() and (tmp_path / "out" / "a.csv").is_file()


def test_what_failed_and_what_is_left_of_a_budget_are_both_said(listed, monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)

    def fails(arguments, until):
        clock.now = until
        return 3

    monkeypatch.setattr(reproduce, "time", clock)
    monkeypatch.setattr(reproduce, "_run", fails)
    found = listed([{"name": n, "commands": [f"{n} 1"]} for n in ("broken", "a")], "--budget", "1")
    assert "the budget is spent; to be made: a;" in " ".join(found.output.split())
    assert "1 of 2 tables failed: broken" in str(found.exception)


def test_one_that_fails_or_needs_something_does_not_end_the_others(listed):
    entries = [
        {"name": "broken", "commands": ["broken 1"]},
        {"name": "photos", "commands": ["photos 1"], "needs": "photos"},
        {"name": "a", "commands": ["a 1"]},
    ]
    found = listed(entries)
    said = " ".join(found.output.split())
    assert "broken: failed: python -m ubt broken 1 ended with 3" in said
    assert "photos: left out, it needs photos" in said
    assert "a: made" in said
    assert "1 of 2 tables failed: broken" in str(found.exception)
    assert "failed: broken" in str(listed(entries, "--accept").exception), "what fails is not accepted"
    assert listed(entries, "--only", "photos").exit_code == 0
    assert isinstance(listed(entries, "--only", "nosuch").exception, BadInput)


def test_every_command_of_the_real_list_can_be_parsed():
    known = {tuple(name.split()): command for name, command in commands(typer.main.get_command(app))}
    for entry in manifest.entries():
        for given in entry.commands:
            name, *arguments = shlex.split(given)
            assert known[(name,)].make_context("ubt", arguments).params


def test_a_command_that_is_terminated_ends_the_one_under_way(listed, tmp_path, monkeypatch):
    real = reproduce.subprocess.Popen
    started = []

    def begin(*arguments):
        started.append(real(*arguments))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(reproduce.subprocess, "Popen", begin)
    before = signal.getsignal(signal.SIGTERM)
    found = listed([{"name": "slow", "commands": ["slow 1"]}])
    assert found.exit_code == 130
    assert all(p.wait(10) is not None for p in started)
    assert signal.getsignal(signal.SIGTERM) == before
