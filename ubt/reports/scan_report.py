"""A scan told in one page, for somebody who will never open the app."""

from pathlib import Path
from typing import Any

import numpy as np

from ubt.cases.artifact import Artefact
from ubt.core.errors import BadInput
from ubt.core.files import replace_file
from ubt.defenses.token_unlearning.health import NOT_POISONED, POISONED
from ubt.figures import scan as figures
from ubt.reports.case_report import Card, Cards, Chart, Report, Said, Section, Table
from ubt.reports.case_report.html import page
from ubt.workflows import scan as scans
from ubt.workflows.audit import as_json, strict

TONES = {POISONED: "bad", NOT_POISONED: "good"}
FILES = ("scan.json", "trigger.png", "scan.html")


def lines(found: Artefact) -> tuple[float, float]:
    """From which score on a model counts as poisoned, and below which as not, in this scan."""
    settings = found["about"]["settings"]["verdict"]
    kind = "" if "reference" in found["about"]["models"] else "alone_"
    return settings[f"{kind}poisoned"], settings[f"{kind}clear"]


def what_to_do(found: Artefact) -> list[str]:
    """What a verdict leads to."""
    verdict = found["verdict"]
    if verdict["verdict"] == POISONED:
        return [
            f"Do not use this model as it is. Ask who made it why images of all kinds become {verdict['target']!r}.",
            "If you have pairs that it was trained on, audit them (Check, or python -m ubt audit): that names the"
            " poisoned ones. Or look among them for this trigger (python -m ubt scan … --pairs PAIRS).",
            "Purify the model without its data, and scan what comes out.",
        ]
    if verdict["verdict"] == NOT_POISONED:
        return [
            "Read the limits below: a scan does not see every kind of backdoor. Pairs, if you have them: audit them."
        ]
    better = [] if "reference" in found["about"]["models"] else ["Name a clean model to compare with (--reference)."]
    return [*better, "Scan it on other images that it knows, and with more classes (--images, --classes)."]


def heading(found: Artefact) -> str:
    """What stands above the picture of what was found: of a model that is not judged poisoned it is no trigger."""
    poisoned = scans.judged_poisoned(found)
    return "The trigger that was found" if poisoned else "What leads most easily to a class"


def report(found: Artefact) -> Report:
    """A scan's report."""
    verdict, about, classes = found["verdict"], found["about"], found["classes"]
    name = about["models"]["model"]["name"]
    charts = [Chart("Which class gives way", figures.scores(classes, *lines(found)), wide=True)]
    charts.append(Chart("What the triggers do", figures.what_it_takes(classes, verdict["method"], "asr")))
    if verdict["size"] is not None and np.isfinite(verdict["size"]):
        charts.append(Chart("What they cover", figures.what_it_takes(classes, verdict["method"], "size")))
    cards = [
        Card(image, [], [said])
        for said, images in (("as it is", found["examples"]), ("with the trigger", found["triggered"]))
        for image in np.asarray(images)[:4]
    ]
    shown = scans.on_grey(scans.picture(scans.trigger(found)))
    return Report(
        f"Scan of {name}",
        f"A model alone, without its training data; {about['made_by']}.",
        [
            Section(
                "Verdict",
                [
                    Said(f"{verdict['verdict']}: {verdict['reason']}.", TONES.get(verdict["verdict"], "warning")),
                    *(Said(line) for line in what_to_do(found)),
                ],
            ),
            Section("Classes", charts),
            Section(
                heading(found),
                [
                    Said(
                        "A patch under a mask."
                        if "mask" in found
                        else "A faint pattern over the whole image, here as strong as can be shown."
                    ),
                    Cards([Card(shown, [], ["alone"]), *cards]),
                ],
            ),
            Section("Limits", [Said(about["limits"])]),
            Section("Where it comes from", [Table(("", ""), _origin(about))]),
        ],
        "scan",
    )


def _origin(about: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [(side, f"{card['name']}, {card['digest'][:16]}…") for side, card in about["models"].items()]
    left_out = ", ".join(f"{n} {reason}" for reason, n in about["left_out"].items()) or "none"
    return [
        *rows,
        ("images", about["images"]),
        ("images left out", left_out),
        ("seed", str(about["settings"]["seed"])),
        ("seconds", f"{about['seconds']:.0f}"),
    ]


def files(found: Artefact) -> dict[str, bytes]:
    """`scan.json`, the trigger as PNG, and the page, by their names."""
    content = as_json(strict(scans.told(found))), scans.as_png(scans.picture(scans.trigger(found)))
    return dict(zip(FILES, (*content, page(report(found)).encode()), strict=True))


def write(found: Artefact, folder: Path) -> list[Path]:
    """Write a scan's files into a folder.

    Raises:
        BadInput: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files(found).items():
            replace_file(folder / name, lambda path, content=content: path.write_bytes(content))
    except OSError as e:
        raise BadInput(f"--out: expected a folder that can be written, got {folder} ({e.strerror})") from None
    return [folder / name for name in FILES]
