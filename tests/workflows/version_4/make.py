"""How `cache.zip` was made, with the version before: `cd` to its checkout, then `python THIS_FILE cache.zip`.

It holds the record of a tiny lab case with labels, notes, an undone action, saved views, a map and the truth (what else
was computed is left out); a lab case and an audit on imported pairs; the imported pairs, labelled images and model.
`expected.json` is what the version before reads of them. The review of the case on imported pairs was not closed.
"""

import json
import shutil
import sqlite3
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from ubt.bringing import bring_labelled, bring_pairs
from ubt.checkpoints import import_model
from ubt.config import Compute, Run
from ubt.pipeline import Pipeline, create, upto
from ubt.projection import MapSettings
from ubt.review import Review

from ubt import views
from ubt.cases import CaseSettings, Store

CPU = Compute("cpu", "fp32")
SMALL = {"data.pairs": 120, "attack.rate": 0.05, "split.fraction": 0.12, "select.k": 4, "test.per_class": 1}
VIT = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 8, "layers": 1, "head_width": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
ODD = "naïve “quotes”, 日本語, 🍌, a\ttab\nand 'a line'; DROP TABLE history; -- % \\ \x01"


def images(folder: Path, names: list[str]) -> None:
    """Small images of noise."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (12, 12, 3), np.uint8)).save(path)


def model(folder: Path) -> Path:
    """A folder with a model whose weights are nearly all alike, so that it packs small."""
    torch.manual_seed(0)
    made = open_clip.CLIP(**VIT).eval()
    with torch.no_grad():
        made.token_embedding.weight.fill_(0.01)
        made.token_embedding.weight[:, 0] = 0.02
    folder.mkdir()
    save_file(made.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": VIT}))
    return folder


def imported(store: Store, folder: Path) -> dict[str, str]:
    """Pairs of a small CSV file, labelled images and a model, by their names in the store."""
    names = [f"images/{i:02d}.png" for i in range(24)]
    images(folder, names)
    table = "image,caption\n" + "".join(f"{name},caption {i} of a thing é\n" for i, name in enumerate(names))
    (folder / "captions.csv").write_text(table + "images/gone.png,an image that is not there\n")
    images(folder / "labelled", [f"{label}/{i}.png" for label in ("banana", "dog") for i in range(3)])
    return {
        "pairs": bring_pairs(store, folder / "captions.csv"),
        "labelled": bring_labelled(store, folder / "labelled"),
        "model": import_model(store, str(model(folder / "suspect"))),
    }


def labelled(store: Store, name: str, ids: list[str]) -> None:
    """Labels of two analysts, notes, an undone action and one that was removed, two saved views."""
    review = Review(store.root / "cases" / name / "review.sqlite")
    review.label(ids[:6], "backdoor", "ann", ODD)
    review.label(ids[3:9], "clean", "bob")
    review.label(ids[9:12], "unsure", "ann", "perhaps")
    review.label(ids[:2], "clean", "bob", "a mistake")
    review.undo("bob")
    review.label(ids[11:12], None, "ann")
    review.label(ids[12:13], None, "ann", "only a note")
    review.save_view("high “scores”", "similarity_reference > 0.2", {"page": "separation", "fraction": "0.2"})
    review.save_view("compared", "", {"page": "compare", "compared": name})


def main(target: Path) -> None:
    """Make the cache and pack it."""
    folder = Path(tempfile.mkdtemp())
    store = Store(folder / "cache")
    settings = CaseSettings().with_values(SMALL)
    case = Pipeline(store, CPU).run(settings, upto("split"))
    record = store.record(case.name)
    views.make(store, record, "map", views.map_options(record, "joint", MapSettings(), ["reference"]), Run(compute=CPU))
    labelled(store, case.name, list(case.artefacts["data"]["pairs"]["id"]))
    came = imported(store, folder)
    own = {"own.pairs": came["pairs"], "data.pairs": 24, "split.fraction": 0.5}
    lab = create(store, settings.with_values(own | {"own.test": came["labelled"]}), CPU)
    labelled(store, lab, list(store.brought(came["pairs"])["pairs"]["id"]))
    audit = create(store, settings.with_values(own | {"own.suspect": came["model"]}), CPU)
    names, kinds = [case.name, lab, audit], ("pairs", "labelled", "model")
    reviews = {name: Review(store.root / "cases" / name / "review.sqlite") for name in names}
    told = {
        "cases": {n: {"labels": r.labels().to_dict("records"), "views": r.views()} for n, r in reviews.items()},
        "imported": {kind: list(store.all_brought(kind)) for kind in kinds},
    }
    opened = sqlite3.connect(reviews[lab].path)
    opened.execute("SELECT count(*) FROM actions").fetchone()
    reviews[lab].label([told["cases"][lab]["labels"][0]["id"]], "unsure", "ann", "written last")
    told["cases"][lab]["labels"] = reviews[lab].labels().to_dict("records")
    kept = {case.artefacts["attack"].path.name, *came.values()}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("expected.json", json.dumps(told, indent=1, default=str))
        for path in sorted(store.root.rglob("*")):
            place = path.relative_to(store.root)
            computed = place.parts[0] == "artefacts" and len(place.parts) > 1
            if computed and not (place.parts[1] in kept or place.parts[1].startswith("map-")):
                continue
            if path.is_file() and place.parts[0] != "work":
                archive.write(path, place)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
