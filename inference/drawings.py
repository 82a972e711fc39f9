"""Draws the pictures that the sample model is trained, tested and drilled with: one coloured shape each.

A drawing is a pure function of (purpose, number): the same on every machine and in any order, so that training data,
held-out data and golden images can be drawn again at any time and never overlap.
"""

from __future__ import annotations

import colorsys
import io
import math
import random
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter

COLOURS: Final = {  # name → (label, hue in degrees, how far the hue may wander)
    "red": ("红色", 0, 7),
    "orange": ("橙色", 29, 5),
    "yellow": ("黄色", 54, 5),
    "green": ("绿色", 118, 20),
    "blue": ("蓝色", 222, 16),
    "purple": ("紫色", 285, 12),
}
SHAPES: Final = {
    "circle": "圆形",
    "square": "正方形",
    "triangle": "三角形",
    "star": "五角星",
    "cross": "十字形",
    "heart": "心形",
}
CLASSES: Final = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
LABELS: Final = tuple(COLOURS[colour][0] + SHAPES[shape] for colour, shape in CLASSES)

_SUPERSAMPLE: Final = 3
_RGB = tuple[int, int, int]
_Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Encoding:
    """How a drawing is stored: Pillow's format name, the quality where the format has one, and the pixel mode."""

    format: str
    quality: int = 0
    mode: str = "RGB"


@dataclass(frozen=True)
class Drawing:
    """One drawn image, upright RGB, and the index of its class in ``CLASSES`` and ``LABELS``."""

    image: Image.Image
    index: int


