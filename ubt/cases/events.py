"""What a run tells while it goes on, kept beside the case's record so that any other process can follow it."""

import contextlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

PAUSE = 0.2
"""Seconds between two lines of progress; lines with figures that were not there before are always written."""


@dataclass(frozen=True)
class Event:
    """A `run` begins; a stage `starts`, makes `progress`, is `done`, was found `cached`, or `waits` for another process
    that has it, or the accelerator, in use. `at`: seconds since the epoch."""

    kind: str
    stage: str = ""
    done: int = 0
    total: int = 0
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    at: float = field(default_factory=time.time)


class Journal:
    """Appends events to a file. A full disk costs lines, not the run."""

    def __init__(self, path: Path, fresh: bool):
        self.path, self._said, self._figures = path, 0.0, set()
        if fresh:
            path.unlink(missing_ok=True)
        self._earlier = read(path)
        self(Event("run"))

    def __call__(self, event: Event) -> None:
        if event.kind == "progress":
            if event.done < event.total and event.at - self._said < PAUSE and set(event.figures) <= self._figures:
                return
            self._said = event.at
        self._figures = set(event.figures)
        with contextlib.suppress(OSError), self.path.open("a") as f:
            f.write(("\n" if event.kind == "run" else "") + json.dumps(asdict(event)) + "\n")

    def spent(self, stage: str, done: int) -> float:
        """Seconds that earlier runs told when they were as far with a stage as this one is that tells `done` first; 0
        if it starts over.
        """
        return max(
            (e.seconds for e in self._earlier if (e.kind, e.stage) == ("progress", stage) and e.done < done),
            default=0.0,
        )


def read(path: Path) -> list[Event]:
    """All events; a line that was cut off by a kill or a full disk is left out, no file means none."""
    events = []
    with contextlib.suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError):
                events.append(Event(**json.loads(line)))
    return events
