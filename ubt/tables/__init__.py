"""The papers' tables and figures: what they report at CC3M scale beside what cases of this cache measure at the embedded scale."""

from ubt.tables import attribution, defending, detecting, separation, unlearning
from ubt.tables.detecting import Detection
from ubt.tables.figure import Figure
from ubt.tables.table import Table

TABLES: dict[str, Table | Detection] = dict(sorted((defending.TABLES | {"4": unlearning.TABLE}).items())) | {"detectors": detecting.TABLE}
"""By the number that the UBT paper gives a table, in Arabic numerals, and one of our own."""
FIGURES: dict[str, Figure] = dict(sorted((separation.FIGURES | attribution.FIGURES).items()))
"""By the number that the UBT paper gives a figure."""
