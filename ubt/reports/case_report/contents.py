"""What a report says of a case: the figures and tables of the app's pages, as they stand when nobody has moved a
slider.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ubt import __version__, figures
from ubt.attacks import Planted
from ubt.cases.finished import Finished
from ubt.cases.store import Store
from ubt.core.text import percent
from ubt.data.images import tried
from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.defenses.token_unlearning.verdict import judged_poisoned
from ubt.evaluation.backdoor import by_attack
from ubt.evaluation.detection import Caught, caught, otsu
from ubt.evaluation.label_free import Mixture, estimated, fit
from ubt.evaluation.model_roles import MEASURED, SCORED, SUSPECT
from ubt.figures import estimates, label_history, measures, similarity, training
from ubt.figures import verdict as judged
from ubt.figures.attribution import overlay, survivors
from ubt.pairs.annotations import LABELS, precision
from ubt.pairs.table import SIMILARITIES
from ubt.reports.case_report import Block, Card, Cards, Chart, Folded, Report, Said, Section, Table
from ubt.reports.case_report.finished_case import (
    ABOUT,
    HEALTH,
    conclusion,
    evidence,
    health_rows,
    other_verdicts,
    what_to_do,
)
from ubt.reports.case_report.provenance import limits, origin, settings
from ubt.workflows import assumed
from ubt.workflows.export_model import STAGES

PAIRS, EXPLAINED, LISTED, NOTES = 24, 12, 1000, 300
"""Flagged pairs shown with their images, pairs shown with their heat, flagged pairs listed, decisions listed."""
KINDS = {"done": "finished", "partial": "partly run", "running": "running", "new": "not run yet"}


def report(store: Store, name: str) -> Report:
    """Everything there is to hand over of a case, lab or audit, finished or partly.

    Raises:
        BadInput: there is no such case. UbtError: its record, or what one of its stages made, is damaged.
    """
    case = Finished(store, name)
    parts = (_verdict, _separation, _before_and_after, _flagged, _words, _decisions, _attack, settings, origin, limits)
    sections = [section for part in parts if (section := part(case)) is not None]
    state = KINDS.get(case.record.state, case.record.state)
    about = f"{'Audit' if case.audits else 'Lab case'} {name}, {state}. Written by UBT Inspector {__version__}."
    missing = [s.name for s in case.stages if not case.has(s.name)]
    if missing and case.record.state == "done":
        warning = (
            f"{len(missing)} results of this finished case are damaged or gone ({', '.join(missing)}): python -m ubt"
            f" cases check {name} --mend makes them again. What follows is what there is."
        )
        sections.insert(0, Section("Damaged", [Said(warning, "warning")]))
    elif missing:
        warning = (
            f"{len(missing)} of its {len(case.stages)} stages have not been run ({', '.join(missing)}). What follows is"
            " what there is."
        )
        sections.insert(0, Section("Not finished", [Said(warning, "warning")]))
    return Report(titled(case), about, sections, name)


def titled(case: Finished) -> str:
    """A case in words: what was planted in what, or what was audited."""
    s, own = case.settings, case.settings.own
    pairs = f"{s.data.pairs if case.pairs is None else len(case.pairs):,} pairs"
    if case.audits:
        return f"Audit of {case.store.imported(own.suspect)['card']['name']} on {pairs}"
    planted = [a for a in s.attacks if a.does_something(s.data.pairs)]
    what = ", ".join(f"{a.label} ({_poisons(a, s.data.pairs)})" for a in planted) or "nothing poisoned"
    return f"{what} in {pairs}, seed {s.seed}"


def _poisons(planted: Planted, pairs: int) -> str:
    return f"{planted.poisons(pairs):,} poisons" if planted.trigger.plants else "the model, no pair"


def _verdict(case: Finished) -> Section:
    if not case.has("verdict"):
        return Section("Verdict", [Said("No verdict yet.", "warning")])
    found = case.read("verdict", "verdict")
    why = (
        "Score: mean similarity of D_topk's images with each other's captions under the overfitted model; poisons share"
        " one shortcut. Displaced: how far those images lie from where the clean reference would put them. Apart:"
        " whether they are a crowd of their own, or displaced much farther than what else fits badly. A group has to be"
        " above its threshold in all three."
    )
    chart = Chart("Score and displacement of D_topk", judged.one(found, other_verdicts(case.store, case.record)))
    said = assumed.lines(case.store, case.settings.own)
    told = [Said(f"{what[0].upper()}{what[1:]}: {which}.") for what, which in said]
    table, healthy = Table(["evidence", ""], evidence(case, case.store)), Table(HEALTH, health_rows(found))
    shown = [Said(*conclusion(found)), *map(Said, what_to_do(found)), chart, table, *told, Said(why)]
    return Section("Verdict", [*shown, healthy, Said(ABOUT)])


def _estimated(case: Finished) -> Mixture | None:
    pairs = case.pairs
    if (
        not case.has("verdict")
        or not judged_poisoned(case.read("verdict", "verdict"))
        or pairs is None
        or pairs.similarity_overfit is None
        or pairs.suspicious is None
    ):
        return None
    return fit(pairs.similarity_overfit[pairs.suspicious])


def _cut(case: Finished, found: Mixture | None) -> tuple[Caught, float]:
    """What fraction, threshold and k catch where the sliders of *Separation* stand at first, and that threshold."""
    pairs, s = case.pairs, case.settings
    overfit, threshold = pairs.similarity_overfit, 0.5
    if overfit is not None:
        among = np.ones(len(pairs), bool) if pairs.suspicious is None else pairs.suspicious
        scores = overfit[among & np.isfinite(overfit)]
        threshold = min(1.0, round(found.threshold if found else otsu(scores) if len(scores) > 1 else 0.5, 2))
    topk = case.read("select", "topk")["row"].to_numpy() if case.has("select") else None
    size = suspicious_count(len(pairs), s.split.fraction)
    return caught(pairs.similarity_reference, overfit, size, threshold, s.k, topk), threshold


def _separation(case: Finished) -> Section | None:
    pairs = case.pairs
    if pairs is None or pairs.similarity_reference is None:
        return None
    found = _estimated(case)
    result, threshold = _cut(case, found)
    lines = {
        "similarity_reference": (result.cut, "D_susp", "left"),
        "similarity_overfit": (threshold, "flagged", "left" if threshold > 0.4 else "right"),
    }
    charts = [
        Chart(
            f"The {SUSPECT}" if case.audits and role.name == "poisoned" else role.heading,
            similarity.histogram(similarity.binned(pairs[role.similarity]), case.poisoned, lines.get(role.similarity)),
        )
        for role in SCORED
        if role.similarity in pairs
    ]
    names = {
        "D_susp": f"D_susp: lowest {100 * case.settings.split.fraction:g} % under the reference",
        "flagged": f"flagged: {threshold:.2f} and more",
        "D_topk": "D_topk",
    }
    columns, rows = ["", "pairs"], [[names[n], f"{int(mask.sum()):,}"] for n, mask in result.chosen.items()]
    if found:
        columns.append("estimated precision, without labels")
        for row, mask in zip(rows, result.chosen.values(), strict=True):
            row.append(estimated(found, pairs, mask))
    if case.poisoned is not None:
        columns += ["poisoned", "precision", "recall of all poisons"]
        for row, c in zip(rows, result.counts(case.poisoned).values(), strict=True):
            row += [f"{c['poisoned']:,}", percent(c["precision"]), percent(c["recall"])]
    why = (
        "How well each image fits its own caption, as a share of its population. Poisons fit badly under the reference"
        " and best under the overfitted model."
    )
    return Section("Separation", [Said(why), *charts, Table(columns, rows)])


def _before_and_after(case: Finished) -> Section | None:
    blocks: list[Block] = []
    if case.audits:
        if case.has("estimate"):
            found = case.read("estimate", "measures")
            blocks += [
                Chart(f"Estimates of the {SUSPECT} and of both purified ones", estimates.bars(found)),
                Table(*estimates.table(found)),
            ]
            blocks.append(
                Said(
                    "Nobody knows which pairs are poisoned, so there is no ASR. Pull and what is still taken should"
                    " fall; the others should stay."
                )
            )
    elif measured := {
        m: case.read(role.evaluated, "measures") for m, role in MEASURED.items() if case.has(role.evaluated)
    }:
        table, apart = measures.table(measured), by_attack(measured)
        blocks += [Chart("CA, ASR, RA and target recall of every model", measures.bars(measured)), _plain(table)]
        blocks.append(
            Said("The clean reference's ASR is the natural ASR: what the trigger does to a model that never saw it.")
        )
        blocks += (
            [
                Table(
                    ["by attack and key", *table["model"]],
                    [[name, *(f"{v:.2f}" for v in values)] for name, values in apart.items()],
                )
            ]
            if apart
            else []
        )
    for which, stage in STAGES.items():
        if case.has(stage) and len(case.read(stage, "history")):
            steps = (case.settings.unlearn if stage == "unlearn" else case.settings.published).steps
            rows = training.rows(
                case.read(stage, "history"), case.read(stage, "observed") if case.holds(stage, "observed") else None
            )
            blocks.append(Chart(f"While unlearning, {figures.LABELS[which]}", training.curves(rows, steps)))
    if not case.audits and case.has("test", "evaluate_poisoned", *(f"evaluate_{m}" for m in STAGES)):
        predictions = {m: case.read(f"evaluate_{m}", "predictions") for m in ("poisoned", *STAGES)}
        changes = measures.recalls(predictions, case.read("test", "classes"))
        part = changes[changes[[f"{m} change" for m in STAGES]].abs().max(axis=1) > 0].sort_values("purified change")
        blocks.append(
            Chart(
                "Change of recall of the classes that changed",
                measures.class_changes(part, tuple(STAGES), case.settings.attack.target),
                True,
            )
        )
    return Section("Before and after", blocks) if blocks else None


def _plain(table: pd.DataFrame) -> Table:
    return Table(
        list(table.columns), [[row[0], *(f"{v:.2f}" for v in row[1:])] for row in table.itertuples(index=False)]
    )


def _remarks(line: pd.Series) -> list[str]:
    """What stands of a pair under its caption."""
    scores = [f"{n.removeprefix('similarity_')} {line[n]:.3f}" for n in SIMILARITIES if n in line and pd.notna(line[n])]
    remarks = [f"similarity: {', '.join(scores)}"] if scores else []
    label, note = (line[n] if n in line and isinstance(line[n], str) else "" for n in ("label", "note"))
    remarks += [f"labelled {label}"] if label else []
    return remarks + ([f"note: {note}"] if note else [])


def _flagged(case: Finished) -> Section | None:
    pairs = case.pairs
    if pairs is None or pairs.flagged is None:
        return None
    poisoned_model = case.has("verdict") and judged_poisoned(case.read("verdict", "verdict"))
    rows = pairs.most_suspicious(pairs.flagged, LISTED)
    images = tried(case.read("data", "images"), rows[:PAIRS]) if case.holds("data", "images") else (None, [])
    some = pairs.frame(rows, ["id", "caption", *SIMILARITIES, "topk", "label", "note", "poisoned"])
    cards = [
        Card(
            None if images[0] is None else images[0][n],
            [(line["caption"], 0.0, False)],
            [f"{n + 1}. {line['id']}{', in D_topk' if line['topk'] else ''}", *_remarks(line)],
            _known_bad(line),
        )
        for n, (_, line) in enumerate(some.head(PAIRS).iterrows())
    ]
    total, blocks = int(pairs.flagged.sum()), []
    if case.has("verdict") and not poisoned_model:
        blocks.append(
            Said(
                "The model is not judged poisoned: these are its most similar suspicious pairs, and nothing follows"
                " from them."
            )
        )
    blocks.append(
        Said(
            f"{total:,} pairs, the most suspicious"
            f" first{f'; the first {PAIRS} with their images' if total > PAIRS else ''}."
        )
    )
    if images[1]:
        blocks.append(Said(f"{len(images[1])} of these images cannot be had any more and are crossed out.", "warning"))
    columns = ["id", "caption", *SIMILARITIES, *(n for n in ("label", "note", "poisoned") if n in some)]
    listed = Table(
        [c.replace("_", " ") for c in columns], [[_cell(line[c]) for c in columns] for _, line in some.iterrows()]
    )
    title = f"All {total:,} as a list" if total <= LISTED else f"The first {LISTED:,} of {total:,} as a list"
    return Section("Flagged pairs", [*blocks, Cards(cards), Folded(title, [listed])])


def _known_bad(line: pd.Series) -> bool | None:
    return bool(line["poisoned"]) if "poisoned" in line else None


def _cell(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:.3f}"
    return "" if value is None or value is pd.NA else str(value)


def _words(case: Finished) -> Section | None:
    if not case.has("mask", "data"):
        return None
    from ubt.figures.mask_pictures import explanations

    attributed, table, how = case.read("mask", "attributed"), case.read("mask", "words"), case.read("mask", "how")
    rows = np.flatnonzero(attributed["topk"].to_numpy())
    if not len(rows):
        return None
    part = table[table["id"].isin(attributed["id"].iloc[rows])]
    targets: Iterable[str] = (
        () if case.poisoned is None else [w for p in case.settings.attacks for w in p.attack.target.lower().split()]
    )
    some = rows[:EXPLAINED]
    images, _ = tried(case.read("data", "images"), attributed["row"].to_numpy()[some])
    shown = explanations(
        images, attributed.iloc[some], part, np.asarray(case.read("mask", "maps")[some]), how["image_threshold"]
    )
    cards = [
        Card(
            overlay(e.image, e.heat, e.mask, 0.55),
            list(zip(e.words, e.scores.tolist(), e.kept.tolist(), strict=True)),
            [pair],
        )
        for e, pair in zip(shown, attributed["id"].iloc[some], strict=True)
    ]
    why = (
        f"How much each word and patch carries of the similarity under the overfitted model ({how['method']}); a word"
        f" is kept above {how['text_threshold']:g}, a patch above {how['image_threshold']:g}. Framed words and outlined"
        " patches are kept."
    )
    return Section(
        "Words and patches",
        [
            Said(why),
            Chart("How many captions of D_topk say and keep each word", survivors(part, tuple(targets))),
            Cards(cards),
        ],
    )


def _decisions(case: Finished) -> Section | None:
    labels = case.labels
    if labels.empty or (pairs := case.pairs) is None:
        return None
    counts = labels["label"].value_counts()
    rows = [[label, f"{counts.get(label, 0):,}"] for label in LABELS]
    blocks: list[Block] = []
    if pairs.flagged is not None:
        queue = pairs.frame(pairs.most_suspicious(pairs.flagged, len(pairs)), ["label"])["label"]
        if so_far := precision(queue.dropna()):
            share, low, high, count = so_far
            rows.append(
                [
                    f"backdoor among the {count:,} flagged pairs decided, 95 % interval",
                    f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]",
                ]
            )
        blocks.append(Chart("Decisions along the flagged pairs", label_history.along(queue)))
    newest = labels.sort_values("at", ascending=False).head(NOTES)
    listed = [[_cell(line[c]) for c in ("id", "label", "note", "at")] for _, line in newest.iterrows()]
    title = (
        f"All {len(labels):,} decisions and notes"
        if len(labels) <= NOTES
        else f"The latest {NOTES} of {len(labels):,} decisions and notes"
    )
    return Section(
        "What analysts decided",
        [
            Table(["decision", "pairs"], rows),
            *blocks,
            Folded(title, [Table(["id", "label", "note", "at (UTC)"], listed)]),
        ],
    )


def _attack(case: Finished) -> Section | None:
    if case.audits or not case.has("attack"):
        return None
    pairs = case.settings.data.pairs
    planted = [a for a in case.settings.attacks if a.does_something(pairs)]
    rows = [[a.attack.name, a.attack.target, _poisons(a, pairs), a.trigger.strength()] for a in planted]
    blocks: list[Block] = (
        [Table(["attack", "target", "poisoned", "strength"], rows)] if rows else [Said("Nothing was planted.")]
    )
    if case.has("diagnose"):
        found = case.read("diagnose", "findings")
        blocks += [Said(f"The attack did not work well. {f['what']}; {f['change']}.", "warning") for f in found]
        checks = [
            [f"{c['attack']}: {c['check']}", "yes" if c["fine"] else "low", str(c["value"])]
            for c in case.read("diagnose", "checks")
        ]
        blocks.append(Folded("Did the attack work? What it needed", [Table(["check", "fine", "found"], checks)]))
    return Section("What was planted", blocks)
