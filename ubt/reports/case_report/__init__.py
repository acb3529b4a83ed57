"""A case told in one file, for somebody who will never open the app: what is in it
(`ubt.reports.case_report.contents`), and it as a page of HTML (`ubt.reports.case_report.html`) or as Markdown
(`ubt.reports.case_report.markdown`).

A report is a list of sections, and a section a list of the blocks below. Captions, notes, names and paths in them may
hold anything; whoever writes a block out shows them with `ubt.core.text` and escapes them for what it writes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go


@dataclass(frozen=True)
class Said:
    """A paragraph; `tone`: empty, `bad`, `good` or `warning`."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """Columns and rows of text; the first column is to the left."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Chart:
    """A plotly figure that the app draws, too, and what it is about; a `wide` one has a row for itself."""

    title: str
    figure: go.Figure
    wide: bool = False


@dataclass(frozen=True)
class Card:
    """A pair: its image, uint8 (H, W, 3), None where it has none; caption or words with their scores in [0, 1] and
    which a mask keeps; remarks, and whether it is poisoned, where that is known.
    """

    image: np.ndarray | None
    words: Sequence[tuple[str, float, bool]]
    remarks: Sequence[str]
    poisoned: bool | None = None


@dataclass(frozen=True)
class Cards:
    """Pairs side by side."""

    cards: Sequence[Card]


@dataclass(frozen=True)
class Folded:
    """Blocks that are not shown until somebody asks for them."""

    title: str
    blocks: Sequence["Block"]


Block = Said | Table | Chart | Cards | Folded


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; charts that follow each other stand side by side."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """A case, told."""

    title: str
    about: str
    sections: Sequence[Section]
    name: str = field(default="report")
