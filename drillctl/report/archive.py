"""A tar archive of plain files in one form only: the same members give the same bytes, and nothing else is read.

It is ordinary ustar, which every `tar` unpacks. Reading accepts exactly what `pack` writes: each header is compared
with the one that its name and size must have, all padding is zero, and after the end there is nothing. So there is no
byte of a file that can change unseen, and no room for links, devices, sparse files, absolute paths, `..` or a second
entry of one name. Nothing is unpacked to disk, and members are not compressed: an archive cannot grow when it is read.
"""

from __future__ import annotations

import io
import re
import tarfile
from typing import TYPE_CHECKING, BinaryIO

from drillctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK = 512
LARGEST = 256 << 20
"""Bytes of an archive that are read at most."""

MOST_MEMBERS = 10_000

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_LONGEST_NAME = 240
_TYPES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class ArchiveError(Exception):
    """An archive that is not in the one form; the message says what is wrong, and where."""


def pack(members: Mapping[str, bytes]) -> bytes:
    """Return an archive of files by name, in the order of their names.

    Raises ValueError for a name it cannot hold, and UsageError for more than `unpack` would read again.
    """
    size = sum(BLOCK + len(content) + -len(content) % BLOCK for content in members.values())
    if size > LARGEST or len(members) > MOST_MEMBERS:
        largest = max(members, key=lambda name: len(members[name]))
        raise UsageError(
            f"a bundle of {len(members)} files and {size} bytes cannot be made: {MOST_MEMBERS} files and {LARGEST} "
            f"bytes are the most that can be read again; its largest file is {largest}",
            hint="keep the run's folder itself",
            state="no bundle was written",
        )
    stream = io.BytesIO()
    for name in sorted(members):
        if not allowed(name):
            raise ValueError(f"{name!r} is no name for a member of a bundle")
        content = members[name]
        stream.write(_header(name, len(content)))
        stream.write(content)
        stream.write(bytes(-len(content) % BLOCK))
    stream.write(bytes(2 * BLOCK))
    return stream.getvalue()


def allowed(name: str) -> bool:
    """Tell whether a member may have this name: a relative path of plain words, none of which begins with a dot."""
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def unpack(stream: BinaryIO) -> dict[str, bytes]:
    """Return the files of an archive by name. Raises ArchiveError for the first thing that `pack` would not write."""
    members: dict[str, bytes] = {}
    read = 0
    previous = ""
    while True:
        header = stream.read(BLOCK)
        if len(header) < BLOCK:
            raise ArchiveError(f"it ends at byte {read + len(header)}, in the middle: it was cut off")
        read += BLOCK
        if header == bytes(BLOCK):
            break
        name, size = _entry(header, read - BLOCK)
        if name in members:
            raise ArchiveError(f"{name} is there twice")
        if name < previous:
            raise ArchiveError(f"{name} is not in its place: members are in the order of their names")
        if len(members) >= MOST_MEMBERS:
            raise ArchiveError(f"it has more than {MOST_MEMBERS} members")
        padded = size + -size % BLOCK
        if read + padded > LARGEST:
            raise ArchiveError(f"{name} says that it has {size} bytes; a bundle has at most {LARGEST}")
        content = stream.read(padded)
        read += len(content)
        if len(content) < padded:
            raise ArchiveError(f"it ends within {name}: it was cut off")
        if content[size:].strip(b"\0"):
            raise ArchiveError(f"behind {name} there is something that belongs to no member")
        members[name] = content[:size]
        previous = name
    if stream.read(BLOCK) != bytes(BLOCK):
        raise ArchiveError("its end is not whole: it was cut off or changed")
    if stream.read(1):
        raise ArchiveError("there is something behind its end")
    return members


def _entry(header: bytes, place: int) -> tuple[str, int]:
    """Return name and size of a member. Raises ArchiveError unless its header is the one it must have."""
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise ArchiveError(f"at byte {place} there is no header of a member: it was changed, or is no bundle") from None
    name = info.name.encode("utf-8", "backslashreplace").decode("utf-8")
    if info.type in _TYPES:
        raise ArchiveError(f"{name!r} is {_TYPES[info.type]}; a bundle holds plain files only")
    if not allowed(info.name):
        raise ArchiveError(f"{name!r} is no name for a member of a bundle: it may lead out of its folder")
    if info.size < 0 or header != _header_or_none(info.name, info.size):
        raise ArchiveError(f"the header of {name} is not as drillctl writes it")
    return info.name, info.size


def _header_or_none(name: str, size: int) -> bytes | None:
    try:
        return _header(name, size)
    except ValueError:  # a name that ustar cannot split
        return None


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
