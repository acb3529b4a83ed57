"""A store for somebody who may look, but change nothing."""

from typing import NoReturn

from ubt.cases.store import Store
from ubt.core.errors import Forbidden


class ReadOnlyStore(Store):
    """A store of which everything can be read; whatever would change something raises Forbidden."""

    def require_writable(self) -> None:
        """Raises:
        Forbidden: always.
        """
        raise Forbidden

    def _refuse(self, *arguments: object, **named: object) -> NoReturn:
        raise Forbidden

    write = put = save_case = rename_case = delete = drop = prune = tidy = set_aside = lock = step = scratch = _refuse
