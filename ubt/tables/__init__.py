"""The papers' tables and histograms: what they report at CC3M scale beside what cases of this cache measure at the embedded scale."""

from ubt.tables import separation, unlearning
from ubt.tables.figure import Figure
from ubt.tables.table import Table

TABLES: dict[str, Table] = {"4": unlearning.TABLE}
"""By the number that the UBT paper gives a table, in Arabic numerals."""
FIGURES: dict[str, Figure] = separation.FIGURES
"""By the number that the UBT paper gives a figure."""
