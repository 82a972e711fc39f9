"""The archive of a bundle: one form for its content, read by every tar, and nothing but plain files comes out of it."""

from __future__ import annotations

import io
import random
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drillctl.errors import UsageError
from drillctl.report import archive
from drillctl.report.archive import ArchiveError, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEMBERS = {"run/a.txt": b"one\n", "run/b/c.bin": bytes(range(256)) * 5, "run/empty": b""}
NAMES = st.from_regex(r"[a-z0-9_][a-z0-9._-]{0,20}(/[a-z0-9_][a-z0-9._-]{0,20}){0,2}", fullmatch=True)


def read(content: bytes) -> dict[str, bytes]:
    return unpack(io.BytesIO(content))


@given(st.dictionaries(NAMES, st.binary(max_size=2000), max_size=8))
def test_what_was_packed_comes_out(members: dict[str, bytes]) -> None:
    assert read(pack(members)) == members
    assert pack(dict(reversed(members.items()))) == pack(members)


def test_what_could_not_be_read_again_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LARGEST", len(pack(MEMBERS)) - 2 * archive.BLOCK)
    assert read(pack(MEMBERS)) == MEMBERS
    monkeypatch.setattr(archive, "LARGEST", archive.LARGEST - 1)
    with pytest.raises(UsageError, match=r"cannot be made.* its largest file is run/b/c\.bin"):
        pack(MEMBERS)


def test_the_distributions_tar_unpacks_it(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(pack(MEMBERS))
    done = subprocess.run(["tar", "xf", "x.tar"], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert {name: (tmp_path / name).read_bytes() for name in MEMBERS} == MEMBERS


def test_no_byte_can_change_in_a_header_or_the_padding() -> None:
    """Of every byte that no member's content covers, each change is seen here, without any hash."""
    content = pack(MEMBERS)
    covered = b"".join(MEMBERS.values())
    quiet = 0
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :]
        try:
            assert read(changed) != MEMBERS
            quiet += 1
        except ArchiveError:
            continue
    assert quiet == len(covered)


def test_no_cut_and_nothing_behind_the_end_goes_unseen() -> None:
    content = pack(MEMBERS)
    for length in range(len(content)):
        with pytest.raises(ArchiveError):
            read(content[:length])
    for more in (b"\0", b"x", bytes(512)):
        with pytest.raises(ArchiveError, match="behind its end"):
            read(content + more)


def made(build: Callable[[tarfile.TarFile], None], form: int = tarfile.USTAR_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as tar:
        build(tar)
    return stream.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[tarfile.TarFile], None]:
    def build(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = kind, target, 0o644
        tar.addfile(info)

    return build


HOSTILE = [
    ("traversal", entry("../../etc/cron.d/x"), "may lead out of its folder"),
    ("traversal inside", entry("run/../../x"), "may lead out of its folder"),
    ("absolute", entry("/etc/passwd"), "may lead out of its folder"),
    ("hidden", entry("run/.ssh/authorized_keys"), "may lead out of its folder"),
    ("newline", entry("run/a\nb"), "may lead out of its folder"),
    ("symbolic link", entry("run/x", tarfile.SYMTYPE, "/etc/passwd"), "is a symbolic link"),
    ("hard link", entry("run/x", tarfile.LNKTYPE, "run/a"), "is a hard link"),
    ("character device", entry("run/null", tarfile.CHRTYPE), "is a device"),
    ("block device", entry("run/sda", tarfile.BLKTYPE), "is a device"),
    ("pipe", entry("run/pipe", tarfile.FIFOTYPE), "is a pipe"),
    ("folder", entry("run", tarfile.DIRTYPE), "is a folder"),
    ("sparse", entry("run/s", tarfile.GNUTYPE_SPARSE), "is a sparse file"),
]


@pytest.mark.parametrize(("build", "said"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_what_is_no_plain_file_of_its_folder_is_refused(build: Callable[[tarfile.TarFile], None], said: str) -> None:
    with pytest.raises(ArchiveError, match=said):
        read(made(build))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_extended_headers_are_refused(form: int) -> None:
    """With them a member's real name and size are somewhere else than a reader may look."""
    with pytest.raises(ArchiveError):
        read(made(entry("run/" + "é" * 150), form))


def test_a_member_twice_is_refused() -> None:
    one = archive._header("run/a", 0)
    with pytest.raises(ArchiveError, match="run/a is there twice"):
        read(one + one + bytes(1024))


def test_members_out_of_order_are_refused() -> None:
    with pytest.raises(ArchiveError, match="not in its place"):
        read(archive._header("run/b", 0) + archive._header("run/a", 0) + bytes(1024))


def test_a_size_beyond_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ArchiveError, match="a bundle has at most"):
        read(archive._header("run/a", archive.LARGEST + 1) + b"x")


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = pack({f"run/{n}": b"" for n in range(4)})
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    with pytest.raises(ArchiveError, match="more than 3 members"):
        read(packed)


@pytest.mark.parametrize(
    "content", [b"", b"x" * 511, b"PK\3\4" + bytes(2000), b"\x1f\x8b" + bytes(2000), b"\xff" * 4096]
)
def test_what_is_no_archive_is_told_as_such(content: bytes) -> None:
    with pytest.raises(ArchiveError):
        read(content)


def test_noise_is_never_read() -> None:
    noise = random.Random(5)
    for _ in range(300):
        with pytest.raises(ArchiveError):
            read(noise.randbytes(noise.randrange(1, 4000)))


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "../a", ".a", "a/.b", "a b", "ü", "a" * 241, "a\n", "a\\b"])
def test_a_name_that_it_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a member"):
        pack({name: b""})
