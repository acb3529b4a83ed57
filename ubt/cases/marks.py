"""What somebody calls a case, and whether it is pinned, as `cases/NAME/mark.json` keeps it: a file of its own, because
a run that goes on meanwhile rewrites the record. It names no folder and is part of no digest.
"""

import contextlib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ubt.cases.record import MARK
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.files import replace_file

LONGEST = 80
"""Characters of a title, at most."""


class Mark(BaseModel):
    """What was decided of a case: its `title`, empty where it has none of its own, and whether it is `pinned`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Annotated[str, Field(max_length=LONGEST)] = ""
    pinned: bool = False


def place(store: Store, name: str) -> Path:
    """Where the mark of a case is kept, of a built-in one too."""
    return store.root / "cases" / name / MARK


def mark(store: Store, name: str) -> Mark:
    """What was decided of a case; nothing where that cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return Mark.model_validate_json(place(store, name).read_bytes())
    return Mark()


def set_mark(store: Store, name: str, **values: str | bool) -> None:
    """Change the `title` of a case (empty: the one it has by itself), or whether it is `pinned`.

    Raises:
        BadInput: the title is too long, or the case is not there. Forbidden: the store can only be read.
    """
    store.require_writable()
    path = place(store, name)
    if "title" in values:
        values["title"] = title = " ".join(str(values["title"]).split()).encode(errors="backslashreplace").decode()
        if len(title) > LONGEST:
            raise BadInput(f"title: expected at most {LONGEST} characters, got {len(title)}; shorten it")
    if store.case(name).built_in:
        path.parent.mkdir(exist_ok=True)
    changed = Mark.model_validate(mark(store, name).model_dump() | values)
    try:
        replace_file(path, lambda part: part.write_text(changed.model_dump_json(), encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{name}: expected a case on record, but it was deleted meanwhile; choose another") from None
