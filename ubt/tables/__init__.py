"""The papers' tables and figures: what they report at CC3M scale beside what cases of this cache measure at the embedded scale; sweeps over settings."""

from ubt.tables import attribution, defending, detecting, durability, elsewhere, judging, locating, scale, separation, sweeping, tuning, unlearning
from ubt.tables.figure import Figure
from ubt.tables.sweep import Sweep
from ubt.tables.table import Sheet

OWN: dict[str, Sheet] = {
    "detectors": detecting.TABLE,
    "poisoncam": locating.TABLE,
    "durability": durability.TABLE,
    "verdict": judging.TABLE,
    "tuning": tuning.TABLE,
}
_PAPERS = defending.TABLES | {"4": unlearning.TABLE} | elsewhere.TABLES | scale.TABLES
TABLES: dict[str, Sheet] = dict(sorted(_PAPERS.items(), key=lambda t: (int(t[0].partition("-")[0]) if t[0][0].isdigit() else 99, t[0]))) | OWN
"""By the number that the UBT paper gives a table, in Arabic numerals, and those of our own."""
FIGURES: dict[str, Figure] = dict(sorted((separation.FIGURES | attribution.FIGURES).items()))
"""By the number that the UBT paper gives a figure."""
SWEEPS: dict[str, Sweep] = sweeping.SWEEPS
"""By name."""
