"""A new attack, defence or detector is one file and one registry line; the rest derives from what the file declares.

The toys are registered in a process of their own, as a line in each registry would, before anything is derived.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BRIEF = {
    "data.pairs": 200,
    "test.per_class": 1,
    "poison.epochs": 1,
    "poison.batch": 32,
    "overfit.steps": 2,
    "unlearn.steps": 2,
    "published.steps": 2,
    "select.k": 3,
    "retain.pool": 100,
    "verdict.checks": False,
    "stripe.rows": 5,
    "calm.batch": 16,
}


WORKER = f"""
import contextlib, io, json, sys, traceback
sys.path[:0] = {[str(HERE), str(ROOT / "tests"), str(ROOT)]!r}
import toys
toys.register()
for line in sys.stdin:
    said, failed = io.StringIO(), ""
    with contextlib.redirect_stdout(said):
        try:
            exec(json.loads(line), {{"sys": sys}})
        except SystemExit as left:
            failed = f"left with {{left.code}}" if left.code else ""
        except Exception:
            failed = traceback.format_exc()
    print(json.dumps([said.getvalue(), failed]), flush=True)
"""
"""Runs what it reads, a line each, and says what that printed and how it failed."""


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("extended")


@pytest.fixture(scope="module")
def child(root) -> Iterator[Callable[[str], str]]:
    """Runs code in one process with the toys registered; what it prints."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "UBT_CACHE": str(root)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", WORKER], stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=env) as p:

        def run(code: str) -> str:
            print(json.dumps(code), file=p.stdin, flush=True)
            said, failed = json.loads(p.stdout.readline())
            assert not failed, said[-3000:] + failed
            return said

        yield run
        p.stdin.close()


def command(*arguments: str) -> str:
    return f"import ubt.cli.main as m; sys.argv = {['ubt', *arguments]!r}; m.main()\n"


@pytest.fixture(scope="module")
def cache(root, child) -> Path:
    """A cache with a case of the toy attack, made by the command, and its figures."""
    changes = [f"--set={name}={value}" for name, value in BRIEF.items()]
    out = ["--out", str(root / "run.json")]
    child(command("run", "--attack=stripe", "--device=cpu", "--precision=fp32", *out, *changes))
    return root


def test_an_attack_of_ones_own_is_run(cache):
    figures = json.loads((cache / "run.json").read_text())
    assert figures["attack"] == "stripe"
    assert figures["settings"]["stripe"] == {"rows": 5}
    assert figures["case"].startswith("stripe-0-")


def test_a_defence_of_ones_own_is_in_the_papers_table(cache, child):
    """Table III, measured on a brief case through the command."""
    changes = [f"--set={name}={value}" for name, value in BRIEF.items() if name != "stripe.rows"]
    shared = ["--seeds=1", "--attacks=badnet", "--device=cpu", "--precision=fp32", *changes]
    third = child(command("table", "3", "--defenses=calm", *shared))
    row = next(line for line in third.splitlines() if line.startswith("| badnet | calm down |"))
    assert row.split("|")[6].strip() not in ("-", "")


def test_a_detector_of_ones_own_scores_every_pair_and_has_a_row_in_its_table(cache, child):
    code = f"""
import json
from pathlib import Path
from ubt.cases.pipeline import Pipeline, upto
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.reports.paper import TABLES
settings = CaseSettings.from_dict(json.loads(Path({str(cache / "run.json")!r}).read_text())["settings"])
case = Pipeline(Store(Path({str(cache)!r})), Compute("cpu", "fp32")).run(settings, upto("detect_corner"))
print(json.dumps([len(case.artefacts["detect_corner"]["scores"]), TABLES["detectors"].methods["corner"]]))
"""
    scored, row = json.loads(child(code).splitlines()[-1])
    assert scored == BRIEF["data.pairs"]
    assert row == "a coordinate of the image under M_bd"


def test_the_documents_tables_the_dry_run_costs_and_colours_know_them(child):
    said = json.loads(
        child(
            """
import json
from ubt.cases.cost_model import cost
from ubt.cases.settings import CaseSettings
from ubt.figures.tradeoff import look
from ubt.reports import docs_tables
from ubt.workflows import paper_dry_run
paper = CaseSettings.preset("paper", "stripe")
names = ("attacks", "defences", "detectors", "settings", "defence_stages")
tables = {name: getattr(docs_tables, name)() for name in names}
print(json.dumps({
    "tables": {name: "\\n".join(lines) for name, lines in tables.items()},
    "paper": [paper.stripe.rows, paper.calm.steps],
    "toy": [paper_dry_run.TOY["calm.steps"], "calm" in paper_dry_run.STEPS["baselines"]],
    "cost": cost("calm", paper), "look": look("calm"),
}))
"""
        ).splitlines()[-1]
    )
    assert "| `stripe` | a white stripe |" in said["tables"]["attacks"]
    assert "| `calm` | calm down |" in said["tables"]["defences"]
    assert "| `corner` | pair | a coordinate" in said["tables"]["detectors"]
    assert "| `calm` | defender |" in said["tables"]["defence_stages"]
    for name in ("stripe.rows", "calm.steps", "corner.axis"):
        assert f"| `{name}` |" in said["tables"]["settings"], name
    assert said["paper"] == [1, round(501_500 / 64)]
    assert said["toy"] == [1, True]
    assert said["cost"] > 1
    assert said["look"] == ["#123456", "square", "solid"]


def test_the_pages_offer_them(child):
    """*Triggers* has the attack with a widget for its setting; *Compare* has the defence."""
    said = json.loads(
        child(
            """
import json
from harness import page
at = page("triggers")
attacks = at.selectbox(key="lab-attack")
offered = list(attacks.options)
attacks.set_value("stripe").run()
assert not at.exception
sliders = [w.label for w in (*at.slider, *at.number_input)]
compare = page("compare")
methods = [box.label for box in compare.checkbox]
print(json.dumps({"attacks": offered, "widgets": sliders, "compare": "".join(methods)}))
"""
        ).splitlines()[-1]
    )
    assert any("stripe" in option for option in said["attacks"]), said["attacks"]
    assert any("ows" in label for label in said["widgets"]), said["widgets"]
    assert "calm down" in said["compare"]
