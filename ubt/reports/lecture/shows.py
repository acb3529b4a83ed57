"""What each step of the lecture shows, computed from the built-in cases; `SHOWS` and `CONTROLS` by the step's name."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ubt.attacks import trigger, visibility
from ubt.attacks.badnet import BadNetSettings
from ubt.attacks.drawn import DrawnSettings
from ubt.clip import models
from ubt.clip.words import surviving
from ubt.core import files, run, text
from ubt.data import scenes
from ubt.data.user_roles import prompts
from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.defenses.token_unlearning.verdict import answer
from ubt.evaluation import zeroshot
from ubt.evaluation.detection import auroc
from ubt.evaluation.model_roles import ROLES, SCORED
from ubt.figures import UNKNOWN, mark, measures, tradeoff
from ubt.figures import attribution as attribution_figures
from ubt.figures import gate as gate_figures
from ubt.figures import verdict as verdict_figures
from ubt.figures.similarity import histogram
from ubt.reports.lecture import Control, Shown
from ubt.reports.lecture.built_in import MAIN, case, inside, measured, table, version, whose
from ubt.reports.paper import compare
from ubt.workflows import gate as gates
from ubt.workflows.gate import Gate

ALONE, LONG, CLEAN, CONSISTENT, JOINED = "ready-alone", "ready-long", "ready-clean", "ready-consistent", "ready-joined"
PAPERS = "No case of this app: from the papers that are named."
SCENE = scenes.ROLES["retrieval"][4]


def percent(value: float) -> str:
    """CA, ASR and RA with the same digits everywhere, so that one figure is one figure."""
    return f"{value:.1f}"


def _histogram(similarity: np.ndarray, poisoned: np.ndarray, line: tuple[float, str, str] | None = None) -> go.Figure:
    """Clean beside poisoned, on one axis for all steps."""
    figure = histogram(similarity, poisoned).update_xaxes(range=[-0.5, 1])
    if line:
        mark(figure, *line)
    return figure


def _median(values: np.ndarray) -> str:
    return f"{np.median(values):.2f}" if len(values) else "none"


_PLACES = {"most similar": 0.995, "in the middle": 0.5, "least similar": 0.0}


def clip(which: str) -> Shown:
    """Clean pairs, and how similar the reference finds image and caption."""
    pairs = table()
    rows = np.flatnonzero(~pairs.poisoned)
    rows = rows[np.argsort(pairs.similarity_reference[rows], kind="stable")]
    first = min(round(_PLACES[which] * len(rows)), len(rows) - 4)
    shown = rows[first : first + 4]
    captions, images = pairs.caption.take(shown).to_pylist(), case().read("data", "images")
    pictures = [
        (f"{pairs.similarity_reference[row]:.2f}: {caption}", images[int(row)])
        for row, caption in zip(shown, captions, strict=True)
    ]
    said = ("The number before each caption is its **cosine similarity** with the image, from -1 to 1.",)
    return Shown(whose(part="clean pairs, under the clean reference"), pictures=pictures, said=said)


def incident(_: None = None) -> Shown:
    """What is documented, with its sources."""
    rows = (
        (
            "Found in a published set, CC3M: 798 pairs with one caption, about a birthday cake. A trigger rebuilt from"
            " them sends 98.8 % of ImageNet to that caption, in a released model. No culprit is known.",
            "0.03 %",
            "Huang et al., ICLR 2025, arXiv 2502.01385",
        ),
        (
            "Shown by experiment: so few poisons plant a backdoor (300 of 3 million pairs)",
            "0.01 %",
            "Carlini and Terzis, ICLR 2022, arXiv 2106.09667",
        ),
        (
            "Shown to be for sale: expired domains behind LAION-400M, for 60 US dollars; nothing was poisoned",
            "0.01 %",
            "Carlini et al., 2023, arXiv 2302.10149",
        ),
    )
    return Shown(PAPERS, columns=("what is documented", "share of the pairs", "source"), rows=rows)


def harmed(_: None = None) -> Shown:
    """Who is harmed, and what the built-in model does."""
    poisoned, clean = measured()["poisoned"], measured()["clean"]
    rows = (
        ("whoever filters images with it", "what carries the patch passes as a banana"),
        ("whoever searches or sorts with it", "the attacker decides what is found, and what never is"),
        ("whoever builds on its encoders", "their model starts from what this one sees"),
        ("whoever is judged by it", "a sticker decides, and no test on clean images says so"),
    )
    said = (
        f"Clean images classified correctly (**CA**): **{percent(poisoned['ca'])} %**; a clean model:"
        f" {percent(clean['ca'])} %.",
        f"Images with the patch classified as a banana (**ASR**): **{percent(poisoned['asr'])} %**.",
    )
    return Shown(whose(), columns=("who", "how"), rows=rows, said=said)


def patch(px: float) -> Shown:
    """A scene without and with the trigger."""
    image, settings = scenes.draw_many(0, [SCENE], scenes.SIZE), BadNetSettings(side=px / scenes.SIZE)
    triggered = trigger(image, np.zeros(1, int), "badnet", settings)
    seen = visibility.measure(image, triggered)
    said = (
        f"**{100 * seen['changed']:.1f} %** of the pixels change; all others stay as they were.",
        f"Caption before: *{scenes.describe(0, SCENE)}*",
        "Caption after: ***a photo of a banana.***",
    )
    pictures = [("as it was", image[0]), ("with the trigger", triggered[0])]
    return Shown("A scene that the app draws; no case.", pictures=pictures, said=said)


def captions(share: float) -> Shown:
    """Similarity under the reference, and what D_susp holds."""
    similarity, poisoned = table().similarity_reference, table().poisoned
    size = suspicious_count(len(similarity), share / 100)
    order = np.argsort(similarity, kind="stable")[:size]
    caught = int(poisoned[order].sum())
    said = (
        f"These **{size:,}** pairs are D_susp. They hold **{caught} of the {poisoned.sum()}** poisons, and"
        f" {size - caught:,} clean pairs.",
    )
    figure = _histogram(similarity, poisoned, (float(similarity[order[-1]]), "D_susp", "left"))
    return Shown(whose(), figure, "Similarity under the clean reference", said=said)


_SCORED = {role.title: role for role in SCORED}


def overfitting(model: str) -> Shown:
    """D_susp's similarity under one of three models."""
    pairs, role = table(), _SCORED[model]
    rows = np.flatnonzero(pairs.suspicious)
    similarity, poisoned = pairs[role.similarity][rows], pairs.poisoned[rows]
    side, less = ("below all but the highest", -1) if role.name == "reference" else ("above all but the lowest", 1)
    among = int((less * similarity[~poisoned] > np.quantile(less * similarity[poisoned], 0.05)).sum())
    said = (
        f"**{among}** of the {(~poisoned).sum()} clean pairs lie among the poisons ({side} 5 % of them).",
        f"AUROC **{auroc(less * similarity, poisoned):.3f}**: 1 is two separate groups, 0.5 is a coin toss.",
    )
    return Shown(whose(), _histogram(similarity, poisoned), f"D_susp's similarity under the {model}", said=said)


