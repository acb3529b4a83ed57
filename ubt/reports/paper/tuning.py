"""Tuning, a table of our own: the trials that every method's settings were chosen by, as many each, on a seed that no
other table reports.
"""

from functools import partial

from ubt.cases.settings import CaseSettings
from ubt.reports.paper.defense_tables import case, judged, title
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import MEASURES, Row, Table

SEED = 100
"""The first seed of tuning; tables and figures report seeds below it alone."""

TRIALS: dict[str, tuple[dict[str, float], ...]] = {
    "ubt": tuple(
        {"unlearn.lr": lr, "unlearn.steps": steps} for lr in (3.5e-4, 7e-4, 1.4e-3, 2.8e-3) for steps in (20, 40)
    ),
    "ubt_published": tuple(
        {"published.lr": lr, "published.steps": steps} for lr in (1e-5, 2e-5, 4e-5, 8e-5) for steps in (20, 40)
    ),
    "abl": tuple({"abl.lr": lr} for lr in (1e-6, 2e-6, 2e-5, 5e-5, 1e-4, 2e-4, 3e-4, 1e-3)),
    "cleanclip": (
        *({"cleanclip.lr": lr, "cleanclip.weight": 1.0} for lr in (1e-5, 1e-4, 1e-3, 2e-3, 4e-3, 8e-3)),
        *({"cleanclip.lr": 1e-3, "cleanclip.weight": weight} for weight in (0.5, 2.0)),
    ),
    "par": tuple({"par.lr": lr, "par.epochs": epochs} for lr in (3e-4, 1e-3, 3e-3, 6e-3) for epochs in (5, 10)),
    "tbar": tuple({"tbar.lr": lr, "tbar.lost": lost} for lr in (2e-5, 5e-5, 1e-4, 2e-4) for lost in (0.02, 0.1)),
    "supervised": tuple({"supervised.lr": lr} for lr in (1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 6e-3, 1.2e-2, 2.4e-2)),
    "roclip": (
        *({"roclip.lr": lr, "roclip.bank": 0.02} for lr in (2.5e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3)),
        *({"roclip.lr": lr, "roclip.bank": 0.1} for lr in (1e-4, 5e-4)),
    ),
    "poisoncam": tuple(
        {"locate.side": side, "classify.threshold": t} for side in (0.125, 0.25, 0.375, 0.5) for t in (0.5, 0.9)
    ),
}
"""Eight trials a method that has settings of its own, by defence; ABL + text mask takes ABL's."""


def _said(trial: dict[str, float]) -> str:
    return ", ".join(f"{name.partition('.')[2]} {value:g}" for name, value in trial.items())


def is_default(trial: dict[str, float]) -> bool:
    """Whether a trial is what the settings are without it."""
    described = CaseSettings.preset("demo").described()
    return all(described[name][1] == value for name, value in trial.items())


def _case(seed: int, trial: dict[str, float]) -> CaseSettings:
    return case(SEED + seed).with_values(trial)


TABLE = Table(
    *headed("table", "tuning", seed=SEED),
    ("method", "trial", "chosen"),
    ("measured",),
    tuple(
        Row(
            (title(name), _said(trial), "yes" if is_default(trial) else ""),
            {},
            partial(_case, trial=trial),
            {"measured": judged(name)},
        )
        for name, trials in TRIALS.items()
        for trial in trials
    ),
    MEASURES,
)
