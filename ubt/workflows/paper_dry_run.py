"""A dry run of the preset `paper`: every step in the paper's order, on generated data in the layouts that a real run
reads, by a ViT-B/32 of random weights; and what a real run would need.
"""

import shutil
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ubt.cases.artifact import Artefact
from ubt.cases.catalog import CASE
from ubt.cases.cost_model import cost
from ubt.cases.events import Event
from ubt.cases.imported import ACCURACY
from ubt.cases.keys import every_key
from ubt.cases.pipeline import Pipeline, upto
from ubt.cases.plan import composed
from ubt.cases.presets import papers
from ubt.cases.settings import CaseSettings
from ubt.cases.store import Store
from ubt.core.errors import BadInput, UbtError
from ubt.core.run import Compute
from ubt.data import generated
from ubt.defenses import DEFENSES
from ubt.defenses.token_unlearning.split import suspicious_count
from ubt.defenses.token_unlearning.verdict import judged_poisoned
from ubt.workflows.ingest import import_labelled, import_pairs, lab_of

ARCHITECTURE = "ViT-B-32-quickgelu"
"""OpenAI's ViT-B/32 as open_clip names it."""
PAIRS, SPARE = 40, 24
"""Pairs of D, and more for the defender's own."""
_TOY = tomllib.loads(Path(__file__).with_name("paper_dry_run.toml").read_text(encoding="utf-8"))
TOY = {f"{group}.{name}": value for group, values in _TOY.items() for name, value in values.items()} | {
    name: value for defense in DEFENSES.values() for name, value in defense.toy.items()
}
"""The preset's settings at toy size. The verdict's thresholds are let go, for a model of random weights is not
poisoned, and would be left as it is.
"""
BASELINES = tuple(name for name, defense in DEFENSES.items() if defense.toy)
"""The defences that are run: those that say what they are at toy size."""


def of_baseline(name: str) -> tuple[str, ...]:
    """The stages that a defence adds to those of a case, the one that measures its model last."""
    return tuple(s.name for s in upto(DEFENSES[name].judged) if s not in CASE)


