"""The driver `process`: each host is an sshd of its own on a loopback address, the gateway's nginx likewise.

For machines where there is no root, and for containers. Everything runs as the user who started it, with its files in
the lab's folder. One kernel, one process table and one file system are shared, so this lab cannot prove isolation.
"""

from __future__ import annotations

import os
import pwd
import secrets
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl.errors import NotStarted
from drillctl.inventory import Host, Model, Nginx, ProcessStart, SshOptions, Waiver
from drillctl.lab import estate, ground, haproxyfiles, nginxfiles, process, sources, sshfiles
from drillctl.lab.ledger import Thing
from drillctl.lab.sshfiles import Login

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drillctl.inventory import Gateway, GatewayKind, Inventory
    from drillctl.lab.place import Site

CANNOT_PROVE = ("isolation", "partition", "reboot")
ADDRESSES = {name: f"127.0.{77 + n}.1" for n, name in enumerate(estate.HOSTS)}
TOKEN = "DRILLCTL_LAB"  # noqa: S105 - the name of a variable
"""Set in every session over the lab's SSH, and so in everything started there: `down` ends what carries its value."""

_PORTS_TRIED = 500
_PRIVILEGE_SEPARATION = Path("/run/sshd")


def build(site: Site, kind: GatewayKind) -> tuple[Inventory, tuple[Login, ...]]:
    """Start the three sshd and the nginx and return their inventory and logins; they may not answer yet."""
    absent = ground.missing((*ground.FOR_PROCESSES, *(["haproxy"] if kind == "haproxy" else [])))
    if absent:
        raise ground.lacking(absent)
    account = _account()
    token = f"{TOKEN}={secrets.token_hex(16)}"
    site.ledger.write(Thing("token", token))
    if os.geteuid() == 0 and not _PRIVILEGE_SEPARATION.exists():
        site.ledger.write(Thing("folder", str(_PRIVILEGE_SEPARATION)))
        _PRIVILEGE_SEPARATION.mkdir(mode=0o755)
    login_key = sshfiles.make_key(site.folder / sshfiles.LOGIN_KEY, "drillctl-lab")
    (site.folder / "authorized_keys").write_bytes(login_key.public)
    keys = {}
    for name, address in ADDRESSES.items():
        login = Login(name, address, free_port(address, 2222), account.pw_name)
        (site.folder / name / "home").mkdir(parents=True)
        keys[login] = sshfiles.make_key(site.folder / name / "host_key", name)
        _start_sshd(site, login, token)
    hosts = {login.host: _host(site, login) for login in keys}
    gateway = _start_haproxy(site, hosts) if kind == "haproxy" else _start_nginx(site, hosts, kind)
    sshfiles.write_client_files(site.folder, keys)
    project = sources.project()
    inventory = estate.inventory(
        driver="process",
        hosts=hosts,
        gateway=gateway,
        start=ProcessStart(
            kind="process",
            command=("-m", "inference", "serve"),
            interpreter=str(project.python),
            working_folder=str(project.root),
        ),
        model=Model(path=str(site.model.folder / site.model.weights), sha256=site.model.sha256),
        user=account.pw_name,
        waivers=(
            Waiver(check="isolation", reason="the lab's hosts are processes on one machine, with one machine-id"),
        ),
    )
    return inventory, tuple(keys)


def free_port(address: str, first: int) -> int:
    """Return the first port from `first` on that nothing listens on; below those that the kernel hands out itself."""
    for port in range(first, first + _PORTS_TRIED):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((address, port))
                trial.listen(1)
            except OSError:
                continue
            return port
    raise NotStarted(f"no free port on {address} from {first} to {first + _PORTS_TRIED - 1}")


def _account() -> pwd.struct_passwd:
    """Return who the lab runs as. Raises NotStarted for an account that cannot log in."""
    try:
        account = pwd.getpwuid(os.geteuid())
    except KeyError:
        raise NotStarted(
            f"user {os.geteuid()} has no entry in /etc/passwd, so no sshd lets it in",
            hint="run the lab as a user that has an account here",
            state="nothing was changed",
        ) from None
    if Path(account.pw_shell).name in ("nologin", "false"):
        raise NotStarted(
            f"user {account.pw_name} has the shell {account.pw_shell}, so no sshd lets it in",
            hint="run the lab as a user that can log in",
            state="nothing was changed",
        )
    return account


def _start_sshd(site: Site, login: Login, token: str) -> None:
    folder = site.folder / login.host
    config = sshfiles.sshd_config(
        host_key=str(folder / "host_key"),
        authorized_keys=str(site.folder / "authorized_keys"),
        pam=_root_is_locked(),
        extra=(
            f"ListenAddress {login.address}",
            f"Port {login.port}",
            f"PidFile {folder / 'sshd.pid'}",
            # The folders above are not this user's alone when XDG_RUNTIME_DIR is missing and /tmp has to serve.
            "StrictModes no",
            "PermitRootLogin prohibit-password",
            f"AllowUsers {login.user}",
            # A home without start-up files: a shell that sshd starts would read the owner's for every command.
            f"SetEnv {token} HOME={folder / 'home'}",
        ),
    )
    (folder / "sshd_config").write_text(config, encoding="utf-8")
    _start(site, login.host, [ground.required("sshd"), "-D", "-e", "-f", str(folder / "sshd_config")])


