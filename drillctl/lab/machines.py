"""The driver `systemd`: each host is a machine of its own, booted by systemd-nspawn over a copy of this one.

All of it lives in a room: a mount and a network namespace held open by one process. In the room, a tmpfs holds what
each machine writes (an overlay over the root of the machine below) and a bridge joins the machines; one interface of
the machine below leads into it. When the processes end, the room's mounts and interfaces are gone with them, and the
firewall of the machine below (that of a container engine, say) never sees what the hosts say to each other.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl.errors import NotStarted
from drillctl.inventory import Host, Model, SystemdStart
from drillctl.lab import cgroup, estate, ground, hostfiles, process, sources, sshfiles
from drillctl.lab.hostfiles import ADDRESSES, BELOW, PREFIX, HostFiles
from drillctl.lab.ledger import Thing
from drillctl.lab.sshfiles import Login
from drillctl.privileges import installer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drillctl.inventory import Gateway, GatewayKind, Inventory
    from drillctl.lab.ledger import Ledger
    from drillctl.lab.place import Site
    from drillctl.lab.sources import ModelFolder

LINK = "drillctl0"
CANNOT_PROVE: tuple[str, ...] = ()

_ROOM = 'echo $$ >"$1/cgroup.procs" && exec "$2" --mount --net --propagation private sleep infinity'

_FURNISH = """
set -eu
mount -n -t tmpfs -o mode=0755 drillctl-lab /run
mount -n -t cgroup2 cgroup2 /sys/fs/cgroup
for host do
    mkdir -p "/run/$host/upper" "/run/$host/work" "/run/$host/root"
    mount -n -t overlay "lab-$host" -o "lowerdir=/,upperdir=/run/$host/upper,workdir=/run/$host/work" "/run/$host/root"
done
"""

# The model is seen through a layer like all else: a host that writes to it writes to its own. The lower folder is bound
# first, because its own name may hold what separates the options of an overlay.
_LAY_MODEL = """
set -eu
host=$1 folder=$2 place=$3
mkdir -p "/run/$host/model-below" "/run/$host/model-work" "$place"
mkdir -m 0755 "/run/$host/model"
mount -n --bind "$folder" "/run/$host/model-below"
mount -n -t overlay "lab-$host-model" \\
    -o "lowerdir=/run/$host/model-below,upperdir=/run/$host/model,workdir=/run/$host/model-work" "$place"
"""

# An address that nobody answers for yet is asked for once a second by default; that alone would make booting look slow.
_UPLINK = """\
link add {link} type veth peer name uplink netns {room}
ntable change name arp_cache dev {link} retrans 25
address add {address} dev {link}
link set {link} up
"""

_SWITCH = """\
link set lo up
link add switch type bridge
link set switch up
link set uplink master switch
link set uplink up
"""

_ENTER = """
echo $$ >"$1/cgroup.procs" || exit
nsenter=$2 room=$3 keep=$4; shift 4
exec "$nsenter" --target "$room" --mount --net --root --wd -- /bin/sh -c "$keep" sh "$@"
"""

# With --keep-unit a machine that reboots ends its nspawn with 133; whoever runs it starts it again, as this loop does.
_KEEP = """
group=$1; shift
while :; do
    code=0
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@" || code=$?
    [ "$code" = 133 ] || exit "$code"
done
"""


def build(site: Site, kind: GatewayKind) -> tuple[Inventory, tuple[Login, ...]]:
    """Boot the three machines and return their inventory and logins; they may not answer yet.

    Raises NotStarted when this machine does not allow it.
    """
    absent = ground.missing(ground.FOR_MACHINES)
    if absent:
        raise ground.lacking(absent)
    _refuse_taken_network()
    group = _make_group(site)
    room = _make_room(site, group)
    root = Path(f"/proc/{room}/root/run")
    below = _below()
    gateway = _gateway(kind)
    project = sources.project()
    login_key = sshfiles.make_key(site.folder / sshfiles.LOGIN_KEY, "drillctl-lab")
    inventory = _inventory(site, gateway)
    keys = {}
    for host in estate.HOSTS:
        key = sshfiles.make_key(site.folder / f"{host}.key", host)
        keys[Login(host, ADDRESSES[host], 22, hostfiles.USER)] = key
        files = hostfiles.files_of(
            host,
            machine_id=secrets.token_hex(16),
            key=key,
            login=login_key,
            project=project,
            weights=site.model.weights,
            sha256=site.model.sha256,
            below=below,
            gateway=gateway,
            privileges=_privileges(inventory, host),
        )
        _write(root / host / "root", files)
        if estate.zone_of(host):
            _lay_model(site.model, room, root, host)
        bound = _make_visible(root / host / "root", project.needed)
        _boot(site, room, group, host, bound)
    sshfiles.write_client_files(site.folder, keys)
    return inventory, tuple(keys)


def leader(ledger: Ledger, host: str) -> int | None:
    """Return the pid, on the machine below, of a machine's first process; None while it is down."""
    groups = [thing.name for thing in ledger.things() if thing.kind == "cgroup"]
    found = [first.pid for group in groups for first in cgroup.leaders(Path(group, host))]
    return found[0] if found else None


