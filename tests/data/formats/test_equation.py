"""What lies in a source is in a pair or named: an equation over 200 folders, shards, tables and zips, damaged.

What there is, is counted by other means than those that read it: `os.walk`, `tarfile`, `zipfile`, lines.
"""

import json
import os
import random
import re
import tarfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested import encoded, packed, shard

from ubt.core.errors import UbtError
from ubt.data import catalogue
from ubt.data.images import decode
from ubt.data.quarantine import REASONS

EACH, SAMPLES = 50, 8
IMAGES = [encoded(i, width=4, height=4) for i in range(SAMPLES)]
PIXELS = np.stack([decode(data, 4) for data in IMAGES])
BEHIND = {"damaged archive", "cut off"}
"""Reasons that stand for whatever comes behind the place where an archive is damaged."""


def samples(rng: random.Random) -> Iterator[tuple[list[tuple[str, bytes]], int]]:
    """Of every image the files that it is in, whose caption is "of I", and how many pairs they make: the first one."""
    for i, data in enumerate(IMAGES):
        key, text = f"k{i:02d}", f"of {i}".encode()
        one, other = (unicodedata.normalize(form, f"é{i}") for form in rng.sample(("NFC", "NFD"), 2))
        good = ([(f"{key}.png", data), (f"{key}.txt", text)], 1)
        odd = [
            ([(f"{key}.png", data)], 0),
            ([(f"{key}.txt", text)], 0),
            ([(f"{key}.png", b""), (f"{key}.txt", text)], 0),
            ([(f"{key}.png", data[:50]), (f"{key}.txt", text), (f"{key}.npy", b"")], 0),
            ([(f"{key}.png", data), (f"{key}.txt", b" ")], 0),
            ([(f"{key}.png", data), (f"{key}.txt", b"caf\xe9")], 0),
            ([(f"{key}.avif", data), (f"{key}.txt", text), (f"{key}.mp3", b"")], 0),
            ([(f"{key}.png", data), (f"{key}.png.txt", text), (f"{key}.jpg.txt", text)], 1),
            ([(f"{key}.v2.png", data), (f"{key}.v2.txt", text), (f"{key}.v2.cls", b"1"), (key, b"")], 1),
            ([(f"{key}.PNG", data), (f"{key}.TXT", text)], 1),
            ([(f"{one}.png", data), (f"{other}.txt", text)], 1),
            ([(f"{key}.png", data), (f"{key}.json", json.dumps({"text": [f"of {i}", 3]}).encode())], 1),
            ([(f"{key}.png", data), (f"{key}.json", b'{"caption": {"a": NaN}}')], 0),
            ([(f"{key}.png", data), (f"{key}.txt", text), (f"{key}.TXT", text)], 1),
            ([(f"{key}.png", data), (f"{key}.jpg", data), (f"{key}.txt", text), (f"{key}.json", b"{}")], 2),
        ]
        yield good if i == 0 or rng.random() < 0.3 else rng.choice(odd)


def flipped(data: bytes, rng: random.Random, start: int) -> bytes:
    """One bit of it changed from `start` on, or the end cut off."""
    at = rng.randrange(start, len(data))
    return data[:at] if rng.random() < 0.3 else data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def counts(read: dict, rotten: bool = False) -> Counter:
    """How often each caption is in a pair, once all counts agree and every image is that of its caption; captions
    may be `rotten`.
    """
    about, quarantine = read["about"], read["quarantine"]
    assert about["kept"] == len(read["pairs"]) == about["read"] - int((quarantine["row"] > 0).sum())
    assert about["beside"] == (quarantine["row"] == 0).sum()
    assert quarantine["reason"].value_counts().to_dict() == about["quarantined"]
    assert set(about["quarantined"]) <= set(REASONS)
    images = catalogue.open_images(about, read["pairs"]["image"], 4)[:]
    for caption, image in zip(read["pairs"]["caption"], images, strict=True):
        number = re.fullmatch(r"of (\d)", " ".join(caption.split()))
        assert rotten or number is None or (image == PIXELS[int(number[1])]).all()
    return Counter(" ".join(caption.split()) for caption in read["pairs"]["caption"])


