"""Encoded image bytes → the RGB pixels the model sees. Pillow only: no PyTorch, no NumPy.

Decoding refuses before it spends: the format allow-list and the size limits are checked on the header, before any
pixel is decoded.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final, Literal

from PIL import Image, ImageOps, UnidentifiedImageError

from inference.errors import ImageError

FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP")
MAX_PIXELS: Final = 40_000_000
MAX_ASPECT: Final = 50  # a 1 × 40,000,000 image would explode when its *shorter* side is scaled up

# The limit above is checked for every image; Pillow's own would warn at another size, into whatever thread decodes.
Image.MAX_IMAGE_PIXELS = None

_KNOWN_OTHERS: Final = (
    (0, b"GIF8", "GIF"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"%PDF", "PDF"),
    (0, b"PK\x03\x04", "ZIP"),
    (0, b"8BPS", "PSD"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (4, b"ftyp", "HEIF, AVIF or video"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "SVG or XML"),
)


Interpolation = Literal["bilinear", "bicubic"]
_RESAMPLING: Final = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side to ``resize``, cut the centre square of ``crop``, scale to 0–1, normalise per channel.

    ``mean`` and ``std`` are applied by the predictor, on the device; everything here is 8-bit.
    """

    resize: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bilinear"


def decode(data: bytes) -> Image.Image:
    """Decode one image to RGB, upright according to its EXIF orientation.

    Raises ImageError: 400 for empty, broken or too elongated images, 413 for too many pixels, 415 for a format outside
    ``FORMATS``.
    """
    if not data:
        raise ImageError(400, "empty_file", "The file is empty.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size)
            # Both steps would copy every pixel of an image that needs neither, as nearly all do.
            ImageOps.exif_transpose(image, in_place=True)
            return image if image.mode == "RGB" else image.convert("RGB")
    except ImageError:
        raise
    except UnidentifiedImageError:
        other = _other_format(data)
        accepted = ", ".join(FORMATS)
        if other:
            raise ImageError(
                415, "unsupported_format", f"The file looks like {other}; accepted formats are {accepted}."
            ) from None
        raise ImageError(400, "unreadable_image", f"The file is not a readable {accepted} image.") from None
    except Exception as error:  # a decoder fed with hostile bytes can raise anything
        raise ImageError(
            400, "unreadable_image", f"The image is damaged or incomplete ({type(error).__name__})."
        ) from error


def fit(image: Image.Image, how: Preprocessing) -> Image.Image:
    """Resize the shorter side and cut the centre square; returns ``crop`` × ``crop`` RGB.

    Rounding as torchvision's ``Resize`` and ``CenterCrop`` do it, which the production model was trained with.
    """
    width, height = image.size
    if width <= height:
        size = (how.resize, int(how.resize * height / width))
    else:
        size = (int(how.resize * width / height), how.resize)
    if size != image.size:
        image = image.resize(size, _RESAMPLING[how.interpolation])
    left = round((image.width - how.crop) / 2.0)
    top = round((image.height - how.crop) / 2.0)
    return image.crop((left, top, left + how.crop, top + how.crop))


def pixels(data: bytes, how: Preprocessing) -> bytes:
    """Turn an encoded image into ``crop * crop * 3`` bytes: rows of interleaved RGB.

    Raises ImageError as ``decode`` does.
    """
    return fit(decode(data), how).tobytes()


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            413, "image_too_large", f"The image has {width} × {height} pixels; at most {MAX_PIXELS} are accepted."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(
            400, "unreadable_image", f"The image is {width} × {height}: more than {MAX_ASPECT} times longer than wide."
        )


def _other_format(data: bytes) -> str | None:
    head = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n") if data[:1] not in b"\x00" else data[:64]
    return next((name for offset, magic, name in _KNOWN_OTHERS if head[offset:].startswith(magic)), None)