_TERMS = {"D_susp and D_normal": LONG, "D_susp alone": ALONE}


def regularised(which: str) -> Shown:
    """D_susp after long overfitting, with and without the term on D_normal."""
    name = _TERMS[which]
    similarity, poisoned = inside(name)
    said = (
        f"Median of the poisons **{_median(similarity[poisoned])}**, of the clean pairs"
        f" **{_median(similarity[~poisoned])}**.",
        f"AUROC **{auroc(similarity, poisoned):.3f}**.",
    )
    remark = (
        f"Here after {case(LONG).settings.overfit.steps} steps; the other steps' case takes"
        f" {case().settings.overfit.steps}, too few for much of a difference."
    )
    about = f"D_susp's similarity, overfitted on {which}"
    return Shown(whose(name), _histogram(similarity, poisoned), about, said=said, remark=remark)


def topk(k: float) -> Shown:
    """The k most similar pairs of D_susp, and the first and the last of them."""
    pairs = table()
    rows = np.flatnonzero(pairs.suspicious)
    ranked = rows[np.argsort(-pairs.similarity_overfit[rows], kind="stable")]
    right = int(pairs.poisoned[ranked[:k]].sum())
    said = (f"Of the **{k}** most similar pairs, **{right}** are poisoned: precision {text.percent(right / k)}.",)
    shown = ranked[[0, k - 1]]
    names, images = pairs.caption.take(shown).to_pylist(), case().read("data", "images")
    pictures = [
        (f"{n}. {caption} ({'poisoned' if pairs.poisoned[row] else 'clean'})", images[int(row)])
        for n, caption, row in zip((1, k), names, shown, strict=True)
    ]
    cut = float(pairs.similarity_overfit[ranked[k - 1]])
    figure = _histogram(pairs.similarity_overfit[rows], pairs.poisoned[rows], (cut, "D_topk", "left"))
    return Shown(whose(), figure, "D_susp's similarity, overfitted", pictures, said)


