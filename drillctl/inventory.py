"""The inventory: the two zones, the service they run, the gateway before them and how to reach it all.

A YAML file. `load` returns an `Inventory` or raises FileError with file:line:column and what is allowed.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)

from drillctl import yamlfile
from drillctl.errors import FileError


def matching(pattern: str, allowed: str) -> AfterValidator:
    """Return a check that a string matches a whole pattern; `allowed` says in words what is wanted."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(f"must be {allowed}")
        return value

    return AfterValidator(check)


Name = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a name of letters, digits, `.`, `_` and `-`, at most 63")
]
Address = Annotated[str, matching(r"[A-Za-z0-9_.:\[\]-]{1,253}", "an IP address or a host name")]
AbsolutePath = Annotated[str, matching(r"/[^\x00\n\r]*", "an absolute path")]
UrlPath = Annotated[str, matching(r"/\S*", "a path that begins with /")]
Sha256 = Annotated[str, matching(r"[0-9a-f]{64}", "a sha256 in 64 lower-case hex digits, as sha256sum prints it")]
UnitName = Annotated[str, matching(r"[A-Za-z0-9:_.@\\-]+\.service", "a systemd unit's name that ends in .service")]
GatewayUrl = Annotated[str, matching(r"https?://[^\s/?#@]+/?", "a URL such as http://gateway.example, without a path")]
UpstreamName = Annotated[str, matching(r"[A-Za-z0-9_.-]+", "the name of an nginx upstream")]
FlagPath = Annotated[
    str, matching(r"/[A-Za-z0-9_./-]*[A-Za-z0-9_-]", "an absolute path of letters, digits, `.`, `_` and `-`")
]
HaproxySocket = Annotated[
    str, matching(r"/[^\s;,]+|[A-Za-z0-9_.-]+:[0-9]{1,5}", "the path of HAProxy's runtime socket, or its address:port")
]
VariableName = Annotated[str, matching(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name")]
Line = Annotated[str, matching(r"[^\x00\n]*", "a value of one line")]
Person = Annotated[str, matching(r"[^\x00-\x1f]{1,200}", "a name of one line, at most 200 characters")]
ClockTime = Annotated[
    str, matching(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00", "a time of day such as 22:00, in 24 hours")
]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Role = Literal["primary", "standby"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Environment = dict[VariableName, Line]


WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""In the order of `date.weekday()`."""


def _calendar_day(value: object) -> object:
    """Take a date as YAML has it or as text; pydantic itself would take a number for seconds since 1970."""
    if type(value) is date:
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError("must be a date such as 2026-12-24")


def _time_zone(name: str) -> str:
    """Check the name of an IANA time zone."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"must be an IANA time zone such as Europe/Berlin{_near_zone(name)}") from None
    return name


def _near_zone(name: str) -> str:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    near = get_close_matches(name, sorted(available_timezones()), n=1, cutoff=0.7)
    return f" (did you mean {near[0]}?)" if near else ""


Day = Annotated[date, BeforeValidator(_calendar_day)]
TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_time_zone)]


class Part(BaseModel):
    """A part of an inventory or playbook: unknown keys are refused, and it cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


Privileges = Literal["login", "sudo", "installed"]
"""How what needs root is run: as the user who logs in; any command by `sudo -n`; or only programs that an administrator
installed, by `sudo -n` (docs/privileges.md)."""


class SshOptions(Part):
    """How to log in. What is not given comes from ~/.ssh/config and the agent, as with `ssh` itself.

    `sudo: true` is the older way to say `privileges: sudo`.
    """

    user: str | None = None
    key: Path | None = None
    known_hosts: Path | None = None
    port: Port | None = None
    sudo: bool = False
    privileges: Privileges | None = None
    connect_timeout_seconds: Annotated[float, Field(strict=True, gt=0, le=120)] = 10.0

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.sudo and self.privileges not in {None, "sudo"}:
            raise ValueError(f"`sudo: true` contradicts `privileges: {self.privileges}`; leave `sudo` out")
        return self

    @property
    def by(self) -> Privileges:
        """Return how what needs root is run."""
        return self.privileges or ("sudo" if self.sudo else "login")


class Host(Part):
    """One machine. `upstream` is how the gateway's config names its server; by default address:port."""

    name: Name
    address: Address
    upstream: Address | None = None
    service_port: Port | None = None
    model_path: AbsolutePath | None = None
    pidfile: AbsolutePath | None = None
    log: AbsolutePath | None = None
    environment: Environment = {}
    ssh: SshOptions = SshOptions()


class Zone(Part):
    """One place that can be lost as a whole."""

    name: Name
    role: Role
    failure_domain: str
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)]
    environment: Environment = {}


