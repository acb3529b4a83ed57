"""Scenes as somebody's own data, on disk in the layouts that a real run reads: pairs as img2dataset writes webdataset
shards or as a CSV beside its images, labelled images as ImageNet's validation folder has them, captions as Karpathy's
Flickr30K.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from PIL import Image

from ubt.data import scenes

LAYOUTS = ("webdataset", "csv")
WNIDS = {"banana": "n07753592", "lighthouse": "n02814860", "umbrella": "n04507155", "snail": "n01944390"}
"""Classes that scenes and ImageNet share, and ImageNet's wnids."""
SHARD = 24
"""Pairs in a shard."""
BROKEN = 3
"""The pair whose image is cut off."""


def _jpeg(index: int, size: int) -> bytes:
    """A scene as a JPEG a quarter wider than high, its shorter side `size` pixels."""
    held = io.BytesIO()
    Image.fromarray(scenes.draw(0, index, size)).resize((size * 5 // 4, size)).save(held, "JPEG", quality=95)
    return held.getvalue()


def _samples(count: int, size: int) -> list[tuple[bytes, str]]:
    indices = scenes.ROLES["pairs"][:count]
    return [
        (_jpeg(i, size)[: 200 if n == BROKEN else None], scenes.captioned(0, i, 0.03)) for n, i in enumerate(indices)
    ]


def _shards(folder: Path, samples: list[tuple[bytes, str]]) -> Path:
    for shard, first in enumerate(range(0, len(samples), SHARD)):
        part = samples[first : first + SHARD]
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for n, (image, caption) in enumerate(part):
                key = f"{shard:05d}{n:04d}"
                said = {
                    "caption": caption,
                    "url": f"https://example.org/{key}.jpg",
                    "key": key,
                    "status": "success",
                    "error_message": None,
                    "sha256": hashlib.sha256(image).hexdigest(),
                }
                for ending, data in (("jpg", image), ("txt", caption.encode()), ("json", json.dumps(said).encode())):
                    info = tarfile.TarInfo(f"{key}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        pd.DataFrame(
            {"key": [f"{shard:05d}{n:04d}" for n in range(len(part))], "caption": [c for _, c in part]}
        ).to_parquet(folder / f"{shard:05d}.parquet")
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps({"count": len(part), "successes": len(part)}))
    return folder


def _table(folder: Path, samples: list[tuple[bytes, str]]) -> Path:
    (folder / "images").mkdir()
    for n, (image, _) in enumerate(samples):
        (folder / f"images/{n:06d}.jpg").write_bytes(image)
    table = pd.DataFrame(
        {"image": [f"images/{n:06d}.jpg" for n in range(len(samples))], "caption": [c for _, c in samples]}
    )
    table.to_csv(folder / "captions.csv", index=False)
    return folder / "captions.csv"


def pairs(folder: Path, layout: str, count: int, size: int) -> Path:
    """`count` pairs in one of `LAYOUTS`, one of them with a broken image; returns the path to import."""
    folder.mkdir(parents=True)
    write: Callable[[Path, list[tuple[bytes, str]]], Path] = {"webdataset": _shards, "csv": _table}[layout]
    return write(folder, _samples(count, size))


def labelled(folder: Path, per_class: int, size: int) -> Path:
    """`per_class` images of each of `WNIDS`' classes, in a folder a wnid."""
    first = scenes.ROLES["test"][0]
    for name, wnid in WNIDS.items():
        (folder / wnid).mkdir(parents=True)
        at = next(
            i
            for i in range(first, first + len(scenes.CLASSES))
            if i % len(scenes.CLASSES) == scenes.CLASSES.index(name)
        )
        for n in range(per_class):
            (folder / wnid / f"ILSVRC2012_val_{n:08d}.JPEG").write_bytes(_jpeg(at + n * len(scenes.CLASSES), size))
    return folder


def captions(folder: Path, count: int, size: int) -> Path:
    """`count` images with five captions each, the first naming a banana, as `flickr30k` is looked for in `folder`."""
    at = folder / "flickr30k"
    (at / "flickr30k-images").mkdir(parents=True)
    entries = []
    for n, i in enumerate(scenes.ROLES["retrieval"][:count]):
        (at / f"flickr30k-images/{n}.jpg").write_bytes(_jpeg(i, size))
        texts = (
            [scenes.describe(0, i, j) for j in range(5)] if n else [f"a banana, seen {j + 1} times" for j in range(5)]
        )
        entries.append({"filename": f"{n}.jpg", "split": "test", "sentences": [{"raw": text} for text in texts]})
    (at / "dataset_flickr30k.json").write_text(json.dumps({"images": entries, "dataset": "flickr30k"}))
    return folder
