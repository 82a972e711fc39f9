"""The lab for the tests of this folder, and sandboxes in which other labs can be made, killed and removed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl import lab as labs
from drillctl.errors import NotStarted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def lab() -> Iterator[labs.Lab]:
    """One lab for the whole session: machines where they can be had, else processes.

    Where it must work (in CI, and as root) a lab that cannot be made is a failure, not a skipped test.
    """
    if labs.current() is not None:
        pytest.exit("a lab is up that these tests would spoil: `drillctl lab down` first", returncode=2)
    try:
        made = labs.up()
    except NotStarted as error:
        if os.environ.get("CI") or os.geteuid() == 0:
            raise
        pytest.skip(f"{error}. {error.hint or ''}")
    try:
        yield made
    finally:
        labs.down()


class Sandbox:
    """A mount and a network namespace with a /run of its own: a lab in it meets no other lab of this machine.

    `account` makes the user of that uid exist in it, and lets everybody read what Python needs.
    """

    def __init__(self, folder: Path, account: int | None = None) -> None:
        self.folder = folder
        self.account = account
        script = ["mount -n -t tmpfs -o mode=755 sandbox /run", "ip link set lo up"]
        if account is not None:
            script += self._account_script(account)
        script.append("exec sleep infinity")
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-euc", "; ".join(script)],
            stdin=subprocess.DEVNULL,
        )
        while (name := Path(f"/proc/{self.holder.pid}/comm").read_text().strip()) != "sleep":
            assert self.holder.poll() is None, name
            time.sleep(0.005)

    def _account_script(self, uid: int) -> list[str]:
        passwd = self.folder / "passwd"
        passwd.write_text(Path("/etc/passwd").read_text() + f"tester:x:{uid}:{uid}::/tmp:/bin/sh\n")
        passwd.chmod(0o644)
        lines = [f"mount --bind {passwd} /etc/passwd"]
        # A folder closed to others, such as /root, is replaced by an open one with only the way to Python in it.
        needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), PROJECT}
        closed = {part for path in needed for part in path.parents if not part.stat().st_mode & 0o001}
        for part in sorted(closed):
            for number, path in enumerate(path for path in sorted(needed) if path.is_relative_to(part)):
                kept = self.folder / f"kept-{number}"
                kept.mkdir()
                lines += [f"mount --bind {path} {kept}", f"mount -t tmpfs -o mode=755 open {part}"]
                lines += [f"mkdir -p {path}", f"mount --bind {kept} {path}"]
        return lines

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the words that run a command in here, as the sandbox's account."""
        enter = ["nsenter", "--target", str(self.holder.pid), "--mount", "--net", "--"]
        if self.account is not None:
            uid = str(self.account)
            enter += ["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--no-new-privs", "--"]
            enter += ["env", "-i", "PATH=/usr/bin:/bin", "HOME=/tmp"]
        return [*enter, *argv]

    def drillctl(self, *words: str) -> list[str]:
        """Return the words that run drillctl in here."""
        return self.command([sys.executable, "-B", "-m", "drillctl", *words])

    def run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run one of the commands above and wait for it."""
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, cwd=PROJECT
        )

    def path(self, path: str) -> Path:
        """Return where a path of the sandbox is seen from outside."""
        return Path(f"/proc/{self.holder.pid}/root{path}")

    @property
    def ledger(self) -> list[dict[str, object]]:
        """Return what the lab in here has written down."""
        place = "/run/drillctl-lab" if self.account is None else f"/tmp/drillctl-lab-{self.account}"
        try:
            lines = self.path(f"{place}/ledger.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def traces(self) -> set[str]:
        """Return everything that a lab could leave in here: mounts, interfaces, folders."""
        mounts = self.path(f"/proc/{self.holder.pid}/mountinfo").read_text().splitlines()
        links = self.path(f"/proc/{self.holder.pid}/net/dev").read_text().splitlines()[2:]
        folders = [*self.path("/run").iterdir(), *self.path("/tmp").glob("drillctl-lab*")]
        return (
            {f"mount {line.split()[4]}" for line in mounts}
            | {f"link {line.split(':')[0].strip()}" for line in links}
            | {f"folder {folder.name}" for folder in folders}
        )

    def close(self) -> None:
        """Remove the lab that may still be in here, and end the sandbox."""
        self.run(self.drillctl("lab", "down"))
        self.holder.kill()
        self.holder.wait()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox of root's, closed at the end."""
    if os.geteuid() != 0:
        pytest.skip("a sandbox needs root")
    made = Sandbox(tmp_path)
    yield made
    made.close()


@pytest.fixture
def ordinary(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox of an ordinary user, closed at the end."""
    if os.geteuid() != 0:
        pytest.skip("a sandbox needs root")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o001)
    made = Sandbox(tmp_path, account=61234)
    yield made
    made.close()
