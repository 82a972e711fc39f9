"""The inventory: the two zones, the service they run, the gateway before them and how to reach it all.

A YAML file. `load` returns an `Inventory` or raises FileError with file:line:column and what is allowed.
"""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - the models need it as they are read
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, StringConstraints, model_validator

from drillctl import yamlfile
from drillctl.contradictions import contradictions
from drillctl.errors import FileError
from drillctl.fields import (
    AbsolutePath,
    Address,
    Environment,
    FlagPath,
    GatewayUrl,
    HaproxySocket,
    LocalPath,
    Name,
    Part,
    Person,
    Port,
    Sha256,
    UnitName,
    UpstreamName,
    UrlPath,
    UserName,
    VariableName,
)
from drillctl.gate_plan import GatePlan

Role = Literal["primary", "standby"]

Privileges = Literal["login", "sudo", "installed"]
"""How what needs root is run: as the user who logs in; any command by `sudo -n`; or only programs that an administrator
installed, by `sudo -n` (docs/privileges.md)."""


class SshOptions(Part):
    """How to log in. What is not given comes from ~/.ssh/config and the agent, as with `ssh` itself.

    `sudo: true` is the older way to say `privileges: sudo`.
    """

    user: UserName | None = None
    key: LocalPath | None = None
    known_hosts: LocalPath | None = None
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
    environment: Environment = Field(default_factory=dict)
    ssh: SshOptions = SshOptions()


class Zone(Part):
    """One place that can be lost as a whole."""

    name: Name
    role: Role
    failure_domain: str
    hosts: Annotated[tuple[Host, ...], Field(min_length=1)]
    environment: Environment = Field(default_factory=dict)


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
    environment: Environment = Field(default_factory=dict)
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


class HistoryPlan(Part):
    """Where runs and samples are kept (docs/history.md), and for how many days samples are."""

    url: SecretStr | None = None
    keep_samples_days: Annotated[int, Field(strict=True, ge=1, le=36500)] = 180


class NotifyChannel(Part):
    """Whom to tell (docs/patrol.md): where the URLs for Apprise are, never the URLs themselves, and what to tell of."""

    name: Name
    environment: VariableName | None = None
    file: LocalPath | None = None
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
    _turned: bool = PrivateAttr(default=False)

    def turned(self) -> Self:
        """Return it with both roles exchanged, for one run. What belongs to a place stays there (`home`)."""
        first, second = self.zones
        roles = ((first, second.role), (second, first.role))
        other = self.model_copy(update={"zones": tuple(z.model_copy(update={"role": role}) for z, role in roles)})
        other._turned = not self._turned
        return other

    def home(self, role: Role) -> Zone:
        """Return the zone that has a role in the inventory's file, whichever it has in this run."""
        other: dict[Role, Role] = {"primary": "standby", "standby": "primary"}
        return self.zone(other[role] if self._turned else role)

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
                "SERVICE_NAME": "main" if zone == self.home("primary") else "backup",
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
