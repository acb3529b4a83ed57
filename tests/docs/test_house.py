"""The house: which rooms there are, which way imports lead, and how long a file and a function may be.

Every check is a function of a tree, so that a toy tree with one fault shows that it can fail.
"""

import ast
import graphlib
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = (
    "core",
    "data",
    "clip",
    "attacks",
    "evaluation",
    "defenses",
    "pairs",
    "detectors",
    "figures",
    "cases",
    "workflows",
    "reports",
    "ui",
    "cli",
)
"""From the ground up; the last two are one floor."""
FLOOR = {room: i for i, room in enumerate(ROOMS)} | {"cli": ROOMS.index("ui")}
BESIDE = {"assets", "docs", "__init__.py", "__main__.py"}
LINES, FUNCTION_LINES = 500, 60
TOO_LONG = {"tests/browser/test_workbench.py:test_brush_lasso_click_and_link_say_the_same_ids_and_leave_as_files"}
"""Functions that are still longer than they should be. One that no longer is must leave the list; none may join it."""
SKIPS: dict[str, int] = {"ubt/cases/catalog.py": 1, "ubt/defenses/token_unlearning/__init__.py": 1}
"""File to how many `# fmt: skip` it may have: tables that gain by it. These two are the steps of a case, read from top
to bottom, a few lines each where the formatter would give every word a line.
"""


def sources(root: Path) -> Iterator[tuple[str, str]]:
    """Path and text of every source file: the app, its pages, the library, the tests."""
    for pattern in ("*.py", "pages/*.py", "ubt/**/*.py", "tests/**/*.py"):
        for path in sorted(root.glob(pattern)):
            yield path.relative_to(root).as_posix(), path.read_text()


