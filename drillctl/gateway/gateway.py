"""What drillctl asks of a gateway, and what it gets back. `kinds.py` names the real ones, `scripted.py` is the fake.

The order in a drill is read → stage → activate → prove_applied … restore → prove_applied; `discard` instead of
`activate` when the drill does not go on. Nothing that clients notice happens before `activate`.

A further kind of gateway is one more subclass of `Gateway`: the results say nothing of nginx.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

State = Literal["enabled", "commented", "down"]


@dataclass(frozen=True, slots=True)
class Server:
    """One server of an upstream: its line (from 1), its address as written, its state, and its text.

    A server that is commented out and carries `down` as well counts as commented. `backup` servers only get
    requests when all others have failed.
    """

    line: int
    address: str
    state: State
    text: str
    backup: bool = False


@dataclass(frozen=True, slots=True)
class HostConfig:
    """The live config of one gateway host, as it was read.

    `content` holds its bytes, or what sha256sum prints of a file that is never changed. `path` is the inventory's;
    `resolved` is the file behind its links, the one that is replaced. `mode` holds the permission bits, `owner` is
    uid:gid in numbers. `choice` is what decides besides the file: whether a flag is there, the states of servers at
    run time; empty where the file alone decides. It must be as before, too.
    """

    host: str
    path: str
    resolved: str
    content: bytes = field(repr=False)
    sha256: str
    mode: int
    owner: str
    servers: tuple[Server, ...]
    choice: str = ""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The live config of all gateway hosts, and the zone that it names.

    `configured_zone` is the zone whose servers are exactly the enabled ones, on every host; otherwise None, and
    `reason` says why.
    """

    hosts: tuple[HostConfig, ...]
    configured_zone: str | None
    reason: str | None = None

    def host(self, name: str) -> HostConfig:
        """Return the config of a host; KeyError when it is not a gateway host."""
        for config in self.hosts:
            if config.host == name:
                return config
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class StagedHost:
    """A tested candidate, lying beside the live file of one host, and what it would change.

    `original_sha256` is that of the live file it was made from; `tested` is what the gateway's own test said. The
    places are empty where nothing is written before the switch.
    """

    host: str
    live: str
    content: bytes = field(repr=False)
    sha256: str
    original_sha256: str
    diff: str
    tested: str
    folder: str = ""
    candidate: str = ""
    test_root: str = ""


@dataclass(frozen=True, slots=True)
class Staged:
    """Candidates on all hosts that would send clients to `zone`."""

    zone: str
    hosts: tuple[StagedHost, ...]


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far a log was written: its inode and size. Inode 0: there is no such file to read."""

    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class ActivatedHost:
    """What one host did: the config is in place and the gateway was told.

    `sha256` is that of what is now live. What a reload leaves behind is empty where there was none: `master` is the
    process that was told, with its start time in clock ticks since boot; `before` are the workers that served when the
    file was in place and the reload was yet to come, `after` those right behind it; `emergencies` are the lines that
    the error log gained. `reloaded` is False when nothing was to be done. `seconds` is the time of the round trip, of
    which `switch_seconds` went by between the rename and the end of the reload command.
    """

    host: str
    sha256: str
    master: tuple[int, int] = (0, 0)
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    emergencies: tuple[str, ...] = ()
    error_log: LogPosition = LogPosition(0, 0)
    reloaded: bool = False
    seconds: float = 0.0
    switch_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Activation:
    """A config that was put in place on all hosts; `prove_applied` tells whether it is also in force."""

    zone: str | None
    hosts: tuple[ActivatedHost, ...]


@dataclass(frozen=True, slots=True)
class AccessMark:
    """How far the access log of each host was written at a moment; for a gateway that counts itself, its `counters`.

    `counters` holds, by host, how many answers each server had given by then.
    """

    positions: Mapping[str, LogPosition]
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Served:
    """What the access logs say since a mark.

    `requests` counts all lines. `by_address` counts them by the server that gave the answer, the last one tried;
    it is None, with a `reason`, when the logs do not name the server.
    """

    requests: int
    by_address: Mapping[str, int] | None
    reason: str | None = None


class Gateway(ABC):
    """All hosts of one gateway. Methods act on all of them, in parallel, and raise GatewayError or HostError.

    An error names the host, and says in its `state` what is in place now.
    """

    @abstractmethod
    def read(self) -> GatewayConfig:
        """Read the live config of every host. Changes nothing."""

    @abstractmethod
    def test(self) -> Mapping[str, str]:
        """Run the gateway's own test of the live config; return what it said, by host. Raises when it refuses."""

    @abstractmethod
    def places(self) -> Mapping[str, tuple[str, ...]]:
        """Return the paths that `stage` will make, by host, so that their removal can be registered before."""

    @abstractmethod
    def stage(self, zone: str) -> Staged:
        """Put a config that sends clients to `zone` beside the live one of every host, and test it there.

        Raises when the config cannot be edited that way or its test fails; then nothing is left behind.
        """

    @abstractmethod
    def activate(self, staged: Staged) -> Activation:
        """Put the candidates in place and reload: one round trip per host. The staged files are gone afterwards.

        Raises, with nothing changed on that host, when the live file or the candidate is no longer the one that
        was staged, or the candidate's test fails now; raises, with the candidate in place, when the reload fails.
        """

    @abstractmethod
    def prove_applied(self, activation: Activation, timeout: float) -> None:
        """Return once every host serves by the new config, within `timeout` seconds.

        Raises when a host does not, or its error log says why it could not. That the reload command ended with
        exit code 0 proves nothing.
        """

    def check_path(self, zone: str) -> tuple[str, ...]:  # noqa: ARG002 - the kinds that need it look at it
        """See that `zone` answers through every host, where `prove_applied` will look at that; else do nothing.

        Return the hosts that answer at a shared address only, so that none is proven by itself. Raises GatewayError.
        """
        return ()

    @abstractmethod
    def restore(self, original: GatewayConfig, *, over: Collection[str] = ()) -> Activation:
        """Put back exactly the bytes, mode and owner that were read, and reload; nothing where nothing differs.

        Where the running workers are younger than a file that already has those bytes, only verify. A live file
        that is neither the original nor what this gateway activated (`over`: further sha256 sums that may be
        replaced) was changed by someone else: raises and leaves it.
        """

    @abstractmethod
    def discard(self, staged: Staged) -> None:
        """Remove staged files. Discarding twice, or after activation, is fine."""

    @abstractmethod
    def access_mark(self) -> AccessMark:
        """Return how far the access logs are written now."""

    @abstractmethod
    def served_since(self, mark: AccessMark) -> Served:
        """Count, from the access logs, which server answered how many requests since a mark."""
