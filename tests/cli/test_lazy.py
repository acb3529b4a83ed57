"""Commands that are imported when they are called."""

import subprocess
import sys

import pytest
import typer

from ubt.cli.lazy import lazily, said
from ubt.cli.main import COMMANDS, app


def test_the_list_of_commands_imports_none_of_them():
    code = (
        "import sys, runpy\nsys.argv = ['ubt', '--help']\ntry: runpy.run_module('ubt', run_name='__main__')\n"
        "except SystemExit as left: print(left.code, {'torch', 'pandas', 'ubt.cases.settings'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 set()"
    assert all(f"│ {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_each_what_it_says_of_itself(name):
    group = typer.main.get_command(app)
    listed = group.commands[name].help
    group.read(name)
    assert listed == group.commands[name].help == said(COMMANDS[name])
    assert group.commands[name].name == name
    assert {p.name for p in group.commands[name].params} & {"install_completion", "show_completion"} == set()


def test_what_is_not_there_is_said():
    with pytest.raises(LookupError):
        said("ubt.cli.cases:nosuch")
    with pytest.raises(LookupError):
        lazily({"a": "ubt.cli.cases:nosuch"})(name="all")
