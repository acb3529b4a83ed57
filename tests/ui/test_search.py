"""Images that somebody drops in, hostile ones among them, read as an image search reads them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ubt.core.errors import BadInput
from ubt.ui.search import PIXELS, decoded

SIDE = 16


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def quarters(dtype=np.uint8, high: int = 255) -> np.ndarray:
    """A square of four flat quarters, (32, 32, 3): red, green, blue, grey."""
    quarter = np.array([[[high, 0, 0], [0, high, 0]], [[0, 0, high], [high // 2] * 3]], dtype)
    return quarter.repeat(16, axis=0).repeat(16, axis=1)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *more: bytes) -> bytes:
    """A PNG that says it is so large and holds nothing."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "maker"
    return exif


def expected(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "JPEG"])
def test_every_kind_is_read(kind):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(kind, {})
    found = decoded(encoded(Image.fromarray(quarters()), kind, **options), SIDE)
    assert found.shape == (SIDE, SIDE, 3)
    assert found.dtype == np.uint8
    assert np.abs(found[::8, ::8].astype(int) - expected(quarters())[::8, ::8]).max() <= (0 if kind != "JPEG" else 6)


def test_the_middle_square_is_taken():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 18:42] = 200
    assert (decoded(encoded(Image.fromarray(wide)), SIDE) == 200).all()
    assert (decoded(encoded(Image.fromarray(wide.transpose(1, 0, 2))), SIDE) == 200).all()
    assert decoded(encoded(Image.new("RGB", (1, 900))), SIDE).shape == (SIDE, SIDE, 3)


def test_a_photo_is_turned_the_way_its_camera_was_held():
    exif = turned()
    found = decoded(encoded(Image.fromarray(quarters()), "PNG", exif=exif), SIDE)
    np.testing.assert_array_equal(found, expected(np.rot90(quarters(), -1)))


def test_palettes_transparency_and_grey_become_colours():
    rgba = np.dstack([quarters(), np.full((32, 32), 128, np.uint8)])
    np.testing.assert_array_equal(decoded(encoded(Image.fromarray(rgba)), SIDE), expected(quarters()))
    palette = Image.fromarray(quarters()).quantize(4)
    np.testing.assert_allclose(decoded(encoded(palette), SIDE).astype(int), expected(quarters()), atol=2)
    grey = decoded(encoded(Image.fromarray(quarters()[..., 0])), SIDE)
    assert (grey == grey[..., :1]).all()
    assert decoded(encoded(Image.new("1", (5, 5), 1)), SIDE).min() == 255


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue", "green")]
    for kind in ("PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50, **options)
        assert decoded(content, SIDE)[8, 8].tolist() == [255, 0, 0]


def test_sixteen_bits_are_scaled_to_eight():
    deep = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype(np.uint16)
    found = decoded(encoded(Image.fromarray(deep)), 32)
    np.testing.assert_allclose(found[..., 0].astype(int), deep // 257, atol=1)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a photo of a banana",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n",
        encoded(Image.new("RGB", (9, 9)), "GIF"),
        encoded(Image.new("RGB", (9, 9)), "TIFF"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\xff\xd8\xff",
        b"BM" + b"\0" * 60,
        encoded(Image.effect_noise((64, 64), 50))[:-400],
        encoded(Image.effect_noise((64, 64), 50), "JPEG")[:300],
        png(32, 32),
        png(0, 0),
        png(32, 32, chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 200_000_000, 1))),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_is_no_whole_image_is_refused(content):
    with pytest.raises(BadInput, match="a file that cannot be read as one"):
        decoded(content, SIDE)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("width", [7_072, 9_000])
def test_what_is_too_large_is_refused_before_it_is_decoded(width):
    assert width**2 > PIXELS
    with pytest.raises(BadInput, match=f"at most 50 megapixels, got {width} x {width}; make it smaller"):
        decoded(png(width, width), SIDE)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("width", [12_000, 100_000, 2**31 - 1])
def test_a_bomb_is_refused(width):
    with pytest.raises(BadInput, match="expected an image"):
        decoded(png(width, width), SIDE)


def test_exif_that_makes_no_sense_is_refused_or_left_out():
    content = bytearray(encoded(Image.fromarray(quarters()), "JPEG", exif=turned()))
    content[content.index(b"Exif") + 17] = 0
    try:
        assert decoded(bytes(content), SIDE).shape == (SIDE, SIDE, 3)
    except BadInput as e:
        assert "cannot be read" in str(e)
