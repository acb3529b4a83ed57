"""Tables VI and VII of the UBT paper: downstream zero-shot sets, each with a target of its own, and retrieval. Reported
of ViT-B/32 fine-tuned on CC3M (500K pairs); measured of the case that is asked for, the embedded default if none is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ubt.data import classification_sets, retrieval_sets
from ubt.evaluation.stages import downstream_name
from ubt.reports.paper.defense_tables import CLEAN, NO_DEFENCE, case, judged, title
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
_VI = {
    "cifar10": {NO_DEFENCE: (90.27, 99.87), "cleanclip": (85.74, 50.27), "ubt_published": (87.99, 0.01)},
    "cifar100": {NO_DEFENCE: (65.5, 99.74), "cleanclip": (62.15, 91.01), "ubt_published": (65.05, 0.00)},
    "caltech101": {NO_DEFENCE: (78.3, 68.58), "cleanclip": (77.10, 8.40), "ubt_published": (77.97, 0.02)},
    "dtd": {NO_DEFENCE: (43.03, 77.77), "cleanclip": (39.84, 24.84), "ubt_published": (43.19, 0.00)},
    "pets": {NO_DEFENCE: (79.34, 63.58), "cleanclip": (78.50, 12.68), "ubt_published": (79.20, 0.00)},
    "food101": {NO_DEFENCE: (78.98, 41.25), "cleanclip": (75.06, 11.21), "ubt_published": (79.67, 0.01)},
}
_VII = {
    "flickr30k": {
        NO_DEFENCE: (77.50, 80.80),
        "cleanclip": (75.00, 26.2),
        "roclip": (76.50, 33.7),
        "ubt_published": (76.90, 0.1),
    },
    "coco": {
        NO_DEFENCE: (50.36, 67.76),
        "cleanclip": (46.98, 14.92),
        "roclip": (48.44, 9.08),
        "ubt_published": (49.36, 0.06),
    },
}
_SOURCE = (
    "Percent. Reported: 500K pairs of CC3M. Measured: the embedded default (another case with --set), mean ± standard"
    " deviation over seeds."
)


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


def _reported(figures: dict[str, tuple[float, float]], name: str) -> dict[str, float]:
    return dict(zip(("ca", "asr"), figures.get(name, ()), strict=False))


def _zeroshot(methods: tuple[str, ...]) -> Iterator[Row]:
    for name, target in TARGETS.items():
        said = classification_sets.SETS[name].title if name in classification_sets.SETS else name
        of = partial(case, attack__target=target, downstream__set=name)
        for method in methods:
            stage = downstream_name("zeroshot", judged(method))
            yield Row(
                (said, target, title(method)),
                _reported(_VI.get(name, {}), method),
                of,
                {"measured": stage},
                None if name == SCENES else {},
            )


def _retrieval(methods: tuple[str, ...]) -> Iterator[Row]:
    for name in (SCENES, *retrieval_sets.SETS):
        said = retrieval_sets.SETS[name][0] if name in retrieval_sets.SETS else name
        for method in methods:
            stage = downstream_name("retrieval", judged(method))
            yield Row(
                (said, title(method)),
                _reported(_VII.get(name, {}), method),
                partial(case, downstream__captions=name),
                {"measured": stage},
                None if name == SCENES else {},
            )


TABLES = {
    "6": Elsewhere(
        "Table VI: downstream sets, zero-shot",
        f"{_SOURCE} A target of its own for every set; which, the paper does not say: these are ours.",
        ("data set", "target", "method"),
        ("measured",),
        tuple(_zeroshot((CLEAN, NO_DEFENCE, "cleanclip", "ubt_published", "ubt"))),
        MEASURES,
        setting="downstream.set",
        titles={name: known.title for name, known in classification_sets.SETS.items()},
    ),
    "7": Elsewhere(
        "Table VII: retrieval",
        f"{_SOURCE} CA: R@1 from image to text. ASR@k: triggered images of other things that retrieve a caption which"
        " names the target in the top k, 5 (`downstream.k`); untriggered: the same images without the trigger. The"
        " paper defines neither.",
        ("data set", "method"),
        ("measured",),
        tuple(_retrieval((CLEAN, NO_DEFENCE, "cleanclip", "roclip", "ubt_published", "ubt"))),
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
