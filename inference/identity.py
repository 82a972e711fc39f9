"""What a server is made of: versions, a hash of this package's code, and the environment fingerprint.

drillctl compares the fingerprints of both zones: each entry is something that can change the bits of an answer.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Fact = str | int | bool | None

_NVIDIA_DRIVER: Final = Path("/proc/driver/nvidia/version")


@cache
def code_sha256() -> str:
    """SHA-256 over the names and contents of this package's Python files, sorted by name.

    Cached: the first caller, at start, fixes it to the code that is running, not to what an upgrade puts on disk later.
    """
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted(_sources(folder)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _sources(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        # What Python keeps beside the sources comes and goes, and takes no part in what they say.
        folders[:] = [name for name in folders if name != "__pycache__"]
        yield from (Path(place, name) for name in names if name.endswith(".py"))


@cache
def versions() -> dict[str, str]:
    """Versions of the interpreter and of the libraries that take part in an answer; imports none of them."""
    libraries = ("pillow", "safetensors", "starlette", "torch", "uvicorn")
    return {"python": platform.python_version()} | {name: version(name) for name in libraries}


def nvidia_driver() -> str | None:
    """Version of the loaded NVIDIA kernel driver, None without one."""
    try:
        found = re.search(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b", _NVIDIA_DRIVER.read_text())
    except OSError:
        return None
    return found.group(1) if found else None


def fingerprint(computing: Mapping[str, Fact]) -> dict[str, Fact]:
    """Collect the flat environment fingerprint; ``computing`` is what only the loaded predictor knows."""
    return {
        "code": code_sha256(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "pillow": version("pillow"),
        "driver": nvidia_driver(),
        **computing,
    }
