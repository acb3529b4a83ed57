"""Public docstrings say what somebody needs who has no time for the code: what it is, shapes of arrays, errors.

Shapes stand in parentheses with their commas, as (n, H, W, 3) or (n,), or are any shape. Arguments whose names
`ubt.core.stage` gives shapes for need no other.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import ubt.core.stage

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "ubt").glob("**/*.py"))
DRAWINGS = {"animals.py", "backgrounds.py", "food.py", "outdoors.py", "things.py"}
"""Their functions are named after what they draw."""
SHAPE = re.compile(r"\([\w.*+-]+(?:, [\w.*+ -]+|,)+\)|\bany shape\b")
ARRAY = re.compile(r"\b(?<!dict\[str, torch\.)(ndarray|Tensor)\b")
"""An annotation with an array; weights by their names have no one shape."""
ERRORS = {"BadInput", "UbtError"}
NAMED = set(re.findall(r"`(\w+)`", (ubt.core.stage.__doc__ or "").split("Arrays that stages get", 1)[1]))
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(
    body: list[ast.stmt], owner: ast.ClassDef | None = None
) -> Iterator[tuple[Definition, ast.ClassDef | None]]:
    """Public functions, classes and methods."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node, owner
            if isinstance(node, ast.ClassDef):
                yield from definitions(node.body, node)


def said(node: ast.AST | None) -> str:
    return (node is not None and ast.get_docstring(node)) or ""


def raised(body: list[ast.stmt]) -> set[str]:
    """The names of errors that a body raises itself and does not catch."""
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.Raise) and node.exc is not None:
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found |= {error.id} if isinstance(error, ast.Name) else set()
        elif isinstance(node, ast.Try):
            caught = {
                n.id for h in node.handlers if h.type is not None for n in ast.walk(h.type) if isinstance(n, ast.Name)
            }
            found |= raised(node.body) - caught | raised(
                [*node.orelse, *node.finalbody, *(s for h in node.handlers for s in h.body)]
            )
        elif not isinstance(node, Definition):
            found |= raised(
                [s for part in ("body", "orelse") for s in getattr(node, part, []) if isinstance(s, ast.stmt)]
            )
    return found


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@functools.cache
def inherited() -> frozenset[str]:
    """Methods that some class explains, so that those who do the same in its place need not."""
    members = (m for path in FILES for m in definitions(parsed(path).body))
    return frozenset(m.name for m, owner in members if owner is not None and said(m))


def public(tree: ast.Module) -> Iterator[tuple[Definition, ast.ClassDef | None]]:
    for node, owner in definitions(tree.body):
        if not (owner is not None and owner.bases and node.name in inherited() and not said(node)):
            yield node, owner


def is_command(path: Path, node: Definition) -> bool:
    """A command's docstring is what `--help` prints, and `main` says its errors."""
    in_room = "cli" in path.relative_to(ROOT / "ubt").parts[:1]
    declared = re.search(r"\b(Argument|Option)\(|\bCacheOption\b", ast.unparse(node.args))
    return in_room and isinstance(node, ast.FunctionDef) and declared is not None


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "ubt")))
def test_every_public_name_is_explained(path):
    tree, missing = parsed(path), []
    if not said(tree):
        missing.append("the module itself")
    for node, owner in public(tree):
        name, whole = f"{owner.name}.{node.name}" if owner else node.name, said(node) + said(owner)
        if not said(node) and path.name not in DRAWINGS:
            missing.append(f"{name}: what it is")
        if isinstance(node, ast.ClassDef) or is_command(path, node):
            continue
        taken = [
            a
            for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            if a.annotation and ARRAY.search(ast.unparse(a.annotation))
        ]
        arrays = [a.arg for a in taken if a.arg not in NAMED] + ["what it returns"] * bool(
            node.returns and ARRAY.search(ast.unparse(node.returns))
        )
        if arrays and "ui" not in path.parts and not SHAPE.search(whole):
            missing.append(f"{name}: shapes of {', '.join(arrays)}")
        for error in sorted(raised(node.body) & ERRORS):
            if error not in whole and not (error == "BadInput" and "UbtError" in whole):
                missing.append(f"{name}: when it raises {error}")
    assert not missing, missing


def test_the_check_sees_what_is_missing():
    code = "def f(a: np.ndarray):\n    '''A thing (see there, or here).'''\n    if a:\n        raise BadInput('x')\n"
    node = ast.parse(code).body[0]
    assert raised(node.body) == {"BadInput"}
    assert not SHAPE.search("Bansal et al. (ICCV 2023); (as in Fig. 4)")
    assert all(SHAPE.search(s) for s in ("(n,)", "(n, H, W, 3)", "(k, embedding each)", "(..., 4)"))
    assert {"images", "tokens", "maps"} <= NAMED
