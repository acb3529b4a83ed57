"""What a case or an audit found, on a terminal."""

from collections.abc import Mapping
from typing import Any

import typer
from rich.table import Table

from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.cli.console import figures_table, out, say
from ubt.data.user_roles import OwnSettings
from ubt.defenses.token_unlearning.health import CANNOT_TELL
from ubt.defenses.token_unlearning.verdict import answer, health, judged_poisoned, reasons
from ubt.evaluation.backdoor import by_attack
from ubt.evaluation.estimates import ESTIMATES
from ubt.evaluation.model_roles import labels
from ubt.workflows import assumed

UNTOLD = 3
"""The exit code of a run or an audit that is finished, but whose verdict is "cannot tell"."""
MASKED = {
    "target_first": "target's word first",
    "target_kept": "target kept",
    "words_kept": "words kept",
    "trigger_found": "trigger inside the image mask",
    "covered": "of the image that mask covers",
}
MODELS = labels(audit=False) | {"clean": "clean reference (ASR: natural)"}


def print_metrics(m: dict) -> None:
    """The final tables of a lab case."""
    _print_models(m)
    _print_attacks(m)
    _print_steps(m)
    _print_masks(m["masks"])
    print_health(m["verdict"])
    for check in m["checks"]:
        say(f"{'ok ' if check['fine'] else 'low'} {check['attack']}, {check['check']}: {check['value']}")
    for finding in m["diagnosis"]:
        out.print(
            f"[yellow]warning[/]: the attack did not work well: {finding['what']}; {finding['change']}", highlight=False
        )


def _print_models(m: dict) -> None:
    planted = CaseSettings.from_dict(m["settings"])
    title = (
        ", ".join(p.label for p in planted.attacks)
        if any(p.does_something(planted.data.pairs) for p in planted.attacks)
        else f"nothing poisoned ({m['attack']} tried at test time)"
    )
    columns = ("CA", "ASR", "ASR, all", "RA", "target recall")
    table = figures_table(f"{title}, seed {m['seed']}: percent, 95 % interval", *columns)
    for key, label in MODELS.items():
        cells = [
            f"{m[key][f]:.2f} [{m[key]['intervals'][f][0]:.1f}, {m[key]['intervals'][f][1]:.1f}]"
            for f in ("ca", "asr", "asr_all", "ra", "target_recall")
        ]
        table.add_row(label, *cells)
    out.print(table)


def _print_attacks(m: dict) -> None:
    if rows := by_attack({key: m[key] for key in MODELS}):
        table = Table("", *MODELS.values(), title="by attack and key: percent")
        for name, values in rows.items():
            table.add_row(name, *(f"{v:.2f}" for v in values))
        out.print(table)
    for found in m["found"] if len(m["found"]) > 1 else []:
        say(f"{found['label']}: split recall {found['recall']:.3f}, {found['in_topk']} of D_topk")


def _print_steps(m: dict) -> None:
    groups = f" in each of {m['select']['groups']} groups" if m["select"]["groups"] > 1 else ""
    say(
        f"split: {100 * m['split']['fraction']:g} % of D, recall {_share(m['split']['recall'])};  select: k ="
        f" {m['select']['k']}{groups}, precision {_share(m['select']['precision'])}, AUROC inside D_susp"
        f" {_share(m['select']['auroc'])}\n{_verdict(m['verdict'])};  computed in {sum(m['seconds'].values()):.0f} s"
    )


def _print_masks(masks: dict) -> None:
    for form, judged in masks.items():
        if judged["attributed"]["poisons"]:
            shares = [
                f"{label} {_share(judged['topk'][k])} ({_share(judged['attributed'][k])})"
                for k, label in MASKED.items()
            ]
            say(
                f"masks, {form}, shares on D_topk (on all {judged['attributed']['poisons']} flagged poisons looked at):"
                f" {', '.join(shares)}"
            )


def _share(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def print_health(verdict: Mapping[str, Any]) -> None:
    """Every health check of a verdict, and for one that is "cannot tell" why, and what to do."""
    for check in health(verdict):
        say(f"{'ok ' if check['passed'] else 'no '} {check['check']}: {check['said']}", soft_wrap=True)
    for check in reasons(verdict):
        say(f"cannot tell: {check['check']}. {check['why']}; {check['advice']}", soft_wrap=True)


def leave_with(verdict: Mapping[str, Any]) -> None:
    """End with exit code `UNTOLD` where the verdict is "cannot tell"."""
    if answer(verdict) == CANNOT_TELL:
        raise typer.Exit(UNTOLD)


def _verdict(verdict: Mapping[str, Any]) -> str:
    untouched = "" if judged_poisoned(verdict) else ", left untouched"
    others = ""
    if "exceeds" in verdict:  # not in one of an earlier version
        times = verdict["exceeds"]
        others = "too few other pairs to compare with" if times is None else f"{times:.2f} times what else fits badly"
        others = f", or {others}, threshold {verdict['least_exceeds']:g}"
    return (
        f"verdict: {answer(verdict)}{untouched} (score"
        f" {verdict['score']:.3f}, threshold {verdict['threshold']:g}; displaced {verdict['displaced']:.3f}, threshold"
        f" {verdict['least_displaced']:.3f}; separated {verdict['apart']:.2f}, threshold"
        f" {verdict['least_apart']:g}{others})"
    )


def print_assumed(store: Store, own: OwnSettings) -> None:
    """What was assumed of a case's imported models."""
    for what, said in assumed.lines(store, own):
        say(f"{what}: {said}", soft_wrap=True)


def print_audit(m: dict, flagged: int) -> None:
    """The verdict and the estimates of an audit that flagged so many pairs."""
    found, estimates = m["estimates"]["found"], m["estimates"]["measures"]
    say(
        f"{_verdict(m['verdict'])};  {flagged:,} of {found['pairs']:,} pairs flagged, {m['quarantined']:,} images"
        f" quarantined;  computed in {sum(m['seconds'].values()):.0f} s"
    )
    print_health(m["verdict"])
    shown = [key for key in ESTIMATES if any(key in row for row in estimates.values())]
    table = Table("", *(ESTIMATES[key] for key in shown), title="estimates, without ground truth")
    for model, row in estimates.items():
        table.add_row(
            labels(audit=True)[model], *(f"{row[key]:.3f}" if key == "pull" else f"{row[key]:.2f}" for key in shown)
        )
    out.print(table)
