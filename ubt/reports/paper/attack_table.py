"""Every attack, a table of our own: what each does, what the stages of UBT see of it, and what unlearning leaves; the
same with other references, and with an M_bd from scratch.

A trigger may fool a clean model as well (an optimised one does), so that beside the ASR of each model stand three
natural ones: of the clean reference, of the oracle, retrained without the poisons, and of a clean model of other
training. Ours is judged against the lowest.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from ubt.attacks import ATTACKS
from ubt.cases.keys import every_key
from ubt.cases.pipeline import Work
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.run import Compute
from ubt.defenses.token_unlearning.verdict import answer
from ubt.reports.paper import cells as kept
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import Sheet, check, lacking, of_column, over_seeds, seeds_of, state_of
from ubt.reports.paper.verdict_table import ANSWERS
from ubt.workflows.clean_models import clean_model, stand_in

OTHER, ARCHITECTURE = "other training", "other architecture"
"""Kinds of clean models that it needs (`ubt.workflows.clean_models`)."""


@dataclass(frozen=True)
class Row:
    """What is planted, and how the models came to be.

    Args:
        attack, profile: of the registry. changes: to its settings, by dotted name. reference: the kind of the
            defender's clean model; empty: the shipped one. scratch: M_bd starts from nothing. seeds: how many at most;
            0: all. beyond: what the attacker has a hold of beyond what the attack needs.
    """

    attack: str
    profile: str = "embedded"
    changes: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""
    scratch: bool = False
    seeds: int = 0
    beyond: str = ""

    @property
    def threat(self) -> str:
        """Its threat model: what the attacker has a hold of."""
        return ", and ".join(filter(None, (ATTACKS[self.attack].threat, self.beyond)))

    def case(self, seed: int, models: Mapping[str, str]) -> CaseSettings:
        """Its case, with the clean models by kind and name in the store."""
        preset = "scratch" if self.scratch else "demo"
        own = {"own.other": models.get(OTHER, "")} | (
            {"own.reference": models.get(self.reference, "")} if self.reference else {}
        )
        return CaseSettings.preset(preset, self.attack, self.profile).with_values({"seed": seed, **self.changes, **own})


_LINEAGE = ("badnet", "blended", "badclip")
_REFERENCES = [(name, kind) for kind in (OTHER, ARCHITECTURE) for name in _LINEAGE]
ROWS: dict[str, Row] = {
    **{name: Row(name) for name in ATTACKS if name not in ("badclip", "semantic")},
    "covering": Row("label_consistent", "covering"),
    "badclip": Row("badclip"),
    "badclip of another model": Row("badclip", "other model"),
    "badnet stripes": Row("badnet", "stripes"),
    "blended stripes": Row("blended", "stripes"),
    "blended triangles": Row("blended", "triangles"),
    "red words": Row("blended", "red words"),
    "semantic": Row("semantic"),
    "joined": Row("badnet", changes={"attack.caption": "joined"}),
    "natural captions": Row("badnet", changes={"attack.caption": "natural"}),
    "more than D_susp": Row("badnet", changes={"attack.rate": 0.1}),
    "few poisons": Row("badnet", changes={"attack.rate": 0.003}),
    "two triggers": Row("badnet", changes={"attack.also": "blended"}),
    "two targets": Row("badnet", changes={"attack.also": "blended target=car"}),
    "images held": Row("badnet", changes={"poison.hold": 1.0}, beyond="training"),
    **{f"{name} with a reference of {kind}": Row(name, reference=kind, seeds=1) for name, kind in _REFERENCES},
    **{f"{name} from scratch": Row(name, scratch=True, seeds=1) for name in _LINEAGE},
}
"""By what the table calls them."""
MODELS = {"poisoned": "no defence", "published": "published", "purified": "ours"}
NATURAL = {"clean": "natural", "other": "natural, other training", "oracle": "natural, oracle"}
STAGES = {
    **{name: f"evaluate_{name}" for name in ("clean", *MODELS)},
    "other": "natural_other",
    "oracle": "evaluate_retrain",
}
"""The stages that measure each model."""
MEASURES: Mapping[str, str] = (
    {f"{name} asr": f"ASR, {said}" for name, said in (NATURAL | MODELS).items()}
    | {"over natural": "ASR, ours, over the lowest natural"}
    | {
        f"{name} {key}": f"{head}, {said}"
        for key, head in (("ca", "CA"), ("ra", "RA"), ("target_recall", "target recall"), ("r@1", "R@1"))
        for name, said in MODELS.items()
    }
    | {"split recall": "split recall", "select auroc": "AUROC in D_susp", "select precision": "precision at k"}
    | {"flagged precision": "flagged: precision", "flagged recall": "flagged: recall"}
    | {said: f"said {said}, %" for said in ANSWERS}
    | {"verdict score": "score", "verdict displaced": "displaced", "verdict apart": "separated"}
    | {"verdict exceeds": "exceeds"}
)
SHARES = ("split", "select", "flagged", "verdict")
"""Their measures are of 0 to 1, or ratios."""
RETRIEVED = tuple(f"retrieval_{name}" for name in MODELS)


@dataclass(frozen=True)
class Attacks(Sheet):
    """The table: a row for each of `rows`, with the clean models that its cases name once they are there (`models`);
    cells that are `known` by their identity are not measured again.
    """

    rows: Mapping[str, Row]
    models: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def attacks(self) -> tuple[str, ...]:
        """What its rows are called: those whose reference is there."""
        return tuple(name for name, row in self.rows.items() if not row.reference or row.reference in self.models)

    @property
    def stages(self) -> Mapping[str, str]:
        """The stages that measure each model; without the clean model of other training as long as it is not there."""
        return STAGES if OTHER in self.models else {name: stage for name, stage in STAGES.items() if name != "other"}

    def narrowed(self, attacks: Collection[str], methods: Collection[str]) -> "Attacks":
        """Some of the rows; nothing named takes all.

        Raises:
            BadInput: it has no such row, or methods are named: it has none.
        """
        check("--attacks", attacks, self.rows)
        check("--defenses", methods, ())
        return replace(self, rows={name: self.rows[name] for name in attacks or self.rows})

    def knowing(self, cells: pd.DataFrame) -> "Attacks":
        """The same with cells that were measured before, as `cells` gives them."""
        return replace(self, known=kept.by_identity(cells))

    def prepared(self, store: Store, where: Compute, seeds: int) -> "Attacks":
        """The same with the clean models that its rows need, each trained if it is not in the store; one that no cell
        to be measured needs has a stand-in's name.
        """
        wanted = dict.fromkeys([OTHER, *(row.reference for row in self.rows.values() if row.reference)])
        found = replace(self, models={kind: stand_in(kind) for kind in wanted})
        unknown = [name for name, _ in found._unknown(where, seeds)]
        needed = {found.rows[name].reference for name in unknown} | ({OTHER} if unknown else set())
        models = {kind: clean_model(store, kind, where) if kind in needed else stand_in(kind) for kind in wanted}
        return replace(self, models=models)

    def cases(self, seeds: int) -> list[tuple[str, CaseSettings]]:
        """What is measured, seeds 0 to `seeds` - 1: the row and the case."""
        return [
            (name, self.rows[name].case(seed, self.models))
            for seed in range(seeds)
            for name in self.attacks
            if seed < (self.rows[name].seeds or seeds)
        ]

    def _identity(self, name: str, seed: int, where: Compute) -> str:
        """The identity of a cell, which the weights of clean models trained here do not change."""
        names = every_key(self.rows[name].case(seed, {kind: stand_in(kind) for kind in self.models}), where)
        return kept.identity([names[stage] for stage in self._needed])

    def _unknown(self, where: Compute, seeds: int) -> list[tuple[str, CaseSettings]]:
        """Of `cases`, those whose cell is not known."""
        return [(n, case) for n, case in self.cases(seeds) if self._identity(n, case.seed, where) not in self.known]

    @property
    def _needed(self) -> tuple[str, ...]:
        """The stages that a cell is read from."""
        return ("judge", *self.stages.values(), *RETRIEVED)

    def work(self, seeds: int) -> list[Work]:
        """The cases, whole, and what is measured of them beyond."""
        return self._work(self.cases(seeds))

    def missing(self, where: Compute, seeds: int) -> list[Work]:
        """`work` without the cases whose cell is known."""
        return self._work(self._unknown(where, seeds))

    def _work(self, cases: Collection[tuple[str, CaseSettings]]) -> list[Work]:
        beyond = (self.stages[name] for name in ("other", "oracle") if name in self.stages)
        untils = (None, *beyond, *RETRIEVED)
        return [(case, until) for _, case in cases for until in untils]

    def cells(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """What is measured of each case that is done or known: a row with the attack, the seed, the cell's `identity`,
        and each measure. Percent, and shares of 0 to 1.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        found = []
        for name, case in self.cases(seeds):
            if (identity := self._identity(name, case.seed, where)) in self.known:
                found.append(self.known[identity])
            elif state_of(store, case, where, self._needed) == "done":
                values = _values(store, case, where, self.stages)
                found.append(
                    {"attack": name, "seed": case.seed, **kept.stamped(identity, where)}
                    | {label: values[key] for key, label in MEASURES.items() if key in values}
                )
        return pd.DataFrame(found, columns=["attack", "seed", *kept.COLUMNS, *MEASURES.values()])

    def measured(self, store: Store, where: Compute, seeds: int) -> pd.DataFrame:
        """A row an attack: its threat model and captions, each measure as the mean over the seeds measured, and its
        spread (standard deviation); `seeds` measured; `state` of what is not. Percent, and shares of 0 to 1.

        Raises:
            DamagedArtefact: a result on disk is not what was written.
        """
        cells, states = self.cells(store, where, seeds), {}
        for name, case in self.cases(seeds):
            there = ((cells["attack"] == name) & (cells["seed"] == case.seed)).any()
            states.setdefault(name, []).append("done" if there else state_of(store, case, where, self._needed))
        return self.summed(cells, {name: lacking(of) for name, of in states.items()})

    def summed(self, cells: pd.DataFrame, states: Mapping[str, str]) -> pd.DataFrame:
        """The table of `cells`; `states`: what is said of what is not measured, by row."""
        table = []
        for name in self.attacks:
            found, row = cells[cells["attack"] == name], self.rows[name]
            line = {"attack": name, "threat model": row.threat, "captions": row.case(0, self.models).attack.caption}
            for label in MEASURES.values():
                line |= over_seeds(label, found[label].dropna().astype(float).tolist() if label in found else [])
            table.append(line | {"seeds": len(found), "state": states.get(name, "")})
        return pd.DataFrame(table)

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        """Heads and cells as text (`cell`), a dash for what is not measured; what a frame of before does not have
        is left out.
        """
        said = [head for head in ("attack", "threat model", "captions") if head in frame]
        measures = {key: label for key, label in MEASURES.items() if label in frame}
        heads = [*said, *measures.values(), "seeds"]
        digits = {key: 3 if key.split()[0] in SHARES else 2 for key in measures}
        cells = [
            [
                *(str(row[head]) for head in said),
                *(of_column(row, label, digits[key]) for key, label in measures.items()),
                seeds_of(dict(row)),
            ]
            for _, row in frame.iterrows()
        ]
        return heads, cells


