"""Tables I, II, III, V and VIII of the UBT paper: defences side by side. Reported on CC3M (500K pairs, CLIP ViT-B/32),
zero-shot on ImageNet.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from ubt.cases.settings import CaseSettings
from ubt.defenses import DEFENSES
from ubt.reports.paper.published import headed, reported
from ubt.reports.paper.table import KL, MEASURES, SECONDS, Row, Table

ATTACKS = ("badnet", "blended", "sig", "ssba", "trojvqa")
"""The five attacks of Table I."""
NO_DEFENCE, CLEAN = "no defence", "clean reference (natural ASR)"


def case(seed: int, attack: str = "badnet", preset: str = "demo", **changes: Any) -> CaseSettings:
    """The embedded default of an attack, or another preset's, with some settings changed, dots written as double
    underscores.
    """
    given = {name.replace("__", "."): value for name, value in changes.items()}
    size = (
        CaseSettings().with_values({"data.pairs": given["data.pairs"]}).data.pairs
        if preset == "paper" and "data.pairs" in given
        else 0
    )
    return CaseSettings.preset(preset, attack, pairs=size).with_values({"seed": seed} | given)


def judged(name: str) -> str:
    """The stage that measures the model of a method: a defence, none, or the clean reference."""
    return {NO_DEFENCE: "evaluate_poisoned", CLEAN: "evaluate_clean"}.get(name) or DEFENSES[name].judged


def title(name: str) -> str:
    """What a method is called in a table."""
    return DEFENSES[name].title if name in DEFENSES else name


def row(
    table: str,
    at: tuple[str, ...],
    name: str,
    of: Callable[[int], CaseSettings],
    stage: str = "",
    key: str = "",
    **more: Any,
) -> Row:
    """A method's row in a table.

    Args:
        at: its labels before the method's own. stage: the one that measures its model, if not as usual. key: what
            `reported.csv` calls the row, if not by its first label. more: further fields of `Row`.
    """
    labels = (*at, title(name))
    return Row(labels, reported(table, key or "".join(at[:1]), name), of, {"measured": stage or judged(name)}, **more)


def table(
    number: str, heads: tuple[str, ...], rows: Iterable[Row], *measures: Mapping[str, str], **known: Any
) -> Table:
    """A table of the paper with one column group, what is measured here; `known`: what its source tells."""
    return Table(*headed("table", number, **known), heads, ("measured",), tuple(rows), *measures)


def _compared(number: str, attacks: Iterable[str], methods: Iterable[str], *measures: Mapping[str, str]) -> Table:
    """Methods under each attack."""
    rows = (row(number, (a,), name, partial(case, attack=a)) for a in attacks for name in methods)
    return table(number, ("attack", "method"), rows, *measures)


_UBTS = ("ubt_published", "ubt")
METHODS = (CLEAN, NO_DEFENCE, *(n for n in DEFENSES if n not in _UBTS), *_UBTS)
"""Every defence, after two models that have none."""
TABLES = {
    "1": _compared("1", ATTACKS, (CLEAN, NO_DEFENCE, *_UBTS)),
    "2": _compared("2", ATTACKS[:2], (CLEAN, NO_DEFENCE, "abl", "abl_masked", *_UBTS)),
    "3": _compared("3", ATTACKS, METHODS, MEASURES | KL),
    "5": table(
        "5",
        ("method",),
        (row("5", (), name, partial(case, attack__rate=0.0)) for name in METHODS if name != "retrain"),
        {"ca": "CA", "target_recall": "target recall"},
    ),
    "8": table(
        "8", ("method",), (row("8", (), name, case) for name in METHODS if name not in (CLEAN, "retrain")), SECONDS
    ),
    "abl": table(
        "abl",
        ("attack", "method"),
        (
            row("abl", (attack,), name, partial(case, attack=attack), stage)
            for attack in ATTACKS[:4]
            for name, stage in ((NO_DEFENCE, "left_poisoned"), ("abl", "left_abl"))
        ),
        {
            "ca": "CA",
            "asr": "ASR",
            "found": "poisons isolated",
            "isolated": "similarity of what is isolated",
            "poisoned": "similarity of the poisons left",
            "clean": "similarity of the clean pairs left",
        },
    ),
}
"""By the paper's number, in Arabic numerals, and one that examines what the paper says of ABL."""