class Model(Part):
    """The model file that both zones must serve, and its pinned hash."""

    path: AbsolutePath
    sha256: Sha256


class Paths(Part):
    """The service's endpoints."""

    health: UrlPath = "/health"
    info: UrlPath = "/info"
    predict: UrlPath = "/predict"


class SystemdStart(Part):
    """The service is a systemd unit."""

    kind: Literal["systemd"]
    unit: UnitName


class ProcessStart(Part):
    """The service is a process that drillctl starts in a session of its own; no supervisor restarts it.

    `interpreter` names the Python to use, of a conda environment for example; `command` follows it.
    """

    kind: Literal["process"]
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    interpreter: AbsolutePath | None = None
    environment: Environment = {}
    working_folder: AbsolutePath
    pidfile: AbsolutePath | None = None
    log: AbsolutePath | None = None


class Service(Part):
    """The service under drill, the same in both zones."""

    port: Port
    model: Model
    start: Annotated[SystemdStart | ProcessStart, Field(discriminator="kind")]
    paths: Paths = Paths()
    zone_header: str = "X-Served-Zone"
    host_header: str = "X-Served-Host"


class AnyGateway(Part):
    """What every kind of gateway has: its hosts, and the URL that clients know."""

    hosts: Annotated[tuple[Host, ...], Field(min_length=1)]
    url: GatewayUrl


class Nginx(AnyGateway):
    """What every kind of nginx has. `test` and `reload` must accept further nginx options."""

    config: AbsolutePath
    upstream: UpstreamName
    test: Annotated[tuple[str, ...], Field(min_length=1)] = ("nginx", "-t")
    reload: Annotated[tuple[str, ...], Field(min_length=1)] = ("nginx", "-s", "reload")
    access_log: AbsolutePath = "/var/log/nginx/access.log"
    error_log: AbsolutePath = "/var/log/nginx/error.log"
    pidfile: AbsolutePath = "/run/nginx.pid"


class NginxReload(Nginx):
    """nginx, switched by editing the upstream and reloading."""

    kind: Literal["nginx"] = "nginx"


class NginxFlag(Nginx):
    """nginx that looks for a flag file at every request: while it is there, clients go to the standby.

    `upstream` holds the primary's servers, `standby_upstream` the standby's; `drillctl gateway adopt` writes both.
    """

    kind: Literal["nginx-flag"]
    standby: UpstreamName | None = None
    flag: FlagPath | None = None

    @property
    def standby_upstream(self) -> str:
        """Return the upstream that holds the standby's servers."""
        return self.standby or f"{self.upstream}_standby"

    @property
    def flag_file(self) -> str:
        """Return the path of the flag: in a folder that a reboot leaves alone, see docs/gateway.md."""
        return self.flag or f"/var/lib/drillctl-flags/{self.upstream}.standby"


class NginxPassive(Nginx):
    """nginx that fails over by itself, to a server with `backup`: drills only break and measure."""

    kind: Literal["nginx-passive"]


