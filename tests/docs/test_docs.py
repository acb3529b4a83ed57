"""The documentation holds every command, option and setting, and CI runs what it says."""

import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer

from ubt.attacks import ATTACKS
from ubt.cases.catalog import AFTERWARDS, AGAIN, CASE, EVERY
from ubt.cases.presets import PRESETS
from ubt.cli.main import app
from ubt.cli.settings import settings_table
from ubt.core.stage import Stage
from ubt.data.catalogue import CAPTION_COLUMNS
from ubt.data.classification_sets import SETS
from ubt.data.formats.base import ID_COLUMNS, IMAGE_COLUMNS
from ubt.data.labelled import LABEL_COLUMNS
from ubt.data.quarantine import REASONS
from ubt.data.retrieval_sets import SETS as CAPTIONED
from ubt.defenses import DEFENSES
from ubt.detectors import DETECTORS
from ubt.evaluation.stages import again_name
from ubt.reports.paper import FIGURES, SWEEPS, TABLES
from ubt.ui.navigation import PAGES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "ubt" / "docs" / "reference.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "ubt" / "docs").glob("*.md"))]


def commands(group, prefix=""):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", [o for p in command.params for o in p.opts if o.startswith("--") and o != "--help"]


COMMANDS = dict(commands(typer.main.get_command(app)))


def documented(command: str, option: str) -> bool:
    """Whether a row of the table of options names an option and, as it is or by its group, the command."""
    for row in REFERENCE.split("| option | of | meaning |")[1].split("\n\n")[0].strip().splitlines():
        options, of = row.split("|")[1:3]
        named = {
            name.removesuffix(" too").strip()
            for name in re.split(r"[,()]|\bof\b|\bsee\b", re.sub(r"`[^`]*`|\band\b", "", of))
        }
        if f"`{option}`" in options and named & {command, command.split(" ")[0]}:
            return True
    return False


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_in_the_reference(command):
    assert f"python -m ubt {command}" in REFERENCE
    for option in COMMANDS[command]:
        assert documented(command, option), f"{option} of {command}: a row of the table of options names both"


def test_the_table_of_settings_is_the_codes():
    assert "\n".join(settings_table()) in REFERENCE


def test_attacks_presets_and_stages_are_in_the_reference():
    for name in (*ATTACKS, *PRESETS):
        assert f"`{name}`" in REFERENCE, name
    for s in CASE:
        assert f"| `{s.name}` | {s.role} | {s.about} |" in REFERENCE, s.name


def test_what_is_trained_on_again_is_in_the_reference():
    """A row a family: there is one of each for every model."""
    assert f"| `{AFTERWARDS.name}` | {AFTERWARDS.role} | {AFTERWARDS.about} |" in REFERENCE
    for kind, (on, _) in AGAIN.items():
        measured, said = again_name(kind, "evaluate_X"), f"the model trained on again on {on}, and what it then does"
        assert f"| `{measured.removeprefix('evaluate_')}`, `{measured}` | {AFTERWARDS.role} | {said} |" in REFERENCE


def test_every_defence_detector_table_and_figure_is_in_the_reference():
    for name, d in DEFENSES.items():
        assert f"| `{name}` | {d.title} | {d.needs or '-'} |" in REFERENCE, name
    for name, stage in DETECTORS.items():
        assert f"| `{name}` | {stage.about} |" in REFERENCE, name
    for kind, known in (("table", TABLES), ("figure", FIGURES)):
        for number in known:
            assert f"`{number}`" in REFERENCE.split(f"`python -m ubt {kind}`", 1)[1].splitlines()[0], number


def test_every_sweep_and_its_settings_are_in_the_reference():
    for name, sweep in SWEEPS.items():
        assert f"| `{name}` | {' x '.join(f'`{f.setting}`' for f in sweep.factors)} |" in REFERENCE, name


def test_every_page_is_in_the_reference_and_on_disk():
    assert {p.stem for p in (ROOT / "pages").glob("*.py")} == set(PAGES)
    for title, _ in PAGES.values():
        assert f"| *{title}* |" in README
        assert f"| *{title}* |" in REFERENCE
    (row,) = (line for line in REFERENCE.splitlines() if line.startswith("| `--page`"))
    assert all(f"`{name}`" in row for name in PAGES)


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


def read_of(stage: Stage) -> set[str]:
    """The entries of a stage's result that other stages read."""
    references = (reference.split(".") for s in EVERY for reference in s.inputs.values())
    return {entry for name, entry in references if name == stage.name}


@pytest.mark.parametrize("stage", {s.function: s for s in EVERY}.values(), ids=lambda s: s.name)
def test_every_stage_takes_what_it_declares_and_says_what_it_returns(stage: Stage):
    function = stage.load()
    assert set(stage.inputs) <= set(inspect.signature(function).parameters)
    unsaid = {entry for entry in read_of(stage) if f"`{entry}`" not in (function.__doc__ or "")}
    assert not unsaid, f"{stage.function}: its docstring names what other stages read of its result"


def test_every_reason_to_leave_out_a_row_and_every_guessed_column_is_in_the_reference():
    for reason, meaning in REASONS.items():
        assert f"| {reason} | {meaning} |" in REFERENCE, reason
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
    for arguments in given:
        group = typer.main.get_command(app)
        while hasattr(group, "commands"):
            assert arguments[0] in group.commands, arguments
            group, arguments = group.commands[arguments[0]], arguments[1:]
        group.make_context("ubt", list(arguments))
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