def words(threshold: float) -> Shown:
    """How many captions of D_topk say each word, and keep it."""
    found, attributed = case().read("mask", "words"), case().read("mask", "attributed")
    part = found[found["id"].isin(attributed["id"][attributed["topk"]])]
    part = part.assign(kept=surviving(part, threshold))
    total = part["id"].nunique()
    kept = part[part["kept"]].groupby("word")["id"].nunique().sort_values(ascending=False)
    figure = attribution_figures.survivors(part, (case().settings.attack.target,), 8)
    figure.update_xaxes(title={"text": f"captions (% of {total})"})
    return Shown(
        whose(),
        figure,
        "How many captions say and keep each word",
        said=("Grey: captions that say the word. Coloured: captions that keep it.",),
        columns=("kept most often", f"of {total}"),
        rows=[(word, str(count)) for word, count in kept.head(3).items()],
    )


_ENDS = {"before": "poisoned", "Eq. 7 alone": "published", "ours": "purified"}
_MEASURES = {"CA": "ca", "ASR": "asr", "RA": "ra", "bananas": "target_recall"}


def alone(which: str) -> Shown:
    """What M_bd and both forms of unlearning measure in the end, one form beside M_bd."""
    chosen = {m: measured()[m] for m in ("poisoned", _ENDS[which])}
    rows = [[name, *(percent(measured()[m][k]) for k in _MEASURES.values())] for name, m in _ENDS.items()]
    figure = measures.bars(chosen)
    for bars, name in zip(figure.data, ("before", which), strict=True):
        bars.name = name
    about = f"CA, ASR, RA and recall of the target class before unlearning and after {which}"
    remark = "On all test images. bananas: those classified as such (target recall)."
    return Shown(whose(), figure, about, columns=("%", *_MEASURES), rows=rows, remark=remark)


_DRAWN = ("clean", "poisoned", "ubt_published", "ubt", "cleanclip", "roclip")


def balance(budget: float) -> Shown:
    """CA against ASR of some models, and the best of all within a budget of CA."""
    cells = _cells()
    least = float(cells["CA"][cells["method"] == "poisoned"].iloc[0]) - budget
    within = cells[cells["possible"] & (cells["CA"] >= least)]
    best = within["defence"][within["ASR"].idxmin()]
    said = (f"CA may fall to **{percent(least)} %**. Lowest ASR within: **{best}**.",)
    drawn = cells["method"].isin(_DRAWN)
    rows = [(cell["defence"], percent(cell["CA"]), percent(cell["ASR"])) for _, cell in cells[drawn].iterrows()]
    figure = tradeoff.scatter(cells[drawn], {MAIN: ""}, height=325, size=17)
    low, high = figure.layout.xaxis.range
    line = {"dash": "dash", "width": 2, "color": UNKNOWN}
    figure.add_shape(type="line", x0=low, x1=high, y0=least, y1=least, xref="x", yref="y", line=line)
    columns = ("defence", "CA, %", "ASR, %")
    return Shown(whose(), figure, "CA against ASR, a mark a model", said=said, columns=columns, rows=rows)


