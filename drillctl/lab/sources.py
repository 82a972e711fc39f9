"""What a lab serves and with which program: the model folder, the project and its Python."""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import drillctl
from drillctl.errors import NotStarted

_WEIGHTS = ("model.safetensors", "pytorch_model.pt")


@dataclass(frozen=True)
class ModelFolder:
    """A model folder, the name of the weights file in it, and the SHA-256 of that file in hexadecimal."""

    folder: Path
    weights: str
    sha256: str

    def copy_to(self, destination: Path) -> None:
        """Copy the folder's files, readable for all, so that a host can spoil its own.

        Raises NotStarted when they do not fit where they are to go.
        """
        destination.mkdir(parents=True, exist_ok=True)
        files = [file for file in self.folder.iterdir() if file.is_file()]
        needed, free = sum(file.stat().st_size for file in files), shutil.disk_usage(destination).free
        if needed > free:
            raise NotStarted(
                f"the model's {needed >> 20} MiB do not fit into {destination}, where {free >> 20} MiB are free",
                hint="the driver `systemd` needs no copy; or set XDG_RUNTIME_DIR to a folder with more room",
            )
        for file in files:
            shutil.copyfile(file, destination / file.name)
            (destination / file.name).chmod(0o644)

    def open_to_all(self, place: Path) -> None:
        """Let all users of a host read the folder that it sees at `place`; the original is not touched."""
        for file in place.iterdir():
            if file.is_file() and not file.stat().st_mode & 0o004:
                file.chmod(0o644)


@dataclass(frozen=True)
class Project:
    """Where the code is that hosts run: `root` holds the package `inference`, `python` can import what it needs."""

    root: Path
    python: Path
    needed: tuple[Path, ...]
    """Every folder that a host must see for `python -m inference` to start in `root`."""


def project() -> Project:
    """Return the project that this process runs from."""
    root = Path(drillctl.__file__).resolve().parents[1]
    folders = (root, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
    executable = Path(sys.executable)
    return Project(root, executable.parent.resolve() / executable.name, tuple(dict.fromkeys(folders)))


def model_folder(folder: Path | None) -> ModelFolder:
    """Return the model that a lab serves; without a folder the sample model of the project.

    Raises NotStarted when the folder holds no weights.
    """
    chosen = (project().root / "inference" / "sample" if folder is None else folder).absolute()
    for name in _WEIGHTS:
        if (chosen / name).is_file():
            with (chosen / name).open("rb") as weights:
                return ModelFolder(chosen, name, hashlib.file_digest(weights, "sha256").hexdigest())
    raise NotStarted(
        f"{chosen} is no model folder: it has neither {' nor '.join(_WEIGHTS)}",
        hint="name a folder made by `python -m inference pack` or `train` with --model",
        state="nothing was changed",
    )
