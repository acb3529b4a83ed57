"""Images that stay where they are: decoding against open_clip's own transform, and behaviour as an array."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from ingested import encoded, folder, pixels, png
from PIL import Image
from torchvision import transforms as T

from ubt.cases.store import Store
from ubt.core.errors import UbtError
from ubt.data import catalogue
from ubt.data.images import Images, decode, sift
from ubt.data.locations import Locations
from ubt.data.quarantine import BrokenImage

N, SIZE = 12, 16


@pytest.fixture
def images(tmp_path) -> Images:
    folder(tmp_path, images=N)
    return Images(Locations("files", str(tmp_path), [f"images/{i}.png" for i in range(N)]), SIZE)


def stack(rows) -> np.ndarray:
    return np.stack([decode(encoded(i), SIZE) for i in rows])


@pytest.mark.parametrize(
    ("kind", "more"), [("PNG", {}), ("JPEG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("GIF", {})]
)
@pytest.mark.parametrize("shape", [(24, 20), (20, 31), (16, 16), (9, 40), (100, 3)])
def test_decoding_is_open_clips(kind, more, shape):
    data = encoded(1, kind, *shape, **more)
    expected = T.Compose([T.Resize(SIZE, T.InterpolationMode.BICUBIC), T.CenterCrop(SIZE)])(
        Image.open(io.BytesIO(data)).convert("RGB")
    )
    np.testing.assert_array_equal(decode(data, SIZE), np.asarray(expected))


def test_orientation_is_not_applied():
    turned = Image.Exif()
    turned[274] = 6
    np.testing.assert_array_equal(decode(encoded(2, "JPEG", exif=turned), SIZE), decode(encoded(2, "JPEG"), SIZE))


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "PA", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(mode):
    image, kind = Image.fromarray(pixels()), "TIFF" if mode in ("CMYK", "PA") else "PNG"
    if mode == "I;16":
        image = Image.fromarray((pixels()[..., 0].astype(np.uint16) << 8) | 255)
    elif mode == "PA":
        image, kind = image.convert("P").convert("PA"), "TIFF"
    else:
        image = image.convert(mode)
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **({"transparency": bytes([0, 128, 255])} if mode == "P" else {}))
    except OSError:
        pytest.skip(f"Pillow writes no {mode}")
    found = decode(buffer.getvalue(), 20)
    assert (found.shape, found.dtype) == ((20, 20, 3), np.uint8)
    if mode == "I;16":
        np.testing.assert_array_equal(found[..., 0], pixels()[:, 2:22, 0])


def tiff(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF")
    return buffer.getvalue()


def deep_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits: uint16 (h, w, 2 to 4) as grey with alpha, RGB or RGBA."""
    kind = {2: 4, 3: 2, 4: 6}[values.shape[2]]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    made = bytearray(png(values.shape[1], values.shape[0], zlib.compress(lines)))
    made[24:26] = 16, kind
    made[29:33] = struct.pack(">I", zlib.crc32(made[12:29]))
    return bytes(made)


RAMP = np.tile(np.arange(SIZE), (SIZE, 1))
DEEP = {
    "float from 0 to 1": (tiff((RAMP / 15).astype(np.float32)), 255),
    "float from 0 to 255": (tiff((RAMP * 17).astype(np.float32)), 255),
    "float, very large": (tiff((RAMP * 2e37).astype(np.float32)), 255),
    "float, very small": (tiff((RAMP * 1e-40).astype(np.float32)), 255),
    "32 bits": (tiff(RAMP.astype(np.int32)), 255),
    "32 bits with a sign": (tiff((RAMP * 2**28 - 2**31).astype(np.int32)), 255),
    "16 bits": (tiff((RAMP * 4096).astype(np.uint16)), 240),
    "16 bits, big end first": (tiff((RAMP * 4096).astype(">u2")), 240),
    "16 bits, the lower ones only": (tiff(RAMP.astype(np.uint16)), 255),
    "16 bits, big end first, the lower ones only": (tiff(RAMP.astype(">u2")), 255),
    "16 bits a colour": (deep_png(np.repeat(RAMP[..., None] * 4096, 3, 2)), 240),
    "16 bits and alpha": (deep_png(np.repeat(RAMP[..., None] * 4096, 2, 2)), 240),
}


@pytest.mark.parametrize("name", DEEP)
def test_numbers_of_more_than_8_bits_are_a_ramp_from_their_least_to_their_greatest(name):
    data, top = DEEP[name]
    found = decode(data, SIZE)
    assert (found == found[:1, :, :1]).all()
    assert (found[0, 0, 0], found[0, -1, 0]) == (0, top)
    assert (np.diff(found[0, :, 0].astype(int)) > 0).all()