def key(name: str) -> str:
    """What an image's name has in common with those of the files that go with it."""
    name = unicodedata.normalize("NFC", name)
    return re.sub(r"(\.png|\.jpg)?\.\w+$", "", name, flags=re.I)


def forgotten(read: dict, there: set[str]) -> set[str]:
    """Files in no pair that are not named either, and go with no image that is in one or named."""
    paired, named = (
        {re.sub(r"^.*::|@\d+\+\d+$", "", n) for n in read[what]["image"]} for what in ("pairs", "quarantine")
    )
    assert paired <= there
    of_images = {key(n) for n in paired | named if n.lower().endswith((".png", ".jpg"))}
    return {n for n in there - paired - named if key(n) not in of_images or n.lower().endswith((".png", ".jpg"))}


@pytest.mark.parametrize("seed", range(EACH))
def test_folders(tmp_path, seed):
    rng, expected = random.Random(seed), Counter()
    for i, (files, pairs) in enumerate(samples(rng)):
        inner = tmp_path / rng.choice(("", "a", "a/{1}", "ü"))
        inner.mkdir(parents=True, exist_ok=True)
        for name, data in files:
            (inner / name).write_bytes(data)
        expected[f"of {i}"] += pairs
    (tmp_path / "link").symlink_to(tmp_path if seed % 2 else "/")
    os.mkfifo(tmp_path / "pipe.png")
    there = {
        str(Path(at, n).relative_to(tmp_path))
        for at, folders, files in os.walk(tmp_path)
        for n in [*files, *(f for f in folders if Path(at, f).is_symlink())]
    }
    read = catalogue.read(tmp_path)
    assert counts(read) == +expected
    assert forgotten(read, there) == set()


@pytest.mark.parametrize("seed", range(EACH))
def test_shards(tmp_path, seed):
    rng, expected = random.Random(seed), Counter()
    inside = []
    for i, (files, pairs) in enumerate(samples(rng)):
        inside.append([(f"d {{{i % 2}}}/{name}", data) for name, data in files])
        expected[f"of {i}"] += pairs
    first, *others = inside
    path = shard(tmp_path / "s.tar", first + [f for files in rng.sample(others, len(others)) for f in files])
    with tarfile.open(path) as t:
        there = set(t.getnames())
    if seed % 2:
        path.write_bytes(flipped(path.read_bytes(), rng, 3 * 1024))
    read = catalogue.read(path)
    found, behind = counts(read, bool(seed % 2)), BEHIND & set(read["about"]["quarantined"])
    if seed % 2 == 0:
        assert found == +expected
        assert not behind
    if not behind:
        assert len(forgotten(read, there)) <= seed % 2  # a changed bit may be one of a name, which is then another one