def draw(purpose: str, number: int, index: int | None = None, size: tuple[int, int] | None = None) -> Drawing:
    """Draw picture ``number`` of a series; class and size are chosen by the series unless given.

    ``size`` is (width, height) in pixels. Without ``index`` the classes follow one another: any series is balanced.
    """
    rng = random.Random(f"{purpose}/{number}")  # noqa: S311 - pictures, not secrets
    index = number % len(CLASSES) if index is None else index
    colour, shape = CLASSES[index]
    width, height = size or _size(rng)
    hue = COLOURS[colour][1] + rng.uniform(-1, 1) * COLOURS[colour][2]
    image = _background(rng, width, height, hue)
    mask, box = _shape_mask(rng, shape, width, height)
    fill = _hsv(hue, rng.uniform(0.78, 1.0), _brightness(rng, colour))
    if rng.random() < 0.3:
        outline = _hsv(0, 0, rng.choice([rng.uniform(0.0, 0.2), rng.uniform(0.85, 1.0)]))
        grown = mask.filter(ImageFilter.MaxFilter(2 * max(1, min(mask.size) // 40) + 1))
        image.paste(outline, box, grown)
    image.paste(_fill(rng, fill, mask.size), box, mask)
    return Drawing(_spoil(rng, image), index)


def encode(image: Image.Image, encoding: Encoding) -> bytes:
    """Store an RGB image in the given format, quality and mode (``RGB``, ``P``, ``RGBA``)."""
    if encoding.mode == "P":
        image = image.quantize(128, dither=Image.Dither.NONE)
    elif encoding.mode == "RGBA":
        image = image.copy()
        image.putalpha(Image.radial_gradient("L").resize(image.size).point(lambda value: 255 - value // 3))
    out = io.BytesIO()
    if encoding.quality:
        image.save(out, encoding.format, quality=encoding.quality)
    else:
        image.save(out, encoding.format)
    return out.getvalue()


def sample(purpose: str, number: int) -> tuple[bytes, int]:
    """Picture ``number`` of a series as an encoded file of varied format and quality, and its class index."""
    drawing = draw(purpose, number)
    rng = random.Random(f"{purpose}/{number}/file")  # noqa: S311 - pictures, not secrets
    if rng.random() < 0.85:
        encoding = Encoding("JPEG", rng.randint(35, 95))
    else:
        encoding = rng.choice([Encoding("PNG"), Encoding("PNG", mode="P"), Encoding("BMP"), Encoding("WEBP", 60)])
    return encode(drawing.image, encoding), drawing.index


def _size(rng: random.Random) -> tuple[int, int]:
    short = round(64 * 2 ** rng.triangular(0, 2.4, 0.7))
    long = round(short * rng.choice([1, 1, 1.25, 4 / 3, 1.5, 16 / 9]))
    return (long, short) if rng.random() < 0.6 else (short, long)


def _brightness(rng: random.Random, colour: str) -> float:
    # Dark orange is brown and dark yellow is olive to any eye: these two stay bright.
    return rng.uniform(0.88, 1.0) if colour in {"orange", "yellow"} else rng.uniform(0.6, 1.0)


def _hsv(hue: float, saturation: float, value: float) -> _RGB:
    red, green, blue = colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _background_colour(rng: random.Random, hue: float) -> _RGB:
    if rng.random() < 0.65:
        return _hsv(rng.uniform(0, 360), rng.uniform(0, 0.18), rng.uniform(0.05, 1.0))
    return _hsv(hue + rng.uniform(75, 285), rng.uniform(0.2, 0.75), rng.uniform(0.3, 1.0))


def _background(rng: random.Random, width: int, height: int, hue: float) -> Image.Image:
    one, two = _background_colour(rng, hue), _background_colour(rng, hue)
    kind = rng.choice(["plain", "gradient", "stripes", "tiles", "clouds", "spots"])
    if kind == "plain":
        return Image.new("RGB", (width, height), one)
    mask = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(mask)
    pitch = max(4, round(min(width, height) * rng.uniform(0.06, 0.3)))
    if kind == "gradient":
        ramp = Image.linear_gradient("L").rotate(rng.choice([0, 90, 180, 270]))
        mask = ramp.resize((width, height), Image.Resampling.BILINEAR)
    elif kind == "stripes":
        slope = rng.uniform(-1, 1)
        for start in range(-abs(round(slope * height)) - pitch, width + abs(round(slope * height)), 2 * pitch):
            pen.polygon(
                [
                    (start, 0),
                    (start + pitch, 0),
                    (start + pitch + slope * height, height),
                    (start + slope * height, height),
                ],
                fill=255,
            )
    elif kind == "tiles":
        for row in range(0, height, pitch):
            for column in range((row // pitch % 2) * pitch, width, 2 * pitch):
                pen.rectangle((column, row, column + pitch - 1, row + pitch - 1), fill=255)
    elif kind == "clouds":
        cells = rng.randint(3, 9)
        mask = Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells))
        mask = mask.resize((width, height), Image.Resampling.BICUBIC)
    else:
        for _ in range(rng.randint(4, 24)):
            x, y, radius = rng.uniform(0, width), rng.uniform(0, height), pitch * rng.uniform(0.1, 0.5)
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=rng.randint(60, 255))
    return Image.composite(Image.new("RGB", (width, height), two), Image.new("RGB", (width, height), one), mask)


def _outline(shape: str, radius: float) -> _Points:
    """Corner points of a shape around the origin, none farther than ``radius``."""
    if shape == "circle":
        return _ring([1.0] * 72, radius)
    if shape == "square":
        return _ring([1.0] * 4, radius)
    if shape == "triangle":
        return _ring([1.0] * 3, radius)
    if shape == "star":
        return _ring([1.0, 0.42] * 5, radius)
    if shape == "cross":
        arm, bar = radius * 0.95, radius * 0.31
        quarter = [(bar, -arm), (bar, -bar), (arm, -bar)]
        return [
            (x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn))
            for turn in (0, math.pi / 2, math.pi, 3 * math.pi / 2)
            for x, y in quarter
        ]
    points = []
    for step in range(90):
        t = 2 * math.pi * step / 90
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x * radius / 17.5, -(y + 2.5) * radius / 17.5))
    return points


def _ring(lengths: list[float], radius: float) -> _Points:
    angle = 2 * math.pi / len(lengths)
    return [
        (length * radius * math.sin(corner * angle), -length * radius * math.cos(corner * angle))
        for corner, length in enumerate(lengths)
    ]


def _shape_mask(
    rng: random.Random, shape: str, width: int, height: int
) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """Draw a shape of random size, place and turn as an antialiased mask, and the box of the image it goes into.

    The shape lies inside the centre square that preprocessing keeps (224 of 256, cut a little closer).
    """
    square = min(width, height) * 0.875
    radius = square / 2 * rng.uniform(0.42, 0.95)
    room = square / 2 - radius
    x = width / 2 + rng.uniform(-room, room)
    y = height / 2 + rng.uniform(-room, room)
    turn = rng.uniform(-math.pi, math.pi) if shape != "heart" or rng.random() < 0.5 else rng.uniform(-0.5, 0.5)
    squeeze = rng.uniform(0.85, 1.0)
    side = math.ceil(2 * radius) + 4
    scale = _SUPERSAMPLE if side < 400 else 1
    mask = Image.new("L", (side * scale, side * scale), 0)
    cosine, sine = math.cos(turn), math.sin(turn)
    points = [
        ((side / 2 + px * cosine - py * sine) * scale, (side / 2 + (px * sine + py * cosine) * squeeze) * scale)
        for px, py in _outline(shape, radius)
    ]
    ImageDraw.Draw(mask).polygon(points, fill=255)
    if scale > 1:
        mask = mask.resize((side, side), Image.Resampling.BOX)
    left, top = round(x - side / 2), round(y - side / 2)
    return mask, (left, top, left + side, top + side)


def _fill(rng: random.Random, colour: _RGB, size: tuple[int, int]) -> Image.Image:
    plain = Image.new("RGB", size, colour)
    if rng.random() < 0.5:
        return plain
    # Light from one side: up to a quarter darker at the far end.
    shade = Image.linear_gradient("L").rotate(rng.choice([0, 90, 180, 270])).point(lambda value: 255 - value // 4)
    return ImageChops.multiply(plain, Image.merge("RGB", [shade.resize(size)] * 3))


def _spoil(rng: random.Random, image: Image.Image) -> Image.Image:
    """Do what cameras do to pictures: blur, grain, uneven exposure."""
    short = min(image.size)
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(short * rng.uniform(0.002, 0.012)))
    if rng.random() < 0.6:
        strength = rng.uniform(4, 34)
        tile = 64
        grain = Image.frombytes("RGB", (tile, tile), rng.randbytes(tile * tile * 3))
        field = Image.new("RGB", image.size)
        for top in range(0, image.height, tile):
            for left in range(0, image.width, tile):
                field.paste(grain, (left, top))
        amount = strength / 255
        field = field.point(lambda value: round(128 + (value - 128) * amount))
        image = ImageChops.add(image, field, offset=-128)
    if rng.random() < 0.4:
        gain = rng.uniform(0.8, 1.12)
        image = image.point(lambda value: min(255, round(value * gain)))
    return image
