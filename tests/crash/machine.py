"""One machine of the lab, looked at from the machine below: its files, processes, units, mounts and packet filters.

Nothing runs in the machine for that, and no login is needed: what is seen is so also when its sshd does not answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl.lab import cgroup, ground

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drillctl.lab import Lab

Picture = dict[str, str]
"""What was seen, by what it is: a file, a process, a unit, a mount, an address or a filter."""

_GROWS = ("var/log/", "var/lib/systemd/", "srv/model")
"""Where files change by themselves, also at a reboot, or are the lab's own."""

_OF_SYSTEMD = re.compile(r"run/(?!systemd/(system|transient)/)(systemd|host|log|dbus|user|lock|credentials)/.+")
"""What systemd keeps in /run for itself; drop-ins and transient units are looked at."""

_RANDOM = re.compile(r"systemd-private-[0-9a-f]+-(.+?)-\w{6}")


class Machine:
    """One machine, by its name."""

    def __init__(self, lab: Lab, name: str) -> None:
        things = [json.loads(line) for line in (lab.folder / "ledger.jsonl").read_text().splitlines()]
        self.name = name
        self._group = Path(next(thing["name"] for thing in things if thing["kind"] == "cgroup")) / name
        room = next(thing["pid"] for thing in things if thing["name"] == "room")
        self.upper = Path(f"/proc/{room}/root/run/{name}/upper")

    @property
    def leader(self) -> int:
        """Return the pid of its systemd; another one after a reboot. Raises LookupError while it is down."""
        found = cgroup.leaders(self._group)
        if not found:
            raise LookupError(f"{self.name} is down")
        return found[0].pid

    def path(self, path: str) -> Path:
        """Return where a path of the machine is seen from here."""
        return Path(f"/proc/{self.leader}/root{path}")

    def run(self, *argv: str, inside: str = "-m -n -p -u -i") -> str:
        """Run a command in some of the machine's namespaces; return what it prints. Raises when it fails."""
        words = [ground.required("nsenter"), "-t", str(self.leader), *inside.split(), "--", *argv]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    def shell(self, script: str) -> str:
        """Run a shell script in the machine."""
        return self.run("/bin/sh", "-c", script)

    def pids(self) -> list[int]:
        """Return the pids, as seen from here, of everything that runs in the machine."""
        return cgroup.members(self._group / "payload")

    def processes(self) -> Iterator[tuple[int, str, str]]:
        """Yield pid, unit and command line of what runs in the machine."""
        for pid in self.pids():
            try:
                group = Path(f"/proc/{pid}/cgroup").read_text().rpartition("0::")[2].strip()
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if words:
                yield pid, group.partition("/payload/")[2], words

    def find(self, words: str) -> list[int]:
        """Return the pids of the processes whose command line holds some words."""
        return [pid for pid, _, line in self.processes() if words in line]

    def picture(self) -> Picture:
        """Return everything that must be the same before and after. Raises when the machine cannot be looked at."""
        found: Picture = {}
        counted = Counter(f"process {unit}: {line}" for _, unit, line in self.processes())
        found |= {what: str(number) for what, number in counted.items()}
        found |= dict(self._files(self.upper, hashed=True))
        found |= dict(self._files(self.path("/"), "run", hashed=True))
        found |= dict(self._files(self.path("/"), "tmp", hashed=False))
        units = self.run(
            "systemctl", "list-units", "--plain", "--no-legend", "--full", "--state=active,failed,activating"
        )
        found |= {f"unit {line.split()[0]}": " ".join(line.split()[1:4]) for line in units.splitlines()}
        found["filters"] = self.run(ground.required("nft"), "list", "ruleset", inside="-n")
        addresses = self.run(ground.required("ip"), "-brief", "address", inside="-n")
        found["addresses"] = re.sub(r"@if\d+", "", " ".join(addresses.split()))
        found["routes"] = self.run(ground.required("ip"), "route", inside="-n")
        mounts = Path(f"/proc/{self.leader}/mountinfo").read_text().splitlines()
        found |= {f"mount {point}": str(n) for point, n in Counter(line.split()[4] for line in mounts).items()}
        return {_RANDOM.sub(r"systemd-private-\1", what): value for what, value in found.items()}

    def held(self) -> bool:
        """Tell whether somebody holds this machine's lease."""
        return self.path(f"/var/lib/drillctl/{self.name}/lease").exists()

    def _files(self, root: Path, below: str = "", *, hashed: bool) -> Iterator[tuple[str, str]]:
        for folder, names, files in os.walk(root / below):
            names.sort()
            for name in [*names, *files]:
                path = Path(folder, name)
                shown = str(path.relative_to(root))
                if shown.startswith(_GROWS) or _OF_SYSTEMD.fullmatch(shown):
                    continue
                try:
                    about = _about(path, hashed and "/drillctl/" not in shown and not shown.endswith(".pid"))
                    # A folder of the machine below that was only opened for writing is nothing new.
                    below_it = Path("/", shown)
                    if root == self.upper and path.is_dir() and below_it.is_dir() and about == _about(below_it, False):
                        continue
                    yield f"file /{shown}", about
                except FileNotFoundError:
                    continue


def _about(path: Path, hashed: bool) -> str:
    about = path.lstat()
    value = f"{stat.filemode(about.st_mode)} {about.st_uid}:{about.st_gid}"
    if stat.S_ISLNK(about.st_mode):
        value += f" -> {path.readlink()}"
    elif stat.S_ISREG(about.st_mode) and hashed:
        value += f" {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    return value


def differences(before: Picture, after: Picture) -> list[str]:
    """Return what differs between two pictures, a line each (pure)."""
    lines = [f"gone: {what}" for what in sorted(before.keys() - after.keys())]
    lines += [f"new: {what}" for what in sorted(after.keys() - before.keys())]
    both = sorted(before.keys() & after.keys())
    return lines + [
        f"changed: {what}: {before[what]!r} became {after[what]!r}" for what in both if before[what] != after[what]
    ]
