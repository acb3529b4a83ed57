"""Detectors of one image, one file each: is this one triggered, for this model? Adding one is one file and one line in
`IMAGE_DETECTORS`.
"""

from ubt.detectors.gate import combined, displaced, masking, mixed, pasted, texts
from ubt.detectors.gate.base import ImageDetector, Watched

IMAGE_DETECTORS: dict[str, ImageDetector] = {
    "displaced": displaced.DISPLACED,
    "one_pass": displaced.ONE_PASS,
    "combined": combined.COMBINED,
    "pasted": pasted.PASTED,
    "mixed": mixed.MIXED,
    "masking": masking.MASKING,
    "texts": texts.TEXT,
}
"""By name; the first that is possible is the default."""


def possible(watched: Watched) -> list[str]:
    """The detectors whose needs are there, the default first."""
    return [name for name, detector in IMAGE_DETECTORS.items() if detector.possible(watched)]
