"""The package as a wheel installs it, without its large assets."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILT_FROM = ("ubt", "pages", ".streamlit", "app.py", "setup.py", "pyproject.toml", "requirements.txt", "README.md")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "assets", "secrets.toml")


def installed(folder: Path) -> Path:
    """Build the wheel of a copy of this tree, unpack it, and say where."""
    tree, out = folder / "tree", folder / "wheel"
    tree.mkdir()
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=LEFT_OUT)
        else:
            shutil.copy(ROOT / name, tree / name)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=tree, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as packed:
        packed.extractall(folder / "installed")
    return folder / "installed"
