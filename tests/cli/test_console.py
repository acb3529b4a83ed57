"""Names from outside do not steer the terminal, wherever they are printed."""

import logging
import sys

import pytest
from outside import VIT, folder, plain
from rich.panel import Panel
from rich.table import Table

from ubt.cli import main
from ubt.cli.console import cell, err, out, say
from ubt.core.log import log
from ubt.core.text import printable

HOSTILE = {
    "colours": "\x1b[31mred",
    "a cleared screen": "\x1b[2J\x1b[H",
    "the clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "a window's title": "\x1b]0;title\x1b\\",
    "one byte for two": "\x9b31m",
    "a line that is overwritten": "safe\rgone\x08\x08",
    "text from right to left": "gpj.\u202eexe",
    "nothing to be seen": "a\u200bb\u2060c\ufeff",
    "markup": "[link=http://x][/]",
    "half a pair": "\udc9b31m",
}


def steers(text: str) -> bool:
    return any(c != "\n" and not c.isprintable() for c in text)


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_steers_the_terminal(name, capsys, caplog):
    text = HOSTILE[name]
    say(text)
    say(f"a {text} b\nc", soft_wrap=True)
    err.print(f"error: {text}", markup=False, soft_wrap=True)
    table = Table(cell(text).plain, title=cell(text))
    table.add_row(cell(text))
    for shown in (table, Panel(cell(text)), cell(text)):
        out.print(shown)
    log.warning("%s is damaged", text)
    printed = "".join(capsys.readouterr())
    assert not steers(printed)
    assert not steers(caplog.text)
    assert printable(text) in printed


def test_what_rich_is_given_raw_steers_nothing_either(capsys):
    table = Table("\x1b[2J", title="\x9b1m")
    table.add_row("\x1b]0;a\x07")
    out.print(table)
    out.print("\x1b[31m \u202e", markup=False)
    assert not steers("".join(capsys.readouterr()))


def test_a_traceback_in_the_log_steers_nothing(caplog):
    with caplog.at_level(logging.WARNING):
        try:
            raise ValueError("\x1b[2J")
        except ValueError:
            log.exception("\x9b31m")
    assert "u001b[2J" in caplog.text
    assert not steers(caplog.text)


@pytest.mark.parametrize("name", ["\x1b[2Jown.safetensors", "own\u202e.pt", "\x9b31m"])
def test_paths_in_errors_and_models_in_lists_are_printed_as_text(name, tmp_path, monkeypatch, capsys):
    def ran(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["ubt", *arguments, "--cache", str(tmp_path / "cache")])
        with pytest.raises(SystemExit):
            main.main()
        return "".join(capsys.readouterr())

    told = ran("models", "import", str(tmp_path / name))
    assert "error: " in told
    assert not steers(told)
    assert printable(name) in told or repr(name)[1:-1] in told
    source = folder(tmp_path / name.removesuffix(".pt"), plain(VIT), VIT)
    for arguments in (("models", "import", str(source)), ("models", "list"), ("data", "pairs", str(source))):
        assert not steers(ran(*arguments))
    for arguments in (("models", "import", "a", name), ("run", f"--{name}"), (name,)):
        assert not steers(ran(*arguments))

    def fails(store):
        raise RuntimeError(name)

    monkeypatch.setattr("ubt.workflows.import_model.imported_models", fails)
    assert "RuntimeError" in (told := ran("models", "list"))
    assert not steers(told)
