"""How runs look on a terminal."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ubt.cases.events import Event
from ubt.core.errors import BadInput
from ubt.core.files import APP, ROOT
from ubt.core.run import Progress
from ubt.core.text import printable


class Printable(Console):
    """A console that prints whatever it is given without letting it steer the terminal: names of files, models and
    columns may hold anything.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """As rich's, with the signs of a text as `ubt.core.text.printable` has them."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


out, err = Printable(), Printable(stderr=True)
if not out.is_terminal:
    out = Printable(width=120)


def say(text: str, soft_wrap: bool = False) -> None:
    """Print a text as it is: brackets in it are no markup, numbers in it are not coloured."""
    out.print(text, markup=False, highlight=False, soft_wrap=soft_wrap)


def cell(value: object) -> Text:
    """A table's cell that shows a name as it is: brackets in it are no markup."""
    return Text(printable(value))


def figures_table(title: str, *columns: str) -> Table:
    """A table with names to the left and figures to the right."""
    table = Table("", title=Text(printable(title), "table.title"))
    for column in columns:
        table.add_column(column, justify="right")
    return table


class Show:
    """Draws a pipeline's events: a bar a stage on a terminal, a line a stage elsewhere; of `total` stages, those that
    are there already among them or, with `cached` off, passed over.
    """

    def __init__(self, total: int, cached: bool = True):
        self.count, self.total, self.cached = 0, total, cached
        times = TimeElapsedColumn(), TimeRemainingColumn()
        columns = (
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            *times,
            TextColumn("{task.fields[figures]}"),
        )
        self.bars = Bars(*columns, console=err, disable=not err.is_terminal)
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        if event.kind == "starts":
            self.tasks[event.stage] = self.bars.add_task(event.stage, total=None, figures="")
        elif event.kind == "progress":
            figures = "  ".join(
                f"{k} {v:.3g}" for k, v in event.figures.items() if k != "step" and not isinstance(v, bool)
            )
            self.bars.update(self.tasks[event.stage], completed=event.done, total=event.total, figures=figures)
        elif event.kind == "waits":
            self.bars.console.print(f"{event.stage} waits until another process of yours has computed", highlight=False)
        elif self.cached or event.kind == "done":
            self.count += 1
            if event.stage in self.tasks:
                self.bars.remove_task(self.tasks.pop(event.stage))
            how = f"{event.seconds:6.1f} s" if event.kind == "done" else "  cached"
            self.bars.console.print(f"{self.count:>2}/{self.total} {event.stage:<20} {how}", highlight=False)


def require_clone(what: str) -> None:
    """Raises:
    BadInput: the library was installed, so that there are no files of a repository to write.
    """
    if APP != ROOT:
        raise BadInput(f"{what}: expected a clone of the repository, got a package installed in {ROOT}; run it there")


def check_writable(path: Path) -> None:
    """Raises:
    BadInput: a file could not be written there, so that the work need not begin.
    """
    if (path.exists() and not path.is_file()) or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise BadInput(f"--out: expected a regular file in an existing folder that can be written, got {path}")


@contextlib.contextmanager
def progress_of(name: str) -> Iterator[Progress]:
    """Progress of one piece of work, shown while it lasts."""
    show = Show(1, cached=False)
    with show.bars:
        show(Event("starts", name))
        yield lambda done, total, figures: show(Event("progress", name, done, total, figures=figures))