def enter(pid: int, argv: Sequence[str]) -> list[str]:
    """Return the words that run a command as root in a machine, by its leader, or a shell without one."""
    spaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "USER": "root",
        "TERM": os.environ.get("TERM", "dumb"),
    }
    own = [f"{name}={value}" for name, value in environment.items()]
    words = list(argv) or ["/bin/sh"]
    return [ground.required("nsenter"), "--target", str(pid), *spaces, "--", "/usr/bin/env", "-i", *own, *words]


def last_error(site: Site, host: str) -> str:
    """Return the last error in a machine's journal, for a machine that is up but does not let anybody in."""
    room = next(thing.pid for thing in site.ledger.things() if thing.name == "room")
    journal = f"/proc/{room}/root/run/{host}/upper/var/log/journal"
    argv = [ground.required("journalctl"), f"--directory={journal}", "--priority=err", "--lines=1", "--output=cat"]
    told = subprocess.run(
        [*argv, "--no-pager", "--quiet"], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=10
    )
    return told.stdout.decode("utf-8", "replace").strip()


def _refuse_taken_network() -> None:
    """Refuse when the lab's interface or network is somebody else's."""
    ip = ground.required("ip")
    taken = subprocess.run(
        [ip, "-brief", "-4", "address", "show", "to", f"{hostfiles.NETWORK}.0/{PREFIX}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    ).stdout.decode()
    if taken.strip():
        raise NotStarted(
            f"the network {hostfiles.NETWORK}.0/{PREFIX} is in use on this machine: {' '.join(taken.split())}",
            hint=f"if that is {LINK} of another lab, `drillctl lab down` as the user who started it; "
            "else use `--driver process`",
            state="nothing was changed",
        )


def _make_group(site: Site) -> Path:
    hierarchy = cgroup.hierarchy()
    if hierarchy is None:
        hierarchy = site.folder / "cgroup"
        site.ledger.write(Thing("mount", str(hierarchy)))
        cgroup.mount(hierarchy)
    group = hierarchy / f"{cgroup.NAME}-{secrets.token_hex(4)}"
    site.ledger.write(Thing("cgroup", str(group)))
    for folder in (group, group / "room", *(group / host for host in estate.HOSTS)):
        folder.mkdir()
    return group


def _make_room(site: Site, group: Path) -> int:
    """Make the namespaces and what is in them; return the pid of the process that holds them open."""
    room = process.start(
        ["/bin/sh", "-c", _ROOM, "sh", str(group / "room"), ground.required("unshare")],
        environment={"PATH": os.defpath},
        log=site.folder / "room.log",
        written_down=lambda made: site.ledger.write(Thing("process", "room", made.pid, made.started)),
    )
    # When `sleep` runs, unshare has made the namespaces and cut them off: what is mounted now stays in the room.
    while room.alive and _program_of(room.pid) != "sleep":
        time.sleep(process.POLL)
    if not room.alive:
        raise NotStarted(f"the lab gets no namespaces of its own: {site.last_line('room.log')}")
    _inside(room.pid, ["/bin/sh", "-c", _FURNISH, "sh", *estate.HOSTS])
    site.ledger.write(Thing("link", LINK))
    ip = [ground.required("ip"), "-batch", "-"]
    _do(ip, _UPLINK.format(link=LINK, room=room.pid, address=f"{BELOW}/{PREFIX}"))
    _inside(room.pid, ip, _SWITCH)
    return room.pid


def _boot(site: Site, room: int, group: Path, host: str, bound: tuple[Path, ...]) -> None:
    """Start one machine; it stays up until the lab goes down or it is powered off, and may reboot."""
    # Inside the room the hierarchy is mounted at its usual place, whatever this machine does.
    own_group = "/sys/fs/cgroup" + _group_of(room).removesuffix("/room") + f"/{host}"
    nspawn = [
        ground.required("systemd-nspawn"),
        "--quiet",
        "--boot",
        "--keep-unit",
        "--register=no",
        f"--machine={host}",
        f"--directory=/run/{host}/root",
        "--network-bridge=switch",
        "--console=pipe",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        *(f"--bind-ro={_escaped(path)}" for path in bound),
    ]
    process.start(
        [
            "/bin/sh",
            "-c",
            _ENTER,
            "sh",
            str(group / "room"),
            ground.required("nsenter"),
            str(room),
            _KEEP,
            own_group,
            *nspawn,
        ],
        environment={"PATH": os.defpath},
        log=site.folder / f"{host}.log",
        written_down=lambda made: site.ledger.write(Thing("process", host, made.pid, made.started)),
    )


def _below() -> hostfiles.Below:
    """Look up what differs between distributions."""
    units: dict[str, str] = {}
    for name in (
        "ssh.service",
        "sshd.service",
        "nginx.service",
        "haproxy.service",
        "systemd-networkd.service",
        "multi-user.target",
    ):
        for folder in ("/usr/lib/systemd/system", "/lib/systemd/system"):
            if Path(folder, name).is_file():
                units.setdefault(name, f"{folder}/{name}")
    generators = Path("/usr/lib/systemd/system-generators")
    users = {entry.pw_name for entry in pwd.getpwall()}
    return hostfiles.Below(
        units=units,
        generators=tuple(path.name for path in generators.iterdir()) if generators.is_dir() else (),
        nginx_user=next(name for name in ("www-data", "nginx", "root") if name in users),
        shell="/bin/bash" if Path("/bin/bash").exists() else "/bin/sh",
        passwd=Path("/etc/passwd").read_text(encoding="utf-8"),
        group=Path("/etc/group").read_text(encoding="utf-8"),
        shadow=Path("/etc/shadow").read_text(encoding="utf-8"),
        sshd_config=sshfiles.sshd_config(
            host_key="/etc/ssh/ssh_host_ed25519_key",
            authorized_keys="/etc/ssh/authorized_keys/%u",
            extra=("PermitRootLogin no", f"AllowUsers {hostfiles.USER}", *hostfiles.SSH_WITHOUT),
        ),
    )


def _write(root: Path, host: HostFiles) -> None:
    """Write a host's files over what it shares with the machine below."""
    for name in hostfiles.CLEARED:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in hostfiles.REMOVED:
        (root / name).unlink(missing_ok=True)
    for name, (content, mode) in host.files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
    os.chown(root / hostfiles.HOME, hostfiles.UID, hostfiles.UID)
    for name, target in host.links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)


def _lay_model(model: ModelFolder, room: int, root: Path, host: str) -> None:
    """Let a host see the model as its own, without a copy: a model of gigabytes must not fill the memory twice."""
    if model.folder.is_relative_to("/run"):  # where the room has a tmpfs of its own
        model.copy_to(root / host / "root" / hostfiles.MODEL_FOLDER)
        return
    place = f"/run/{host}/root/{hostfiles.MODEL_FOLDER}"
    _inside(room, ["/bin/sh", "-c", _LAY_MODEL, "sh", host, str(model.folder), place])
    model.open_to_all(root / host / "root" / hostfiles.MODEL_FOLDER)


def _make_visible(root: Path, needed: tuple[Path, ...]) -> tuple[Path, ...]:
    """Let the hosts' unprivileged users read folders of this machine; return those that must be bound into the hosts.

    The overlay shows the root file system only. What lies on another, or where a machine gets a tmpfs of its own, is
    bound. A folder above that is closed to others (/root, say) is opened in the host, not here.
    """
    points = [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()]
    bound: list[Path] = []
    for path in needed:
        mounted = max((p for p in points if path.is_relative_to(p)), key=lambda p: len(p.parts))
        # A machine gets a tmpfs of its own for /tmp, and starts with some folders empty.
        hidden = ("tmp", *hostfiles.CLEARED)
        if mounted != Path("/") or any(path.is_relative_to(Path("/", folder)) for folder in hidden):
            bound.append(path)
        for part in (path, *path.parents):
            inside = root / part.relative_to("/")
            if inside.is_dir() and not inside.stat().st_mode & 0o001:
                inside.chmod(inside.stat().st_mode | (0o005 if part == path else 0o001))
    return tuple(bound)


def _gateway(kind: GatewayKind) -> Gateway:
    return estate.gateway(
        kind,
        hosts=(Host(name=estate.GATEWAY, address=ADDRESSES[estate.GATEWAY]),),
        url=f"http://{ADDRESSES[estate.GATEWAY]}",
        nginx={"config": hostfiles.CONFIG, "access_log": hostfiles.ACCESS_LOG},
        haproxy={},
    )


def _inventory(site: Site, gateway: Gateway) -> Inventory:
    return estate.inventory(
        driver="systemd",
        hosts={name: Host(name=name, address=address) for name, address in ADDRESSES.items()},
        gateway=gateway,
        start=SystemdStart(kind="systemd", unit=hostfiles.SERVICE_UNIT),
        model=Model(path=f"/{hostfiles.MODEL_FOLDER}/{site.model.weights}", sha256=site.model.sha256),
        user=hostfiles.USER,
        privileges="installed",
    )


def _privileges(inventory: Inventory, host: str) -> dict[str, tuple[str, int]]:
    """Return the files by which the lab's user may do what needs root on a host."""
    return installer.files(inventory, next(one for one in inventory.hosts if one.name == host))


def _inside(room: int, argv: list[str], stdin: str = "") -> None:
    _do([ground.required("nsenter"), "--target", str(room), "--mount", "--net", "--root", "--wd", "--", *argv], stdin)


def _do(argv: list[str], stdin: str = "") -> None:
    """Run a program that must succeed. Raises NotStarted with what it said."""
    done = subprocess.run(argv, input=stdin.encode(), capture_output=True, check=False, timeout=20)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NotStarted(f"making the lab failed: {said[-1] if said else f'{argv[0]} ended with {done.returncode}'}")


def _program_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _group_of(pid: int) -> str:
    """Return the path of a process in the unified hierarchy (the line `0::/…`, cgroups(7))."""
    lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("0::")).removeprefix("0::")


def _escaped(path: Path) -> str:
    """Return a path as systemd-nspawn takes it in --bind-ro, where a colon separates."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:")
