"""The verdict over seeds, a table of our own: how often it is wrong, how often it cannot tell, with the shipped
reference and with references that know nothing.

What a model is goes by what it does: poisoned if its ASR is at least `TAKEN` points over the natural one, not poisoned
below `TRACE`; in between a verdict is neither right nor wrong. Two attacks whose captions fit their images, which UBT's
first stage does not look for, have rows of their own and are in no sum.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import pandas as pd

from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.defenses.token_unlearning.health import CANNOT_TELL, NOT_POISONED, POISONED
from ubt.defenses.token_unlearning.verdict import answer, reasons
from ubt.evaluation.backdoor import interval
from ubt.reports.paper.defense_tables import ATTACKS, case
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import Sheet, cell, check, lacking, seeds_of, state_of
from ubt.workflows.poor_references import AT_CHANCE, STEPS, poor_reference

CLEAN, SHIPPED, BETWEEN = "nothing poisoned", "shipped", "in between"
TAKEN, TRACE = 20, 5
"""Points of ASR over the natural one."""
FITTING = {"joined": {"attack__caption": "joined"}, "label_consistent": {"attack": "label_consistent"}}
"""What is planted so that captions fit, and by which changes of a case."""
POOR_ROWS = 3
"""Models that are judged with a poor reference, too: the clean one and those of the first attacks."""
NEEDS = ("verdict", "evaluate_poisoned", "evaluate_clean")
EVIDENCE = {
    "score": "score",
    "threshold": "threshold",
    "displaced": "displaced",
    "least displaced": "least_displaced",
    "separated": "apart",
}
"""Columns, and what a verdict has of each."""
CASE, JUDGED = ["model", "reference", "seed", "case", "state"], ["ASR", "natural ASR", "is", "answer", "why", "wrong"]
COLUMNS = [*CASE, *EVIDENCE, *JUDGED]
ANSWERS = (POISONED, NOT_POISONED, CANNOT_TELL)


@dataclass(frozen=True)
class Verdicts(Sheet):
    """The verdict's table: a clean model, one of each attack, and some of them again with references that know nothing
    (`poor`: kind, seed, name in the store), where these were made. It is written with its chart, as a page of HTML.
    """

    attacks: tuple[str, ...]
    fitting: tuple[str, ...] = tuple(FITTING)
    poor: tuple[tuple[str, int, str], ...] = ()

    def narrowed(self, attacks: Collection[str], methods: Collection[str]) -> "Verdicts":
        """The clean model beside some attacks; nothing named takes all.

        Raises:
            BadInput: it has no such attack, or methods are named: it has none.
        """
        check("--attacks", attacks, (*self.attacks, *self.fitting))
        check("--defenses", methods, ())
        if not attacks:
            return self
        return replace(
            self,
            attacks=tuple(a for a in self.attacks if a in attacks),
            fitting=tuple(a for a in self.fitting if a in attacks),
        )

    def prepared(self, store: Store, where: Compute, seeds: int) -> "Verdicts":
        """The same with the poor references of these seeds, each made if it is not in the store."""
        poor = [(kind, seed, poor_reference(store, kind, seed, where)) for seed in range(seeds) for kind in STEPS]
        return replace(self, poor=tuple(poor))

    def cases(self, seeds: int) -> list[tuple[str, str, CaseSettings]]:
        """What is judged: the model, the reference, and the case."""
        changes = {CLEAN: {"attack__rate": 0.0}} | {a: {"attack": a} for a in self.attacks}
        changes |= {a: FITTING[a] for a in self.fitting}
        found = [(name, SHIPPED, case(s, **changes[name])) for name in changes for s in range(seeds)]
        for kind in dict.fromkeys(kind for kind, *_ in self.poor):
            keys = {seed: key for k, seed, key in self.poor if k == kind}
            for name in [CLEAN, *self.attacks][:POOR_ROWS]:
                found += [(name, kind, case(s, **changes[name], own__reference=keys[s])) for s in range(seeds)]
        return found

    def work(self, seeds: int) -> list[Work]:
        """The cases, each up to its verdict and to what says whether its backdoor took."""
        return [(settings, until) for _, _, settings in self.cases(seeds) for until in NEEDS]

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """A row a model, reference and seed: its `case` and `state`; if that is done, the verdict's `score` and
        `threshold`, how far D_topk is `displaced` and the `least displaced` that counts, how `separated` it is; `ASR`
        and `natural ASR`, in percent, what the model thereby `is`; the `answer`, for "cannot tell" `why`, and whether
        it is `wrong`.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        table = []
        for name, reference, settings in self.cases(seeds):
            state = state_of(store, settings, where, NEEDS)
            line = {"model": name, "reference": reference, "seed": settings.seed}
            line |= {"case": settings.name(where), "state": state}
            if state == "done":
                keys = every_key(settings, where)
                found = store.open(keys["verdict"])["verdict"]
                asr, natural = (store.open(keys[stage])["measures"]["asr"] for stage in NEEDS[1:])
                over, said = asr - natural, answer(found)
                what = POISONED if over >= TAKEN else NOT_POISONED if over < TRACE else BETWEEN
                line |= {column: found[key] for column, key in EVIDENCE.items()}
                line |= {"ASR": asr, "natural ASR": natural, "is": what, "answer": said}
                line |= {"why": "; ".join(c["check"] for c in reasons(found))}
                line |= {"wrong": said not in (what, CANNOT_TELL) and what != BETWEEN}
            table.append(line)
        return pd.DataFrame(table).reindex(columns=COLUMNS)

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text, a row a model and reference, and one for all with each kind of reference."""
        spread = "least to most"
        figures = ("score", spread, "displaced", spread, "separated", spread, "ASR, natural")
        heads = ["model", "reference", *figures, *ANSWERS, "wrong", "in between", "seeds"]
        rows = [
            [model, reference, *_cells(part)]
            for (model, reference), part in frame.groupby(["model", "reference"], sort=False)
        ]
        good = (frame["reference"] == SHIPPED) & ~frame["model"].isin(FITTING)
        for title, which in ((SHIPPED, good), ("at chance", frame["reference"].isin(AT_CHANCE))):
            if (part := frame[which])["model"].nunique() > 1:
                rows.append(["all", title, *_cells(part)])
        return heads, rows

    def files(self, frame: pd.DataFrame) -> dict[str, str]:
        from ubt.figures import verdict
        from ubt.figures.export import chart_page

        return super().files(frame) | {"html": chart_page(verdict.many(frame), self.title, self.source)}


def _cells(part: pd.DataFrame) -> list[str]:
    done, figures = part[part["state"] == "done"], []
    for values in (done["score"], done["displaced"], done["separated"]):
        spread = values.std() if len(done) > 1 else None
        figures += [cell(values.mean(), spread, 3), f"{values.min():.3f} to {values.max():.3f}" if len(done) else "-"]
    figures.append(f"{done['ASR'].mean():.1f}, {done['natural ASR'].mean():.1f}" if len(done) else "-")
    told = done[done["is"] != BETWEEN]
    counts = [_share(done["answer"] == said) for said in ANSWERS] + [_share(told["wrong"].astype(bool))]
    seeds = seeds_of({"seeds": len(done), "state": lacking(part["state"].tolist())})
    return [*figures, *counts, str(len(done) - len(told)), seeds]


def _share(hits: pd.Series) -> str:
    """How many of how many, and Wilson's 95 % interval in percent."""
    if not len(hits):
        return "-"
    return "{} of {} [{:.1f}, {:.1f}]".format(hits.sum(), len(hits), *interval(hits.to_numpy()))


TABLE = Verdicts(*headed("table", "verdict"), (*ATTACKS, "wanet"))
"""The verdict over seeds: what is judged, what is wrong, and the chart that goes with it."""