def flat(mode: str, *channels: np.ndarray | int) -> bytes:
    """A PNG or TIFF of these channels, each the same everywhere or (h, w)."""
    buffer, shape = io.BytesIO(), (SIZE, SIZE)
    parts = [Image.fromarray(np.broadcast_to(np.asarray(c, np.uint8), shape).copy()) for c in channels]
    Image.merge(mode, parts).save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    return buffer.getvalue()


def test_no_mode_gives_one_colour_of_what_has_more():
    holes = np.where(RAMP > 8, np.float32(np.nan), RAMP.astype(np.float32))
    infinite = np.where(RAMP > 8, np.float32(np.inf), RAMP.astype(np.float32))
    refused = [deep_png(np.repeat(RAMP[..., None], n, 2)) for n in (2, 3, 4)]
    refused += [
        flat("RGBA", 0, 0, 0, RAMP),
        flat("LA", 9, RAMP),
        flat("CMYK", RAMP, 0, 0, 255),
        tiff(holes),
        tiff(infinite),
    ]
    for data in refused:
        with pytest.raises(BrokenImage, match="undecodable image"):
            decode(data, SIZE)
    for data in (flat("RGB", 1, 2, 3), flat("RGBA", 1, 2, 3, 4), tiff(np.full((SIZE, SIZE), 7, np.float32))):
        assert (decode(data, SIZE) == decode(data, SIZE)[0, 0]).all()


def test_an_animation_is_its_first_frame():
    frames, buffer = [Image.new("RGB", (20, 20), c) for c in ("red", "blue")], io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert decode(buffer.getvalue(), SIZE)[3, 3].tolist() == [255, 0, 0]


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n(/tmp/x) deletefile\nshowpage\n"
HOSTILE = {
    "empty": (b"", "zero-size image"),
    "text": (b"hello", "not an image"),
    "eps runs a program": (EPS, "not an image"),
    "pdf": (b"%PDF-1.4\n1 0 obj\n", "not an image"),
    "svg with a script": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not an image"),
    "pickle": (pickle.dumps({"a": 1}), "not an image"),
    "html": (b"<html><body onload=alert(1)>", "not an image"),
    "ico": (b"\0\0\1\0\1\0" + b"\0" * 40, "not an image"),
    "half a jpeg": (encoded(0, "JPEG", 80, 80)[:900], "truncated image"),
    "half a png": (encoded(0, "PNG", 80, 80)[:9000], "truncated image"),
    "half a gif": (encoded(0, "GIF", 80, 80)[:3000], "truncated image"),
    "half a webp": (encoded(0, "WEBP", 80, 80)[:400], "undecodable image"),
    "bomb by its header": (png(60_000, 60_000), "bomb-sized image"),
    "bomb a little too large": (png(8193, 8193), "bomb-sized image"),
    "no width": (png(0, 10), "not an image"),
    "a gif without width": (b"GIF89a\0\0\5\0\0\0\0", "not an image"),
    "a thread of pixels": (png(1, 60_000), "extreme shape"),
    "no pixels": (png(10, 10, b"\0"), "truncated image"),
    "too few pixels": (png(100, 100), "truncated image"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_images_are_refused_with_a_reason(name, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("a program was started"))
    data, reason = HOSTILE[name]
    with pytest.raises(BrokenImage) as said:
        decode(data, SIZE)
    assert said.value.reason == reason


@pytest.mark.parametrize(
    "key",
    [
        slice(2, 9, 3),
        slice(None),
        np.array([5, 1, 1, -1]),
        [3, 0],
        np.arange(N) % 3 == 0,
        np.array([], int),
        slice(5, 2),
    ],
)
def test_rows_are_those_of_an_array(images, key):
    np.testing.assert_array_equal(images[key], stack(range(N))[key])
    assert type(images[key]) is np.ndarray
    assert images[key].flags.writeable


def test_it_behaves_as_an_array(images):
    assert (len(images), images.shape, images.dtype, images.ndim) == (N, (N, SIZE, SIZE, 3), np.uint8, 4)
    np.testing.assert_array_equal(images[-1], stack([N - 1])[0])
    np.testing.assert_array_equal(np.asarray(images), stack(range(N)))
    np.testing.assert_array_equal(images.take([4, 2]), stack([4, 2]))
    for wrong in (N, [0, N], np.zeros(3, bool), 1.5, np.zeros((2, 2), int), "a"):
        with pytest.raises(IndexError, match="expected"):
            images[wrong]


def test_stamped_pixels_override_the_files_and_travel(images, tmp_path):
    stamp = np.full((2, SIZE, SIZE, 3), 7, np.uint8)
    stamp[1] = 9
    made = Images(images.at, SIZE, (np.array([10, 4]), stamp))
    assert [made[i].flat[0] for i in (10, 4)] == [7, 9]
    np.testing.assert_array_equal(made[[3, 10, 4]], np.concatenate([stack([3]), stamp]))
    some = made.only([4, 0])
    np.testing.assert_array_equal(some[:], np.concatenate([stamp[1:], stack([0])]))
    opened = Store(tmp_path / "cache").write("own-0", {"images": made, "kept": {"a": 1}}, {})["images"]
    np.testing.assert_array_equal(opened[:], made[:])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(opened))[[10, 0]], made[[10, 0]])
    with pytest.raises(UbtError, match="expected uint8 pixels"):
        Images(images.at, SIZE, (np.array([1]), stamp))
    with pytest.raises(UbtError, match="expected rows from 0"):
        Images(images.at, SIZE, (np.array([1, N]), stamp))


