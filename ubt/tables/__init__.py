"""The papers' tables: what they report at CC3M scale beside what cases of this cache measure at the embedded scale."""

from ubt.tables import unlearning
from ubt.tables.table import Table

TABLES: dict[str, Table] = {"4": unlearning.TABLE}
"""By the number that the UBT paper gives a table, in Arabic numerals."""
