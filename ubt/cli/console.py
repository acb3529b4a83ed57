"""How runs and their figures look on a terminal."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ubt.cases.events import Event
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput
from ubt.core.run import Progress
from ubt.core.text import printable
from ubt.data.user_roles import OwnSettings
from ubt.defenses.token_unlearning.health import CANNOT_TELL
from ubt.defenses.token_unlearning.verdict import answer, health, judged_poisoned, reasons
from ubt.evaluation.backdoor import by_attack
from ubt.evaluation.estimates import ESTIMATES
from ubt.evaluation.model_roles import labels
from ubt.workflows import assumed

UNTOLD = 3
"""The exit code of a run or an audit that is finished, but whose verdict is "cannot tell"."""


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


MASKED = {
    "target_first": "target's word first",
    "target_kept": "target kept",
    "words_kept": "words kept",
    "trigger_found": "trigger inside the image mask",
    "covered": "of the image that mask covers",
}


MODELS = labels(audit=False) | {"clean": "clean reference (ASR: natural)"}


def print_metrics(m: dict) -> None:
    """The final tables of a lab case."""
    _print_models(m)
    _print_attacks(m)
    _print_steps(m)
    _print_masks(m["masks"])
    print_health(m["verdict"])
    for check in m["checks"]:
        say(f"{'ok ' if check['fine'] else 'low'} {check['attack']}, {check['check']}: {check['value']}")
    for finding in m["diagnosis"]:
        out.print(
            f"[yellow]warning[/]: the attack did not take well: {finding['what']}; {finding['change']}", highlight=False
        )


def _print_models(m: dict) -> None:
    planted = CaseSettings.from_dict(m["settings"])
    poisons = [p.attack.poisons(planted.data.pairs) for p in planted.attacks]
    title = (
        ", ".join(p.label for p in planted.attacks)
        if any(poisons)
        else f"nothing poisoned ({m['attack']} tried at test time)"
    )
    columns = ("CA", "ASR", "ASR, all", "RA", "target recall")
    table = figures_table(f"{title}, seed {m['seed']}: percent, 95 % interval", *columns)
    for key, label in MODELS.items():
        cells = [
            f"{m[key][f]:.2f} [{m[key]['intervals'][f][0]:.1f}, {m[key]['intervals'][f][1]:.1f}]"
            for f in ("ca", "asr", "asr_all", "ra", "target_recall")
        ]
        table.add_row(label, *cells)
    out.print(table)


def _print_attacks(m: dict) -> None:
    if rows := by_attack({key: m[key] for key in MODELS}):
        table = Table("", *MODELS.values(), title="by attack and key: percent")
        for name, values in rows.items():
            table.add_row(name, *(f"{v:.2f}" for v in values))
        out.print(table)
    for found in m["found"] if len(m["found"]) > 1 else []:
        say(f"{found['label']}: split recall {found['recall']:.3f}, {found['in_topk']} of D_topk")


def _print_steps(m: dict) -> None:
    groups = f" in each of {m['select']['groups']} groups" if m["select"]["groups"] > 1 else ""
    say(
        f"split: {100 * m['split']['fraction']:g} % of D, recall {_share(m['split']['recall'])};  select: k ="
        f" {m['select']['k']}{groups}, precision {_share(m['select']['precision'])}, AUROC inside D_susp"
        f" {_share(m['select']['auroc'])}\n{_verdict(m['verdict'])};  computed in {sum(m['seconds'].values()):.0f} s"
    )


def _print_masks(masks: dict) -> None:
    for form, judged in masks.items():
        if judged["attributed"]["poisons"]:
            shares = [
                f"{label} {_share(judged['topk'][k])} ({_share(judged['attributed'][k])})"
                for k, label in MASKED.items()
            ]
            say(
                f"masks, {form}, shares on D_topk (on all {judged['attributed']['poisons']} flagged poisons looked at):"
                f" {', '.join(shares)}"
            )


def _share(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def print_health(verdict: Mapping[str, Any]) -> None:
    """Every health check of a verdict, and for one that is "cannot tell" why, and what to do."""
    for check in health(verdict):
        say(f"{'ok ' if check['passed'] else 'no '} {check['check']}: {check['said']}", soft_wrap=True)
    for check in reasons(verdict):
        say(f"cannot tell: {check['check']}. {check['why']}; {check['advice']}", soft_wrap=True)


def leave_with(verdict: Mapping[str, Any]) -> None:
    """End with exit code `UNTOLD` where the verdict is "cannot tell"."""
    if answer(verdict) == CANNOT_TELL:
        raise typer.Exit(UNTOLD)


def _verdict(verdict: Mapping[str, Any]) -> str:
    untouched = "" if judged_poisoned(verdict) else ", left untouched"
    return (
        f"verdict: {answer(verdict)}{untouched} (score"
        f" {verdict['score']:.3f}, threshold {verdict['threshold']:g}; displaced {verdict['displaced']:.3f}, threshold"
        f" {verdict['least_displaced']:.3f}; separated {verdict['apart']:.2f}, threshold {verdict['least_apart']:g})"
    )


def print_assumed(store: Store, own: OwnSettings) -> None:
    """What was assumed of a case's imported models."""
    for what, said in assumed.lines(store, own):
        say(f"{what}: {said}", soft_wrap=True)


def print_audit(m: dict, flagged: int) -> None:
    """The verdict and the estimates of an audit that flagged so many pairs."""
    found, estimates = m["estimates"]["found"], m["estimates"]["measures"]
    say(
        f"{_verdict(m['verdict'])};  {flagged:,} of {found['pairs']:,} pairs flagged, {m['quarantined']:,} images"
        f" quarantined;  computed in {sum(m['seconds'].values()):.0f} s"
    )
    print_health(m["verdict"])
    shown = [key for key in ESTIMATES if any(key in row for row in estimates.values())]
    table = Table("", *(ESTIMATES[key] for key in shown), title="estimates, without ground truth")
    for model, row in estimates.items():
        table.add_row(
            labels(audit=True)[model], *(f"{row[key]:.3f}" if key == "pull" else f"{row[key]:.2f}" for key in shown)
        )
    out.print(table)
