"""Real gateways of the other kinds, driven by the installed programs alone: these are enough, and take nothing else."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import CommandFailed, GatewayError
from drillctl.gateway.adoption import Adoption
from drillctl.gateway.kinds import gateway_of
from drillctl.guard import orders
from drillctl.guard.client import GuardClient
from drillctl.privileges.program import REFUSED

from .conftest import by_programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drillctl.gateway.gateway import Gateway
    from drillctl.hosts.local import LocalTransport
    from drillctl.inventory import Inventory

    from .conftest import RunningHaproxy, RunningNginx

RUN = "20260101T000000Z-run-1"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the programs are for root")


class Driven:
    """A gateway and the guard of its host, driven by programs; `turned` is with the roles exchanged."""

    def __init__(self, inventory: Inventory, folder: Path) -> None:
        self.inventory = inventory
        self.folder = folder
        self.transport: LocalTransport = by_programs(inventory, folder)
        self.gateway: Gateway = gateway_of(inventory, {"gateway": self.transport}, RUN)
        self.turned: Gateway = gateway_of(inventory.turned(), {"gateway": self.transport}, RUN)
        self.guard = GuardClient(self.transport)

    def arm(self, zone: str, *, turned: bool = False) -> None:
        """Stage a zone, and have the guard hold the way back, as a drill does."""
        estate, gateway = (self.inventory.turned(), self.turned) if turned else (self.inventory, self.gateway)
        self.guard.acquire(RUN, "tests", 60)
        self.guard.register(orders.discard(gateway.places())["gateway"])
        self.original = gateway.read()
        self.staged = gateway.stage(zone)
        for order in orders.restore(estate, self.original, self.staged).values():
            self.guard.register(order)

    def program(self, name: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a program with words of somebody who has the drill's key."""
        argv = ["sh", str(self.folder / "programs" / name), *words]
        return subprocess.run(argv, input=stdin, capture_output=True, check=False)

    def refuses(self, name: str, *words: str, stdin: bytes = b"") -> bool:
        done = self.program(name, *words, stdin=stdin)
        return done.returncode == REFUSED and done.stdout == b"" and b"refused, nothing was done: " in done.stderr


@pytest.fixture
def flagged(nginx: RunningNginx) -> Iterator[Driven]:
    """Yield an nginx that goes by its flag."""
    options: dict[str, object] = {"kind": "nginx-flag", "flag": str(nginx.flag)}
    nginx.adopt(**options)
    time.sleep(0.1)  # so that the workers are younger than the config
    nginx.start()
    driven = Driven(nginx.inventory(**options), nginx.folder)
    yield driven
    if driven.guard.lease is not None:
        driven.guard.break_lease(RUN, forget=True)


@pytest.fixture
def served(haproxy: RunningHaproxy) -> Iterator[Driven]:
    """Yield an HAProxy that has one more server in a backend of somebody else's."""
    haproxy.config.write_text(haproxy.config.read_text() + "\nbackend other\n    server theirs 127.0.0.1:9\n")
    haproxy.start()
    driven = Driven(haproxy.inventory(), haproxy.folder)
    yield driven
    if driven.guard.lease is not None:
        driven.guard.break_lease(RUN, forget=True)


# --- the flag ---------------------------------------------------------------------------------------------------------


def test_a_flag_is_set_and_taken_away(nginx: RunningNginx, flagged: Driven) -> None:
    it = flagged.gateway
    flagged.arm("zone-b")
    it.test()
    it.prove_applied(it.activate(flagged.staged), 5)
    assert nginx.answer() == "zone-b"
    mark = it.access_mark()
    nginx.answer()
    assert it.served_since(mark).by_address == {nginx.standby: 1}
    it.prove_applied(it.restore(flagged.original), 5)
    it.discard(flagged.staged)
    assert (nginx.answer(), nginx.flag.exists()) == ("zone-a", False)