class Haproxy(AnyGateway):
    """HAProxy, switched through its runtime socket, a path or `address:port`; `config` is never changed.

    `state_file` is what the config names as `server-state-file`: it keeps a switch over a reload.
    """

    kind: Literal["haproxy"]
    config: AbsolutePath = "/etc/haproxy/haproxy.cfg"
    backend: UpstreamName
    socket: HaproxySocket = "/run/haproxy/admin.sock"
    state_file: AbsolutePath = "/var/lib/haproxy/server-state"
    program: AbsolutePath | Literal["haproxy"] = "haproxy"


WITH_PROGRAMS: tuple[str, ...] = ("nginx",)
"""The kinds of gateways that drillctl drives by installed programs (docs/privileges.md)."""

GatewayKind = Literal["nginx", "nginx-flag", "nginx-passive", "haproxy"]


def _with_kind(value: object) -> object:
    """Return a gateway with the kind that is meant when none is said."""
    return {"kind": "nginx", **value} if isinstance(value, dict) else value


Gateway = Annotated[
    Annotated[NginxReload | NginxFlag | NginxPassive | Haproxy, Field(discriminator="kind")],
    BeforeValidator(_with_kind),
]


class Waiver(Part):
    """A check that cannot hold here, and why; the report shows it as not proven."""

    check: Literal["isolation", "environment"]
    reason: Annotated[str, StringConstraints(min_length=10)]


InstalledFault = Literal[
    "hang",
    "slow",
    "crash-loop",
    "broken-dependency",
    "gpu-lost",
    "model",
    "disk-full",
    "partition",
    "reject",
    "loss",
    "reboot",
    "gateway-restart",
]


class Window(Part):
    """When drills may run: on these days from `opens` on, until `closes`; past midnight if that is not later."""

    days: Annotated[tuple[Weekday, ...], Field(min_length=1)] = WEEKDAYS
    opens: ClockTime
    closes: ClockTime


class Blackout(Part):
    """Days on which no drill may run, both included; `last_day` is `first_day` if it is not given."""

    first_day: Day
    last_day: Day | None = None
    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class GatePlan(Part):
    """When a drill of this estate may begin. Without windows at any time; times and days are those of `time_zone`."""

    time_zone: TimeZone | None = None
    windows: tuple[Window, ...] = ()
    blackouts: tuple[Blackout, ...] = ()
    minimum_hours_between_drills: Annotated[float, Field(strict=True, gt=0, le=8760)] | None = None


class HistoryPlan(Part):
    """Where runs and samples are kept (docs/history.md), and for how many days samples are."""

    url: SecretStr | None = None
    keep_samples_days: Annotated[int, Field(strict=True, ge=1, le=36500)] = 180


class NotifyChannel(Part):
    """Whom to tell (docs/patrol.md): where the URLs for Apprise are, never the URLs themselves, and what to tell of."""

    name: Name
    environment: VariableName | None = None
    file: Path | None = None
    on: Annotated[tuple[Literal["alarm", "recovery", "drill"], ...], Field(min_length=1)] = (
        "alarm",
        "recovery",
        "drill",
    )


