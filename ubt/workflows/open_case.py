"""A case in a notebook: its pairs, scores, figures and models by name, each read when it is asked for.

    import ubt

    case = ubt.open_case("ready-badnet")
    case.select("flagged and not topk")

Nothing is ever written to the case.
"""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from ubt import __version__
from ubt.cases import demo
from ubt.cases.finished import Finished, places
from ubt.cases.read_only import ReadOnlyStore
from ubt.cases.settings import CaseSettings
from ubt.core.errors import BadInput
from ubt.core.files import REFERENCE, replace_file
from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.defenses.token_unlearning.verdict import judged_poisoned
from ubt.evaluation import detection, label_free
from ubt.evaluation.model_roles import MEASURED, ROLES
from ubt.evaluation.model_roles import labels as model_labels
from ubt.pairs import image_dataset, query
from ubt.pairs.export import KINDS, content
from ubt.pairs.neighbors import SPACES, Embedding
from ubt.pairs.table import ABOUT, PairTable
from ubt.workflows import derived

TUNED = {"suspicious_tuned": "D_susp", "flagged_tuned": "flagged", "topk_tuned": "D_topk"}
"""The columns of `OpenCase.tuned`, and the set that each says a pair is in."""
_EVALUATED = [role.evaluated for role in MEASURED.values()]


def open_case(name: str, cache: str | Path | None = None) -> "OpenCase":
    """Open a case to look at, a built-in one too; nothing of it is read yet.

    Args:
        name: the case's name, as `python -m ubt cases list` and the app show it. cache: the cache folder; None: what
            `UBT_CACHE` says, or `cache` in the current folder.

    Raises:
        BadInput: there is no such case; the message names those that there are. UbtError: its record cannot be read.
    """
    root = Path(os.environ.get("UBT_CACHE", "cache") if cache is None else cache)
    store = ReadOnlyStore(root, untouched=True)
    now = store.renamed(name)
    if now not in (there := [*store.names(), *demo.names()]):
        where = f"in the cache {root}" if root.is_dir() else f"though there is no cache folder {root}"
        raise BadInput(f"unknown case {name!r}; expected one of these {where}: {', '.join(there)}")
    case = OpenCase(Finished(store, now))
    _ = case.settings
    return case