def test_a_flag_of_a_run_before_comes_back(nginx: RunningNginx, flagged: Driven) -> None:
    """As `drillctl switch` to the primary does it, and then fails."""
    flagged.gateway.activate(flagged.gateway.stage("zone-b"))
    before = nginx.flag.read_bytes()
    flagged.arm("zone-a", turned=True)
    flagged.turned.activate(flagged.staged)
    assert (nginx.answer(), nginx.flag.exists()) == ("zone-a", False)
    flagged.turned.restore(flagged.original)
    assert (nginx.answer(), nginx.flag.read_bytes()) == ("zone-b", before)


def test_the_guard_takes_the_flag_away(nginx: RunningNginx, flagged: Driven) -> None:
    flagged.arm("zone-b")
    flagged.gateway.activate(flagged.staged)
    assert flagged.guard.undo().orders == ()
    assert (nginx.answer(), nginx.flag.exists()) == ("zone-a", False)


@pytest.mark.parametrize(("content", "mode"), [(b"Ana\n", 0o644), (b"", 0o666), (b"", 0o4755)])
def test_a_flag_that_could_not_come_back_is_refused_when_it_is_staged(
    nginx: RunningNginx, flagged: Driven, content: bytes, mode: int
) -> None:
    nginx.flag.parent.mkdir()
    nginx.flag.write_bytes(content)
    nginx.flag.chmod(mode)
    with pytest.raises(GatewayError, match="could not put it back") as refused:
        flagged.turned.stage("zone-a")
    assert refused.value.state == "nothing was changed"
    assert [path.name for path in nginx.flag.parent.iterdir()] == [nginx.flag.name]


def test_a_flag_of_other_bytes_is_neither_staged_nor_put_nor_kept(nginx: RunningNginx, flagged: Driven) -> None:
    own = f"the standby serves: drillctl, run {RUN}\n".encode()
    flag, sha = str(nginx.flag), "0" * 64
    candidate = str(nginx.flag.with_name(f".drillctl-{RUN}.flag"))
    health = f"http://{nginx.standby}/health"
    undo = ("gateway", "register", "1", "gateway.restore", "gateway.flag", flag, sha, "644", "0:0", "absent", health)
    evil = (b"* * * * * root id\n", own + b"x", own[:-1], own + b"\0", own.replace(b"n-1", b"n 1"), b"\n", own * 40)
    for content in (*evil, own.replace(b"n-1", b"n-2"), b""):
        assert flagged.refuses("flag-stage", flag, candidate, str(nginx.pidfile), stdin=content), content
    for content in evil:
        assert flagged.refuses("flag-put", flag, candidate, sha, "644", "0:0", "absent", stdin=content), content
        assert flagged.refuses("guard", *undo, stdin=content), content
    assert not nginx.flag.parent.exists()
    assert flagged.program("flag-stage", flag, candidate, str(nginx.pidfile), stdin=own).returncode == 0
    assert flagged.program("flag-put", flag, candidate, sha, "644", "0:0", "absent", stdin=own).returncode == 0
    assert nginx.flag.read_bytes() == own


# --- HAProxy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True], ids=["without a state file", "with a state file"])
def test_servers_are_set_and_put_back(haproxy: RunningHaproxy, served: Driven, there: bool) -> None:
    before = write_states(haproxy) if there else None
    it = served.gateway
    served.arm("zone-b")
    it.prove_applied(it.activate(served.staged), 5)
    assert haproxy.answer() == "zone-b"
    assert haproxy.state_file.read_bytes() != before
    mark = it.access_mark()
    haproxy.answer()
    assert it.served_since(mark).by_address == {haproxy.standby: 1}
    it.prove_applied(it.restore(served.original), 5)
    assert haproxy.answer() == "zone-a"
    assert (haproxy.state_file.read_bytes() if haproxy.state_file.exists() else None) == before
    assert it.read() == served.original


