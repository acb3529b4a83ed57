"""The steps of the lecture, in order."""

import tomllib
from pathlib import Path

from ubt.reports.lecture import Step
from ubt.reports.lecture.shows import CONTROLS, SHOWS


def _steps() -> tuple[Step, ...]:
    texts = tomllib.loads(Path(__file__).with_name("steps.toml").read_text(encoding="utf-8"))
    numbered = [name for name, words in texts.items() if "further" in words]
    return tuple(
        Step(
            name=name,
            show=SHOWS[name],
            control=CONTROLS.get(name),
            number=numbered.index(name) + 1 if name in numbered else 0,
            **words | {"options": tuple(words.get("options", ()))},
        )
        for name, words in texts.items()
    )


STEPS = _steps()
"""Those with a page to go on to are numbered: the ten steps."""
BY_NAME = {step.name: step for step in STEPS}
