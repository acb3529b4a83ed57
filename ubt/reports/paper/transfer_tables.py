"""Tables VI and VII of the UBT paper: downstream zero-shot sets, each with a target of its own, and retrieval. Reported
of ViT-B/32 fine-tuned on CC3M (500K pairs); measured of the case that is asked for, the embedded default if none is.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ubt.data import classification_sets, retrieval_sets
from ubt.evaluation.stages import downstream_name
from ubt.reports.paper.defense_tables import CLEAN, NO_DEFENCE, case, judged, row
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import MEASURES, Row, Table

SCENES = "scenes"
TARGETS = {
    SCENES: "car",
    "cifar10": "airplane",
    "cifar100": "apple",
    "caltech101": "umbrella",
    "dtd": "honeycombed",
    "pets": "beagle",
    "food101": "pizza",
}
"""Our choice: the paper says that each set has another target, and not which."""


@dataclass(frozen=True)
class Elsewhere(Table):
    """A table over other sets than the case's own, the first of them the embedded one. `setting`: the setting that
    names a row's set; `titles`: of the sets that have one, by that name.
    """

    setting: str = ""
    titles: Mapping[str, str] = field(default_factory=dict)

    def varied(self, changes: Mapping[str, str]) -> Table:
        """As of any table; with a set named it has the rows of that set alone, the paper's or any other, and no figures
        of the paper for the latter.
        """
        rows, heads = list(self.rows), list(self.heads)
        if named := changes.get(self.setting):
            said = self.titles.get(named, named if named == SCENES else Path(named).name)
            first = self.rows[0].labels[0]
            rows = [row for row in rows if row.labels[0] == said] or [
                replace(row, labels=(said, *row.labels[1:]), reported={}) for row in rows if row.labels[0] == first
            ]
        if "target" in heads and (target := changes.get("attack.target")):
            rows = [
                replace(
                    row,
                    labels=tuple(
                        target if head == "target" else label for head, label in zip(heads, row.labels, strict=True)
                    ),
                )
                for row in rows
            ]
        return super(Elsewhere, replace(self, rows=tuple(rows))).varied(changes)


def _rows(number: str, kind: str, name: str, at: tuple[str, ...], methods: Iterable[str], **changes: str) -> list[Row]:
    """Every method's row of a data set; only the paper's sets are rows at its own scale."""
    of, scale = partial(case, **changes), None if name == SCENES else {}
    return [row(number, at, m, of, downstream_name(kind, judged(m)), name, paper=scale) for m in methods]


def _zeroshot(*methods: str) -> Iterator[Row]:
    for name, target in TARGETS.items():
        said = classification_sets.SETS[name].title if name in classification_sets.SETS else name
        changes = {"attack__target": target, "downstream__set": name}
        yield from _rows("6", "zeroshot", name, (said, target), methods, **changes)


def _retrieval(*methods: str) -> Iterator[Row]:
    for name in (SCENES, *retrieval_sets.SETS):
        said = retrieval_sets.SETS[name][0] if name in retrieval_sets.SETS else name
        yield from _rows("7", "retrieval", name, (said,), methods, downstream__captions=name)


TABLES = {
    "6": Elsewhere(
        *headed("table", "6"),
        ("data set", "target", "method"),
        ("measured",),
        tuple(_zeroshot(CLEAN, NO_DEFENCE, "cleanclip", "ubt_published", "ubt")),
        MEASURES,
        setting="downstream.set",
        titles={name: known.title for name, known in classification_sets.SETS.items()},
    ),
    "7": Elsewhere(
        *headed("table", "7"),
        ("data set", "method"),
        ("measured",),
        tuple(_retrieval(CLEAN, NO_DEFENCE, "cleanclip", "roclip", "ubt_published", "ubt")),
        {
            "ca": "CA",
            "asr": "ASR@k",
            "untriggered": "untriggered",
            "ra": "RA",
            "i2t_5": "R@5",
            "i2t_10": "R@10",
            "t2i_1": "text to image R@1",
            "t2i_5": "text to image R@5",
            "t2i_10": "text to image R@10",
        },
        setting="downstream.captions",
        titles={name: title for name, (title, _) in retrieval_sets.SETS.items()},
    ),
}
"""By the paper's number."""