@pytest.mark.parametrize("seed", range(EACH // 2))
def test_delimited_tables(tmp_path, seed):
    rng, separator, odd = random.Random(seed), "\t,;|"[seed % 4], ["good"]
    if seed % 2:
        odd += ["newline", "stray", "quoted", "ragged", "gone", "blank", "bytes", "spilled", "none"]
    lines, expected = [], Counter()
    for i in range(30):
        kind, image, caption = rng.choice(odd) if i else "good", f"{i % SAMPLES}.png", f"of {i % SAMPLES}"
        written = {
            "newline": [image, f'"{caption[:2]}\n{caption[3:]}"'],
            "stray": [image, f'"{caption}'],
            "quoted": [image, f'"{caption}" said'],
            "ragged": [image],
            "gone": [f"../{image}", caption],
            "blank": [image, " "],
            "bytes": [image, "caf\udce9"],
            "spilled": [image, f"{caption}{separator} x"],
            "none": ["", caption],
        }.get(kind, [image, caption])
        expected[caption] += kind in ("good", "newline")
        expected[f'"{caption}" said'] += kind == "quoted"
        lines.append(separator.join(["", *written, ""]))
    text = separator.join(["", "image", "caption", ""]) + "\n" + "\n".join(lines) + "\n"
    data, there = text.encode("utf-8", "surrogateescape"), len(lines)
    if seed % 2 == 0:
        data = flipped(data, rng, data.index(b"\n", data.index(b"\n") + 1) + 1)
        there = sum(bool(line.strip(b"\r")) for line in data.split(b"\n")[1:])
    for i, image in enumerate(IMAGES):
        (tmp_path / f"{i}.png").write_bytes(image)
    (tmp_path / "t.csv").write_bytes(data)
    read = catalogue.read(tmp_path / "t.csv")
    found = counts(read, seed % 2 == 0)
    assert read["about"]["read"] == there
    assert seed % 2 == 0 or found == +expected


@pytest.mark.parametrize("seed", range(EACH // 2))
def test_columnar_tables(tmp_path, seed):
    rng, rows, expected, there = random.Random(seed), [], Counter(), 0
    for i, image in enumerate(IMAGES):
        (tmp_path / f"{i}.png").write_bytes(image)
        held = rng.choice([{"bytes": image, "path": "x"}, {"path": f"{i}.png"}, {"path": "gone"}, {"bytes": b""}, None])
        said = rng.choice([[f"of {i}"], [f"of {i}", None], [], None]) if seed % 2 else rng.choice([f"of {i}", "", None])
        held, said = ({"bytes": image}, [f"of {i}"] if seed % 2 else f"of {i}") if i == 0 else (held, said)
        rows.append((held, said))
        good = bool(held) and (bool(held.get("bytes")) or held.get("path") == f"{i}.png")
        expected[f"of {i}"] += good and bool(said)
        there += max(1, len(said)) if good and isinstance(said, list) else 1
    kind = pa.struct([("bytes", pa.binary_view() if seed % 3 == 0 else pa.binary()), ("path", pa.string())])
    texts = pa.array([said for _, said in rows], pa.list_(pa.string()) if seed % 2 else pa.string_view())
    made = pa.table({"": range(SAMPLES), "image": pa.array([held for held, _ in rows], kind), "caption": texts})
    pq.write_table(made, tmp_path / "t.parquet", row_group_size=3 if seed % 3 else None)
    read = catalogue.read(tmp_path / "t.parquet")
    assert counts(read) == +expected
    assert set(read["quarantine"]["row"]) <= set(range(1, SAMPLES + 1))
    assert read["about"]["read"] == there


@pytest.mark.parametrize("seed", range(EACH))
def test_zips(tmp_path, seed):
    rng, rows, expected, inside = random.Random(seed), [], Counter(), {"README": b"", "more.csv": b"a,b\n1,2\n"}
    for i, data in enumerate(IMAGES):
        kind = rng.choice(("good", "empty", "half", "gone", "up", "unnamed", "accents", "again")) if i else "good"
        one, other = (unicodedata.normalize(form, f"é{i}.png") for form in ("NFC", "NFD"))
        name = {"accents": one, "up": f"../{i}.png"}.get(kind, f"{i}.png")
        inside |= {} if kind == "gone" else {name: {"empty": b"", "half": data[:50]}.get(kind, data)}
        rows += (
            [] if kind == "unnamed" else [(other if kind == "accents" else name, f"of {i}")] * (1 + (kind == "again"))
        )
        expected[f"of {i}"] += {"good": 1, "accents": 1, "again": 2}.get(kind, 0)
    table = pd.DataFrame(rows, columns=["image", "caption"]).to_csv(index=seed % 3 == 0)
    path = packed(tmp_path / "z.zip", [*inside.items(), ("captions.csv", table.encode())])
    if seed % 2:
        path.write_bytes(flipped(path.read_bytes(), rng, 0))
    try:
        read = catalogue.read(path)
    except UbtError as e:  # the list of members, or the table, is damaged: nothing is read, and that is said
        assert seed % 2 and "expected" in str(e)
        return
    found, behind = counts(read, bool(seed % 2)), "damaged archive" in read["about"]["quarantined"]
    with zipfile.ZipFile(path) as z:
        there = {n for n in z.namelist() if n != "captions.csv"}
    named = {*read["pairs"]["image"], *read["quarantine"]["image"]}
    assert there - named == set()
    if seed % 2 == 0:
        assert found == +expected
        assert not behind