class Inventory(Part):
    """Everything that drillctl knows of an estate; `approver` and `participants` are for the report of a drill."""

    name: Name
    environment: Literal["lab", "staging", "production"] = "staging"
    zones: Annotated[tuple[Zone, ...], Field(min_length=2, max_length=2)]
    service: Service
    gateway: Gateway
    ssh: SshOptions = SshOptions()
    waivers: tuple[Waiver, ...] = ()
    faults: tuple[InstalledFault, ...] = ()
    """The faults beside kill and stop whose programs are installed, with `privileges: installed`."""
    gates: GatePlan = GatePlan()
    history: HistoryPlan = HistoryPlan()
    approver: Person | None = None
    participants: tuple[Person, ...] = ()
    notify: tuple[NotifyChannel, ...] = ()

    def zone(self, role: Role) -> Zone:
        """Return the zone of a role."""
        return next(zone for zone in self.zones if zone.role == role)

    def zone_of(self, host_name: str) -> Zone | None:
        """Return the zone that a host belongs to; None for a gateway host."""
        return next((z for z in self.zones if any(h.name == host_name for h in z.hosts)), None)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts: the gateway's, then the primary's, then the standby's."""
        return (*self.gateway.hosts, *self.zone("primary").hosts, *self.zone("standby").hosts)

    def port(self, host: Host) -> int:
        """Return the port on which a host serves."""
        return host.service_port or self.service.port

    def model_path(self, host: Host) -> str:
        """Return where the model file is on a host."""
        return host.model_path or self.service.model.path

    def upstream(self, host: Host) -> str:
        """Return what the gateway's config calls a host's server."""
        return host.upstream or f"{host.address}:{self.port(host)}"

    def base_url(self, host: Host) -> str:
        """Return the URL of a host's own server, without a path."""
        return f"http://{host.address}:{self.port(host)}"

    def login(self, host: Host) -> SshOptions:
        """Return how to log in to a host: its own options over the inventory's."""
        own = host.ssh.model_dump(exclude_unset=True)
        if "sudo" in own:
            own.setdefault("privileges", None)
        return self.ssh.model_copy(update=own)

    def environment_of(self, host: Host) -> dict[str, str]:
        """Return the environment of a host's server: what the role says, then service, zone and host over it."""
        zone = self.zone_of(host.name)
        own: dict[str, str] = {}
        if zone is not None:
            own = {
                "SERVICE_NAME": "main" if zone.role == "primary" else "backup",
                "ZONE": zone.name,
                "NODE_NAME": host.name,
                "PORT": str(self.port(host)),
                "MODEL_PATH": self.model_path(host),
                "MODEL_SHA256": self.service.model.sha256,
            }
        start = self.service.start
        shared = start.environment if isinstance(start, ProcessStart) else {}
        return {**own, **shared, **(zone.environment if zone else {}), **host.environment}

    def waived(self, check: str) -> Waiver | None:
        """Return the waiver of a check, or None."""
        return next((waiver for waiver in self.waivers if waiver.check == check), None)


def load(path: Path) -> Inventory:
    """Read an inventory; relative paths in it are relative to it. Raises FileError."""
    file = yamlfile.load(path)
    inventory = file.parse(Inventory)
    problems = [f"{file.at(location)}: {message}" for location, message in contradictions(inventory)]
    if problems:
        raise FileError(problems)
    return _resolved(inventory, path.parent)


def contradictions(inventory: Inventory) -> list[tuple[yamlfile.Location, str]]:
    """Return what no single field shows: roles, names or addresses used twice, a start without a pidfile."""
    found: list[tuple[yamlfile.Location, str]] = []
    roles = [zone.role for zone in inventory.zones]
    if sorted(roles) != ["primary", "standby"]:
        found.append((("zones", 1, "role"), "one zone must be `primary` and one `standby`; both say " + roles[0]))
    if inventory.zones[0].name == inventory.zones[1].name:
        found.append((("zones", 1, "name"), f"zone `{inventory.zones[1].name}` is named twice"))
    names: dict[str, str] = {}
    addresses: dict[str, str] = {}
    for location, host in _located_hosts(inventory):
        if host.name in names:
            found.append(((*location, "name"), f"host `{host.name}` is named twice (also {names[host.name]})"))
        if host.address in addresses:
            message = f"address {host.address} is used twice: by `{addresses[host.address]}` and `{host.name}`"
            found.append(((*location, "address"), message + "; each host needs its own"))
        names.setdefault(host.name, ".".join(map(str, location)))
        addresses.setdefault(host.address, host.name)
    start = inventory.service.start
    if isinstance(start, ProcessStart):
        for location, host in _located_hosts(inventory):
            if location[0] == "zones" and not (host.pidfile or start.pidfile):
                found.append((location, f"`{host.name}` needs a `pidfile`, here or in service.start"))
    for location, host in _located_hosts(inventory):
        login = inventory.login(host)
        if login.by == "installed" and login.user in {None, "root"}:
            what = (
                "needs `user`: who logs in" if login.user is None else "is for a user of drillctl's own, not for root"
            )
            found.append(
                (("ssh",) if host.ssh == SshOptions() else (*location, "ssh"), f"`privileges: installed` {what}")
            )
    kind = inventory.gateway.kind
    for place, host in enumerate(inventory.gateway.hosts):
        if inventory.login(host).by == "installed" and kind not in WITH_PROGRAMS:
            said = f"there are no programs to install for gateways of kind `{kind}` yet; use `privileges: sudo` there"
            found.append((("gateway", "hosts", place), said))
    for number, channel in enumerate(inventory.notify):
        if (channel.environment is None) == (channel.file is None):
            found.append((("notify", number), f"`{channel.name}` needs either `environment` or `file`"))
        if channel.name in {other.name for other in inventory.notify[:number]}:
            found.append((("notify", number, "name"), f"channel `{channel.name}` is named twice"))
    if not _names_a_host(inventory.gateway.url):
        found.append((("gateway", "url"), "the URL names no host, or no port that there is"))
    gateway = inventory.gateway
    if isinstance(gateway, NginxFlag) and gateway.standby == gateway.upstream:
        found.append(
            (("gateway", "standby"), f"`{gateway.standby}` is the primary's upstream; the standby needs its own")
        )
    return found + _impossible_gates(inventory.gates)


