"""Tables I, II, III, V and VIII of the UBT paper: defences side by side. Reported on CC3M (500K pairs, CLIP ViT-B/32),
zero-shot on ImageNet.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from ubt.cases.settings import CaseSettings
from ubt.defenses import DEFENSES
from ubt.reports.paper.table import KL, MEASURES, SECONDS, Row, Table

ATTACKS = ("badnet", "blended", "sig", "ssba", "trojvqa")
"""The five attacks of Table I."""
NO_DEFENCE, CLEAN = "no defence", "clean reference (natural ASR)"
_POISONED = dict(
    zip(ATTACKS, ((62.61, 80.92), (62.58, 97.99), (62.77, 90.90), (62.77, 66.22), (62.45, 96.19)), strict=True)
)
_UBT = dict(zip(ATTACKS, ((61.51, 0.00), (60.60, 0.08), (62.70, 0.27), (62.20, 4.33), (62.13, 0.00)), strict=True))
_II = {
    "abl": {"badnet": (51.55, 89.63), "blended": (50.67, 99.95)},
    "abl_masked": {"badnet": (51.57, 89.56), "blended": (50.69, 99.94)},
    "ubt_published": _UBT,
    NO_DEFENCE: _POISONED,
}
_III = {
    NO_DEFENCE: {
        "badnet": (62.61, 80.92, 0.035),
        "blended": (62.58, 97.99, 0.034),
        "sig": (62.77, 90.90, 0.035),
        "ssba": (62.77, 66.22, 0.036),
    },
    "cleanclip": {
        "badnet": (58.95, 14.6, 0.263),
        "blended": (59.43, 2.24, 0.150),
        "sig": (59.44, 48.48, 0.787),
        "ssba": (58.90, 15.53, 0.199),
    },
    "roclip": {
        "badnet": (61.04, 63.41, 0.145),
        "blended": (60.36, 31.09, 0.142),
        "sig": (60.82, 80.20, 0.143),
        "ssba": (60.61, 40.05, 0.143),
    },
    "ubt_published": {
        "badnet": (61.51, 0.00, 0.074),
        "blended": (60.60, 0.08, 0.072),
        "sig": (62.70, 0.27, 0.039),
        "ssba": (62.20, 4.33, 0.044),
    },
}
_V = {NO_DEFENCE: 62.69, "cleanclip": 59.38, "ubt_published": 62.69}
_VIII = {
    NO_DEFENCE: (2826, None, 2826),
    "cleanclip": (2826, 11400, 14226),
    "roclip": (53946, None, 53946),
    "ubt_published": (2826, 7402, 10228),
}
_SOURCE = "Percent. Reported: 500K pairs of CC3M. Measured: the embedded default, mean ± standard deviation over seeds."
_MEASURED = ("measured",)


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


def _rows(attacks: Iterable[str], methods: Iterable[str], reported: dict[str, dict[str, tuple]]) -> Iterator[Row]:
    for attack in attacks:
        for name in methods:
            figures = reported.get(name, {}).get(attack, ())
            yield Row(
                (attack, title(name)),
                dict(zip(("ca", "asr", "kl"), figures, strict=False)),
                partial(case, attack=attack),
                {"measured": judged(name)},
            )


_UBTS = ("ubt_published", "ubt")
METHODS = (CLEAN, NO_DEFENCE, *(n for n in DEFENSES if n not in _UBTS), *_UBTS)
"""Every defence, after two models that have none."""
TABLES = {
    "1": Table(
        "Table I: UBT against five attacks",
        _SOURCE,
        ("attack", "method"),
        _MEASURED,
        tuple(_rows(ATTACKS, (CLEAN, NO_DEFENCE, *_UBTS), {NO_DEFENCE: _POISONED, "ubt_published": _UBT})),
    ),
    "2": Table(
        "Table II: UBT and ABL",
        _SOURCE,
        ("attack", "method"),
        _MEASURED,
        tuple(_rows(ATTACKS[:2], (CLEAN, NO_DEFENCE, "abl", "abl_masked", *_UBTS), _II)),
    ),
    "3": Table(
        "Table III: UBT beside every other defence",
        _SOURCE
        + " KL: divergence, in nats, of the class probabilities of the model trained without the poisons (the oracle)"
        " from the model's.",
        ("attack", "method"),
        _MEASURED,
        tuple(_rows(ATTACKS, METHODS, _III)),
        MEASURES | KL,
    ),
    "5": Table(
        "Table V: what defences do to a model that is not poisoned",
        _SOURCE,
        ("method",),
        _MEASURED,
        tuple(
            Row(
                (title(name),),
                {"ca": _V[name]} if name in _V else {},
                partial(case, attack__rate=0.0),
                {"measured": judged(name)},
            )
            for name in METHODS
            if name != "retrain"
        ),
        {"ca": "CA", "target_recall": "target recall"},
    ),
    "8": Table(
        "Table VIII: seconds of training and of defence",
        _SOURCE.replace("Percent. ", "Seconds. "),
        ("method",),
        _MEASURED,
        tuple(
            Row(
                (title(name),),
                {k: v for k, v in zip(SECONDS, _VIII.get(name, ()), strict=False) if v is not None},
                case,
                {"measured": judged(name)},
            )
            for name in METHODS
            if name not in (CLEAN, "retrain")
        ),
        SECONDS,
    ),
    "abl": Table(
        "ABL's ascent: what it isolates and what it leaves",
        _SOURCE
        + " The paper holds that the poisons ABL leaves in D_normal strengthen the backdoor (V-C). Poisons isolated: in"
        " percent of all. Similarity: mean cosine under the model of the row's method.",
        ("attack", "method"),
        _MEASURED,
        tuple(
            Row(
                (attack, title(name)),
                dict(zip(("ca", "asr"), _II[name].get(attack, ()), strict=False)),
                partial(case, attack=attack),
                {"measured": stage},
            )
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
