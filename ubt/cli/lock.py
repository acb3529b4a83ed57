"""The command that locks the dependencies: `python -m ubt lock`."""

import json
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from ubt.cli.console import check_writable, require_clone, say
from ubt.core.errors import BadInput, UbtError
from ubt.core.files import ROOT

LOCK = ROOT / ".github" / "requirements.lock"
PLACE = "Linux", "x86_64", "CPython", "3.11"
HEAD = """\
# The versions that were tested on Linux (x86-64) with CPython 3.11, and the SHA-256 of the file of each.
# In a fresh virtual environment: pip install --require-hashes -r .github/requirements.lock
# Made by python -m ubt lock.
"""


def lock(file: Annotated[Path, Option("--out", help="The file to write.")] = LOCK) -> None:
    """Write the very versions of all dependencies that are installed here, with digests, for pip's --require-hashes."""
    require_clone("lock")
    here = platform.system(), platform.machine(), platform.python_implementation(), platform.python_version()
    if here[:3] != PLACE[:3] or here[3].rpartition(".")[0] != PLACE[3]:
        raise BadInput(f"expected {' '.join(PLACE)}, for which the lock is, got {' '.join(here)}; lock there")
    check_writable(file)
    lines = locked(_resolved())
    file.write_text(HEAD + "".join(f"{line}\n" for line in lines))
    say(f"{len(lines)} packages written to {file}")


def locked(report: dict[str, Any]) -> list[str]:
    """The lines of a lock for what pip's report says it would install.

    Raises:
        UbtError: a package is no wheel of an index or a folder, or pip knows no SHA-256 of it.
    """
    lines = []
    for found in report["install"]:
        about, source = found["metadata"], found["download_info"]
        named = f"{about['name']}=={about['version']}"
        digest = source.get("archive_info", {}).get("hashes", {}).get("sha256")
        if digest is None or not source["url"].endswith(".whl"):
            raise UbtError(f"{named}: expected a wheel and its SHA-256, got {source['url']}; lock from another index")
        lines.append(f"{named} --hash=sha256:{digest}")
    return sorted(lines, key=str.lower)


def _resolved() -> dict[str, Any]:
    """What pip would install for `requirements.txt` into an empty environment, each in the version installed here.

    Raises:
        UbtError: pip finds no such set.
    """
    with tempfile.TemporaryDirectory() as folder:
        versions, report = Path(folder) / "versions.txt", Path(folder) / "report.json"
        versions.write_text(
            "".join(sorted(f"{d.name}=={d.version}\n" for d in distributions() if d.name != "ubt-inspector"))
        )
        wanted = ["--requirement", str(ROOT / "requirements.txt"), "--constraint", str(versions)]
        how = ["--dry-run", "--ignore-installed", "--only-binary", ":all:", "--quiet", "--report", str(report)]
        done = subprocess.run([sys.executable, "-m", "pip", "install", *how, *wanted], capture_output=True, text=True)
        if done.returncode:
            raise UbtError(
                "expected pip to find every package in the version installed here, but it did not; install"
                f" requirements.txt into a fresh virtual environment and lock from there: {done.stderr.strip()[-1000:]}"
            )
        return json.loads(report.read_text())
