"""`python -m ubt cases migrate`, and old names on the command line."""

import sys

import pytest
from before import told, unpacked

from ubt.cases.store import Store
from ubt.cli.main import main


@pytest.fixture
def ubt(tmp_path, monkeypatch, capsys):
    """Runs a command on a cache of the version before; gives its exit code and its words."""
    unpacked(tmp_path)
    monkeypatch.setenv("UBT_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def ran(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ubt", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code or 0, " ".join("".join(capsys.readouterr()).split())

    return ran


def test_the_table_says_what_was_carried_over(ubt, tmp_path):
    old = list(told()["cases"])
    planned, dry = ubt("cases", "migrate", "--dry-run")
    code, said = ubt("cases", "migrate")
    assert planned == code == 0
    assert "3 cases would be carried over, 0 skipped; 3 imports" in dry
    assert "3 cases carried over, 0 skipped; 3 imports" in said
    for name in old:
        assert f"{name} │ {Store(tmp_path).renamed(name)} │" in said
    code, said = ubt("cases", "migrate")
    assert (code, said.startswith("0 cases carried over, 0 skipped")) == (0, True)


def test_what_is_skipped_is_said_and_leaves_with_1(ubt, tmp_path):
    bad = next(iter(told()["cases"]))
    (tmp_path / "cases" / bad / "case.json").write_text("{")
    code, said = ubt("cases", "migrate")
    assert code == 1
    assert "2 cases carried over, 1 skipped" in said
    assert "damaged" in said


def test_commands_take_the_old_name_and_say_the_new(ubt, tmp_path):
    old = next(iter(told()["cases"]))
    assert "cases migrate" in ubt("cases", "show", old)[1]
    ubt("cases", "migrate")
    new = Store(tmp_path).renamed(old)
    shown = ubt("cases", "show", old)[1]
    assert f"{old} is called {new} now" in shown
    assert f"{new}: new" in shown
    assert f"{new} is not being run" in ubt("cases", "cancel", old)[1]
    assert "its stage data was not run" in ubt("data", "export", old, "--out", str(tmp_path / "d.zip"))[1]
    assert ubt("cases", "delete", old)[0] == 0
    assert new not in Store(tmp_path).names()
