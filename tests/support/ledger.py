"""What a lab's ledger names and still runs."""

from __future__ import annotations

from pathlib import Path


def alive(ledger: list[dict[str, object]]) -> list[int]:
    """Return the pids in the control groups and process entries of a ledger that still run."""
    found: list[int] = []
    for thing in ledger:
        if thing["kind"] == "cgroup":
            for procs in Path(str(thing["name"])).rglob("cgroup.procs"):
                found += [int(pid) for pid in procs.read_text().split()]
        if thing["kind"] == "process" and runs(pid := int(str(thing["pid"]))):
            found.append(pid)
    return found


def runs(pid: int) -> bool:
    """Tell whether a process runs; one that has ended may wait for a while until its parent looks."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