def test_the_guard_sets_the_servers_back(haproxy: RunningHaproxy, served: Driven) -> None:
    before = write_states(haproxy)
    served.arm("zone-b")
    served.gateway.activate(served.staged)
    # Asked again, when the file is another one already.
    served.guard.register(orders.restore(served.inventory, served.original, served.staged)["gateway"])
    served.guard.undo()  # the servers of this test know no /health but answer 200 to it
    assert (haproxy.answer(), haproxy.state_file.read_bytes()) == ("zone-a", before)


def write_states(haproxy: RunningHaproxy) -> bytes:
    haproxy.state_file.parent.mkdir()
    haproxy.state_file.write_text(haproxy.ask("show servers state") + "# before\n")
    return haproxy.state_file.read_bytes()


NOBODY = 65534


def test_no_link_is_followed_in_a_folder_of_haproxys_own(haproxy: RunningHaproxy, served: Driven) -> None:
    """Where its worker may write, as in /var/lib/haproxy, a broken-in one must not have root's files written."""
    before = write_states(haproxy)
    folder, secret = haproxy.state_file.parent, haproxy.folder / "secret"
    secret.write_bytes(b"root's own")
    secret.chmod(0o600)
    os.chown(folder, NOBODY, NOBODY)

    def plant() -> None:
        for name in (".drillctl-states.new", ".drillctl-guard.new"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(secret)

    plant()
    served.arm("zone-b")
    plant()
    served.gateway.activate(served.staged)
    plant()
    served.gateway.restore(served.original)
    assert (haproxy.answer(), haproxy.state_file.read_bytes()) == ("zone-a", before)
    haproxy.state_file.unlink()
    plant()
    served.guard.undo()
    assert (haproxy.state_file.is_symlink(), haproxy.state_file.read_bytes()) == (False, before)
    assert (secret.read_bytes(), secret.stat().st_mode & 0o777) == (b"root's own", 0o600)


def test_a_folder_that_others_can_replace_is_refused_when_it_is_staged(haproxy: RunningHaproxy, served: Driven) -> None:
    above = haproxy.state_file.parent
    file = above / "below" / "server-state"
    haproxy.config.write_text(haproxy.config.read_text().replace(str(haproxy.state_file), str(file)))
    haproxy.reload()
    driven = Driven(haproxy.inventory(state_file=str(file)), haproxy.folder)
    above.mkdir()
    os.chown(above, NOBODY, NOBODY)
    with pytest.raises(GatewayError, match=f"others than root may write {above}, ") as refused:
        driven.gateway.stage("zone-b")
    assert refused.value.state == "nothing was changed"
    (above / "below").symlink_to("/etc")
    with pytest.raises(GatewayError, match=f"others than root may write {above}, "):
        driven.gateway.stage("zone-b")


def test_a_link_in_the_place_of_the_state_file_is_refused(haproxy: RunningHaproxy, served: Driven) -> None:
    """What it leads to may be for root alone."""
    secret = haproxy.folder / "secret"
    secret.write_bytes(b"root's own")
    haproxy.state_file.parent.mkdir()
    haproxy.state_file.symlink_to(secret)
    done = served.program("haproxy-state-file", str(haproxy.state_file), str(1 << 20))
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"is a link" in done.stderr


@pytest.mark.parametrize(("mode", "owner"), [(0o666, 0), (0o4755, 0), (0o644, 65534)])
def test_a_state_file_that_could_not_come_back_is_refused_when_it_is_staged(
    haproxy: RunningHaproxy, served: Driven, mode: int, owner: int
) -> None:
    write_states(haproxy)
    os.chown(haproxy.state_file, owner, 0)
    haproxy.state_file.chmod(mode)
    with pytest.raises(GatewayError, match="could not put it back") as refused:
        served.gateway.stage("zone-b")
    assert refused.value.state == "nothing was changed"


A_READY, A_MAINT = ("set server recognition/zone-a-1 state " + state for state in ("ready", "maint"))
B_READY, B_MAINT = ("set server recognition/zone-b-1 state " + state for state in ("ready", "maint"))
OTHER_COMMANDS = [
    "shutdown sessions server recognition/zone-a-1",
    f"{B_READY}; disable frontend clients",
    f"{B_READY};disable frontend clients",
    f"{B_READY}; {A_MAINT}; set server recognition/zone-b-1 addr 10.9.9.9 port 80",
    "set server recognition/zone-b-1 addr 10.9.9.9 port 80",
    "set server recognition/zone-b-1 weight 0",
    "set server other/theirs state maint",
    f"{B_READY}; set server other/theirs state maint",
    "set server recognition/zone-c-1 state ready",
    "set server recognition/zone-b-1 state  ready",
    f"{B_READY} ",
    f"{B_READY};",
    f"{B_READY}; ",
    f"{B_READY}\n{A_MAINT}",
    f"{B_READY}; {A_READY}; {B_MAINT}",
    f"{A_MAINT}; {B_MAINT}",
    A_MAINT,
    "set server recognition/ state ready",
    "set server recognition/zone-b-1 state ready <<",
    "set server recognition/zone-b-1 health up",
    "help",
]


@pytest.mark.parametrize("commands", OTHER_COMMANDS)
def test_no_other_command_reaches_haproxy(haproxy: RunningHaproxy, served: Driven, commands: str) -> None:
    socket, file = str(haproxy.socket), str(haproxy.state_file)
    before = states(haproxy)
    now = "zone-a-1=ready zone-b-1=maint"
    health = f"http://{haproxy.primary}/health"
    undo = ("gateway.haproxy", socket, "-", "recognition", now, now, commands, file, "-", "-", health)
    assert served.refuses("haproxy-switch", socket, "recognition", now, commands, file)
    assert served.refuses("haproxy-put", socket, commands, file, "", "", "")
    assert served.refuses("guard", "gateway", "register", "1", "gateway.restore", *undo)
    assert (states(haproxy), haproxy.state_file.exists()) == (before, False)


def states(haproxy: RunningHaproxy) -> list[list[str]]:
    """Return what HAProxy says of its servers, without the seconds since something changed."""
    lines = [line.split() for line in haproxy.ask("show servers state").splitlines()]
    return [line[:9] + line[10:] for line in lines]


def test_what_a_drill_says_is_taken_so_the_refusals_above_mean_something(
    haproxy: RunningHaproxy, served: Driven
) -> None:
    socket, file = str(haproxy.socket), str(haproxy.state_file)
    haproxy.state_file.parent.mkdir()
    before = "zone-a-1=ready zone-b-1=maint"
    done = served.program("haproxy-switch", socket, "recognition", before, f"{B_READY}; {A_MAINT}", file)
    assert done.returncode == 0, done.stderr
    assert haproxy.answer() == "zone-b"
    done = served.program("haproxy-put", socket, f"{A_READY}; {B_MAINT}", file, "", "", "")
    assert done.returncode == 0, done.stderr
    assert (haproxy.answer(), haproxy.state_file.exists()) == ("zone-a", False)


def test_a_server_that_is_no_zones_by_its_address_is_left_alone(haproxy: RunningHaproxy) -> None:
    """Its name says nothing: HAProxy sends clients to its address."""
    haproxy.start()
    moved = haproxy.inventory()
    zone = moved.zone("standby")
    host = zone.hosts[0].model_copy(update={"upstream": "127.0.0.1:9"})
    zones = tuple(z.model_copy(update={"hosts": (host,)}) if z == zone else z for z in moved.zones)
    driven = Driven(moved.model_copy(update={"zones": zones}), haproxy.folder)
    words = (str(haproxy.socket), "recognition", "zone-a-1=ready zone-b-1=maint")
    assert driven.refuses("haproxy-switch", *words, B_READY, str(haproxy.state_file))
    assert haproxy.answer() == "zone-a"


def test_a_state_file_is_made_of_no_bytes_but_its_own(haproxy: RunningHaproxy, served: Driven) -> None:
    """Whoever writes it has clients sent to any address at the next reload."""
    before = write_states(haproxy)
    socket, file, sha = str(haproxy.socket), str(haproxy.state_file), "0" * 64
    now = "zone-a-1=ready zone-b-1=maint"
    words = (now, now, A_READY, file, "644", "0:0", f"http://{haproxy.primary}/health")
    undo = ("register", "1", "gateway.restore", "gateway.haproxy", socket, sha, "recognition", *words)
    for evil in (before.replace(b"127.0.0.1", b"10.9.9.9"), b"", before + b"\0", before[:-1]):
        assert served.refuses("haproxy-put", socket, "", file, sha, "644", "0:0", stdin=evil)
        assert served.refuses("guard", "gateway", *undo, stdin=evil)
    for rights in (("4755", "0:0"), ("666", "0:0"), ("644", "1000:1000")):
        assert served.refuses("haproxy-put", socket, "", file, sha, *rights, stdin=before)
    assert haproxy.state_file.read_bytes() == before
    assert served.program("haproxy-put", socket, "", file, sha, "644", "0:0", stdin=before).returncode == 0


def test_a_guard_that_is_given_other_bytes_is_not_told_of_them(haproxy: RunningHaproxy, served: Driven) -> None:
    write_states(haproxy)
    served.arm("zone-b")
    haproxy.state_file.write_text("somebody else's\n")
    haproxy.state_file.chmod(0o644)
    order = orders.restore(served.inventory, served.original, served.staged)["gateway"]
    served.guard.register(order)  # the same bytes as it has
    with pytest.raises(CommandFailed, match=r"neither what is in .* nor what the guard keeps"):
        served.guard.register(type(order)(order.id, order.kind, order.arguments, b"other\n"))


def test_a_link_to_the_config_is_refused_with_the_files_name(haproxy: RunningHaproxy) -> None:
    haproxy.start()
    link = haproxy.folder / "link.cfg"
    link.symlink_to(haproxy.config)
    with pytest.raises(GatewayError) as refused:
        Driven(haproxy.inventory(config=str(link)), haproxy.folder).gateway.read()
    assert f"set `gateway.config` to {haproxy.config}" in str(refused.value.hint)


def test_no_password_of_the_config_is_shown(haproxy: RunningHaproxy, served: Driven) -> None:
    haproxy.config.write_text(haproxy.config.read_text() + "    # stats auth ana:s3cret\n")
    shown = [served.program(name, str(haproxy.config)).stdout for name in ("haproxy-read", "haproxy-state-lines")]
    assert b"server-state-file" in shown[1]
    assert b"s3cret" not in b"".join(shown)


# --- nginx that fails over by itself ----------------------------------------------------------------------------------


def test_a_passive_gateway_is_read_and_nothing_else(nginx: RunningNginx) -> None:
    nginx.adopt(kind="nginx-passive")
    nginx.start()
    driven = Driven(nginx.inventory(kind="nginx-passive"), nginx.folder)
    driven.arm("zone-b")
    it = driven.gateway
    mark = it.access_mark()
    nginx.answer()
    assert it.served_since(mark).by_address == {nginx.primary: 1}
    it.restore(driven.original)
    driven.guard.undo()
    driven.guard.release()
    names = {program.name for program in driven.transport.installed.programs}  # type: ignore[union-attr]
    assert not names & {"gateway-put", "gateway-activate", "gateway-write", "gateway-reload", "gateway-dump"}


@pytest.mark.parametrize("kind", ["nginx", "nginx-flag", "nginx-passive"])
def test_what_adopting_would_change_is_shown(nginx: RunningNginx, kind: str) -> None:
    """For `gateway show`, and for `adopt --diff`: an administrator makes the change."""
    nginx.start()
    options: dict[str, object] = {"kind": kind} | ({"flag": str(nginx.flag)} if kind == "nginx-flag" else {})
    estate = nginx.inventory(**options)
    plans = Adoption(estate, {"gateway": by_programs(estate, nginx.folder)}).plan()
    assert plans["gateway"].changes
