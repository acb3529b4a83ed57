"""The papers' tables and histograms: what they report at CC3M scale beside what cases of this cache measure at the embedded scale."""

from ubt.tables import defending, detecting, durability, judging, separation, unlearning
from ubt.tables.figure import Figure
from ubt.tables.table import Sheet

TABLES: dict[str, Sheet] = dict(sorted((defending.TABLES | {"4": unlearning.TABLE}).items())) | {
    "detectors": detecting.TABLE, "durability": durability.TABLE, "verdict": judging.TABLE,
}  # fmt: skip
"""By the number that the UBT paper gives a table, in Arabic numerals, and some of our own."""
FIGURES: dict[str, Figure] = separation.FIGURES
"""By the number that the UBT paper gives a figure."""
