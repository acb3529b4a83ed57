"""The papers' tables and figures: what they report at CC3M scale beside what cases of this cache measure at the
embedded scale; sweeps over settings.
"""

from ubt.reports.paper import (
    attack_table,
    attribution_figures,
    defense_tables,
    detector_table,
    durability,
    gate_table,
    localization_table,
    scale_tables,
    scan_table,
    separation_figures,
    sweeps,
    table_iv,
    transfer_tables,
    tuning,
    verdict_table,
)
from ubt.reports.paper.figure import Figure
from ubt.reports.paper.sweep import Sweep
from ubt.reports.paper.table import Sheet

OWN: dict[str, Sheet] = {
    "attacks": attack_table.TABLE,
    "scan": scan_table.TABLE,
    "gate": gate_table.TABLE,
    "detectors": detector_table.TABLE,
    "poisoncam": localization_table.TABLE,
    "durability": durability.TABLE,
    "verdict": verdict_table.TABLE,
    "tuning": tuning.TABLE,
}
_PAPERS = defense_tables.TABLES | {"4": table_iv.TABLE} | transfer_tables.TABLES | scale_tables.TABLES
TABLES: dict[str, Sheet] = (
    dict(sorted(_PAPERS.items(), key=lambda t: (int(t[0].partition("-")[0]) if t[0][0].isdigit() else 99, t[0]))) | OWN
)
"""By the number that the UBT paper gives a table, in Arabic numerals, and those of our own."""
FIGURES: dict[str, Figure] = dict(sorted((separation_figures.FIGURES | attribution_figures.FIGURES).items()))
"""By the number that the UBT paper gives a figure."""
SWEEPS: dict[str, Sweep] = sweeps.SWEEPS
"""By name."""
