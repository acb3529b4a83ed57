"""A cache that the version before made (`workflows/version_4/make.py`), and what that version reads of it."""

import json
import zipfile
from pathlib import Path
from typing import Any

from ubt.cases.store import Store

CACHE = Path(__file__).parent / "workflows" / "version_4" / "cache.zip"
TOLD = "expected.json"


def unpacked(root: Path) -> Store:
    """The cache, in a folder."""
    with zipfile.ZipFile(CACHE) as archive:
        archive.extractall(root, [name for name in archive.namelist() if name != TOLD])
    return Store(root)


def told() -> dict[str, Any]:
    """Every case's `labels` and `views`, and the names of what was `imported` by kind."""
    with zipfile.ZipFile(CACHE) as archive:
        return json.loads(archive.read(TOLD))
