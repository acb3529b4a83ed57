"""The command line, `python -m ubt`: puts its commands together, each from a file of its own, and reports errors."""

import contextlib
import logging
import sys
import tempfile
import traceback

import typer
import typer.rich_utils

from ubt.cli.console import Printable, err
from ubt.cli.lazy import lazily
from ubt.clip import distributed
from ubt.core import limits
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.files import disk_full

typer.rich_utils.Console = Printable
"""Usage errors repeat what a shell made of a pattern: names of files."""
COMMANDS = {
    "app": "ubt.cli.app:app",
    "run": "ubt.cli.run:run",
    "audit": "ubt.cli.data:audit",
    "scan": "ubt.cli.scan:scan",
    "gate": "ubt.cli.gate:gate",
    "report": "ubt.cli.report:report",
    "measure": "ubt.cli.measure:measure",
    "probe": "ubt.cli.probe:probe",
    "table": "ubt.cli.paper_tables:table",
    "figure": "ubt.cli.paper_tables:figure",
    "sweep": "ubt.cli.paper_tables:sweep",
    "reproduce": "ubt.cli.reproduce:reproduce",
    "pretrain": "ubt.cli.train:pretrain",
    "train-stegastamp": "ubt.cli.train:train_stegastamp",
    "optimize-patch": "ubt.cli.train:optimize_patch",
    "built-in": "ubt.cli.demo:built_in",
    "settings": "ubt.cli.settings:settings",
    "docs": "ubt.cli.docs:docs",
    "lock": "ubt.cli.lock:lock",
    "picture": "ubt.cli.picture:picture",
    "slides": "ubt.cli.slides:slides",
    "bench": "ubt.cli.bench:bench",
    "cases": "ubt.cli.cases:cases_app",
    "data": "ubt.cli.data:data_app",
    "models": "ubt.cli.models:models_app",
}
app = typer.Typer(cls=lazily(COMMANDS), pretty_exceptions_enable=False)


@app.callback(no_args_is_help=True)
def ubt() -> None:
    """UBT Inspector: backdoor separation and token-level unlearning for CLIP."""


def _more_room(e: Exception) -> str:
    """What to do about a full disk, of temporary files or of the cache."""
    temporary = tempfile.gettempdir()
    if str(getattr(e, "filename", None) or "").startswith(temporary):
        return f"; free some space in {temporary}, or name another folder for temporary files in TMPDIR"
    return "; free some space (python -m ubt cases prune) or choose another --cache"


def main() -> None:
    """Run the command line; errors a user can mend leave as one message, exit code 2 for wrong arguments and paths,
    else 1.
    """
    logging.basicConfig(level=logging.WARNING, format="warning: %(message)s")
    try:
        limits.check()
        distributed.join(sys.argv[1] if len(sys.argv) > 1 else "")
        app() if distributed.is_first() else distributed.serve()
    except BadInput as e:
        err.print(f"error: {e}", markup=False, soft_wrap=True)
        sys.exit(2)
    except (Cancelled, KeyboardInterrupt) as e:
        if gone := distributed.lost():
            err.print(f"error: {distributed.farewell(gone)}", markup=False, soft_wrap=True)
            sys.exit(1)
        err.print(f"{e or 'interrupted'}; the same command goes on from here", markup=False, soft_wrap=True)
        sys.exit(130)
    except Exception as e:
        full = disk_full(e) and not isinstance(e, UbtError)  # libraries say so in errors of their own
        if said := limits.ran_out(e):
            print(f"error: {said}", file=sys.stderr)
            sys.exit(1)
        if not (isinstance(e, (UbtError, OSError)) or full):
            err.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)
            sys.exit(1)
        err.print(f"error: {e}{_more_room(e) if full else ''}", markup=False, soft_wrap=True)
        sys.exit(1)
    finally:
        distributed.leave()


with contextlib.suppress(AttributeError):
    sys.stdout.reconfigure(errors="replace")
