"""The command line, `python -m ubt`: puts its commands together, each from a file of its own, and reports errors."""

import contextlib
import logging
import sys
import tempfile
import traceback

import typer
import typer.rich_utils

from ubt.cli.bench import bench
from ubt.cli.cases import cases_app
from ubt.cli.console import Printable, err
from ubt.cli.data import audit, data_app
from ubt.cli.demo import built_in
from ubt.cli.docs import docs
from ubt.cli.measure import measure
from ubt.cli.models import models_app
from ubt.cli.paper_tables import figure, sweep, table
from ubt.cli.picture import picture
from ubt.cli.probe import probe
from ubt.cli.report import report
from ubt.cli.run import run
from ubt.cli.settings import settings
from ubt.cli.train import pretrain, train_stegastamp
from ubt.clip import distributed
from ubt.core.errors import BadInput, Cancelled, UbtError
from ubt.core.files import disk_full

typer.rich_utils.Console = Printable
"""Usage errors repeat what a shell made of a pattern: names of files."""
app = typer.Typer(
    help="UBT Inspector: backdoor separation and token-level unlearning for CLIP.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
CASES, PAPERS = (run, audit, report, measure, probe), (table, figure, sweep)
for command in (*CASES, *PAPERS, pretrain, train_stegastamp, built_in, settings, docs, picture, bench):
    app.command()(command)
for name, group in {"cases": cases_app, "data": data_app, "models": models_app}.items():
    app.add_typer(group, name=name)


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
        if not (isinstance(e, (UbtError, OSError)) or full):
            err.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)
            sys.exit(1)
        err.print(f"error: {e}{_more_room(e) if full else ''}", markup=False, soft_wrap=True)
        sys.exit(1)
    finally:
        distributed.leave()


with contextlib.suppress(AttributeError):
    sys.stdout.reconfigure(errors="replace")
