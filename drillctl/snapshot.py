"""What a run must know to put the gateway back, kept in the run's folder before anything is changed.

before/HOST.conf     the original bytes of the live config
before/HOST.json     where they belong: path, resolved path, mode, owner, sha256
staged.json          where the candidates lie, and their sha256
staged/HOST.conf     their bytes
after/HOST.conf      the bytes of the live config after everything was put back
playbook.json        the playbook as it was carried out, its variables and includes worked out
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING

from drillctl.errors import Inconclusive, UsageError
from drillctl.gateway.gateway import GatewayConfig, HostConfig, Staged, StagedHost

if TYPE_CHECKING:
    from pathlib import Path

    from drillctl.playbook import Playbook


PLAYBOOK = "playbook.json"


def keep_playbook(folder: Path, playbook: Playbook) -> None:
    """Write the playbook as it is carried out. Raises Inconclusive when the disk does not take it, as all of these."""
    _write(folder / PLAYBOOK, playbook.model_dump_json(by_alias=True, indent=2).encode())


def keep_original(folder: Path, config: GatewayConfig) -> None:
    """Write the original config of every gateway host, synced to disk."""
    before = folder / "before"
    for host in config.hosts:
        _write(before / f"{host.host}.conf", host.content)
        about = {
            "host": host.host,
            "path": host.path,
            "resolved": host.resolved,
            "mode": host.mode,
            "owner": host.owner,
            "sha256": host.sha256,
            "choice": host.choice,
        }
        _write(before / f"{host.host}.json", json.dumps(about, indent=2).encode())


def keep_staged(folder: Path, staged: Staged) -> None:
    """Write where the candidates lie, and their bytes."""
    for host in staged.hosts:
        _write(folder / "staged" / f"{host.host}.conf", host.content)
    hosts = [
        {"host": h.host, "live": h.live, "folder": h.folder, "test_root": h.test_root, "sha256": h.sha256}
        for h in staged.hosts
    ]
    _write(folder / "staged.json", json.dumps({"zone": staged.zone, "hosts": hosts}, indent=2).encode())


def keep_after(folder: Path, config: GatewayConfig) -> None:
    """Write the config of every gateway host as it is after the drill, for the record; a full disk is no failure."""
    with contextlib.suppress(Inconclusive):
        for host in config.hosts:
            _write(folder / "after" / f"{host.host}.conf", host.content)


def read_original(folder: Path) -> GatewayConfig | None:
    """Return the original config; None when none was kept. Raises UsageError when the bytes are not what they were."""
    hosts: list[HostConfig] = []
    for file in sorted((folder / "before").glob("*.json")):
        about = json.loads(file.read_text(encoding="utf-8"))
        content = file.with_suffix(".conf").read_bytes()
        if hashlib.sha256(content).hexdigest() != about["sha256"]:
            raise UsageError(
                f"{file.with_suffix('.conf')} is not the original config any more: its sha256 differs",
                state="nothing was changed",
                hint="put the gateway's config back by hand",
            )
        hosts.append(HostConfig(**about, content=content, servers=()))
    return GatewayConfig(tuple(hosts), None) if hosts else None


def read_staged(folder: Path) -> Staged | None:
    """Return where the candidates lie, without their bytes; None when nothing was staged."""
    file = folder / "staged.json"
    if not file.is_file():
        return None
    about = json.loads(file.read_text(encoding="utf-8"))
    hosts = tuple(
        StagedHost(**host, candidate="", content=b"", original_sha256="", diff="", tested="") for host in about["hosts"]
    )
    return Staged(about["zone"], hosts)


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all, whenever drillctl is killed. Raises Inconclusive."""
    try:
        _replace(path, content)
    except OSError as error:
        raise Inconclusive(
            f"{path} cannot be written: {error.strerror}",
            state="what it was to hold was not changed",
            hint="make room there, or set DRILLCTL_HOME to a folder on another disk",
        ) from None


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
