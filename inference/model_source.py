"""The model that the settings ask for, wherever it comes from."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from inference.checkpoint import read_checkpoint
from inference.errors import HashMismatchError
from inference.log import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from inference.checkpoint import Checkpoint
    from inference.settings import Settings

_FETCHED: Final = 0.9  # of the progress; the rest is reading it


def obtain_model(settings: Settings, on_progress: Callable[[float], None] = lambda _: None) -> Checkpoint:
    """Fetch the model if it is not here yet, and read it; ``on_progress`` gets the share that is done, 0 to 1.

    Raises CheckpointError, DownloadError or HashMismatchError for one that cannot be had or may not be served.
    """
    if settings.model_uri is None or settings.model_sha256 is None:
        return read_checkpoint(settings.model_path, settings.model_sha256, on_progress)
    # boto3, or what speaks HTTPS, is imported only where a model is fetched.
    from inference.cache import discard, fetch

    def fetched(share: float) -> None:
        on_progress(share * _FETCHED)

    def read(share: float) -> None:
        on_progress(_FETCHED + share * (1 - _FETCHED))

    event(logging.INFO, "model wanted", uri=str(settings.model_uri), sha256=settings.model_sha256)
    fetch(settings.model_uri, settings.model_sha256, settings.model_path, fetched)
    try:
        return read_checkpoint(settings.model_path, settings.model_sha256, read)
    except HashMismatchError as error:
        # It was right when it was put there: the disk, or somebody, changed it since.
        event(logging.WARNING, "cached model is damaged and fetched again", reason=str(error))
        discard(settings.model_path)
        fetch(settings.model_uri, settings.model_sha256, settings.model_path, fetched)
        return read_checkpoint(settings.model_path, settings.model_sha256, read)