def _host(site: Site, login: Login) -> Host:
    """Return a host's part of the inventory; a zone's host gets its copy of the model."""
    options = SshOptions(port=login.port)
    if estate.zone_of(login.host) is None:
        return Host(name=login.host, address=login.address, ssh=options)
    folder = site.folder / login.host
    site.model.copy_to(folder / "model")
    return Host(
        name=login.host,
        address=login.address,
        service_port=free_port(login.address, estate.SERVICE_PORT),
        model_path=str(folder / "model" / site.model.weights),
        pidfile=str(folder / "inference.pid"),
        log=str(folder / "inference.log"),
        environment={"HOST": login.address},
        ssh=options,
    )


def _start_nginx(site: Site, hosts: dict[str, Host], kind: GatewayKind) -> Gateway:
    """Start the gateway's nginx in a folder of its own and return the gateway's part of the inventory."""
    folder = site.folder / estate.GATEWAY / "nginx"
    for name in ("conf.d", "log", "temporary"):
        (folder / name).mkdir(parents=True)
    address = ADDRESSES[estate.GATEWAY]
    port = free_port(address, 8000)
    primary, standby = (f"{hosts[zone.host].address}:{hosts[zone.host].service_port}" for zone in estate.ZONES)
    config = folder / "conf.d" / "recognition.conf"
    # nginx looks for mime.types beside its compiled-in config, which differs between builds: an empty one serves here.
    (folder / "mime.types").write_text("types { application/json json; }\n", encoding="utf-8")
    main = nginxfiles.main_of_process(
        folder, user="root" if os.geteuid() == 0 else None, mime_types=str(folder / "mime.types")
    )
    (folder / "nginx.conf").write_text(main, encoding="utf-8")
    nginx = (ground.required("nginx"), "-p", f"{folder}/", "-c", str(folder / "nginx.conf"), *_early_log(folder))
    own: dict[str, object] = {
        "config": str(config),
        "test": (*nginx, "-t"),
        "reload": (*nginx, "-s", "reload"),
        "access_log": str(folder / "log" / "access.log"),
        "error_log": str(folder / "log" / "error.log"),
        "pidfile": str(folder / "nginx.pid"),
    }
    if kind == "nginx-flag":
        own["flag"] = str(folder / "flags" / "recognition.standby")
    url = f"http://{address}:{port}"
    gateway = estate.gateway(kind, hosts=(hosts[estate.GATEWAY],), url=url, nginx=own, haproxy={})
    if isinstance(gateway, Nginx):
        config.write_bytes(nginxfiles.adopted(gateway, listen=f"{address}:{port}", primary=primary, standby=standby))
    _start(site, "nginx", [*nginx, "-g", "daemon off;"])
    return gateway


def _start_haproxy(site: Site, hosts: dict[str, Host]) -> Gateway:
    """Start the gateway's HAProxy in a folder of its own and return the gateway's part of the inventory."""
    folder = site.folder / estate.GATEWAY / "haproxy"
    folder.mkdir(parents=True)
    address = ADDRESSES[estate.GATEWAY]
    listen = f"{address}:{free_port(address, 8000)}"
    own = {
        "config": str(folder / "haproxy.cfg"),
        "socket": str(folder / "admin.sock"),
        "state_file": str(folder / "server-state"),
        "program": ground.required("haproxy"),
    }
    text = haproxyfiles.config(
        listen=listen,
        addresses={zone.host: f"{hosts[zone.host].address}:{hosts[zone.host].service_port}" for zone in estate.ZONES},
        folder=str(folder),
        socket=own["socket"],
        state_file=own["state_file"],
        user=None,
    )
    (folder / "haproxy.cfg").write_text(text, encoding="utf-8")
    (folder / "fallback.http").write_text(haproxyfiles.fallback(), encoding="utf-8", newline="")
    _start(site, "haproxy", [own["program"], "-W", "-db", "-f", own["config"]])
    return estate.gateway("haproxy", hosts=(hosts[estate.GATEWAY],), url=f"http://{listen}", nginx={}, haproxy={**own})


def _early_log(folder: Path) -> tuple[str, ...]:
    """Return the option that keeps nginx from opening the system's error log before it has read its config.

    nginx has it from 1.19.5 on; without it there is a harmless [alert] for an ordinary user.
    """
    told = subprocess.run([ground.required("nginx"), "-v"], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    number = told.stderr.decode("utf-8", "replace").partition("nginx/")[2].split(" ")[0].strip().split(".")
    known = all(map(str.isdigit, number)) and tuple(map(int, number)) >= (1, 19, 5)
    return ("-e", str(folder / "log" / "error.log")) if known else ()


def _start(site: Site, name: str, argv: Sequence[str]) -> None:
    process.start(
        argv,
        environment={"PATH": os.environ.get("PATH", os.defpath)},
        log=site.folder / f"{name}.log",
        written_down=lambda made: site.ledger.write(Thing("process", name, made.pid, made.started)),
    )


def _root_is_locked() -> bool:
    """Tell whether this is root with a locked password: sshd then lets nobody in unless PAM decides (sshd(8))."""
    if os.geteuid() != 0:
        return False
    entries = Path("/etc/shadow").read_text(encoding="utf-8").splitlines()
    return any(entry.startswith("root:!") for entry in entries)