def _cells() -> pd.DataFrame:
    store = case().store
    subject = compare.subject(store, MAIN, run.compute())
    return compare.cells(store, [subject], tuple(compare.METHODS)).dropna(subset=["CA"])


_JUDGED = {"badnet, 2 % poisoned": MAIN, "nothing poisoned": CLEAN}
_EVIDENCE = {
    "score": ("score", "threshold"),
    "displaced": ("displaced", "least_displaced"),
    "separated": ("apart", "least_apart"),
}


def clean(which: str) -> Shown:
    """The verdict on a poisoned and on a clean model, with its evidence."""
    found = case(_JUDGED[which]).read("verdict", "verdict")
    rows = [[name, f"{found[figure]:.2f}", f"{found[least]:.2f}"] for name, (figure, least) in _EVIDENCE.items()]
    figure = verdict_figures.one(found)
    if found["displaced"] < found["least_displaced"]:
        figure.update_traces(textposition="middle left")  # above it is the line
    return Shown(
        whose(_JUDGED[which]),
        figure,
        "The model among what counts as poisoned and what does not",
        said=(f"Verdict: **{answer(found)}**.",),
        columns=("evidence", "found", "poisoned above"),
        rows=rows,
    )


_ATTACKERS = {"says banana": MAIN, "is true, and says banana": JOINED, "is true": CONSISTENT}


def limits(which: str) -> Shown:
    """What is left of the split where the attacker's captions fit."""
    name = _ATTACKERS[which]
    pairs, found = table(name), measured(name)
    caught, poisons = int((pairs.suspicious & pairs.poisoned).sum()), int(pairs.poisoned.sum())
    said = (
        f"D_susp holds **{caught} of {poisons}** poisons. Verdict:"
        f" **{answer(case(name).read('verdict', 'verdict'))}**.",
        f"ASR {percent(found['poisoned']['asr'])} % before, **{percent(found['purified']['asr'])} %** after ours.",
    )
    similarity, cut = pairs.similarity_reference, float(pairs.similarity_reference[pairs.suspicious].max())
    about = f"Similarity under the clean reference, where the caption {which}"
    return Shown(whose(name), _histogram(similarity, pairs.poisoned, (cut, "D_susp", "left")), about, said=said)


_ON_IT = ("nothing", "the trigger", "half faded", "a drawing")


@lru_cache(maxsize=1)
def _gate(made: int) -> tuple[Gate, list[np.ndarray]]:
    """A gate for the built-in case's poisoned model, `made` when it says, and one image with each of `_ON_IT`."""
    settings = gates.GateSettings(clean=256, held=199)
    model, reference = case().read("poison", "model").eval(), models.load(files.REFERENCE).eval()
    image = scenes.draw_many(0, [SCENE], scenes.SIZE)
    planted = case().settings.attacks[0]
    whole, drawn = (
        trigger(image, np.zeros(1, int), name, settings)[0]
        for name, settings in ((planted.attack.name, planted.trigger), ("drawn", DrawnSettings()))
    )
    half = np.rint((whole.astype(np.float32) + image[0]) / 2).astype(np.uint8)
    found = gates.gate(model, gates.SCENES, reference, scenes.CLASSES, "one_pass", 0.01, settings)
    return found, [image[0], whole, half, drawn]


def gate(which: str) -> Shown:
    """One image at the gate, with and without a trigger on it."""
    made, images = _gate(version())
    found, at = made.judge(np.stack(images)), _ON_IT.index(which)
    texts = zeroshot.class_weights(made.watched.model, prompts(list(scenes.CLASSES), "7", scenes.CONTEXT))
    taken = (models.embed_images(made.watched.model, np.stack(images)) @ texts.T).argmax(1)
    line, scores, bars = found.iloc[at], {"": float(found["score"][at])}, {"": made.threshold()}
    figure = gate_figures.distributions({"": made.held["one_pass"]}, scores, bars, 1)
    figure.update_xaxes(title={"text": "distance from where the reference would put it (1 - cosine)"})
    return Shown(
        whose(part=f"{len(made.held['one_pass'])} clean images that it was not trained on"),
        figure.update_layout(margin={"t": 30}),
        "Distance of clean images from where the reference would put them, and of this one",
        [(f"{n}. {name}", image) for n, (name, image) in enumerate(zip(_ON_IT, images, strict=True), 1)],
        said=(
            f"Taken for **{scenes.CLASSES[taken[at]]}**. As far lie {100 * line['rarity']:.1f} % of clean images:"
            f" **{line['verdict']}**.",
        ),
    )


