"""What a run keeps to put the gateway back: whole, unaltered, and refused when it is neither."""

from __future__ import annotations

import errno
import hashlib
import stat
from typing import TYPE_CHECKING

import pytest

from drillctl import snapshot
from drillctl.errors import Inconclusive, UsageError
from drillctl.gateway.gateway import GatewayConfig, HostConfig, Staged, StagedHost

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"upstream recognition {\r\n\tserver 10.0.1.1:8000;\n}  # \xff\xfe"


def original(*names: str) -> GatewayConfig:
    hosts = [
        HostConfig(
            host=name,
            path="/etc/nginx/conf.d/recognition.conf",
            resolved="/srv/real.conf",
            content=CONTENT,
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            mode=0o640,
            owner="0:33",
            servers=(),
        )
        for name in names
    ]
    return GatewayConfig(tuple(hosts), None)


def test_the_original_comes_back_byte_for_byte_for_every_host(tmp_path: Path) -> None:
    snapshot.keep_original(tmp_path, original("gateway-1", "gateway-2"))
    assert snapshot.read_original(tmp_path) == original("gateway-1", "gateway-2")


def test_nobody_else_may_look_at_it(tmp_path: Path) -> None:
    snapshot.keep_original(tmp_path, original("gateway-1"))
    assert stat.S_IMODE((tmp_path / "before").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "change", [lambda old: old[:-1], lambda old: old + b"\n", lambda old: b"", lambda old: old.upper()]
)
def test_changed_bytes_are_refused(tmp_path: Path, change: object) -> None:
    snapshot.keep_original(tmp_path, original("gateway-1"))
    kept = tmp_path / "before" / "gateway-1.conf"
    assert callable(change)
    kept.write_bytes(change(CONTENT))
    with pytest.raises(UsageError, match=r"gateway-1\.conf is not the original config any more") as caught:
        snapshot.read_original(tmp_path)
    assert caught.value.state == "nothing was changed"


def test_where_nothing_was_kept_there_is_nothing(tmp_path: Path) -> None:
    assert snapshot.read_original(tmp_path) is None
    assert snapshot.read_staged(tmp_path) is None


def test_a_file_that_a_killed_run_did_not_finish_does_not_count(tmp_path: Path) -> None:
    folder = tmp_path / "before"
    folder.mkdir()
    (folder / ".gateway-1.json.new").write_text('{"host": "gate')
    (tmp_path / ".staged.json.new").write_text("{")
    assert snapshot.read_original(tmp_path) is None
    assert snapshot.read_staged(tmp_path) is None


def test_keeping_again_replaces_what_was_kept_and_leaves_nothing_beside(tmp_path: Path) -> None:
    for _ in range(2):
        snapshot.keep_original(tmp_path, original("gateway-1"))
    assert sorted(path.name for path in (tmp_path / "before").iterdir()) == ["gateway-1.conf", "gateway-1.json"]


def test_where_the_candidates_lie_comes_back_without_their_bytes(tmp_path: Path) -> None:
    staged = StagedHost(
        host="gateway-1",
        live="/etc/nginx/conf.d/recognition.conf",
        folder="/etc/nginx/.drillctl-run",
        candidate="/etc/nginx/.drillctl-run/candidate",
        test_root="/etc/nginx/.drillctl-run/root",
        content=b"secret config",
        sha256="ab" * 32,
        original_sha256="cd" * 32,
        diff="-a\n+b\n",
        tested="syntax is ok",
    )
    snapshot.keep_staged(tmp_path, Staged("zone-b", (staged,)))
    found = snapshot.read_staged(tmp_path)
    assert found is not None
    assert found.zone == "zone-b"
    kept = ("host", "live", "folder", "test_root", "sha256")
    assert [getattr(found.hosts[0], name) for name in kept] == [getattr(staged, name) for name in kept]
    assert found.hosts[0].content == b""
    assert "secret" not in (tmp_path / "staged.json").read_text()


def test_a_full_disk_is_told_as_the_journal_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(snapshot.os, "fsync", full)
    with pytest.raises(Inconclusive, match="cannot be written: No space left on device") as caught:
        snapshot.keep_original(tmp_path, original("gateway-1"))
    assert "DRILLCTL_HOME" in (caught.value.hint or "")
    snapshot.keep_after(tmp_path, original("gateway-1"))
