"""`drillctl lab`: real hosts on this machine, for trying drillctl and for its tests."""

from __future__ import annotations

import json
import os
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from drillctl.lab import Lab

app = typer.Typer(no_args_is_help=True, help="Real hosts on this machine: a gateway and two zones of one host each.")

SCHEMA_VERSION = 1


class DriverChoice(StrEnum):
    """What the lab's hosts are made of."""

    auto = "auto"
    systemd = "systemd"
    process = "process"


class GatewayChoice(StrEnum):
    """How the lab's gateway sends clients to a zone; docs/gateway.md tells the kinds apart."""

    nginx = "nginx"
    nginx_flag = "nginx-flag"
    nginx_passive = "nginx-passive"
    haproxy = "haproxy"


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def up(
    driver: Annotated[
        DriverChoice,
        typer.Option(help="`systemd`: machines of their own (root). `process`: sshd and nginx on loopback addresses."),
    ] = DriverChoice.auto,
    model: Annotated[
        Path | None, typer.Option(help="Model folder that both zones serve; by default the sample model.")
    ] = None,
    gateway: Annotated[
        GatewayChoice | None, typer.Option(help="How the gateway is switched; by default `nginx`, by reload.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the lab, and wait until its hosts answer."""
    from drillctl import lab

    started = time.monotonic()

    def say(line: str) -> None:
        typer.echo(f"{time.monotonic() - started:5.2f} s  {line}", err=True)

    made = lab.up(driver.value, model, say, gateway.value if gateway else None)
    seconds = time.monotonic() - started
    if as_json:
        typer.echo(_document(made, dict.fromkeys((host.name for host in made.hosts), True)))
        return
    typer.echo(f"The lab is up after {seconds:.1f} s ({made.driver} hosts).")
    _describe(made)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show the lab and whether its hosts answer; exit code 4 when there is none or one is silent."""
    from drillctl import lab

    made = lab.current()
    if made is None:
        if as_json:
            typer.echo(json.dumps({"schema_version": SCHEMA_VERSION, "up": False}))
        else:
            typer.echo("There is no lab. `drillctl lab up` makes one.")
        raise typer.Exit(4)
    answers = lab.answering(made)
    if as_json:
        typer.echo(_document(made, answers))
    else:
        _describe(made, answers)
    if not all(answers.values()):
        raise typer.Exit(4)


@app.command()
def down() -> None:
    """Remove the lab and everything it made, also what a killed `lab up` left."""
    from drillctl import lab

    removed = lab.down()
    for line in removed:
        typer.echo(f"removed {line}", err=True)
    typer.echo("The lab is gone." if removed else "There was no lab.")


@app.command(context_settings={"ignore_unknown_options": True})
def ssh(
    host: Annotated[str, typer.Argument(help="gateway, zone-a-1 or zone-b-1")],
    command: Annotated[list[str] | None, typer.Argument(help="Command to run; a shell without one.")] = None,
) -> None:
    """Log in to a host as drillctl does, or run a command on it: drillctl lab ssh zone-a-1 -- uptime."""
    argv = _current().ssh_command(host, _words(command))
    os.execv(argv[0], argv)  # noqa: S606 - ssh takes this process's terminal, streams and exit code


@app.command(context_settings={"ignore_unknown_options": True})
def root(
    host: Annotated[str, typer.Argument(help="gateway, zone-a-1 or zone-b-1")],
    command: Annotated[list[str] | None, typer.Argument(help="Command to run; a shell without one.")] = None,
) -> None:
    """Be root on a host, which is not possible by SSH: drillctl lab root zone-a-1 -- systemctl restart inference."""
    argv = _current().root_command(host, _words(command))
    os.execv(argv[0], argv)  # noqa: S606 - it takes this process's terminal, streams and exit code


def _current() -> Lab:
    """Return the lab that is up. Raises NotStarted when there is none."""
    from drillctl import lab
    from drillctl.errors import NotStarted

    made = lab.current()
    if made is None:
        raise NotStarted("there is no lab", hint="`drillctl lab up` makes one")
    return made


def _words(command: list[str] | None) -> list[str]:
    """Return the words to run: one word is a line for the host's shell, as with ssh itself; several are one command."""
    return ["sh", "-c", command[0]] if command and len(command) == 1 else command or []


def _describe(made: Lab, answers: dict[str, bool] | None = None) -> None:
    for host in made.hosts:
        where = f"{host.address}:{host.ssh_port}"
        state = "" if answers is None else ("  answers" if answers[host.name] else "  does not answer")
        typer.echo(f"  {host.name:<10} {where:<20} {host.zone or 'gateway':<8}{state}")
    typer.echo(f"  clients    {made.url}" + ("" if made.gateway == "nginx" else f", through {made.gateway}"))
    typer.echo(f"  inventory  {made.inventory}")
    if made.cannot_prove:
        because = f" ({made.fallback})" if made.fallback else ""
        typer.echo(f"  Its hosts are processes, not machines{because}: it cannot prove {', '.join(made.cannot_prove)}.")


def _document(made: Lab, answers: dict[str, bool]) -> str:
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "up": True,
            "driver": made.driver,
            "gateway": made.gateway,
            "folder": str(made.folder),
            "inventory": str(made.inventory),
            "url": made.url,
            "model": {"folder": str(made.model), "sha256": made.model_sha256},
            "cannot_prove": list(made.cannot_prove),
            "hosts": [
                {
                    "name": host.name,
                    "address": host.address,
                    "ssh_port": host.ssh_port,
                    "zone": host.zone,
                    "answers": answers[host.name],
                }
                for host in made.hosts
            ],
        },
        indent=2,
    )
