"""A store for somebody who may look, but change nothing."""

from pathlib import Path
from typing import NoReturn

from ubt.cases.store import Store
from ubt.core.errors import Forbidden


class ReadOnlyStore(Store):
    """A store of which everything can be read; whatever would change something raises Forbidden.

    Args:
        untouched: not even the cache folder is made, or looked at.
    """

    def __init__(self, root: Path, untouched: bool = False):
        if untouched:
            self.root = Path(root)
        else:
            super().__init__(root)

    def require_writable(self) -> None:
        """Raises:
        Forbidden: always.
        """
        raise Forbidden

    def _refuse(self, *arguments: object, **named: object) -> NoReturn:
        raise Forbidden

    write = put = save_case = rename_case = delete = drop = prune = tidy = set_aside = lock = step = scratch = _refuse
