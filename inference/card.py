"""The model card, ``model.json``: what must be known to run a file of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from inference.errors import CheckpointError
from inference.preprocess import Interpolation, Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

CARD: Final = "model.json"

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)

# torchvision models that can change the channels of their input themselves; whether they do depends on the training.
_TRANSFORMING: Final = ("googlenet", "inception_v3")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ResNeStArchitecture(_Strict):
    """A ResNeSt; see ``inference.resnest.ResNeStShape`` for the meaning of the numbers."""

    family: Literal["resnest"] = "resnest"
    blocks: tuple[int, int, int, int] = Field(strict=False)
    stem_width: int = Field(ge=1)
    width: int = Field(ge=1)


class TorchvisionArchitecture(_Strict):
    """A classifier of torchvision by the name that ``torchvision.models.get_model`` knows it by, such as ``resnet50``.

    ``transform_input`` belongs to ``googlenet`` and ``inception_v3`` alone, and must be given there: true for weights
    that torchvision published, false for weights trained with its defaults.
    """

    family: Literal["torchvision"] = "torchvision"
    name: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    transform_input: bool | None = None

    @model_validator(mode="after")
    def _transforming(self) -> TorchvisionArchitecture:
        if (self.transform_input is None) == (self.name in _TRANSFORMING):
            msg = f"transform_input must be given for {' and '.join(_TRANSFORMING)}, and for nothing else"
            raise ValueError(msg)
        return self


Architecture = Annotated[ResNeStArchitecture | TorchvisionArchitecture, Field(discriminator="family")]


class PreprocessingCard(_Strict):
    """Sizes in pixels, how to resize, mean and standard deviation of the channels after scaling to 0–1."""

    resize: int = Field(ge=1, le=4096)
    crop: int = Field(ge=1, le=4096)
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = Field(strict=False)
    std: tuple[float, float, float] = Field(strict=False)

    @model_validator(mode="after")
    def _crop_fits(self) -> PreprocessingCard:
        if self.crop > self.resize:
            msg = f"crop ({self.crop}) must not be larger than resize ({self.resize})"
            raise ValueError(msg)
        if min(self.std) <= 0:
            msg = "std must be positive"
            raise ValueError(msg)
        return self


class Training(_Strict):
    """How the weights came about and how good they are; for people, nothing reads it."""

    command: str
    date: str
    drawings: int
    epochs: int
    seed: int
    seconds: float
    held_out: int
    accuracy: float
    torch: str


class ModelCard(_Strict):
    """``model.json``: name, network, number of classes, and what is done to an image before the network sees it."""

    name: str = Field(min_length=1)
    architecture: Architecture
    classes: int = Field(ge=1)
    preprocessing: PreprocessingCard
    training: Training | None = None

    def preprocess(self) -> Preprocessing:
        card = self.preprocessing
        return Preprocessing(
            resize=card.resize, crop=card.crop, mean=card.mean, std=card.std, interpolation=card.interpolation
        )

    def text(self) -> str:
        """Return the card as it is written to ``model.json``: the same text for the same card."""
        return self.model_dump_json(indent=2, exclude_none=True) + "\n"


def modelscope_card(classes: int) -> ModelCard:
    """Return the card of ModelScope's ``iic/cv_resnest101_general_recognition``, whose folder holds none.

    Network and preprocessing are those of its own pipeline (modelscope/pipelines/cv/general_recognition_pipeline.py).
    """
    return ModelCard(
        name="resnest101-general-recognition",
        architecture=ResNeStArchitecture(blocks=(3, 4, 23, 3), stem_width=64, width=64),
        classes=classes,
        preprocessing=PreprocessingCard(resize=256, crop=224, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    )


def parse_card(text: str, path: Path) -> ModelCard:
    """Read a card; ``path`` is only for messages. Raises CheckpointError with the first thing that is wrong."""
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise CheckpointError(f"{path} is not a valid model card: {where}: {first['msg']}.") from error