class OpenCase:
    """A case on record. What a stage has not made yet is an error that says which stage makes it."""

    def __init__(self, finished: Finished):
        self._case, self._store = finished, finished.store

    def __repr__(self) -> str:
        return f"<case {self.name}: {self._case.record.state}, {len(self._case.artefacts)} stages finished>"

    @property
    def name(self) -> str:
        """Its name."""
        return self._case.name

    @property
    def settings(self) -> CaseSettings:
        """What it is made of: `case.settings.split.fraction`, `case.settings.to_dict()`."""
        return self._case.settings

    @cached_property
    def stages(self) -> dict[str, list[str]]:
        """Its finished stages, and what each has made, for `artefact`."""
        return {stage: list(found.manifest["entries"]) for stage, found in self._case.artefacts.items()}

    def artefact(self, stage: str, entry: str) -> Any:
        """What a stage made: a data frame, an array (a read-only map), plain values, a model, or images (rows are read
        when they are asked for).

        Raises:
            BadInput: the stage is not finished, or has no such entry.
        """
        if entry not in self._entries(stage):
            raise BadInput(
                f"{self.name}: expected one of {', '.join(self._entries(stage))} of the stage {stage}, got {entry!r}"
                + ("; a built-in case is shipped without what a machine can make again" if self._shipped else "")
            )
        return self._case.read(stage, entry)

    def _entries(self, stage: str) -> list[str]:
        if stage not in self.stages:
            raise BadInput(
                f"{self.name}: expected one of its finished stages {', '.join(self.stages)}; got {stage!r}"
                + ("; run the case up to it first" if not self._shipped else "")
            )
        return self.stages[stage]

    @property
    def _shipped(self) -> bool:
        return self._case.record.built_in is not None

    @cached_property
    def _table(self) -> PairTable:
        _ = self._entries("data")
        case, table = self._case, self._case.pairs
        for space in SPACES:
            options = derived.map_of(self._store, case.record, case.has, space)
            found = self._store.find(derived.key(case.record, "map", options)) if options else None
            if found is not None:
                table = table.with_map(space, {m: found[f"xy_{m}"] for m in options["models"]}, found["cluster"])
        return table

    def table(self, truth: bool = False) -> PairTable:
        """The pairs as the pages read them, columns by name as arrays. `truth`: with the column `poisoned`."""
        return self._table if truth else self._table.without_truth

    def pairs(self, truth: bool = False) -> pd.DataFrame:
        """The pairs in the order of D, a row a pair: every column that the pages know, labels, notes and maps too, and
        `image`, the path, archive's member or scene that the image comes from. `truth`: with the column `poisoned`,
        which a defender does not have.
        """
        return self._rows(np.arange(len(self._table)), truth)

    def _rows(self, rows: np.ndarray, truth: bool) -> pd.DataFrame:
        frame = self.table(truth).frame(rows)
        frame.insert(2, "image", self._places.reindex(frame["id"]).to_numpy())
        return frame.set_axis(rows)

    @cached_property
    def _places(self) -> pd.Series:
        return places(self._case, self._store)[0]

    def select(self, text: str, truth: bool = False) -> pd.DataFrame:
        """The pairs that a query selects, as the selection on the pages does (`ubt.pairs.query` has the grammar): the
        rows of `pairs` with their numbers.

        Raises:
            BadQuery: it cannot be read, or names a column that is not there (`poisoned` needs `truth`).
        """
        table = self.table(truth)
        return self._rows(np.flatnonzero(query.parse(text, table).rows(table)), truth)

    def export(self, path: str | Path, text: str = "", truth: bool = False) -> int:
        """Write the pairs that a query selects, all without one: into a file ending in `.csv`, `.jsonl` or `.parquet`,
        or, under a name without an ending, into a folder that Hugging Face `datasets` opens, images included.

        Returns:
            How many pairs.

        Raises:
            BadInput: another ending, a file that cannot be written, or a folder that holds anything else.
        """
        path, kinds = Path(path), {f".{kind.lower()}": kind for kind in KINDS}
        if path.suffix.lower() not in {*kinds, ""}:
            raise BadInput(
                f"expected a name that ends in {', '.join(kinds)}, or a folder's without an ending; got {path}"
            )
        frame = self.select(text, truth) if text else self.pairs(truth)
        try:
            if path.suffix:
                data = content(frame, kinds[path.suffix.lower()])
                replace_file(path, lambda temporary: temporary.write_bytes(data))
            else:
                _require_own(path)
                path.mkdir(parents=True, exist_ok=True)
                said = image_dataset.card(self._about(frame, text))
                replace_file(path / image_dataset.CARD, lambda temporary: temporary.write_bytes(said))
                replace_file(path / image_dataset.FILE, lambda temporary: self._write_images(temporary, frame))
        except OSError as e:
            raise BadInput(f"expected a place that can be written, got {path} ({e.strerror})") from None
        return len(frame)

    def _write_images(self, sink: Path, frame: pd.DataFrame) -> None:
        image_dataset.write(sink, frame, self.artefact("data", "images"), frame.index.to_numpy())

    def _about(self, frame: pd.DataFrame, text: str) -> dict[str, Any]:
        said = {"image": "the image, as the models see it", "image_path": places(self._case, self._store)[1]}
        columns = {name: ABOUT.get(name, "") for name in frame} | said
        program = f"UBT Inspector {__version__}"
        return {"case": self.name, "rule": text, "pairs": len(frame), "columns": columns, "program": program}

    def dataset(self, text: str = "", truth: bool = False) -> Any:
        """The pairs that a query selects, all without one, as a `datasets.Dataset` of Hugging Face, images included.

        Raises:
            BadInput: the package `datasets` is not installed.
        """
        try:
            from datasets import Dataset
        except ImportError:
            raise BadInput(
                'expected the package datasets, which is not installed; pip install "ubt-inspector[datasets]"'
            ) from None
        frame = self.select(text, truth) if text else self.pairs(truth)
        with TemporaryDirectory() as folder:
            self._write_images(file := Path(folder) / image_dataset.FILE, frame)
            return Dataset.from_parquet(str(file), cache_dir=folder, keep_in_memory=True)

    def tuned(
        self, fraction: float | None = None, threshold: float | None = None, k: int | None = None
    ) -> pd.DataFrame:
        """What other thresholds would catch, from the scores that are there, as the sliders of the pages do: a row a
        pair, truth values `suspicious_tuned`, `flagged_tuned`, `topk_tuned`; the first alone before overfitting.

        Args:
            fraction: the share of D of lowest reference similarity that is D_susp. threshold: the overfitted similarity
                from which a pair of D_susp is flagged. k: the size of D_topk. What is None is as the case was run, and
                the threshold where the slider stands at first.
        """
        _ = self._entries("score")
        table, settings = self._table, self.settings
        fraction, k = (settings.split.fraction if fraction is None else fraction), (settings.k if k is None else k)
        as_run = (fraction, k) == (settings.split.fraction, settings.k) and self._case.has("select")
        found = detection.caught(
            table.similarity_reference,
            table.similarity_overfit,
            suspicious_count(len(table), fraction),
            self._threshold() if threshold is None else threshold,
            k,
            self.artefact("select", "topk")["row"].to_numpy() if as_run else None,
        )
        return pd.DataFrame({name: found.chosen[of] for name, of in TUNED.items() if of in found.chosen})

    def _threshold(self) -> float:
        """Where the slider of the pages stands at first."""
        table, case = self._table, self._case
        if table.similarity_overfit is None:
            return 0.5
        inside = table.similarity_overfit if table.suspicious is None else table.similarity_overfit[table.suspicious]
        inside = inside[np.isfinite(inside)]
        judged = judged_poisoned(case.read("verdict", "verdict")) if case.has("verdict") else case.record.imported
        mixture = label_free.fit(inside) if judged else None
        return min(1.0, round(mixture.threshold if mixture else detection.otsu(inside), 2))

    @property
    def similarities(self) -> pd.DataFrame:
        """The cosine similarity of each pair's image with its caption under each model that has scored D."""
        return self._table.frame(np.arange(len(self._table)), ["id", *self._table.similarities()])

    @property
    def labels(self) -> pd.DataFrame:
        """What analysts decided: id, label, note, who and when; a row a pair that has a label or a note."""
        return self._case.labels

    @property
    def truth(self) -> pd.DataFrame:
        """The ground truth of a lab case, a row a pair: whether it is poisoned, by which attack, and how.

        Raises:
            BadInput: it is an audit, of which nobody knows it.
        """
        if self._case.audits:
            raise BadInput(f"{self.name}: expected a lab case, whose poisons are known, got an audit; see its `labels`")
        return self.artefact("attack", "truth")

    def images(self, ids: Sequence[str]) -> np.ndarray:
        """The images of some pairs as the models see them, triggers and all, uint8 RGB (n, H, W, 3), in the order
        of the ids.

        Raises:
            BadInput: an id is unknown.
        """
        ids, table = [ids] if isinstance(ids, str) else list(ids), self._table
        rows = table.rows(ids)
        if len(rows) < len(ids):
            known = set(table.ids(rows))
            unknown = next(pair for pair in ids if pair not in known)
            raise BadInput(f"{self.name}: expected ids of its pairs, as in pairs()['id'], got {unknown!r}")
        return np.asarray(self.artefact("data", "images")[rows])

    def embeddings(self, model: str = "overfit") -> Embedding:
        """D's normalised features under a model, `images` (n, d) and `captions` (n, d), a row a pair; of a model that
        no stage scored D with they are computed now.

        Raises:
            BadInput: the case does not have them.
        """
        _known(model)
        stage = derived.source(model)
        wanted = ("image_features", "text_features") if ROLES[model].scored else ("model",)
        for entry in wanted:
            if entry not in self._entries(stage):
                self.artefact(stage, entry)
        return derived.embedding(self._store, self._case.record, model)

    def model(self, name: str) -> Any:
        """A model of the case, for open_clip, in evaluation mode: `reference`, `poisoned` (in an audit the imported
        one), `overfit`, `purified`, `published`. Each call reads it anew. Those of other defences: `artefact(STAGE,
        "model")`.

        Raises:
            BadInput: there is no such model, or the case does not have it.
        """
        if stage := _known(name).stage(self._case.audits):
            return self.artefact(stage, "model").eval()
        own = self.settings.own
        if own.reference:
            return self._store.imported(own.reference)["model"].eval()
        if own.audits:
            raise BadInput(f"{self.name}: expected an audit with a reference, got one by folds, which has none")
        from ubt.clip import models

        return models.load(REFERENCE).eval()

    @property
    def measured(self) -> bool:
        """Whether `measures` has figures."""
        return self._case.has("estimate") if self._case.audits else any(map(self._case.has, _EVALUATED))

    @property
    def measures(self) -> pd.DataFrame:
        """The figures of each model that was measured, a row a model: CA, ASR, RA, target recall in percent, with the
        ends of their 95 % intervals (`ca_low`, `ca_high`); of an audit the estimates that stand for them.

        Raises:
            BadInput: none was measured yet.
        """
        case, called = self._case, model_labels(self._case.audits)
        if case.audits:
            rows = self.artefact("estimate", "measures")
        else:
            found = {m: case.read(r.evaluated, "measures") for m, r in MEASURED.items() if case.has(r.evaluated)}
            rows = {m: _flat(measured) for m, measured in found.items()}
        if not rows:
            raise BadInput(f"{self.name}: expected a case whose models were measured, got none; run it first")
        names = pd.Index([called.get(m, m) for m in rows], name="model")
        return pd.DataFrame(list(rows.values()), names)


def _require_own(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not image_dataset.is_ours(folder):
        raise BadInput(
            f"expected a new or empty folder, or one of an earlier export, got {folder}, which holds other files;"
            " name another folder"
        )


def _known(name: str) -> Any:
    if name not in ROLES:
        raise BadInput(f"model: expected one of {', '.join(ROLES)}; got {name!r}")
    return ROLES[name]


def _flat(measured: dict[str, Any]) -> dict[str, float]:
    row = {}
    for name, (low, high) in measured["intervals"].items():
        row |= {name: measured[name], f"{name}_low": low, f"{name}_high": high}
    return row
