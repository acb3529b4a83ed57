"""Defences, one file each: every one declares the stages that lead to a model without the backdoor, from M_bd or in its
place. Adding one is one file and one line in `DEFENSES`.
"""

from ubt.defenses import abl, cleanclip, control, par, poisoncam, roclip, supervised, tbar, token_unlearning
from ubt.defenses.base import Defense

DEFENSES: dict[str, Defense] = {
    "ubt": token_unlearning.OURS,
    "ubt_published": token_unlearning.PUBLISHED,
    "abl": abl.DEFENSE,
    "abl_masked": abl.MASKED,
    "cleanclip": cleanclip.DEFENSE,
    "par": par.DEFENSE,
    "tbar": tbar.DEFENSE,
    "supervised": supervised.DEFENSE,
    "roclip": roclip.DEFENSE,
    "poisoncam": poisoncam.DEFENSE,
    "control": control.DEFENSE,
    "gentle": control.GENTLE,
    "retrain": control.ORACLE,
}
"""By name. What a case is made of is `ubt`; the others are run on it when they are asked for."""
