from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from inference.errors import ImageError
from inference.preprocess import MAX_PIXELS, Preprocessing, decode, fit, pixels

HOW = Preprocessing(resize=80, crop=72, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
ORANGE = (240, 130, 20)


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)  # type: ignore[arg-type]
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels: only a decoder that looks first survives it."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + body
        + struct.pack(">I", zlib.crc32(body))
        + b"\0\0\0\0IEND\xae\x42\x60\x82"
    )


@pytest.mark.parametrize("size", [(72, 72), (80, 80), (64, 300), (1000, 81), (73, 500), (1, 40)])
def test_any_size_becomes_exactly_the_crop(size: tuple[int, int]) -> None:
    assert len(pixels(encoded(Image.new("RGB", size, ORANGE), "PNG"), HOW)) == 72 * 72 * 3


def test_the_shorter_side_is_resized_and_the_centre_is_kept() -> None:
    image = Image.new("RGB", (240, 80), "blue")
    image.paste(ORANGE, (80, 0, 160, 80))
    assert fit(image, HOW).getcolors() == [(72 * 72, ORANGE)]


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "1"])
def test_accepted_formats_and_modes_decode_to_rgb(name: str, mode: str) -> None:
    image = Image.new("RGB", (32, 32), ORANGE).convert(mode)
    if name == "JPEG" and mode in {"P", "RGBA"}:
        image = image.convert("CMYK")
    assert decode(encoded(image, name)).mode == "RGB"


def test_pictures_are_turned_upright_by_their_exif_orientation() -> None:
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show rotated by 90° clockwise
    upright = decode(encoded(image, "JPEG", exif=exif, quality=95))
    assert upright.size == (20, 40)
    red, _, blue = upright.getpixel((10, 5))  # type: ignore[misc]
    assert red > 200 > 50 > blue


GIF = encoded(Image.new("P", (8, 8)), "GIF")
JPEG = encoded(Image.effect_noise((200, 200), 50).convert("RGB"), "JPEG")


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b""),
        (400, b"\0"),
        (400, b"not an image at all"),
        (400, bytes(range(256)) * 40),
        (400, JPEG[: len(JPEG) // 2]),
        (400, JPEG[:20]),
        (400, JPEG[:2]),
        (400, encoded(Image.new("RGB", (64, 64)), "PNG")[:-30]),
        (400, encoded(Image.effect_noise((90, 90), 50), "WEBP")[:500]),
        (400, png_header(64, 64)),
        (400, png_header(0, 64)),
        (400, encoded(Image.new("1", (2600, 2)), "PNG")),
        (413, png_header(30_000, 30_000)),
        (413, png_header(MAX_PIXELS // 8000 + 1, 8000)),
        (413, png_header(2**31 - 1, 2**31 - 1)),
        (415, GIF),
        (415, encoded(Image.new("RGB", (8, 8)), "TIFF")),
        (415, encoded(Image.new("RGB", (8, 8)), "ICO")),
        (415, encoded(Image.new("RGB", (8, 8)), "AVIF")),
        (415, encoded(Image.new("RGB", (8, 8)), "JPEG2000")),
        (415, b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        (415, b"%PDF-1.7\n"),
        (415, b"PK\x03\x04" + bytes(40)),
        (415, b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"),
        (415, b"\xef\xbb\xbf  <svg width='1' height='1'/>"),
    ],
)
def test_what_is_no_acceptable_image_is_refused_with_the_right_status(status: int, data: bytes) -> None:
    with pytest.raises(ImageError) as raised:
        decode(data)
    assert raised.value.status == status


def test_a_huge_image_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        pytest.fail("pixels were decoded")

    monkeypatch.setattr(Image.Image, "load", decoded)
    with pytest.raises(ImageError, match="30000 × 30000"):
        decode(png_header(30_000, 30_000))
