"""Our logits beside those of the original: timm's ResNeSt behind the pipeline of ModelScope, with the same weights.

The pipeline is restated here from modelscope/pipelines/cv/general_recognition_pipeline.py and
modelscope/preprocessors/image.py: Pillow opens the file, turns it upright by its EXIF orientation, converts it to RGB;
torchvision resizes the shorter side to 256, cuts the centre 224, scales and normalises.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image, ImageOps

from benchmarks.modelscope_folder import random_state, write_modelscope_folder
from inference.card import modelscope_card
from inference.checkpoint import labels_text, read_checkpoint
from inference.drawings import draw
from inference.predictor import Predictor
from inference.resnest import ResNeStShape

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

SMALL = ResNeStShape((1, 1, 1, 1), stem_width=32, width=64)  # timm's resnest14d
CLASSES = 24
TOLERANCE = 1e-4
EXIF_ORIENTATION = 0x0112


def original(model: nn.Module, data: bytes) -> torch.Tensor:
    from torchvision import transforms

    how = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        ]
    )
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    with torch.inference_mode():
        logits: torch.Tensor = model(how(upright)[None])[0]
    return logits


def ours(predictor: Predictor, data: bytes) -> torch.Tensor:
    predictions = predictor.predict_image(data)["predictions"]
    return torch.tensor([entry["logit"] for entry in sorted(predictions, key=lambda entry: entry["index"])])


def published(name: str, state: dict[str, torch.Tensor], classes: int) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(name, num_classes=classes)
    model.load_state_dict(state, strict=True)
    return model.eval()


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)  # type: ignore[arg-type]
    return out.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return exif


def picture(width: int, height: int, number: int = 0) -> Image.Image:
    return draw("agreement", number, index=number % 36, size=(width, height)).image


def images() -> Iterator[tuple[str, bytes]]:
    sizes = [(224, 224), (256, 256), (255, 257), (64, 64), (1, 40), (31, 900), (900, 31), (257, 1031), (1600, 1200)]
    for number, (width, height) in enumerate([*sizes, (225, 224), (97, 65), (511, 340), (3000, 2000)]):
        yield f"{width}x{height}", encoded(picture(width, height, number), "JPEG", quality=60 + 3 * number)
    base = picture(333, 250, 7)
    alpha = Image.linear_gradient("L").resize(base.size)
    deep = Image.frombytes("I;16", base.size, b"".join(bytes((level, level)) for level in base.convert("L").tobytes()))
    transparent = base.convert("P", palette=Image.Palette.ADAPTIVE)
    modes = {
        "L": base.convert("L"),
        "LA": Image.merge("LA", (base.convert("L"), alpha)),
        "P": base.quantize(64),
        "RGBA": Image.merge("RGBA", (*base.split(), alpha)),
        "1": base.convert("1"),
        "I;16": deep,
    }
    for mode, image in modes.items():
        yield f"png {mode}", encoded(image, "PNG")
    yield "png P with a transparent colour", encoded(transparent, "PNG", transparency=3)
    yield "jpeg L", encoded(modes["L"], "JPEG")
    yield "jpeg CMYK", encoded(base.convert("CMYK"), "JPEG", quality=92)
    yield "jpeg progressive 4:4:4", encoded(base, "JPEG", progressive=True, subsampling=0)
    yield "webp", encoded(base, "WEBP", quality=70)
    yield "webp lossless RGBA", encoded(modes["RGBA"], "WEBP", lossless=True)
    yield "bmp", encoded(base, "BMP")
    yield "bmp L", encoded(modes["L"], "BMP")
    for orientation in range(1, 9):
        yield f"jpeg turned {orientation}", encoded(base, "JPEG", exif=turned(orientation))
    yield "png turned 6", encoded(base, "PNG", exif=turned(6))
    yield "webp turned 8", encoded(base, "WEBP", exif=turned(8))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Predictor]:
    """The same weights in timm's network and, out of a file, in ours."""
    folder = tmp_path_factory.mktemp("small")
    state = random_state(SMALL, CLASSES, seed=3)
    state["fc.weight"] *= 30  # logits of ±10: the tolerance is then strict
    torch.save(state, folder / "weights.pth")
    (folder / "labels.txt").write_text(labels_text(tuple(map(str, range(CLASSES)))))
    card = modelscope_card(CLASSES)
    architecture = card.architecture.model_copy(update={"blocks": SMALL.blocks, "stem_width": SMALL.stem_width})
    (folder / "model.json").write_text(card.model_copy(update={"architecture": architecture}).text())
    checkpoint = read_checkpoint(folder, None)
    return published("resnest14d", state, CLASSES), predictor_of(checkpoint)


def predictor_of(checkpoint: object) -> Predictor:
    return Predictor(checkpoint, device="cpu", batch_size=1, threads=1, top_k=CLASSES)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "data"), [pytest.param(name, data, id=name) for name, data in images()])
def test_logits_of_any_image_are_those_of_the_original(
    small: tuple[nn.Module, Predictor], name: str, data: bytes
) -> None:
    model, predictor = small
    torch.testing.assert_close(ours(predictor, data), original(model, data), atol=TOLERANCE, rtol=0)


def test_the_comparison_would_notice_another_preprocessing(small: tuple[nn.Module, Predictor]) -> None:
    """One pixel of another crop, or an image left lying on its side, is far outside the tolerance."""
    model, predictor = small
    base = picture(333, 250, 7)
    answer = ours(predictor, encoded(base, "PNG"))
    shifted = encoded(base.crop((2, 0, 333, 250)), "PNG")
    assert (original(model, shifted) - answer).abs().max() > 10 * TOLERANCE
    lying = encoded(base, "JPEG", exif=turned(6))
    upright = original(model, lying)
    assert (ours(predictor, encoded(base, "JPEG")) - upright).abs().max() > 10 * TOLERANCE


def test_the_whole_resnest101_in_a_modelscope_folder_agrees_with_timm(tmp_path: Path) -> None:
    write_modelscope_folder(tmp_path, classes=CLASSES, seed=5)
    predictor = predictor_of(read_checkpoint(tmp_path, None))
    saved = torch.load(tmp_path / "pytorch_model.pt", weights_only=True)["state_dict"]
    model = published("resnest101e", {name.removeprefix("module."): value for name, value in saved.items()}, CLASSES)
    for data in (encoded(picture(640, 480, 1), "JPEG"), encoded(picture(120, 300, 2), "PNG")):
        found, expected = ours(predictor, data), original(model, data)
        torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)
        assert expected.std() > 0.5  # logits that say something
