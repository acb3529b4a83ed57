"""Commands that are imported when they are called: the list of all of them costs no library."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


def lazily(where: dict[str, str]) -> type[TyperGroup]:
    """A group of commands by name, each a `module:function` or, if it is a group itself, a `module:app`."""

    class Lazily(TyperGroup):
        def __init__(self, **attributes: Any):
            super().__init__(**attributes)
            self.commands = {name: TyperCommand(name, help=said(at)) for name, at in where.items()}
            self.unread = set(where)

        def read(self, name: str) -> None:
            """Put the command itself in the place of its line of help."""
            if name in self.unread:
                module, _, attribute = where[name].partition(":")
                found = getattr(import_module(module), attribute)
                app = found if isinstance(found, typer.Typer) else typer.Typer(add_completion=False)
                if app is not found:
                    app.command(name)(found)
                self.commands[name] = typer.main.get_command(app)
                self.commands[name].name = name
                self.unread.remove(name)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args:
                self.read(args[0])
            return super().resolve_command(ctx, args)

    return Lazily


def said(where: str) -> str:
    """What a command or a group of commands says of itself, read from its source.

    >>> said("ubt.cli.cases:cases_app")
    'List, show, check, export, delete and prune cases.'
    """
    module, _, name = where.partition(":")
    for node in ast.parse(Path(find_spec(module).origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node) or ""
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return next(ast.literal_eval(k.value) for k in node.value.keywords if k.arg == "help")
    raise LookupError(where)