_BASELINE_STAGES = {name: of_baseline(name) for name in BASELINES}
STEPS: dict[str, tuple[str, ...]] = {
    "import pairs": ("take",),
    "poison": ("attack", "data"),
    "train": ("test", "poison"),
    "score": ("score", "score_poisoned", ACCURACY.name),
    "split": ("split",),
    "overfit": ("overfit",),
    "select": ("score_inside", "select", "score_overfit"),
    "verdict": ("retain", "verdict", "flag"),
    "mask": ("mask", "mask_published"),
    "unlearn": ("unlearn", "unlearn_published"),
    "baselines": tuple(dict.fromkeys(stage for stages in _BASELINE_STAGES.values() for stage in stages[:-1])),
    "evaluation": (
        *("evaluate_clean", "evaluate_poisoned", "diagnose", "evaluate_purified", "evaluate_published", "judge"),
        *(stages[-1] for stages in _BASELINE_STAGES.values()),
    ),
    "downstream": ("downstream", "zeroshot_poisoned", "zeroshot_purified"),
    "retrieval": ("captions", "retrieval_poisoned", "retrieval_purified"),
}
"""The paper's order: each step with its stages."""
WIDTH, MODEL_BYTES = 512, 605e6
"""Of ViT-B/32: values of a feature; bytes of its weights in fp32."""
PAIR_BYTES = 30e3
"""Of a photo whose shorter side is 256 px, as JPEG; an estimate."""
PAPERS_PACE = 2826 / (3 * 501_500)
"""Seconds a pair in training, by the paper's Table VIII."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Proved:
    """What a stage proved: its step, its name, in words, and the seconds it took."""

    step: str
    stage: str
    said: str
    seconds: float


def _require(holds: Any, expected: str, got: Any) -> None:
    if not holds:
        raise UbtError(f"dry run: expected {expected}, got {got}")


def _fits(found: Artefact, settings: CaseSettings, of: Callable[[str], Artefact]) -> list[str]:
    """What an artefact shows, entry by entry, each checked.

    Raises:
        UbtError: something in it is not what the stage promises.
    """
    said, there = [], found.manifest["entries"]
    if "similarity" in there:
        s, features = found["similarity"]["similarity"].to_numpy(), found["image_features"]
        _require(np.isfinite(s).all() and np.abs(s).max() <= 1 + 1e-5, "similarities in [-1, 1]", s)
        _require(np.allclose(np.linalg.norm(features, axis=1), 1, atol=1e-4), "normalised features", features)
        said.append(
            f"{len(s)} similarities, {s.min():.3f} to {s.max():.3f}, from {features.shape[1]}-dimensional features"
        )
    if "history" in there:
        history = found["history"]
        _require(len(history) and np.isfinite(history["loss"]).all(), "finite losses", history.to_dict("list"))
        said.append(f"{len(history)} steps, loss {history['loss'].iloc[0]:.4f} to {history['loss'].iloc[-1]:.4f}")
    if "model" in there:
        start = (
            next(s for s in composed(settings.own).every if s.name == found.manifest["stage"])
            .inputs["model"]
            .split(".")[0]
        )
        own, before = (
            next(v["sha256"] for k, v in a.manifest["files"].items() if k.endswith(".safetensors"))
            for a in (found, of(start))
        )
        _require(own != before, "weights that were trained", f"those of {start}")
        said.append(f"a ViT-B/32 of its own ({own[:8]}…)")
    if "measures" in there:
        m = found["measures"]
        counts = m["images"]
        _require(all(0 <= m[k] <= 100 for k in ("ca", "asr")), "percent", m)
        said.append(f"CA {m['ca']:.1f} %, ASR {m['asr']:.1f} % of {counts['ca']} and {counts['asr']} images")
    return said + ([SAYS[found.manifest["stage"]](found, settings, of)] if found.manifest["stage"] in SAYS else [])


def _take(found: Artefact, settings: CaseSettings, of: Callable) -> str:
    lost = found["quarantine"]["reason"].value_counts().to_dict()
    _require(len(found["pairs"]) == settings.data.pairs, f"{settings.data.pairs} pairs", len(found["pairs"]))
    return (
        f"{len(found['pairs'])} pairs decoded where they lie, {len(found['rest'])} left for other roles; set apart:"
        f" {lost or 'none'}"
    )


def _attack(found: Artefact, settings: CaseSettings, of: Callable) -> str:
    poisons, wanted = int(found["truth"]["poisoned"].sum()), settings.attacks[0].poisons(settings.data.pairs)
    _require(poisons == wanted, f"{wanted} poisons", poisons)
    return f"{poisons} poisons for {settings.attack.target!r}, known to attacker and judge alone"


def _data(found: Artefact, settings: CaseSettings, of: Callable) -> str:
    truth, captions, shape = of("attack")["truth"], found["pairs"]["caption"], found["images"].shape
    _require(
        captions[truth["poisoned"].to_numpy()].str.contains(settings.attack.target).all(),
        "captions with the target",
        captions.tolist(),
    )
    _require(list(found["pairs"]) == ["id", "caption"], "D without a word of the truth", list(found["pairs"]))
    return f"images {shape}, tokens {found['tokens'].shape}"


def _split(found: Artefact, settings: CaseSettings, of: Callable) -> str:
    similarity, suspicious = of("score")["similarity"]["similarity"].to_numpy(), found["split"]["suspicious"].to_numpy()
    wanted = suspicious_count(len(similarity), settings.split.fraction)
    _require(
        suspicious.sum() == wanted and similarity[suspicious].max() <= similarity[~suspicious].min(),
        f"the {wanted} lowest",
        suspicious.sum(),
    )
    return f"D_susp: the {wanted} of {len(similarity)} that fit worst under the clean reference"


def _select(found: Artefact, settings: CaseSettings, of: Callable) -> str:
    ranked, topk = found["ranked"]["similarity"], found["topk"]
    _require(
        ranked.is_monotonic_decreasing and len(topk) >= settings.k,
        f"at least {settings.k} by falling similarity",
        ranked.tolist(),
    )
    return f"k = {settings.k}, {topk['group'].nunique()} group of D_topk among {len(ranked)}"


def _verdict(found: Artefact, settings: CaseSettings, of: Callable) -> str:
    v = found["verdict"]
    _require(judged_poisoned(v) and np.isfinite(v["score"]), "a verdict that lets unlearning run", v)
    return f"score {v['score']:.3f}, displaced {v['displaced']:.3f} (thresholds let go at toy size)"


def _mask(found: Artefact, settings: CaseSettings, of: Callable) -> str:
    words, maps = found["words"], found["maps"]
    _require(words["kept"].any() and np.isfinite(maps).all(), "words that are kept, and finite maps", words)
    return f"{int(words['kept'].sum())} of {len(words)} words kept, maps {maps.shape}"


SAYS: dict[str, Callable[[Artefact, CaseSettings, Callable[[str], Artefact]], str]] = {
    "take": _take,
    "attack": _attack,
    "data": _data,
    "split": _split,
    "select": _select,
    "verdict": _verdict,
    "mask": _mask,
    "mask_published": _mask,
    "test": lambda found, s, of: (
        f"{len(found['labels'])} images of {', '.join(found['classes'])}; {found['prompts'].shape[1]} templates a class"
    ),
    "clean": lambda found, s, of: f"{len(found['pairs'])} clean pairs beyond D",
    "retain": lambda found, s, of: f"{int(found['retain']['kept'].sum())} pairs to hold on to",
    "flag": lambda found, s, of: f"{int(found['flagged']['poisoned'].sum())} of {len(found['flagged'])} pairs flagged",
    "abl_isolate": lambda found, s, of: f"{len(found['isolated'])} pairs of lowest loss",
    "downstream": lambda found, s, of: f"{len(found['labels'])} images of {len(found['classes'])} classes",
    "captions": lambda found, s, of: f"{len(found['images'])} images, {len(found['captions'])} captions",
}
"""By stage, what is particular to it."""


def prepare(root: Path, layout: str, size: int) -> tuple[Store, CaseSettings]:
    """Generate the data and the clean start under `root`, import them as a real run would, and say which case that
    makes.

    Raises:
        BadInput: there is no such layout.
    """
    from ubt.clip import architecture, models
    from ubt.workflows.import_model import import_model

    if layout not in generated.LAYOUTS:
        raise BadInput(f"--layout: expected one of {', '.join(generated.LAYOUTS)}; got {layout!r}")
    shutil.rmtree(root, ignore_errors=True)
    store = Store(root / "cache")
    source = generated.pairs(root / "pairs", layout, PAIRS + SPARE, size)
    labels = generated.labelled(root / "imagenet", 5, size)
    generated.captions(root / "data", 8, size)
    config = architecture.named(ARCHITECTURE)
    config["vision_cfg"]["image_size"] = size
    models.save(models.create(config, 0), root / "ViT-B-32")
    own = lab_of(
        store,
        import_pairs(store, source),
        import_labelled(store, labels),
        import_model(store, str(root / "ViT-B-32"), "", "clean"),
        0.0,
    )
    shutil.rmtree(root / "ViT-B-32")
    downstream = {
        "downstream.set": str(labels),
        "downstream.captions": "flickr30k",
        "downstream.root": str(root / "data"),
        "downstream.templates": "80",
    }
    return store, CaseSettings.preset("paper").with_values(papers(PAIRS) | own | TOY | downstream)


def dry_run(
    root: Path,
    layout: str,
    where: Compute,
    say: Say = lambda text: None,
    size: int = 224,
    changes: Mapping[str, Any] | None = None,
    baselines: tuple[str, ...] = BASELINES,
    steps: tuple[str, ...] = tuple(STEPS),
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Proved]:
    """Run the steps, in order, and check what each leaves.

    Args:
        root: a folder of its own, emptied first and deleted afterwards. layout: one of `ubt.data.generated.LAYOUTS`.
        size: pixels a side.
        changes: settings by dotted name. baselines: which of `BASELINES`. steps: which of `STEPS`, from the first on.

    Raises:
        UbtError: a step left what it must not.
    """
    try:
        began = time.monotonic()
        store, settings = prepare(root, layout, size)
        settings = settings.with_values(dict(changes or {}))
        about = store.imported(settings.own.pairs)["about"]
        lost = ", ".join(f"{count} {reason}" for reason, count in about["quarantined"].items())
        say(
            f"generated and read: {about['kept']} of {about['read']} pairs as {about['kind']}, left out:"
            f" {lost or 'none'}; ViT-B/32 of random weights at {size} px ({time.monotonic() - began:.1f} s)"
        )
        left_out = {name for baseline in BASELINES if baseline not in baselines for name in of_baseline(baseline)}
        step_of = {stage: step for step in steps for stage in STEPS[step] if stage not in left_out}
        known, names = {s.name: s for s in composed(settings.own).every}, every_key(settings, where)
        found: list[Proved] = []

        def of(stage: str) -> Artefact:
            return store.imported(settings.own.reference) if stage == "reference" else store.open(names[stage])

        def watch(event: Event) -> None:
            if event.kind in ("done", "cached"):
                proved = Proved(
                    step_of[event.stage],
                    event.stage,
                    "; ".join(_fits(of(event.stage), settings, of)) or "done",
                    event.seconds,
                )
                say(
                    f"{list(STEPS).index(proved.step) + 1:>2} {proved.step:<13}{proved.stage:<20}{proved.seconds:6.1f}"
                    f" s  {proved.said}"
                )
                found.append(proved)

        Pipeline(store, where, watch=watch, cancelled=cancelled).run(settings, tuple(known[name] for name in step_of))
        return found
    finally:
        shutil.rmtree(root, ignore_errors=True)


def needs() -> list[str]:
    """What a real run of the preset `paper` needs, line by line: data, disk, memory, time."""
    key = "0" * 16
    own = {"own.pairs": f"pairs-{key}", "own.test": f"labelled-{key}", "own.reference": f"model-{key}"}
    settings = CaseSettings.preset("paper").with_values(own)
    pairs, pace = (
        settings.data.pairs,
        PAPERS_PACE / (cost("poison", settings) / (settings.poison.epochs * settings.data.pairs)),
    )
    stages = [s.name for s in composed(settings.own).case]
    hours = pace * sum(cost(name, settings) for name in stages) / 3600
    features, trained = 2 * 4 * WIDTH * pairs, ("poison", "overfit", "unlearn", "unlearn_published")
    scores = sum(name in ("score", "score_poisoned", "score_overfit") for name in stages)
    disk = len(trained) * MODEL_BYTES + MODEL_BYTES + scores * features + 3 * MODEL_BYTES
    taken = pairs + settings.clean.pairs
    also = {
        DEFENSES[name].title: pace * sum(cost(stage, settings) for stage in of_baseline(name)[:-1]) / 3600
        for name in BASELINES
    }
    return [
        (
            f"data: {taken:,} pairs of CC3M, about {taken * PAIR_BYTES / 1e9:.0f} GB at 256 px; ImageNet-1K's 50,000"
            " validation images, 6.3 GB; Flickr30K 4.4 GB and COCO's val2014 6.2 GB with Karpathy's files; CIFAR-10,"
            " CIFAR-100, Caltech101, DTD, Pets and Food101 together 7 GB; ViT-B/32 by OpenAI, 0.6 GB"
        ),
        (
            f"cache: {disk / 1e9:.0f} GB a case (models {MODEL_BYTES / 1e9:.1f} GB each, features {features / 1e9:.1f}"
            " GB a scoring, a checkpoint)"
        ),
        (
            f"memory: token ids {4 * 77 * pairs / 1e9:.2f} GB, features on disk and mapped, of which retain and flag"
            f" hold about {features / 1e9:.0f} GB at a time, images read as they are needed (see python -m ubt bench"
            " --stages)"
        ),
        (
            f"GPU: weights, gradients and two moments of AdamW {4 * MODEL_BYTES / 1e9:.1f} GB, and the activations of a"
            f" batch of {settings.poison.batch} (python -m ubt bench --gpu measures them)"
        ),
        f"time: about {hours:.1f} h a case on a machine as fast as the paper's, whose Table VIII gives M_bd 2,826 s;"
        " beside it " + ", ".join(f"{name} {h:.1f} h" for name, h in also.items()),
    ]