def test_an_image_that_has_vanished_or_changed_is_named(images, tmp_path):
    assert sift(images, np.arange(N)) == {}
    opened = Store(tmp_path / "cache").write("own-0", {"images": images}, {})["images"]
    (tmp_path / "images" / "3.png").write_bytes(encoded(99))
    (tmp_path / "images" / "4.png").unlink()
    for which in (images, opened):
        with pytest.raises(UbtError, match=r"3\.png.*has changed since"):
            which[2:4]
        with pytest.raises(BrokenImage, match=r"missing file: images/4\.png"):
            which[4]


def test_sifting_names_each_broken_row_and_tells_how_far_it_is(images, tmp_path):
    (tmp_path / "images" / "2.png").write_bytes(b"no")
    (tmp_path / "images" / "5.png").write_bytes(encoded(0)[:60])
    (tmp_path / "images" / "7.png").unlink()
    told = []
    found = sift(images, np.arange(1, N), 2, lambda *a: told.append(a))
    assert found == {2: "not an image", 5: "truncated image", 7: "missing file"}
    assert told == [(N - 1, N - 1, {"broken": 3.0})]


@pytest.mark.parametrize("place", ["../secret.png", "/etc/passwd", "link.png", "images", "pipe.png", "out/secret.png"])
def test_reading_stays_in_the_root(tmp_path, place):
    root = tmp_path / "root"
    folder(root)
    (tmp_path / "secret.png").write_bytes(encoded())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "out").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.png")
    with pytest.raises(BrokenImage) as said:
        Images(Locations("files", str(root), [place]), SIZE)[0]
    assert said.value.reason in ("path leaves the root", "not a regular file")


def test_a_catalogues_images_are_found_again(tmp_path):
    read = catalogue.read(folder(tmp_path))
    found = catalogue.open_images(read["about"], read["pairs"]["image"], SIZE)
    np.testing.assert_array_equal(found[:], stack(range(3)))


def odd_tiffs(folder: Path) -> list[Path]:
    """Compressed TIFF files, each with one field that libtiff does not know or whose count is not its own, cut off, or
    overwritten here and there.
    """
    data, r = encoded(0, "TIFF", compression="tiff_lzw"), np.random.default_rng(0)
    made, directory = [data[: len(data) // 2], data[:-3]], struct.unpack_from("<I", data, 4)[0]
    for field in range(struct.unpack_from("<H", data, directory)[0]):
        for offset, kind, value in ((0, "<H", 65000), (4, "<I", 3)):
            made.append(bytearray(data))
            struct.pack_into(kind, made[-1], directory + 2 + 12 * field + offset, value)
    for _ in range(8):
        made.append(bytearray(data))
        for at in r.integers(8, len(data), 20):
            made[-1][at] = r.integers(256)
    paths = [folder / f"{n:02}.tif" for n in range(len(made))]
    for path, content in zip(paths, made, strict=True):
        path.write_bytes(content)
    return paths


DECODE_ALL = """
import ctypes, hashlib, logging, os, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
if sys.argv[1] == "as before":
    def none(name): raise OSError(name)
    ctypes.CDLL = none
from ubt.data.images import decode
def answer(path):
    try:
        return hashlib.sha256(decode(Path(path).read_bytes(), 16)).hexdigest()
    except Exception as e:
        return repr(e)
with ThreadPoolExecutor(4) as pool:
    print(*pool.map(answer, sys.argv[2:]), sep="\\n")
os.write(2, b"written by us\\n")
logging.getLogger("ubt").warning("logged by us")
warnings.warn("warned by us")
"""


def test_odd_tiffs_say_nothing_on_the_terminal_and_decode_as_before(tmp_path):
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    paths = [str(path) for path in odd_tiffs(tmp_path)]
    before, after = (
        subprocess.run(
            [sys.executable, "-c", DECODE_ALL, how, *paths], capture_output=True, text=True, env=env, check=True
        )
        for how in ("as before", "hushed")
    )
    assert before.stdout == after.stdout
    answers = after.stdout.splitlines()
    assert len(answers) == len(paths) and {"BrokenImage" in answer for answer in answers} == {True, False}
    assert after.stderr.splitlines() == ["written by us", "logged by us", "<string>:18: UserWarning: warned by us"]
    if before.stderr == after.stderr:
        pytest.skip("this pillow has libtiff linked into it, where nothing finds its handlers")
    assert "TIFFFetchNormalTag: Incorrect count" in before.stderr
