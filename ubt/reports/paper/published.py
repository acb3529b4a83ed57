"""What the papers report (`reported.csv`), and what stands over our sheets (`sheets.toml`)."""

import csv
import functools
import json
import tomllib
from pathlib import Path
from typing import Any

FIGURES, TEXTS = (Path(__file__).with_name(name) for name in ("reported.csv", "sheets.toml"))


@functools.cache
def _figures() -> dict[tuple[str, str, str], dict[str, float]]:
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    with FIGURES.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            of = found.setdefault((line["table"], line["row"], line["method"]), {})
            of[line["measure"]] = json.loads(line["value"])
    return found


def reported(table: str, row: str, method: str) -> dict[str, float]:
    """What a paper's table reports of a method in a row (an attack, a data set, a number; empty where the table has one
    row a method), by measure, in percent, nats or seconds; empty where it reports nothing.
    """
    return dict(_figures().get((table, row, method), {}))


@functools.cache
def _texts() -> dict[str, Any]:
    return tomllib.loads(TEXTS.read_text(encoding="utf-8"))


def headed(kind: str, name: str, **known: Any) -> tuple[str, str]:
    """The title and the source of a `table`, `figure` or `sweep`; `known`: what is filled into its source."""
    for key, text in _texts()["shared"].items():
        known[key] = text.format(**known)
    found = _texts()[kind][name]
    return found["title"], found["source"].format(**known)