def modules(root: Path) -> dict[str, ast.Module]:
    """Every module of the library by its dotted name, a package by its own."""
    found = {}
    for name, text in sources(root):
        if name.startswith("ubt/"):
            found[name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")] = ast.parse(text)
    return found


def imported(tree: ast.Module) -> set[str]:
    """What a module imports, wherever in it, and what it names as `module:function`: dotted names of modules, or of
    what is in them.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here, so that this check sees where they lead"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value.replace(":", ".")} if re.fullmatch(r"ubt(\.\w+)+:\w+", node.value) else set()
    return found


def graph(root: Path) -> dict[str, set[str]]:
    """Every module of the library to those that it imports; a package counts where a name of its own is imported."""
    known = modules(root)
    found = {}
    for name, tree in known.items():
        wanted = imported(tree)
        found[name] = (wanted & set(known) | {n.rpartition(".")[0] for n in wanted - set(known)} & set(known)) - {name}
    return found


def strangers(root: Path) -> list[str]:
    """What lies in `ubt/` and is no room."""
    allowed = {*ROOMS, *BESIDE, "__pycache__"}
    return [f"ubt/{p.name}: expected none but the rooms" for p in (root / "ubt").iterdir() if p.name not in allowed]


def circles(root: Path) -> list[str]:
    """A circle of files that import one another, if there is one."""
    try:
        graphlib.TopologicalSorter(graph(root)).prepare()
    except graphlib.CycleError as e:
        return [f"circle: {' <- '.join(e.args[1])}"]
    return []


def upwards(root: Path) -> list[str]:
    """Imports that lead to a higher room, or to the other room of the highest floor."""
    found = []
    for name, names in graph(root).items():
        for other in sorted(names):
            here, there = (n.split(".")[1] if "." in n else "" for n in (name, other))
            if here in FLOOR and there in FLOOR and here != there and FLOOR[there] >= FLOOR[here]:
                found.append(f"{name} imports {other}: rooms import downwards only")
    return found


def streamlit(root: Path) -> list[str]:
    """Streamlit imported anywhere in the library but in `ubt/ui`."""
    return [
        f"{name} imports streamlit"
        for name, tree in modules(root).items()
        if not name.startswith("ubt.ui") and any(n.split(".")[0] == "streamlit" for n in imported(tree))
    ]


def long_files(root: Path) -> list[str]:
    """Files of too many lines."""
    return [
        f"{name}: {n} lines, expected at most {LINES}"
        for name, text in sources(root)
        if (n := len(text.splitlines())) > LINES
    ]


def long_functions(root: Path) -> dict[str, int]:
    """Functions of too many lines, docstrings not counted, as `file:function`."""
    found = {}
    for name, text in sources(root):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                said = node.body[0] if ast.get_docstring(node) else None
                count = node.end_lineno - node.lineno + 1 - (said.end_lineno - said.lineno + 1 if said else 0)
                if count > FUNCTION_LINES:
                    found[f"{name}:{node.name}"] = count
    return found


def skips(root: Path) -> dict[str, int]:
    """Files with comments that turn the formatter off, and how many."""
    found = {}
    for name, text in sources(root):
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments = [t for t in tokens if t.type == tokenize.COMMENT and re.search(r"# fmt: (skip|off)", t.string)]
        found |= {name: len(comments)} if comments else {}
    return found


@pytest.mark.parametrize("check", (strangers, circles, upwards, streamlit, long_files), ids=lambda f: f.__name__)
def test_the_house_stands(check):
    assert not check(ROOT)


def test_only_the_listed_functions_are_too_long():
    """The list shrinks: a function that was shortened leaves it."""
    assert set(long_functions(ROOT)) == TOO_LONG


def test_the_formatter_is_skipped_where_a_table_gains_by_it_alone():
    assert skips(ROOT) == SKIPS


TOY = {
    "ubt/__init__.py": "",
    "ubt/core/__init__.py": "",
    "ubt/core/files.py": "",
    "ubt/cases/store.py": "from ubt.core import files\n",
    "ubt/ui/page.py": "import streamlit\nfrom ubt.cases.store import Store\n",
}
LONG = "def f():\n" + "    x = 1\n" * FUNCTION_LINES


def toy(folder: Path, files: dict[str, str]) -> Path:
    """A tree of some files, by path and text."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


FAULTS = {
    "a file in the hall": (strangers, {"ubt/utils.py": ""}, "ubt/utils.py"),
    "a circle through a function": (
        circles,
        {
            "ubt/core/files.py": "def f():\n    from ubt.core.run import g\n",
            "ubt/core/run.py": "import ubt.core.files\n",
        },
        "ubt.core.run",
    ),
    "a circle through a package": (
        circles,
        {
            "ubt/core/__init__.py": "from ubt.core import files\nX = 1\n",
            "ubt/core/files.py": "from ubt.core import X\n",
        },
        "ubt.core.files",
    ),
    "upwards": (
        upwards,
        {"ubt/core/files.py": "from ubt.cases import store\n"},
        "ubt.core.files imports ubt.cases.store",
    ),
    "upwards in a function": (upwards, {"ubt/core/files.py": "def f():\n    import ubt.ui.page\n"}, "ubt.ui.page"),
    "upwards in a string": (upwards, {"ubt/core/files.py": "STAGE = 'ubt.cases.store:made'\n"}, "ubt.cases.store"),
    "across the highest floor": (upwards, {"ubt/cli/main.py": "from ubt.ui.page import draw\n"}, "ubt.cli.main"),
    "streamlit below": (streamlit, {"ubt/core/files.py": "def f():\n    import streamlit as st\n"}, "ubt.core.files"),
    "a long file": (long_files, {"pages/map.py": "x = 1\n" * (LINES + 1)}, "pages/map.py"),
    "a long function": (long_functions, {"tests/test_map.py": LONG}, "tests/test_map.py:f"),
    "a skip": (skips, {"ubt/core/files.py": "x = (1,  2)  # fmt: skip\n"}, "ubt/core/files.py"),
}


@pytest.mark.parametrize("check, files, said", FAULTS.values(), ids=FAULTS)
def test_each_check_sees_its_fault(tmp_path, check, files, said):
    assert not check(toy(tmp_path, TOY)), "the toy house stands"
    assert any(said in fault for fault in check(toy(tmp_path, files)))


def test_a_docstring_does_not_make_a_function_long(tmp_path):
    body = LONG.splitlines()[1:-1]
    said = ['    """Says', *["    more"] * 20, '    """']
    assert not long_functions(toy(tmp_path, {"ubt/core/files.py": "\n".join(["def f():", *said, *body])}))


def test_every_package_is_named_for_the_wheel():
    named = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "ubt").rglob("__init__.py")}
    assert set(named) == there | {"ubt.app", "ubt.app.pages"}
