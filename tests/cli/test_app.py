"""`python -m ubt app`, and the wheel, in which the app lies inside the library."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from installed import ROOT, data, installed
from typer.testing import CliRunner

from ubt.cli.main import app


def test_the_command_becomes_streamlit_over_the_cache_that_it_names(monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(os, "execv", lambda path, command: ran.append((path, command)))
    monkeypatch.setenv("UBT_CACHE", "elsewhere")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["app", "--port", "8777", "--cache", "here", "--", "--server.headless", "true"])
    assert done.exit_code == 0, done.output
    (path, command), said = ran[0], os.environ["UBT_CACHE"]
    assert path == sys.executable
    assert command[1:5] == ["-m", "streamlit", "run", str(ROOT / "app.py")]
    assert command[5:] == ["--server.port", "8777", "--server.headless", "true"]
    assert said == str(tmp_path / "here")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("setuptools", "77", reason="no setuptools here that can build the wheel")
    return installed(tmp_path_factory.mktemp("built"))


def test_the_wheel_has_the_app_inside_the_library_and_nothing_beside_it(wheel):
    assert {p.name.split("-")[0] for p in wheel.iterdir()} == {"ubt", "ubt_inspector"}
    assert (wheel / "ubt/app/app.py").read_bytes() == (ROOT / "app.py").read_bytes()
    assert {p.name for p in (wheel / "ubt/app").iterdir()} == {"app.py", "pages", ".streamlit"}
    assert {p.name for p in (wheel / "ubt/app/pages").iterdir()} == {p.name for p in (ROOT / "pages").glob("*.py")}
    lacking = [
        p
        for p in (ROOT / "ubt").glob("**/*")
        if p.is_file()
        and p.suffix != ".pyc"
        and p.parts[len(ROOT.parts) + 1] != "assets"
        and not (wheel / p.relative_to(ROOT)).is_file()
    ]
    assert not lacking
    entry = next(wheel.glob("*.dist-info/entry_points.txt")).read_text()
    assert "ubt = ubt.__main__:main" in entry


def test_the_wheel_holds_every_weight_and_every_file_of_the_built_in_cases():
    pytest.importorskip("setuptools", "77", reason="no setuptools here that can build the wheel")
    there = {p.relative_to(ROOT).as_posix() for p in (ROOT / "ubt/assets").rglob("*") if p.is_file()}
    assert any(p.endswith(".safetensors") for p in there) and any("/demo/" in p for p in there)
    assert {p for p in data() if p.startswith("ubt/assets/")} == there


def test_installed_it_finds_its_pages_and_their_titles(wheel, tmp_path):
    look = (
        "from ubt.core.files import APP; from ubt.ui.navigation import PAGES, page; "
        "print(APP); print([page(name).title for name in PAGES if not (APP / PAGES[name]).is_file()]); "
        "print(page('help').title)"
    )
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", look], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [str(wheel / "ubt/app"), "[]", "Help"], done.stderr


@pytest.mark.parametrize("command", ["built-in", "lock", "docs --write"])
def test_installed_it_writes_nothing_into_the_package(wheel, tmp_path, command):
    before = {p: p.stat().st_mtime_ns for p in wheel.rglob("*") if p.is_file() and p.suffix != ".pyc"}
    done = subprocess.run(
        [sys.executable, "-m", "ubt", *command.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert command in said and "expected a clone of the repository, got a package installed in" in said
    assert {p: p.stat().st_mtime_ns for p in wheel.rglob("*") if p.is_file() and p.suffix != ".pyc"} == before
    assert not list(tmp_path.iterdir())