def _names_a_host(url: str) -> bool:
    """Tell whether a URL names a host; one such as `http://[` cannot even be taken apart."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _impossible_gates(gates: GatePlan) -> list[tuple[yamlfile.Location, str]]:
    """Return windows and blackouts that mean nothing, or not surely what was meant."""
    found: list[tuple[yamlfile.Location, str]] = []
    if gates.time_zone is None and (gates.windows or gates.blackouts):
        found.append(
            (("gates",), "`gates.time_zone` is missing; windows and blackouts need one, such as Europe/Berlin")
        )
    for number, window in enumerate(gates.windows):
        if window.opens == "24:00":
            found.append((("gates", "windows", number, "opens"), "a day begins at 00:00; 24:00 is for `closes`"))
        if window.opens == window.closes:
            message = f"the window closes as it opens, at {window.opens}; a whole day is 00:00 to 24:00"
            found.append((("gates", "windows", number, "closes"), message))
    for number, blackout in enumerate(gates.blackouts):
        if blackout.last_day is not None and blackout.last_day < blackout.first_day:
            message = f"the blackout ends on {blackout.last_day}, before it begins on {blackout.first_day}"
            found.append((("gates", "blackouts", number, "last_day"), message))
    return found


def _located_hosts(inventory: Inventory) -> list[tuple[yamlfile.Location, Host]]:
    located: list[tuple[yamlfile.Location, Host]] = []
    for z, zone in enumerate(inventory.zones):
        located.extend((("zones", z, "hosts", h), host) for h, host in enumerate(zone.hosts))
    located.extend((("gateway", "hosts", h), host) for h, host in enumerate(inventory.gateway.hosts))
    return located


def _resolved(inventory: Inventory, folder: Path) -> Inventory:
    """Return the inventory with its key and known_hosts paths made absolute."""

    def absolute(options: SshOptions) -> SshOptions:
        paths = {
            name: (folder / value.expanduser()).absolute()
            for name in ("key", "known_hosts")
            if (value := getattr(options, name)) is not None
        }
        return options.model_copy(update=paths)

    def located(host: Host) -> Host:
        return host.model_copy(update={"ssh": absolute(host.ssh)})

    zones = tuple(z.model_copy(update={"hosts": tuple(map(located, z.hosts))}) for z in inventory.zones)
    gateway = inventory.gateway.model_copy(update={"hosts": tuple(map(located, inventory.gateway.hosts))})
    notify = tuple(
        channel.model_copy(update={"file": (folder / channel.file.expanduser()).absolute()})
        if channel.file
        else channel
        for channel in inventory.notify
    )
    own = {"zones": zones, "gateway": gateway, "ssh": absolute(inventory.ssh), "notify": notify}
    return inventory.model_copy(update=own)
