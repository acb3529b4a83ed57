"""A lecture of an hour over the built-in cases: its steps, what each shows, the slides, the exercise sheet.

A step's words stand in `steps.toml`; what it draws and computes from the cases, in `shows.py`. The page *Learn*, the
slides and the exercise sheet are made from the same steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go


@dataclass(frozen=True)
class Control:
    """What can be varied in a step: its `title`, the `values` in order, numbers at one distance or names, and where it
    starts.
    """

    title: str
    values: tuple
    start: float | str


@dataclass(frozen=True)
class Shown:
    """What a step shows for one value of its control.

    `figure`, and what it is `about`; `pictures`, uint8 (H, W, 3), each under a title that may hold anything; `said`:
    lines of Markdown that hold no foreign text; `columns` and `rows` of a table of text that may hold anything;
    `remark`: a line below; `whose`: whose case it is.
    """

    whose: str
    figure: go.Figure | None = None
    about: str = ""
    pictures: Sequence[tuple[str, np.ndarray]] = ()
    said: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: Sequence[Sequence[str]] = ()
    remark: str = ""


@dataclass(frozen=True)
class Step:
    """One step of the lecture, one idea.

    `name` in the address; `title`; `number` among the ten, 0 before and after them; `idea`: Markdown; `guess`: the
    question before the reveal (none if empty), its `options`, which of them is `right`, counted from 0, and the
    `reveal`; `question` and `answer`: to discuss; `notes`: for the lecturer; `minutes` it takes; `further`: the page
    that goes on; `show`: what it shows, by its control's value; `control`: None where nothing can be varied.
    """

    name: str
    title: str
    idea: str
    show: Callable[[float | str | None], Shown]
    minutes: int
    notes: str
    number: int = 0
    guess: str = ""
    options: tuple[str, ...] = ()
    right: int = 0
    reveal: str = ""
    question: str = ""
    answer: str = ""
    further: str = ""
    control: Control | None = None

    @property
    def heading(self) -> str:
        """Its title, with its number among the ten."""
        return f"{self.number}. {self.title}" if self.number else self.title

    def start(self) -> Shown:
        """What it shows before anything is varied."""
        return self.show(self.control.start if self.control else None)