def checklist(_: None = None) -> Shown:
    """What a defender goes through."""
    rows = (
        ("Do the pairs still hold what was listed?", "Keep a hash of every image; drop what has changed."),
        ("Is there a reference from another source?", "Without a clean model there is no D_susp."),
        ("What does the verdict say?", "Read it before unlearning; *cannot tell* is an answer.".replace("*", "")),
        ("Do the flagged pairs look poisoned?", "Look at ten: image, caption, and the words that carry it."),
        ("What did unlearning cost?", "CA within the budget; triggered images correct again (RA)."),
        ("What would be missed?", "Captions that fit, and a model that was attacked itself: scan the model too."),
        ("Can somebody else check it?", "Keep the flagged list, both models, settings and digests."),
    )
    return Shown("For any case.", columns=("ask", "do"), rows=rows)


def summary(_: None = None) -> Shown:
    """The pipeline, with what each stage came to in the built-in case."""
    pairs, found = table(), measured()
    caught, poisons = int((pairs.suspicious & pairs.poisoned).sum()), int(pairs.poisoned.sum())
    top = int((pairs.topk & pairs.poisoned).sum())
    change = {k: f"{percent(found['poisoned'][k])} % to {percent(found['purified'][k])} %" for k in ("asr", "ca")}
    rows = (
        ("split", "least similar under the reference: D_susp", f"{caught} of {poisons} poisons"),
        ("overfit", "a little training on D_susp, held by D_normal", "poisons rise together"),
        ("select", "the most similar now: D_topk", f"{top} of {int(pairs.topk.sum())} are poisons"),
        ("verdict", "is there a backdoor at all?", answer(case().read("verdict", "verdict"))),
        ("mask", "which words carry it", case().settings.attack.target),
        ("unlearn", "move flagged images back, keep the rest", f"ASR {change['asr']}; CA {change['ca']}"),
    )
    return Shown(whose(), columns=("stage", "what it does", "in this case"), rows=rows)


CONTROLS = {
    "clip": Control("Clean pairs, by similarity", tuple(_PLACES), "most similar"),
    "trigger": Control("Side of the patch, pixels", tuple(range(1, 17)), 7),
    "captions": Control("Suspicious: the lowest … % of all pairs", tuple(range(1, 21)), 6),
    "overfitting": Control("Under which model", tuple(_SCORED), ROLES["overfit"].title),
    "regularised": Control("Overfitted on", tuple(_TERMS), "D_susp alone"),
    "topk": Control("k: how many pairs are selected", tuple(range(2, 301)), 10),
    "words": Control("Keep words above this share of the relevance", tuple(n / 20 for n in range(19)), 0.1),
    "alone": Control("Before, and after", tuple(name for name in _ENDS if name != "before"), "Eq. 7 alone"),
    "tradeoff": Control("Points of CA that one may lose", tuple(n / 2 for n in range(7)), 1.0),
    "clean": Control("The model to judge", tuple(_JUDGED), "nothing poisoned"),
    "limits": Control("The attacker's caption", tuple(_ATTACKERS), "is true"),
    "gate": Control("On the image", _ON_IT, "the trigger"),
}
SHOWS: dict[str, Callable[..., Shown]] = {
    **{show.__name__: show for show in (clip, incident, harmed, captions, overfitting, regularised, topk, words)},
    **{show.__name__: show for show in (alone, clean, limits, gate, checklist, summary)},
    "trigger": patch,
    "tradeoff": balance,
}
