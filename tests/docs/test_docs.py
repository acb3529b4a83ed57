"""The documents' tables are what the code declares, their links lead somewhere, and CI runs what they say."""

import inspect
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
import typer
from tiny import CPU
from typer.testing import CliRunner

from ubt.attacks import ATTACKS
from ubt.cases.catalog import every
from ubt.cases.presets import PRESETS
from ubt.cases.store import Store
from ubt.cli.docs import commands, made
from ubt.cli.main import app
from ubt.core.errors import BadInput, UbtError
from ubt.core.stage import Stage
from ubt.data.catalogue import CAPTION_COLUMNS
from ubt.data.classification_sets import SETS
from ubt.data.formats import FORMATS
from ubt.data.formats.base import ID_COLUMNS, IMAGE_COLUMNS
from ubt.data.labelled import LABEL_COLUMNS
from ubt.data.quarantine import REASONS
from ubt.data.retrieval_sets import SETS as CAPTIONED
from ubt.defenses import DEFENSES
from ubt.detectors import DETECTORS
from ubt.reports import docs_tables, documents
from ubt.reports.docs_tables import GENERATED, MEASURED, measured, pages
from ubt.reports.documents import TITLES, read
from ubt.reports.paper import SWEEPS, TABLES
from ubt.ui.navigation import PAGES, page

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "ubt" / "docs" / "reference.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "ubt" / "docs").glob("*.md"))]


COMMAND = typer.main.get_command(app)


@pytest.mark.parametrize("name", TITLES)
def test_the_generated_tables_are_what_the_code_declares(name):
    assert made(COMMAND)[name] == read(name), "stale; run python -m ubt docs --write"


def test_a_sweep_stands_as_its_command_prints_it(tmp_path, monkeypatch):
    sweep = SWEEPS["abl-lr"]
    frame = sweep.measured(Store(tmp_path), CPU, 1)
    frame.to_csv(tmp_path / "sweep-abl-lr.csv", index=False)
    monkeypatch.setattr(docs_tables, "MEASURED", tmp_path)
    lines = docs_tables.GENERATED["sweep abl-lr"]()
    assert "\n".join(lines).startswith(sweep.markdown(frame))
    assert lines[-1].startswith("*Made by `python -m ubt sweep abl-lr --seeds 1`")


def test_a_stale_table_is_noticed_and_written_anew(tmp_path, monkeypatch):
    shutil.copytree(documents.FOLDER, tmp_path / "docs")
    monkeypatch.setattr(documents, "FOLDER", tmp_path / "docs")
    file, run = tmp_path / "docs" / "reference.md", CliRunner().invoke
    file.write_text(REFERENCE.replace("| `seed` | 0 |", "| `seed` | 1 |"))
    failed = run(app, ["docs"])
    assert isinstance(failed.exception, UbtError)
    assert "reference" in str(failed.exception)
    assert run(app, ["docs", "--write"]).exit_code == 0
    assert file.read_text() == REFERENCE
    assert run(app, ["docs"]).exit_code == 0


def test_a_table_that_nobody_makes_is_refused():
    with pytest.raises(BadInput, match="expected one of: stages"):
        documents.filled("<!-- generated: stagez -->\n<!-- end -->\n", {"stages": list})


def test_every_generated_table_stands_in_a_document():
    """Of the papers' tables and the sweeps those that somebody has measured."""
    text = "".join(read(name) for name in TITLES)
    measured = {path.stem.replace("-", " ", 1) for path in MEASURED.glob("*.csv")}
    csv = {name for name in measured if not name.startswith("cells ")}
    assert csv <= set(GENERATED)
    for name in {"commands", "options"} | csv | {n for n in GENERATED if not n.startswith(("table ", "sweep "))}:
        assert text.count(f"<!-- generated: {name} -->") == 1, name


