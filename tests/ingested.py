"""What somebody imports, for tests: images, tables and archives, good and hostile."""

import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int = 0, width: int = 24, height: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def encoded(seed: int = 0, kind: str = "PNG", width: int = 24, height: int = 20, **more) -> bytes:
    """An image file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed, width, height)).save(buffer, kind, **more)
    return buffer.getvalue()


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG that says it is so large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", body or zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def folder(path: Path, rows: list[tuple[str, str]] | None = None, table: bytes | None = None, images: int = 3) -> Path:
    """captions.csv (`table`, or `rows`, or `images` good rows) beside images/0.png, images/1.png, ...; its path."""
    (path / "images").mkdir(parents=True, exist_ok=True)
    for i in range(images):
        (path / "images" / f"{i}.png").write_bytes(encoded(i))
    rows = [(f"images/{i}.png", f"caption {i}") for i in range(images)] if rows is None else rows
    written = table if table is not None else ("image,caption\n" + "".join(f'"{a}","{c}"\n' for a, c in rows)).encode()
    (path / "captions.csv").write_bytes(written)
    return path / "captions.csv"


def packed(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]], how: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of members, in order."""
    with zipfile.ZipFile(path, "w", how) as z:
        for name, data in members:
            z.writestr(name, data)
    return path


def shard(path: Path, members: list[tuple[str | tarfile.TarInfo, bytes]]) -> Path:
    """A tar of members, in order."""
    with tarfile.open(path, "w") as t:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data) if info.isreg() else 0
            t.addfile(info, io.BytesIO(data))
    return path


def members(*names: str) -> list[tuple[str, bytes]]:
    """Members of a folder or an archive: images, and texts that say whose they are."""
    return [(n, encoded(i) if n.lower().endswith(("png", "jfif")) else f"of {n}".encode()) for i, n in enumerate(names)]


def said(read: dict) -> tuple[list[str], dict[str, str]]:
    """The captions, and what was left out with the reason; the counts agree with them."""
    about, quarantine = read["about"], read["quarantine"]
    assert about["kept"] == len(read["pairs"]) == about["read"] - int((quarantine["row"] > 0).sum())
    assert sum(about["quarantined"].values()) == len(quarantine)
    return read["pairs"]["caption"].tolist(), dict(zip(quarantine["image"], quarantine["reason"], strict=True))


def table(path: Path, text: str, name: str = "captions.csv") -> Path:
    """A table beside images/0.png to images/3.png."""
    folder(path, images=4, table=b"")
    (path / "captions.csv").unlink()
    (path / name).write_bytes(text.encode())
    return path / name
