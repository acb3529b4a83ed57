"""The command line as a user meets it, in processes of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from tiny import CPU, TINY, begun, fingerprints, recorded, tiny

from ubt.cases import events
from ubt.cases.store import Store
from ubt.cli.main import main
from ubt.cli.results import UNTOLD
from ubt.clip import models
from ubt.defenses.token_unlearning.health import CANNOT_TELL
from ubt.workflows import pretrain_scenes as pretraining

SET = [x for k, v in TINY.items() for x in ("--set", f"{k}={v}")]
ON_CPU = ["--device", "cpu", "--precision", "fp32"]


def ubt(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "ubt", *map(str, arguments)], capture_output=True, text=True, timeout=300, **kwargs
    )


@pytest.fixture
def here(monkeypatch, capsys) -> Callable[..., str]:
    """The command line in this process, which has imported everything; what it prints."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        assert not left.value.code, err
        return out

    return run


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--attack", "nosuch"], "expected one of: badnet"),
        (["--rate", "1.5"], "between 0 and 1"),
        (["--rate", "-0.1"], "between 0 and 1"),
        (["--rate", "0.00001"], "one pair of D"),
        (["--rate", "1"], "at most"),
        (["--rate", "many"], "as a number"),
        (["--k", "5000"], "at most 600"),
        (["--k", "1"], "at least 2"),
        (["--out", "/dev/null"], "regular file"),
        (["--target", "dragon"], "one of the classes"),
        (["--preset", "nosuch"], "demo, paper"),
        (["--set", "poison.epochs"], "group.name=value"),
        (["--set", "poison.nosuch=1"], "unknown setting"),
        (["--device", "tpu"], "auto, cpu or cuda"),
        (["--nosuch"], "No such option"),
        (["--out", "/nosuch/folder/m.json"], "existing folder"),
        (["--seed", "-1"], "between 0 and"),
        (["--dry-run"], "expected --preset paper"),
    ],
)
def test_wrong_arguments_leave_with_2_and_a_reason(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ubt", "run", "--cache", str(tmp_path / "cache"), *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_an_unusable_cache_leaves_with_2(tmp_path):
    (tmp_path / "file").write_text("")
    p = ubt("run", "--cache", tmp_path / "file")
    assert p.returncode == 2
    assert "expected a folder that can be written" in " ".join(p.stderr.split())
    assert "Traceback" not in p.stderr


def started(*arguments, **environment: str) -> subprocess.Popen:
    """The command line in a process that goes on meanwhile."""
    return subprocess.Popen(
        [sys.executable, "-m", "ubt", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def until(process: subprocess.Popen, holds: Callable[[], object]) -> None:
    """Wait for what a process brings about."""
    while not holds():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_killed_anywhere_it_goes_on_and_ends_with_the_undisturbed_result(tiny_case, tmp_path, here):
    out, store = tmp_path / "m.json", Store(tmp_path / "cache")
    name = begun(store, tiny_case, "data", "poison", "unlearn", "judge")
    command = ["run", "--cache", store.root, "--out", out, *SET, *ON_CPU]

    def drawing() -> bool:
        return any((e.kind, e.stage) == ("starts", "data") for e in events.read(store.journal(name)))

    def in_training() -> bool:
        return any(store.root.glob("work/poison-*/checkpoint.safetensors"))

    for moment in (drawing, in_training):
        process = started(*command, UBT_CHECKPOINT_SECONDS="0.2")
        until(process, moment)
        process.kill()
        process.communicate()
    here("ubt", *command)
    told = events.read(store.journal(name))
    last = max(i for i, e in enumerate(told) if e.kind == "run")
    steps = [e.done for e in told[last:] if (e.kind, e.stage) == ("progress", "poison")]
    assert steps[0] > 1, "training goes on from the checkpoint"
    assert steps[-1] == 2 * (600 // 64)
    assert store.case(name).state == "done"
    assert recorded(store, name) == fingerprints(tiny_case)
    m = json.loads(out.read_text())
    assert {
        "attack",
        "seed",
        "settings",
        "clean",
        "poisoned",
        "purified",
        "published",
        "split",
        "select",
        "verdict",
        "seconds",
    } <= set(m)


def test_a_damaged_input_is_mended_on_the_way(tiny_store, tiny_case, tmp_path):
    root = tmp_path / "cache"
    shutil.copytree(tiny_store.root, root)
    path = root / "artefacts" / tiny_case.artefacts["data"].path.name / "images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    p = ubt("run", "--cache", root, *SET, "--set", "unlearn.lr=0.0004", *ON_CPU)
    assert p.returncode == 0, p.stderr
    assert "set aside and made again" in " ".join(p.stderr.split())
    assert "Traceback" not in p.stderr


def test_pretraining_twice_into_one_folder_gives_the_second_model(tmp_path, monkeypatch):
    measured = pretraining.held_out_accuracy
    monkeypatch.setattr(pretraining, "held_out_accuracy", lambda folder, seed: measured(folder, seed, per_class=1))
    cards = []
    for seed in (1, 2):
        command = [
            "ubt",
            "pretrain",
            "--seed",
            seed,
            "--scenes",
            1000,
            "--epochs",
            1,
            "--out",
            tmp_path / "model",
            *ON_CPU,
        ]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        with pytest.raises(SystemExit, match="0"):
            main()
        cards.append(json.loads((tmp_path / "model" / models.CARD).read_text()))
    models.load(tmp_path / "model")
    assert [c["recipe"]["seed"] for c in cards] == [1, 2]
    assert cards[0]["digest"] != cards[1]["digest"]
    assert {p.name for p in (tmp_path / "model").iterdir()} == {models.CARD, models.CONFIG, models.WEIGHTS}
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sys, "argv", ["ubt", "pretrain", "--out", str(tmp_path / "file" / "x")])
    with pytest.raises(SystemExit, match="2"):
        main()


FOR_LONG = {"data__pairs": 200, "poison__epochs": 1500}
"""A case that is still being trained when it is stopped."""
LONG = [*SET, *(x for k, v in FOR_LONG.items() for x in ("--set", f"{k.replace('__', '.')}={v}")), *ON_CPU]


def training(store: Store) -> bool:
    name = tiny(**FOR_LONG).name(CPU)
    return any((e.kind, e.stage) == ("progress", "poison") for e in events.read(store.journal(name)))


def test_interrupted_it_says_how_to_go_on(tmp_path):
    process, store = started("run", "--cache", tmp_path, *LONG), Store(tmp_path)
    until(process, lambda: training(store))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run again to go on from there" in " ".join(errors.split())
    assert "Traceback" not in errors
    assert list(store.root.glob("work/poison-*/checkpoint.safetensors"))


def test_the_same_command_again_is_answered_from_the_cache_without_torch(tiny_case, tiny_store):
    code = (
        "import sys, runpy; sys.argv[0] = 'ubt'\ntry: runpy.run_module('ubt', run_name='__main__')\nexcept SystemExit:"
        " pass\nprint('torch' in sys.modules)"
    )
    p = subprocess.run(
        [sys.executable, "-c", code, "run", "--cache", str(tiny_store.root), *SET, *ON_CPU],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert p.stdout.splitlines()[-1] == "False", p.stdout + p.stderr
    assert "purified, ours" in p.stdout


def test_a_run_that_cannot_tell_leaves_with_3(tiny_case, tiny_store, monkeypatch, capsys):
    monkeypatch.setattr("ubt.cli.results.answer", lambda verdict: CANNOT_TELL)
    monkeypatch.setattr(sys, "argv", ["ubt", "run", "--cache", str(tiny_store.root), *SET, *ON_CPU])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == UNTOLD == 3
    assert "verdict: cannot tell" in " ".join(capsys.readouterr().out.split())


def test_two_runs_of_one_case_at_once(tmp_path):
    store = Store(tmp_path)
    with store.lock(tiny().name(CPU), wait=0):
        p = ubt("run", "--cache", tmp_path, *SET, *ON_CPU)
    assert p.returncode == 1
    assert "being run by process" in " ".join(p.stderr.split())
    assert "Traceback" not in p.stderr


def test_a_run_is_cancelled_from_another_terminal(tmp_path, here):
    process, store, name = (started("run", "--cache", tmp_path, *LONG), Store(tmp_path), tiny(**FOR_LONG).name(CPU))
    until(process, lambda: training(store))
    cancel = ("ubt", "cases", "cancel", name, "--cache", tmp_path)
    assert "stops at its next step" in here(*cancel)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert store.record(name).state == "cancelled"
    assert "is not being run" in here(*cancel)


def test_cases_are_listed_shown_and_pruned(tiny_case, tiny_store, monkeypatch, capsys):
    def told(code: int, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ubt", "cases", *arguments, "--cache", str(tiny_store.root)])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == code
        return "".join(capsys.readouterr())

    assert tiny_case.name in told(0, "list")
    shown = told(0, "show", tiny_case.name)
    assert "purified, ours" in shown
    assert "poison" in shown
    told(0, "prune")
    assert "unknown case" in told(2, "show", "nosuch")


def test_the_app_is_measured_with_and_without_a_file(tmp_path, monkeypatch, capsys):
    from ubt.cli import bench
    from ubt.cli.bench_runs import app

    monkeypatch.setattr(app, "measure", lambda cache, pairs, say: {"pairs": pairs})
    monkeypatch.setattr(app, "report", lambda results: [("pairs", [str(r["pairs"]) for r in results])])
    for file in (None, tmp_path / "app.json"):
        bench.print_app([1000, 2000], tmp_path, file)
        assert "| pairs | 1000 | 2000 |" in capsys.readouterr().out
    assert (tmp_path / "app.json").is_file()