@pytest.mark.parametrize(
    "known, like, table",
    [
        (ATTACKS, "badnet", "attacks"),
        (DEFENSES, "cleanclip", "defences"),
        (DETECTORS, "forest", "detectors"),
        (FORMATS, "csv", "formats"),
        (REASONS, "missing file", "reasons"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_registered_is_in_its_table(monkeypatch, known, like, table):
    before = GENERATED[table]()
    monkeypatch.setitem(known, "toy", known[like])
    assert len(GENERATED[table]()) == len(before) + 1


def test_a_page_describes_itself_in_the_table(tmp_path):
    (tmp_path / "toy.py").write_text('"""Toy: what it is for, in\ntwo lines."""\n')
    assert pages(tmp_path)[2:] == ["| *Toy* | `toy` | what it is for, in two lines |"]


def test_a_table_of_figures_is_that_of_its_csv():
    """Figures as they stand there, rounded as `python -m ubt table` prints them."""
    frame, lines = pd.read_csv(MEASURED / "table-3.csv"), measured("3")
    row = frame[(frame["attack"] == "badnet") & (frame["method"] == "UBT, ours")].iloc[0]
    (line,) = (line for line in lines if line.startswith("| badnet | UBT, ours |"))
    assert f"{row['measured ASR']:.2f} ± {row['measured ASR spread']:.2f}" in line
    assert all("seconds" not in line for line in measured("detectors")[:1])


def test_presets_are_in_the_reference():
    for name in PRESETS:
        assert f"`--preset {name}`" in REFERENCE, name


def test_every_page_is_in_the_reference_and_on_disk():
    assert {p.stem for p in (ROOT / "pages").glob("*.py")} == set(PAGES)
    for name, title in ((name, page(name).title) for name in PAGES):
        assert f"| *{title}* |" in README
        assert f"| *{title}* | `{name}` |" in REFERENCE
        assert f"- *{title}*:" in REFERENCE


def test_the_first_command_opens_the_app_and_its_picture_is_there():
    assert "streamlit run app.py" in README.split("<!-- run -->", 1)[1].split("```")[1]
    for picture in re.findall(r"!\[[^]]*]\(([^)]*)\)", README):
        assert (ROOT / picture).is_file(), picture


def test_ci_runs_the_readmes_command():
    assert "<!-- tests -->" in README
    block = README.split("<!-- tests -->", 1)[1].split("```")[1]
    assert "pytest" in block
    assert "requirements.txt" in block
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_every_dependency_has_bounds_and_a_reason():
    told = read("contributing").split("## Dependencies", 1)[1].split("\n## ", 1)[0]
    rows = [row.split("|")[1] for row in told.splitlines() if row.startswith("| ") and "---" not in row][1:]
    explained = [name.strip() for row in rows for name in row.split(",")]
    lines = [line.split(";")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    required = [line for line in lines if line and not line.startswith("#")]
    assert sorted(explained) == sorted(re.split("[=<>]", line, maxsplit=1)[0] for line in required)
    assert not [line for line in required if "==" not in line and not re.search(r">=[\d.]+,<[\d.]+$", line)]


def read_of(stage: Stage) -> set[str]:
    """The entries of a stage's result that other stages read."""
    references = (reference.split(".") for s in every() for reference in s.inputs.values())
    return {entry for name, entry in references if name == stage.name}


@pytest.mark.parametrize("stage", {s.function: s for s in every()}.values(), ids=lambda s: s.name)
def test_every_stage_takes_what_it_declares_and_says_what_it_returns(stage: Stage):
    function = stage.load()
    assert set(stage.inputs) <= set(inspect.signature(function).parameters)
    unsaid = {entry for entry in read_of(stage) if f"`{entry}`" not in (function.__doc__ or "")}
    assert not unsaid, f"{stage.function}: its docstring names what other stages read of its result"


def test_every_guessed_column_is_in_the_reference():
    for column in (*IMAGE_COLUMNS, *CAPTION_COLUMNS, *LABEL_COLUMNS, *ID_COLUMNS):
        assert f"`{column}`" in REFERENCE.split("## Own data", 1)[1].split("\n## ", 1)[0], column


def test_every_data_set_and_where_it_is_looked_for_is_in_the_reference():
    part = REFERENCE.split("## Downstream", 1)[1].split("\n## ", 1)[0]
    for name, known in SETS.items():
        assert f"| `{name}` |" in part
        assert all(place in part for place in known.looked_for), name
    for name, (_, file) in CAPTIONED.items():
        assert f"`{name}`" in part
        assert f"{name}/{file}" in part


def test_every_link_between_the_documents_leads_somewhere():
    """Headings as GitHub names them: small letters, blanks to hyphens, other signs left out."""
    for document in DOCUMENTS:
        for target in re.findall(r"]\((?!http)([^)]*)\)", document.read_text()):
            name, _, part = target.partition("#")
            file = document.parent / name if name else document
            assert file.is_file(), (document.name, target)
            headings = [
                re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-")
                for h in re.findall(r"^#+ (.*)", file.read_text(errors="replace"), re.M)
            ]
            assert not part or part in headings, (document.name, target)


def test_every_path_that_the_documents_name_is_there():
    """Files and folders of this repository, in backticks; NAME stands for a file still to be written."""
    for document in DOCUMENTS:
        named = set(re.findall(r"`((?:ubt|tests|pages)/[\w./-]*)`", document.read_text()))
        gone = [path for path in sorted(named) if "NAME" not in path and not (ROOT / path).exists()]
        assert not gone, document.name


def shell_commands(part: str) -> list[list[str]]:
    """The arguments of every `python -m ubt` in the shell blocks of a part of the README, variables replaced by what
    they were set to.
    """
    text = "\n".join(re.findall(r"```sh\n(.*?)```", part, re.S)).replace("\\\n", " ")
    values = {
        "set": "dtd",
        "n": "1",
        **{name: key for name, key in re.findall(r"^(\w+)=\$\((?:.*?)\| tail -n 1\)()$", text, re.M)},
    }
    values |= {
        name: re.sub(r"\$(\w+)", lambda m: values[m[1]] or m[1].lower(), value)
        for name, value in re.findall(r'^(\w+)="(.*)"$', text, re.M)
    }
    found = re.findall(
        r"python -m ubt ((?:\$\([^)]*\)|[^\n|;)])*)", re.sub(r"\$(\w+)", lambda m: values[m[1]] or m[1].lower(), text)
    )
    inner = re.findall(r"\$\(python -m ubt ([^|)]*)", text)
    return [shlex.split(re.sub(r"\$\([^)]*\)", "key", command)) for command in (*found, *inner)]


def test_every_command_at_the_papers_scale_can_be_parsed():
    """By the command line itself, without running it; and each of the paper's tables is made."""
    part = README.split("## At the paper's scale", 1)[1].split("\n## ", 1)[0]
    given = shell_commands(part)
    assert len(given) >= 8
    known = {tuple(name.split()): command for name, command in commands(COMMAND)}
    for arguments in given:
        name = next((n for n in known if tuple(arguments[: len(n)]) == n), None)
        assert name, arguments
        known[name].make_context("ubt", list(arguments[len(name) :]))
    made = set(re.search(r"for n in ([\w -]+);", part)[1].split()) | {"6"}
    assert made == {*map(str, range(1, 11)), "10-rate"}
    sets = re.search(r"for set in ([\w ]+);", part)[1].split()
    assert set(sets) == set(SETS) - {"imagenet"}
    six = next(arguments for arguments in given if arguments[:2] == ["table", "6"])
    assert "--set downstream.set=dtd" in " ".join(six)
    assert not {"--attacks", "--defenses"} & set(six)
    assert {TABLES["6"].varied({"downstream.set": name}).rows[0].labels[0] for name in sets} == {
        row.labels[0] for row in TABLES["6"].rows
    } - {"scenes"}


def test_the_readme_stays_an_entrance():
    """What is complete stands in the reference, what was measured in its own file."""
    assert len(README.splitlines()) <= 250
    assert all((ROOT / picture).stat().st_size < 200_000 for picture in re.findall(r"!\[[^]]*]\(([^)]*)\)", README))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_no_placeholder_is_left(document):
    assert not re.search(r"^(RESULTS|SETTINGS|VERDICT|BENCH)|\b(VERDICT|BENCH)\.", document.read_text(), re.M)


def test_every_term_that_a_page_explains_is_in_the_readmes_glossary():
    glossary = README.split("## Glossary", 1)[1].split("## Papers", 1)[0]
    others = {"clean reference", "lab case", "AUROC"}
    for term, meaning in documents.glossary().items():
        assert term in glossary or term in others, term
        assert meaning.endswith(".")
