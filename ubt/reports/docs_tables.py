"""What the documents' generated tables hold: what the registries declare, and what was measured, as lines of Markdown.

The tables of commands and options are made by `ubt.cli.docs`, which alone knows the command line.
"""

import ast
import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from ubt.attacks import ATTACKS
from ubt.cases.catalog import AFTERWARDS, AGAIN, CASE, every
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.core.files import APP
from ubt.core.stage import Stage
from ubt.data.formats import FORMATS
from ubt.data.quarantine import REASONS
from ubt.defenses import DEFENSES
from ubt.detectors import DETECTORS
from ubt.detectors.gate import IMAGE_DETECTORS
from ubt.detectors.inversion import METHODS
from ubt.evaluation.stages import durability_name
from ubt.reports import manifest
from ubt.reports.documents import FOLDER
from ubt.reports.paper import SWEEPS, TABLES
from ubt.workflows.open_case import OpenCase

MEASURED = FOLDER / "measured"
"""One CSV a table of `measured.md`, as `python -m ubt table NAME --out DIR` writes it."""
UNTIMED = {"detectors": ("seconds",)}
"""Columns that a table leaves out: other work ran beside what they time."""


def rows(heads: Sequence[str], cells: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = (heads, ["---"] * len(heads), *cells)
    return ["| " + " | ".join(str(c).replace("|", r"\|") for c in line) + " |" for line in lines]


def settings() -> list[str]:
    """Every setting, its default, and what it means."""
    found = []
    for name, (field, value) in CaseSettings().described().items():
        choices = f" ({', '.join(field.choices)})" if field.choices else ""
        found.append((f"`{name}`", value, f"{field.help}{choices}"))
    return rows(("setting", "default", "meaning"), found)


def stages(of: Iterable[Stage]) -> list[str]:
    """Stages: who acts, what they do."""
    return rows(("stage", "who", "what"), ((f"`{s.name}`", s.role, s.about) for s in of))


def formats() -> list[str]:
    """The formats of pairs and of labelled images."""
    return rows(("source", "its pairs", "an image's place"), (f.document for f in FORMATS.values()))


def defence_stages() -> list[str]:
    """The stages of the defences that are run on a case when they are asked for."""
    known, wanted = {s.name for s in CASE}, {s.name for d in DEFENSES.values() for s in d.stages}
    return stages(s for s in every() if s.name in wanted - known)


def later_stages() -> list[str]:
    """What is run on the model that `evaluate_X` measures, for every X: trained on again, in each way, and measured."""
    found = [(f"`{AFTERWARDS.name}`", AFTERWARDS.role, AFTERWARDS.about)]
    for kind, (on, _) in AGAIN.items():
        name = durability_name(kind, "evaluate_X")
        said = f"the model trained on again on {on}, and what it then does"
        found.append((f"`{name.removeprefix('evaluate_')}`, `{name}`", AFTERWARDS.role, said))
    return rows(("stage", "who", "what"), found)


def attacks() -> list[str]:
    """Every attack, what it plants, its threat model, and its profiles with what each changes."""
    return rows(
        ("attack", "what it plants", "what the attacker has a hold of", "profiles (`--profile`), and what each sets"),
        ((f"`{name}`", attack.about, attack.threat, _profiles(attack.profiles)) for name, attack in ATTACKS.items()),
    )


def _profiles(profiles: dict[str, dict]) -> str:
    """Profiles that set the same are named together."""
    named: dict[str, list[str]] = {}
    for name, changes in profiles.items():
        named.setdefault(", ".join(f"{k} {_shown(v)}" for k, v in changes.items()), []).append(f"`{name}`")
    return "; ".join(f"{', '.join(names)}: {said or 'the defaults'}" for said, names in named.items())


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def defences() -> list[str]:
    """Every defence, what it needs beside D and M_bd, and what its model is trained from."""
    return rows(
        ("name", "defence", "needs beside D", "where it starts"),
        (
            (f"`{name}`", d.title, d.needs or "-", "in M_bd's place" if d.trains else "M_bd")
            for name, d in DEFENSES.items()
        ),
    )


def detectors() -> list[str]:
    """Every detector of pairs, of one image and of a model: what it finds suspicious, and the data that it needs."""
    every = [*DETECTORS.items(), *IMAGE_DETECTORS.items(), *METHODS.items()]
    return rows(
        ("name", "scope", "what it finds suspicious", "data that it needs"),
        ((f"`{name}`", d.scope, d.about, ", ".join(d.needs) or "none") for name, d in every),
    )


def reasons() -> list[str]:
    """Why a row or an image is left out."""
    return rows(("reason", "meaning"), REASONS.items())


def sweeps() -> list[str]:
    """Every sweep, its settings, and what is measured in each cell."""
    return rows(
        ("sweep", "settings", "what it varies", "measured"),
        (
            (
                f"`{name}`",
                " x ".join(f"`{f.setting}`" for f in s.factors),
                s.title,
                "; ".join(m.label for m in s.measures),
            )
            for name, s in SWEEPS.items()
        ),
    )


def tables() -> list[str]:
    """Every table that `python -m ubt table` makes."""
    return rows(("table", "what it holds"), ((f"`{name}`", sheet.title) for name, sheet in TABLES.items()))


def pages(folder: Path = APP / "pages") -> list[str]:
    """Every page of the app, its name in the address, and what it is for, as its own file says."""
    found = []
    for path in sorted(folder.glob("*.py")):
        said, _, _ = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")
        title, _, about = said.partition(": ")
        found.append((f"*{title}*", f"`{path.stem}`", " ".join(about.split()).rstrip(".")))
    return rows(("page", "in the address", "what it is for"), found)


def notebook() -> list[str]:
    """What an open case of a notebook gives, by name, as its own code says."""
    found = []
    for name, member in vars(OpenCase).items():
        if not name.startswith("_"):
            taken = f"({', '.join(list(inspect.signature(member).parameters)[1:])})" if callable(member) else ""
            found.append((f"`case.{name}{taken}`", " ".join(inspect.getdoc(member).split("\n\n")[0].split())))
    return rows(("name", "what it gives"), found)


def measured(name: str) -> list[str]:
    """A table of `measured.md`, of its CSV, as `python -m ubt table` prints it."""
    sheet = TABLES[name]
    frame = pd.read_csv(
        MEASURED / f"table-{name}.csv", dtype=dict.fromkeys((*getattr(sheet, "heads", ()), "state"), str)
    )
    heads, cells = sheet.lines(frame.fillna({"state": ""}))
    kept = [i for i, head in enumerate(heads) if head not in UNTIMED.get(name, ())]
    return [*rows([heads[i] for i in kept], ([line[i] for i in kept] for line in cells)), *_made(f"table-{name}")]


def swept(name: str) -> list[str]:
    """A sweep of `measured.md`, of its CSV, as `python -m ubt sweep` prints it."""
    frame = pd.read_csv(MEASURED / f"sweep-{name}.csv", dtype={"state": str}).fillna({"state": ""})
    return [*SWEEPS[name].markdown(frame).splitlines(), *_made(f"sweep-{name}")]


def _made(name: str) -> list[str]:
    origins = {e.name: e.origin for e in manifest.entries()}
    if name not in origins:
        raise BadInput(f"{name}: expected it in {manifest.folder() / 'manifest.json'}, which says what made it")
    return ["", f"*Made by {origins[name]}*"]


GENERATED: dict[str, Callable[[], list[str]]] = {
    "pages": pages,
    "notebook": notebook,
    "attacks": attacks,
    "defences": defences,
    "detectors": detectors,
    "sweeps": sweeps,
    "tables": tables,
    "stages": partial(stages, CASE),
    "stages of the defences": defence_stages,
    "stages of durability": later_stages,
    "formats": formats,
    "reasons": reasons,
    "settings": settings,
}
GENERATED |= {f"table {name}": partial(measured, name) for name in TABLES}
GENERATED |= {f"sweep {name}": partial(swept, name) for name in SWEEPS}
"""By the name that stands in a document's mark."""
