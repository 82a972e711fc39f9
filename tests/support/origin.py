"""Where a model comes from in tests: what lies there, and what a fetch of it must have and must not say."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from inference.manifest import manifest_text

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = ("AKIDEXAMPLE", "wJalrXUtnFEMI", "s3cr3tpass", "t0k3n")
QUICK = (0.01, 0.01, 0.01)
MEBIBYTE = 1 << 20


def manifest(folder: Path) -> str:
    """Return the manifest of a packed folder."""
    names = ("labels.txt", "model.json", "model.safetensors")
    return manifest_text({name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names})


def whole(folder: Path, source: Path) -> bool:
    """Tell whether a folder holds all of the origin's files, and nothing else."""
    names = {path.name for path in folder.iterdir()}
    return names == {path.name for path in source.iterdir()} and all(
        (folder / name).read_bytes() == (source / name).read_bytes() for name in names
    )
