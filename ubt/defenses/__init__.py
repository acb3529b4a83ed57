"""Defences, one file each: every one declares the stages that lead from M_bd to a purified model."""

from ubt.defenses import ubt
from ubt.stages import Stage

DEFENSES: dict[str, tuple[Stage, ...]] = {"ubt": ubt.STAGES}
