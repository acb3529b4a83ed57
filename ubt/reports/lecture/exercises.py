"""The exercise sheet in Markdown, with its answers on a page of their own when it is printed."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ubt.defenses.token_unlearning.verdict import answer
from ubt.evaluation.detection import auroc
from ubt.reports.lecture import Step
from ubt.reports.lecture.built_in import case, measured, table, whose
from ubt.reports.lecture.shows import CLEAN, CONSISTENT, percent

BREAK = '<div style="break-before: page"></div>'
"""Where a printer begins a new page; elsewhere it shows nothing."""


def sheet(steps: Sequence[Step]) -> str:
    """The exercises, then what the steps ask to discuss, then the answers of both.

    Raises:
        UbtError: a built-in case is not there, or damaged.
    """
    texts = tomllib.loads(Path(__file__).with_name("exercises.toml").read_text(encoding="utf-8"))
    found, discussed = figures(), [s for s in steps if s.question]
    tasks = [(f"*{one['page']}.* {one['task']}", one["answer"].format_map(found)) for one in texts.values()]
    tasks += [(f"*Learn, step {s.number}, to discuss.* {s.question}", s.answer) for s in discussed]
    lines = ["# Backdoors in CLIP: exercises", f"{whose()} Open the page *Learn* of UBT Inspector beside this sheet."]
    lines += [f"{n}. {task}" for n, (task, _) in enumerate(tasks, 1)]
    lines += [BREAK, "# Answers", *(f"{n}. {said}" for n, (_, said) in enumerate(tasks, 1))]
    return "\n\n".join(lines) + "\n"


def figures() -> dict[str, Any]:
    """What the answers quote of the built-in cases, by name."""
    pairs, found, clean = table(), measured(), case(CLEAN).read("verdict", "verdict")
    poisoned, rows = pairs.poisoned, np.flatnonzero(pairs.suspicious)
    below = np.cumsum(poisoned[np.argsort(pairs.similarity_reference, kind="stable")])
    caught = {p: int(below[round(p * len(pairs) / 100) - 1]) for p in range(1, 101)}
    total = int(poisoned.sum())
    half, every = (next(p for p, n in caught.items() if n >= least) for least in (total // 2 + 1, total))
    ranked = poisoned[rows[np.argsort(-pairs.similarity_overfit[rows], kind="stable")]]
    consistent, measures = table(CONSISTENT), ("ca", "asr", "ra")
    return {
        "poisons": total,
        "half": half,
        "half_caught": caught[half],
        "all": every,
        "all_clean": f"{round(every * len(pairs) / 100) - total:,}",
        "fraction": round(100 * len(rows) / len(pairs)),
        "clean": int((~poisoned[rows]).sum()),
        "caught": int(poisoned[rows].sum()),
        "one": caught[1],
        "k": len(ranked) if ranked.all() else int(np.argmin(ranked)),
        "auroc_reference": f"{auroc(-pairs.similarity_reference[rows], poisoned[rows]):.3f}",
        "auroc_poisoned": f"{auroc(pairs.similarity_poisoned[rows], poisoned[rows]):.3f}",
        "auroc_overfit": f"{auroc(pairs.similarity_overfit[rows], poisoned[rows]):.3f}",
        **{
            name: ", ".join(percent(found[m][k]) for k in measures)
            for name, m in (("before", "poisoned"), ("published", "published"), ("purified", "purified"))
        },
        **{f"{m}_asr": percent(v["asr"]) for m, v in found.items()},
        **{f"clean_{k}": f"{clean[k]:.2f}" for k in ("score", "displaced", "apart")},
        **{k: f"{clean[k]:.2f}" for k in ("threshold", "least_displaced", "least_apart")},
        "by_score": "poisoned" if clean["score"] > clean["threshold"] else "not poisoned",
        "consistent_caught": int((consistent.suspicious & consistent.poisoned).sum()),
        "consistent_poisons": int(consistent.poisoned.sum()),
        "consistent_verdict": answer(case(CONSISTENT).read("verdict", "verdict")),
        "consistent_asr": percent(measured(CONSISTENT)["poisoned"]["asr"]),
    }
