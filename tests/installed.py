"""The package as a wheel installs it, without its large assets, which `data` names."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILT_FROM = ("ubt", "pages", ".streamlit", "app.py", "pyproject.toml", "requirements.txt", "README.md")
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


def data() -> set[str]:
    """The files beside the modules of `ubt` that a wheel would hold, by their path in it."""
    look = (
        "from setuptools import Distribution; d = Distribution({'packages': ['ubt']});"
        " d.parse_config_files(['pyproject.toml']);"
        " c = d.get_command_obj('build_py'); c.ensure_finalized(); c.manifest_files = {};"
        " print(*c.find_data_files('ubt', 'ubt'), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    return set(done.stdout.splitlines())
