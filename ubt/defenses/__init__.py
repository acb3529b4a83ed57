"""Defences, one file each: every one declares the stages that lead to a model without the backdoor, from M_bd or in its
place.
"""

from dataclasses import dataclass

from ubt.core.stage import Stage
from ubt.defenses import abl, cleanclip, control, poisoncam, roclip, supervised, token_unlearning


@dataclass(frozen=True)
class Defense:
    """A defence: its `title`, its `stages`, the stage whose model it gives, and the stage that measures that. `needs`:
    what it takes beside D and M_bd: clean data of one's own, labels, or the truth. `trains`: it trains in M_bd's place.
    """

    title: str
    stages: tuple[Stage, ...]
    model: str
    judged: str
    needs: str = ""
    trains: bool = False


DEFENSES: dict[str, Defense] = {
    "ubt": Defense("UBT, ours", token_unlearning.STAGES, "unlearn", "evaluate_purified", "a clean reference"),
    "ubt_published": Defense(
        "UBT, as published", token_unlearning.STAGES, "unlearn_published", "evaluate_published", "a clean reference"
    ),
    "abl": Defense("ABL", abl.STAGES, "abl", "evaluate_abl", "a clean reference"),
    "abl_masked": Defense(
        "ABL + text mask", abl.MASKED_STAGES, "abl_masked", "evaluate_abl_masked", "a clean reference"
    ),
    "cleanclip": Defense("CleanCLIP", cleanclip.STAGES, "cleanclip", "evaluate_cleanclip", "clean pairs"),
    "supervised": Defense(
        "supervised fine-tuning", supervised.STAGES, "supervised", "evaluate_supervised", "labelled images"
    ),
    "roclip": Defense("RoCLIP", roclip.STAGES, "roclip", "evaluate_roclip", "a clean reference", trains=True),
    "poisoncam": Defense(
        "PoisonCAM", poisoncam.STAGES, "poisoncam", "evaluate_poisoncam", "a clean reference", trains=True
    ),
    "control": Defense("control: no unlearning", control.STAGES, "control", "evaluate_control", "a clean reference"),
    "gentle": Defense(
        "control: as gentle as RoCLIP",
        control.GENTLE_STAGES,
        "gentle",
        "evaluate_gentle",
        "a clean reference",
        trains=True,
    ),
    "retrain": Defense(
        "oracle: without the poisons", control.ORACLE_STAGES, "retrain", "evaluate_retrain", "the truth", trains=True
    ),
}
"""By name. What a case is made of is `ubt`; the others are run on it when they are asked for."""
