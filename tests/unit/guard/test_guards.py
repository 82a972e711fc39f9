"""All guards of a run, with the real program on this machine: taken together, kept alive, given back together."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl import takeover
from drillctl.errors import Aborted, CommandFailed, HostError
from drillctl.guard import guards as module
from drillctl.guard import recovery
from drillctl.guard.client import GuardClient, program
from drillctl.guard.guards import Guards
from drillctl.guard.lease import Held, Holding, Order, StaleLease
from drillctl.hosts.fleet import Fleet
from drillctl.hosts.local import LocalTransport
from drillctl.hosts.scripted import Page, ScriptedTransport
from drillctl.interrupt import Interrupt
from drillctl.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOTE = Order("gateway.discard", "gateway.discard", ("/nowhere/.drillctl-x",))

ESTATE = Inventory.model_validate(
    {
        "name": "estate",
        "zones": (
            {"name": "a", "role": "primary", "failure_domain": "1", "hosts": ({"name": "a-1", "address": "10.0.0.1"},)},
            {"name": "b", "role": "standby", "failure_domain": "2", "hosts": ({"name": "b-1", "address": "10.0.0.2"},)},
        ),
        "service": {
            "port": 8080,
            "model": {"path": "/m", "sha256": "0" * 64},
            "start": {"kind": "systemd", "unit": "inference.service"},
        },
        "gateway": {
            "hosts": ({"name": "g-2", "address": "10.0.0.8"}, {"name": "g-1", "address": "10.0.0.9"}),
            "url": "http://10.0.0.9",
            "config": "/etc/nginx/conf.d/a.conf",
            "upstream": "u",
        },
    }
)


class Ordinary(LocalTransport):
    """This machine as an ordinary user sees it, with a home of the host's own. `said` are the commands."""

    def __init__(self, host: str, home: Path, programs: Path) -> None:
        super().__init__(host)
        self.home = home
        self.programs = programs
        self.said: list[str] = []
        self.broken = False

    def execute(self, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        self.said.append(command)
        if self.broken:
            command = "echo the host is gone >&2; exit 9"
        prefix = f"export HOME={shlex.quote(str(self.home))} PATH={shlex.quote(str(self.programs))}:$PATH; "
        return super().execute(prefix + command, stdin, timeout)


class Hosts:
    """The hosts of the estate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        identity = folder / "bin" / "id"
        identity.write_text("#!/bin/sh\necho 1000\n")
        identity.chmod(0o755)
        self.transports = {host.name: Ordinary(host.name, folder / host.name, folder / "bin") for host in ESTATE.hosts}
        self.made: list[Guards] = []

    def guards(self, run: str, ttl: int = 30) -> Guards:
        """Return the guards of a run; no lease is taken yet."""
        self.made.append(Guards(ESTATE, Fleet(ESTATE, self.transports), run, ttl))
        return self.made[-1]

    def client(self, host: str) -> GuardClient:
        return GuardClient(self.transports[host])

    def state(self, host: str) -> Path:
        """Return the folder of a host's guard."""
        return self.transports[host].home / ".drillctl" / host

    def files(self, host: str) -> set[str]:
        return {path.name for path in self.state(host).iterdir()}

    def on_one_machine(self) -> None:
        """Make all hosts one machine: for those with one home there is one folder of guards."""
        for transport in self.transports.values():
            transport.home = self.folder

    def close(self) -> None:
        for guards in self.made:
            guards.close()
        for host in self.transports:
            # Watches end within a second of the end of their lease.
            for path in self.state(host).glob("lease"):
                path.unlink()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    yield made
    made.close()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_program_is_replaced_only_when_it_differs(hosts: Hosts) -> None:
    client = hosts.client("g-1")
    client.acquire("run-1", "me", 30)
    path = hosts.state("g-1") / "guard.sh"
    assert path.read_bytes() == program()
    inode = path.stat().st_ino
    client.acquire("run-1", "me", 30)
    assert path.stat().st_ino == inode
    path.write_bytes(b"exit 0\n")
    client.acquire("run-1", "me", 30)
    assert path.read_bytes() == program()
    client.release()
    assert hosts.files("g-1") == {"epoch"}


def test_what_the_guard_remembers_begins_behind_the_program(hosts: Hosts) -> None:
    started = hosts.folder / "started"
    lines = [str(hosts.folder / "pid"), str(hosts.folder), str(hosts.folder / "log"), "2", "touch", str(started)]
    client = hosts.client("a-1")
    client.acquire("run-1", "me", 1, "".join(f"{line}\n" for line in lines).encode())
    client.register(Order("service.revive", "service.revive", ("process",)))
    until(started.exists)


@pytest.mark.parametrize("cut", ["in the program", "before the program"])
def test_a_connection_lost_while_the_lease_is_taken_leaves_no_guard(hosts: Hosts, cut: str) -> None:
    whole = hosts.transports["g-1"].execute

    def broken_off(command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        return whole(command, stdin[: len(stdin) // 2] if cut == "in the program" else b"", timeout)

    hosts.transports["g-1"].execute = broken_off  # type: ignore[method-assign]
    with pytest.raises(CommandFailed, match="did not arrive whole"):
        hosts.client("g-1").acquire("run-1", "me", 30)
    assert hosts.files("g-1") == set()


def test_a_guard_that_could_not_take_the_lease_is_not_left_behind(hosts: Hosts) -> None:
    # Where a folder is in the way the guard can write nothing down; a mode would not keep root from it.
    (hosts.state("g-1") / ".new").mkdir(parents=True)
    with pytest.raises(CommandFailed, match="epoch could not be written"):
        hosts.client("g-1").acquire("run-1", "me", 30)
    assert "guard.sh" not in hosts.files("g-1")


def test_leases_are_taken_on_every_host_and_given_back(hosts: Hosts) -> None:
    guards = hosts.guards("run-1")
    guards.acquire(again=False)
    assert {hosts.client(host).show().run for host in hosts.transports} == {"run-1"}
    guards.release()
    assert all(hosts.files(host) == {"epoch"} for host in hosts.transports)


def test_leases_are_taken_on_the_hosts_that_are_there(hosts: Hosts) -> None:
    there = {name: hosts.transports[name] for name in ("g-1", "a-1")}
    guards = Guards(ESTATE, Fleet(ESTATE, there), "run-1", 30)
    hosts.made.append(guards)
    guards.acquire(again=True)
    assert {name for name in hosts.transports if hosts.client(name).show().run} == set(there)
    guards.release()


def test_one_refusal_gives_back_what_was_taken(hosts: Hosts) -> None:
    other = hosts.client("g-2")
    other.acquire("theirs", "ann@desk pid 5", 30)
    with pytest.raises(Held, match=r"g-2: another drill holds the lease: theirs, by ann@desk pid 5, since"):
        hosts.guards("ours").acquire(again=False)
    assert hosts.client("g-1").show().state == "free"
    assert hosts.client("a-1").show().state == "free"
    assert other.show().run == "theirs"


def test_one_machine_may_play_all_hosts_of_one_run_but_of_no_two(hosts: Hosts) -> None:
    hosts.on_one_machine()
    first = hosts.guards("ours")
    first.acquire(again=False)
    assert {hosts.client(host).show().run for host in hosts.transports} == {"ours"}
    first.release()
    hosts.client("g-2").acquire("theirs", "ann@desk pid 5", 30)
    with pytest.raises(
        Held, match=r"g-1: another drill .* theirs, by ann@desk pid 5.* calls this machine g-2"
    ) as caught:
        hosts.guards("ours").acquire(again=False)
    folder = hosts.state("g-2")
    assert f"`sh {folder}/guard.sh {folder} break theirs`" in (caught.value.hint or "")
    assert all(hosts.files(host) == {"epoch"} for host in ("g-1", "a-1", "b-1"))


def test_gateways_come_first_by_name(hosts: Hosts) -> None:
    hosts.client("g-1").acquire("theirs", "ann", 30)
    with pytest.raises(Held):
        hosts.guards("ours").acquire(again=False)
    for host in ("g-2", "a-1", "b-1"):
        assert not any("acquire" in command for command in hosts.transports[host].said), host


def test_an_undo_that_is_registered_already_costs_nothing(hosts: Hosts) -> None:
    guards = hosts.guards("run-1")
    guards.acquire(again=False)
    guards.register({"g-1": NOTE})
    said = len(hosts.transports["g-1"].said)
    guards.register({"g-1": NOTE})
    assert len(hosts.transports["g-1"].said) == said
    assert hosts.client("g-1").show().orders == (NOTE,)
    guards.strike("gateway.discard", ["g-1", "g-2"])
    assert hosts.client("g-1").show().orders == ()


def test_the_guards_carry_out_what_a_run_knows_too_little_of(hosts: Hosts) -> None:
    staged = hosts.folder / ".drillctl-run-1"
    staged.mkdir()
    guards = hosts.guards("run-1")
    guards.acquire(again=False)
    guards.register({"g-1": Order("gateway.discard", "gateway.discard", (str(staged),))})
    again = hosts.guards("run-1")
    again.acquire(again=True)
    again.undo_held("gateway.discard", ["g-1", "g-2"])
    assert not staged.exists()
    again.strike("gateway.discard", ["g-1", "g-2"])
    again.release()
    assert hosts.files("g-1") == {"epoch"}
    # A lease that is over is no error: its guard has done it.
    again.undo_held("gateway.discard", ["g-1"])


def test_an_undo_that_a_guard_cannot_carry_out_is_told(hosts: Hosts) -> None:
    guards = hosts.guards("run-1")
    guards.acquire(again=False)
    guards.register({"g-1": Order("strange", "strange", ("x",))})
    with pytest.raises(HostError, match=r"g-1: the guard could not undo strange: .* knows no undo"):
        guards.undo_held("strange", ["g-1"])


@pytest.mark.parametrize("what", ["strike", "undo", "undo_held", "release"])
def test_a_guard_that_could_not_undo_is_not_taken_for_one_that_has(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(module, "SETTLE", 0.5)
    guards, order = hosts.guards("run-1"), Order("strange", "strange", ("x",))
    guards.acquire(again=False)
    guards.register({"g-1": order, "g-2": NOTE})
    for host in ("g-1", "g-2"):
        hosts.client(host).break_lease("run-1", forget=False)
    ways = {
        "strike": lambda: guards.strike("strange", ["g-1"]),
        "undo": lambda: guards.undo("g-1", order),
        "undo_held": lambda: guards.undo_held("strange", ["g-1"]),
        "release": guards.release,
    }
    with pytest.raises(
        HostError, match=r"g-1: the lease ended, and its guard still has to undo strange .*knows no undo"
    ):
        ways[what]()
    assert "g-1" in guards.ended
    guards.strike(NOTE.id, ["g-2"])
    hosts.client("g-1").break_lease("run-1", forget=True)


def test_heartbeats_keep_the_leases(hosts: Hosts) -> None:
    guards = hosts.guards("run-1", ttl=2)
    guards.acquire(again=False)
    guards.register({"g-1": NOTE})
    guards.start_beats(lambda _host, why, _answers: pytest.fail(why))
    time.sleep(5)
    assert hosts.client("g-1").show().state == "held"
    guards.check()
    guards.release()


def test_a_recovery_keeps_its_lease_while_a_server_loads(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "RENEW", 0.2)
    ready = time.monotonic() + 4
    page = {True: Page(b'{"status": "healthy"}'), False: Page(b'{"status": "loading"}', 503)}
    gateway = ScriptedTransport("g-1", {}, server=lambda *_: page[time.monotonic() > ready])
    client, host = hosts.client("a-1"), ESTATE.zone("primary").hosts[0]
    client.acquire("run-1", "me", 1)
    client.register(NOTE)
    fleet = Fleet(ESTATE, {"g-1": gateway})
    with Interrupt() as interrupt:
        one = recovery._Recovery(ESTATE, fleet, {"a-1": client}, recovery.Recovered(), interrupt, lambda _: None)
        one._wait_ready(host, client)
    assert time.monotonic() > ready
    client.strike(NOTE.id)
    client.release()


def test_without_heartbeats_the_guards_free_themselves(hosts: Hosts) -> None:
    guards = hosts.guards("run-1", ttl=1)
    guards.acquire(again=False)
    guards.register({"g-1": NOTE})
    guards.close()
    until(lambda: all(hosts.files(host) == {"epoch"} for host in hosts.transports))
    with pytest.raises(Aborted, match="was not renewed for 1 s"):
        guards.check()
    # What comes too late is no error where the guard has done it already, and one where something would be changed.
    guards.strike("gateway.discard", ["g-1"])
    with pytest.raises(Aborted, match="not this run's any more"):
        guards.register({"g-1": NOTE})
    guards.release()
    assert guards.ended == set(hosts.transports)


def test_a_run_that_slept_sees_which_hosts_another_one_holds_by_now(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    guards = hosts.guards("run-1")
    guards.acquire(again=False)
    for host in ("g-1", "a-1"):
        hosts.client(host).break_lease("run-1", forget=False)
    hosts.client("g-1").acquire("run-2", "ann", 30)
    assert guards.taken() == [], "a lease that was just renewed is ours for sure"
    now = module.clock()
    monkeypatch.setattr(module, "clock", lambda: now + 3600)
    (held,) = guards.taken()
    assert (held.host, held.run, held.owner) == ("g-1", "run-2", "ann")
    assert guards.ended == {"g-1"}


@pytest.mark.parametrize("how", ["taken over", "unreachable"])
def test_a_lost_guard_is_reported_once(hosts: Hosts, how: str) -> None:
    guards = hosts.guards("run-1", ttl=4)
    guards.acquire(again=False)
    lost: list[tuple[str, str, bool]] = []
    guards.start_beats(lambda *told: lost.append(told))
    if how == "taken over":
        hosts.client("a-1").acquire("run-1", "somebody else", 30)
    else:
        hosts.transports["a-1"].broken = True
    until(lambda: bool(lost))
    time.sleep(2)
    assert len(lost) == 1
    host, why, answers = lost[0]
    assert host == "a-1"
    assert "lost contact" in why
    assert answers is (how == "taken over")
    # A lease that is somebody else's is remembered to the end; a host that does not answer may still be ours.
    assert guards.ended == ({"a-1"} if how == "taken over" else set())


def test_a_run_takes_over_what_it_left_and_gives_that_back(hosts: Hosts) -> None:
    first = hosts.guards("run-1")
    first.acquire(again=False)
    first.register({"g-1": NOTE})
    second = hosts.guards("run-1")
    second.acquire(again=True)
    with pytest.raises(StaleLease):
        first._clients["g-1"].renew()
    second.strike("gateway.discard", ["g-1"])
    second.release()
    assert hosts.client("g-1").show().state == "free"


@pytest.mark.parametrize("then", ["freed", "taken by another run", "deleted"])
def test_what_a_guard_holds_later_tells_whether_a_run_is_over_there(hosts: Hosts, then: str) -> None:
    hosts.guards("run-1").acquire(again=False)
    hosts.client("g-1").break_lease("run-1", forget=False)
    if then == "taken by another run":
        hosts.client("g-1").acquire("run-2", "ann", 30)
    elif then == "deleted":
        (hosts.state("g-1") / "epoch").unlink()
    fleet = Fleet(ESTATE, hosts.transports)
    held = {name: one for name, one in recovery.ask(ESTATE, fleet).items() if isinstance(one, Holding)}
    found = takeover.standings("run-1", held, {"g-1"}, insist=False)
    assert found["g-1"] == ("unknown" if then == "deleted" else "over")
    assert {found[name] for name in ("g-2", "a-1", "b-1")} == {"ours"}


def test_a_lease_with_outstanding_undos_is_not_given_back(hosts: Hosts) -> None:
    client = hosts.client("g-1")
    client.acquire("run-1", "me", 30)
    client.register(NOTE)
    with pytest.raises(CommandFailed, match="outstanding"):
        client.release()
    assert client.undo().orders == ()
    client.release()


def test_renewals_wait_while_hosts_should_be_quiet(hosts: Hosts) -> None:
    guards = hosts.guards("run-1", ttl=8)
    guards.acquire(again=False)
    guards.quiet(True)
    guards.start_beats(lambda _host, why, _answers: pytest.fail(why))
    time.sleep(3)
    assert not any(" renew 1" in command for command in hosts.transports["g-1"].said)
    until(lambda: any(" renew 1" in command for command in hosts.transports["g-1"].said), 5)
    guards.release()


def test_the_clock_of_the_lease_counts_sleep() -> None:
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert module.clock() == pytest.approx(uptime, abs=0.5)
