"""Figs. 5 and 8 of the UBT paper: which words and which patches carry a poison's similarity, and what the mask of Eq. 5
keeps of them, as M_bd reads the poisons (as published) and as the overfitted model reads them (ours).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from ubt.cases.settings import CaseSettings
from ubt.defenses.token_unlearning.mask import MaskSettings
from ubt.reports.paper.defense_tables import case
from ubt.reports.paper.figure import Figure, Panel
from ubt.reports.paper.published import headed
from ubt.reports.paper.table import as_markdown, cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

    from ubt.figures.mask_pictures import Explained


@dataclass(frozen=True)
class Masked(Figure):
    """Poisons of D_topk as models read them, the most similar first, so many a panel: their `images`, or else their
    captions, each caption once.
    """

    most: int
    images: bool

    def columns_of_values(self) -> Sequence[str]:
        return ["threshold", "ids", "shown", "covered", "inside"]

    def values(self, read: Callable[[str], Any], case: CaseSettings, stage: str) -> dict[str, Any]:
        """The `threshold` of the mask; of each pair shown its id (`ids`), what the figure draws (`shown`), the share of
        its image that is kept (`covered`), and of its trigger's pixels (`inside`; None for a trigger that covers the
        image).
        """
        from ubt.evaluation.masks import judged
        from ubt.figures.mask_pictures import explanations

        found, words, maps, how = (read(f"{stage}.{entry}") for entry in ("attributed", "words", "maps", "how"))
        truth, manifest, images = read("attack.truth"), read("attack.manifest"), read("data.images")
        poisons = found[found["topk"].to_numpy() & truth["poisoned"].iloc[found["row"]].to_numpy()]
        captions = read("data.pairs")["caption"].iloc[poisons["row"]].to_numpy()
        poisons = (poisons if self.images else poisons[~pd.Series(captions).duplicated().to_numpy()]).head(self.most)
        words, its, size = words[words["id"].isin(poisons["id"])], maps[poisons.index.to_numpy()], images.shape[1:3]
        keys = {p.word for p in case.attacks}
        each = [
            judged(poisons.iloc[[n]], its[[n]], words, truth, manifest, size, how["image_threshold"], keys)
            for n in range(len(poisons))
        ]
        return {
            "threshold": how["image_threshold" if self.images else "text_threshold"],
            "ids": poisons["id"].tolist(),
            "shown": explanations(images[poisons["row"].to_numpy()], poisons, words, its, how["image_threshold"]),
            "covered": [e["covered"] for e in each],
            "inside": [e["trigger_inside"] for e in each],
        }

    def lines(self, frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
        own = (
            ["image kept", "trigger kept"]
            if self.images
            else ["words and their share of the relevance", "masked caption"]
        )
        cells = []
        for _, line in frame.iterrows():
            first = [line["row"], line["panel"] + (f" ({line['state']})" if line["state"] else "")]
            pairs = [[*first, pair, *self._cells(*rest)] for pair, *rest in _pairs(line)]
            cells += pairs or [[*first, "-", *["-"] * len(own)]]
        return ["poisons", "as read by", "pair", *own], cells

    def _cells(self, explained: "Explained", covered: float, inside: float | None) -> list[str]:
        if self.images:
            return [f"{100 * covered:.1f} %", "-" if inside is None else f"{100 * inside:.0f} %"]
        read = [
            (w, s, k)
            for w, s, k, cut in zip(explained.words, explained.scores, explained.kept, explained.cut, strict=True)
            if not cut
        ]
        return [" ".join(f"{w} {cell(s)}" for w, s, _ in read), " ".join(w for w, _, k in read if k)]

    def markdown(self, frame: pd.DataFrame) -> str:
        heads, cells = self.lines(frame)
        return as_markdown(f"{self.title}. {self.source}", heads, [[_escaped(text) for text in line] for line in cells])

    def numbers(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A row a pair, or a word."""
        table = []
        for _, line in frame.iterrows():
            about = {"poisons": line["row"], "read by": line["panel"], "case": line["case"], "state": line["state"]}
            rows = [about | {"id": pair} | row for pair, *rest in _pairs(line) for row in self._rows(*rest)]
            table += rows or [about]
        own = ["image kept", "trigger kept"] if self.images else ["position", "word", "score", "kept"]
        return pd.DataFrame(table).reindex(columns=["poisons", "read by", "case", "id", *own, "state"])

    def _rows(self, explained: "Explained", covered: float, inside: float | None) -> list[dict[str, Any]]:
        if self.images:
            return [{"image kept": covered, "trigger kept": inside}]
        read = zip(explained.words, explained.scores, explained.kept, explained.cut, strict=True)
        return [
            {"position": n, "word": w, "score": s, "kept": bool(k)} for n, (w, s, k, cut) in enumerate(read) if not cut
        ]

    def drawn(self, frame: pd.DataFrame) -> "Picture":
        from ubt.figures.mask_pictures import Block, heat_figure, words_figure

        blocks = []
        for _, line in frame.iterrows():
            shown = [explained for _, explained, *_ in _pairs(line)]
            why = {"": "no poison in D_topk", "to do": "not computed yet"}.get(
                line["state"], f"not computed yet ({line['state']})"
            )
            blocks.append(Block(shown, line["row"], line["panel"], "" if shown else why))
        given, usual = frame["threshold"].dropna(), MaskSettings()
        if self.images:
            return heat_figure(blocks, given.iloc[0] if len(given) else usual.image_threshold)
        return words_figure(blocks, given.iloc[0] if len(given) else usual.text_threshold)

    def pictured(self, frame: pd.DataFrame, kinds: Sequence[str]) -> dict[str, bytes]:
        from ubt.figures.mask_pictures import saved

        figure = self.drawn(frame) if kinds else None
        return {kind: saved(figure, kind, self.title, self.source) for kind in kinds}


def _pairs(line: pd.Series) -> list[tuple]:
    """The pairs of a panel: id, what is drawn, shares kept of image and trigger."""
    return [] if line["state"] else list(zip(line["ids"], line["shown"], line["covered"], line["inside"], strict=True))


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is.

    >>> _escaped("a|b <c> *d*")
    'a\\\\|b \\\\<c\\\\> \\\\*d\\\\*'
    """
    return " ".join(re.sub(r"([\\`*\[\]<>|!&])", r"\\\1", text).split())


READINGS = {"mask_published": "M_bd (published)", "mask": "overfitted model (ours)"}
"""The stage that attributes, and the model it reads pairs by."""


def panels(cases: dict[str, Callable[[int], CaseSettings]]) -> tuple[Panel, ...]:
    """A row of panels for each case, of every way to read what carries its poison; cases by their row's title."""
    return tuple(Panel(reading, made, row, stage) for row, made in cases.items() for stage, reading in READINGS.items())


FIGURES: dict[str, Figure] = {
    "5": Masked(
        *headed("figure", "5"),
        panels({"BadNet": case, "BadNet, own caption and target": partial(case, attack__caption="joined")}),
        most=4,
        images=False,
    ),
    "8": Masked(
        *headed("figure", "8"),
        panels({"BadNet": case, "Blended": partial(case, attack="blended")}),
        most=7,
        images=True,
    ),
}
"""By the paper's number."""
