"""What a case's stages take, in seconds on two cores, by what each declares: for the time left of a job."""

from ubt.cases.plan import composed
from ubt.cases.settings import CaseSettings


def cost(stage: str, settings: CaseSettings) -> float:
    """Seconds that a stage takes; 0.1 for one that the case does not have."""
    known = {s.name: s for s in composed(settings.own).every}
    return known[stage].cost(settings) if stage in known else 0.1