def _values(store: Store, settings: CaseSettings, where: Compute, stages: Mapping[str, str]) -> dict[str, float]:
    """The measures of a finished case, by the stages that measure its models; those of percent are in percent."""
    names = every_key(settings, where)
    read: Callable[[str, str], dict] = lambda stage, entry: store.open(names[stage])[entry]  # noqa: E731
    models = {name: read(stage, "measures") for name, stage in stages.items()}
    found = {f"{name} {key}": m[key] for name, m in models.items() for key in ("asr", "ca", "ra", "target_recall")}
    found["over natural"] = models["purified"]["asr"] - min(models[name]["asr"] for name in NATURAL if name in models)
    found |= {f"{name} r@1": read(f"retrieval_{name}", "measures")["ca"] for name in MODELS}
    verdict, detected = read("verdict", "verdict"), read("judge", "detection")
    found |= {said: 100.0 * (answer(verdict) == said) for said in ANSWERS}
    found |= {f"verdict {key}": verdict.get(key) for key in ("score", "displaced", "apart", "exceeds")}
    found |= {"split recall": detected["recall"], "select auroc": detected["auroc"]}
    found |= {"select precision": detected["precision"]}
    found |= {f"flagged {key}": detected[f"flagged_{key}"] for key in ("precision", "recall")}
    return {key: value for key, value in found.items() if key in MEASURES and value is not None}


TABLE = Attacks(*headed("table", "attacks"), ROWS)
