"""The golden images: a fixed set of drawings in many sizes, formats and qualities, that drills compare answers on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from inference.drawings import CLASSES, Encoding, draw, encode

if TYPE_CHECKING:
    from pathlib import Path

_SERIES: Final = "golden"
_SUFFIX: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp"}


def _jpeg(width: int, height: int, quality: int) -> tuple[tuple[int, int], Encoding]:
    return (width, height), Encoding("JPEG", quality)


def _webp(width: int, height: int, quality: int) -> tuple[tuple[int, int], Encoding]:
    return (width, height), Encoding("WEBP", quality)


def _lossless(width: int, height: int, name: str, mode: str = "RGB") -> tuple[tuple[int, int], Encoding]:
    return (width, height), Encoding(name, mode=mode)


# One for each class, in the order of CLASSES. Only small pictures are stored without loss, so that the set stays small.
_FILES: Final = (
    *(_jpeg(640, 480, 85), _lossless(160, 160, "PNG"), _jpeg(240, 320, 70), _webp(800, 600, 80)),
    *(_lossless(96, 128, "BMP"), _jpeg(1280, 720, 60), _lossless(224, 224, "PNG", "P"), _jpeg(64, 64, 95)),
    *(_jpeg(400, 400, 40), _lossless(128, 96, "PNG", "RGBA"), _webp(320, 240, 50), _jpeg(480, 270, 90)),
    *(_jpeg(1600, 1200, 75), _jpeg(100, 80, 80), _lossless(200, 150, "PNG", "P"), _jpeg(512, 512, 35)),
    *(_lossless(64, 64, "PNG"), _webp(256, 256, 90), _jpeg(300, 200, 55), _jpeg(360, 480, 88)),
    *(_lossless(80, 80, "BMP"), _jpeg(720, 540, 50), _lossless(150, 200, "PNG", "RGBA"), _jpeg(224, 224, 65)),
    *(_webp(640, 360, 70), _jpeg(128, 128, 98), _jpeg(1024, 768, 45), _lossless(256, 192, "PNG", "P")),
    *(_jpeg(320, 320, 78), _jpeg(160, 120, 30), _webp(96, 96, 60), _jpeg(540, 720, 82)),
    *(_lossless(120, 90, "PNG"), _jpeg(450, 300, 92), _jpeg(200, 200, 60), _jpeg(1200, 1600, 50)),
)


@dataclass(frozen=True)
class Golden:
    """One golden image: its file name, which says all about it, its bytes, and its class index."""

    name: str
    data: bytes
    index: int


def draw_golden() -> list[Golden]:
    """One image of every class, the same bytes every time (for one version of Pillow)."""
    return [_golden(index) for index in range(len(CLASSES))]


def write_golden(folder: Path) -> list[Path]:
    """Write all golden images into a folder, which is made if missing; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for golden in draw_golden():
        path = folder / golden.name
        path.write_bytes(golden.data)
        paths.append(path)
    return paths


def _golden(index: int) -> Golden:
    (width, height), encoding = _FILES[index]
    colour, shape = CLASSES[index]
    parts = [colour, shape, f"{width}x{height}"]
    if encoding.quality:
        parts.append(f"q{encoding.quality}")
    if encoding.mode != "RGB":
        parts.append(encoding.mode.lower())
    drawing = draw(_SERIES, index, index=index, size=(width, height))
    return Golden(f"{'-'.join(parts)}.{_SUFFIX[encoding.format]}", encode(drawing.image, encoding), index)
