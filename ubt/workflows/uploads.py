"""Files that somebody dropped on a page. They are kept in the cache under the digest of their content, because images
are read where they lie when they are needed; nothing in them is extracted.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from ubt.cases.litter import UPLOADS
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.files import replace_file

LONGEST = 80
"""Characters of a file's name that are kept."""


def folder(store: Store) -> Path:
    """Where they lie."""
    return store.root.resolve() / UPLOADS


def name_of(said: str) -> str:
    """A file's name as the disk gets it: its last part, letters, digits, dot and dash only.

    >>> name_of("../../etc/pass wd{0..9}.csv"), name_of("..")
    ('pass_wd_0..9_.csv', 'file')
    """
    last = re.sub(r"[^A-Za-z0-9.-]+", "_", re.split(r"[/\\\\]", said)[-1])
    return last.lstrip(".-")[-LONGEST:].lstrip(".-") or "file"


def keep(store: Store, files: Sequence[tuple[str, bytes]], endings: Sequence[str]) -> Path:
    """Keep files that belong together, by name and content, once; returns the path of the first that ends as asked.

    Raises:
        BadInput: none ends so, or two have the same name. Forbidden: the cache can only be read.
    """
    store.require_writable()
    named = {name_of(said): content for said, content in files}
    first = next((name for name in named if name.lower().endswith(tuple(endings))), None)
    if first is None or len(named) < len(files):
        raise BadInput(
            f"expected a file that ends in {', '.join(endings)}, each file by a name of its own; got"
            f" {', '.join(said[:60] for said, _ in files) or 'none'}"
        )
    sha = hashlib.sha256()
    for name, content in sorted(named.items()):
        sha.update(f"{name}:{len(content)};".encode() + content)
    here = folder(store) / sha.hexdigest()[:16]
    here.mkdir(parents=True, exist_ok=True)
    use(store, here / first)
    for name, content in named.items():
        if not (path := here / name).exists():
            replace_file(path, lambda file, content=content: file.write_bytes(content))
    return here / first


def use(store: Store, path: str | Path) -> None:
    """Have what was dropped stay for another day, if `path` is in it."""
    with contextlib.suppress(OSError, ValueError):
        below = Path(path).relative_to(folder(store)).parts
        if below and ".." not in below:
            os.utime(folder(store) / below[0])
