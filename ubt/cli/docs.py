"""The command that makes the documents' generated tables: `python -m ubt docs`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from ubt.cli.console import out, require_clone
from ubt.core.errors import UbtError
from ubt.core.files import ROOT
from ubt.reports import documents
from ubt.reports.docs_tables import GENERATED, rows
from ubt.reports.documents import TITLES, filled, read


def docs(
    context: typer.Context,
    write: Annotated[bool, Option("--write", help="Write them; otherwise say only whether they are stale.")] = False,
) -> None:
    """Make the generated tables of the documents: commands, settings, stages, registries, and what was measured."""
    if write:
        require_clone("docs --write")
    stale = {name: text for name, text in made(context.find_root().command).items() if text != read(name)}
    if stale and not write:
        raise UbtError(
            f"{', '.join(stale)}: expected the tables that the code declares; run python -m ubt docs --write"
        )
    for name, text in stale.items():
        documents.write(name, text)
    out.print(f"written: {', '.join(stale)}" if stale else "every table is as the code declares it")


def made(command: Any) -> dict[str, str]:
    """Every document as it should be, by name; `command`: the whole command line, as typer makes it.

    Raises:
        BadInput: a document asks for a table that nobody makes.
    """
    known = list(commands(command))
    tables: Mapping[str, Callable[[], Sequence[str]]] = GENERATED | {
        "commands": lambda: rows(
            ("command", "what it does"), ((f"`python -m ubt {n}`", _line(c.help)) for n, c in known)
        ),
        "options": lambda: _options(known),
    }
    return {name: filled(read(name), tables) for name in TITLES}


def commands(command: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command with its name, those of groups after the group's."""
    if hasattr(command, "commands"):
        for name in command.commands:
            if hasattr(command, "read"):
                command.read(name)
            yield from commands(command.commands[name], f"{prefix} {name}".strip())
    else:
        yield prefix, command


def _options(known: Sequence[tuple[str, Any]]) -> list[str]:
    """Every argument and option, once for all commands that mean the same by it."""
    of: dict[tuple[str, str], list[str]] = {}
    for name, command in known:
        for parameter in command.params:
            if "--help" not in parameter.opts:
                of.setdefault((_called(parameter), _meaning(parameter)), []).append(name)
    alike = sorted(of, key=lambda option: [called for called, _ in of].index(option[0]))
    return rows(("option", "of", "meaning"), ((o[0], ", ".join(of[o]), o[1]) for o in alike))


def _called(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _meaning(parameter: Any) -> str:
    said, default = _line(getattr(parameter, "help", "")), parameter.default
    if isinstance(default, Path) and default.is_relative_to(ROOT):
        default = default.relative_to(ROOT)
    known = default not in (None, "", False) and not callable(default)
    return f"{said} Default: {default}." if known else said


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
