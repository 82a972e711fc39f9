"""``SHA256SUMS``: the SHA-256 of every file of a packed model, in the format that ``sha256sum --check`` reads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from inference.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST: Final = "SHA256SUMS"

# A name that would lead out of the folder, or hide in it, cannot be written.
_LINE: Final = re.compile(r"([0-9a-f]{64}) [ *]([A-Za-z0-9_][A-Za-z0-9._-]{0,127})")


def manifest_text(sums: Mapping[str, str]) -> str:
    """Return the manifest of files by name → SHA-256 in hexadecimal, sorted by name."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def parse_manifest(text: str, where: Path | str) -> dict[str, str]:
    """Return name → SHA-256; ``where`` is only for messages. Raises CheckpointError."""
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        found = _LINE.fullmatch(line)
        if found is None or found[2] in sums or found[2] == MANIFEST:
            raise CheckpointError(
                f"{where}:{number} is not a line of a manifest: 64 hexadecimal digits, two blanks, and a file "
                "name that occurs once."
            )
        sums[found[2]] = found[1]
    if not sums:
        raise CheckpointError(f"{where} is empty: it names no file.")
    return sums


def read_manifest(folder: Path) -> dict[str, str] | None:
    """Return the manifest of a model folder, None when it has none. Raises CheckpointError."""
    path = folder / MANIFEST
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not a manifest: byte {error.start} is not ASCII.") from error
    return parse_manifest(text, path)
