"""probe, action: checks and changes of the user's own: an HTTP request, a command on a host, or a Python function."""

from __future__ import annotations

import shlex
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import requests

from drillctl.errors import DrillctlError, GatewayError, HostError, Inconclusive, NotStarted
from drillctl.faults.command import command_undo
from drillctl.language import ActionStep, ProbeStep
from drillctl.privileges.installed import Installed

if TYPE_CHECKING:
    from collections.abc import Callable

    from drillctl.inventory import Host
    from drillctl.language import HttpRequest, PythonCall, RemoteCommand
    from drillctl.run import Run

GROUP = "drillctl.steps"
"""The entry-point group in which packages register functions: `def name(run, **arguments) -> str`."""


def check(run: Run) -> None:
    """See that every function that the playbook names is installed here, and what is to run as root there.

    Raises NotStarted.
    """
    for step in (*run.playbook.steps, *run.playbook.restore):
        if isinstance(step, ProbeStep | ActionStep) and step.python is not None:
            _function(step.python)
        if isinstance(step, ProbeStep | ActionStep) and step.command is not None:
            host = run.host(step.command.host)
            if run.inventory.login(host).by != "installed":
                continue
            if step.command.privileged:
                _check_program(run, host, step.command)
            if isinstance(step, ActionStep):
                raise NotStarted(
                    "the guard there may not run the `undo` of an action: only installed programs run as root",
                    host=host.name,
                    hint="such actions are for hosts with `ssh: {privileges: sudo}`",
                    state="nothing was changed",
                )


def _check_program(run: Run, host: Host, command: RemoteCommand) -> None:
    """See that a command that is to run as root is among the installed programs. Raises NotStarted."""
    try:
        Installed(run.inventory, host).of_command(command.run)
    except HostError as error:
        raise NotStarted(error.message, host=host.name, hint=error.hint, state="nothing was changed") from None


def carry_out(run: Run, step: ProbeStep | ActionStep) -> None:
    """Do it. Raises GatewayError, HostError or Inconclusive when it does not hold or does not succeed."""
    name = step.name or step.step
    if step.command is not None:
        undo = getattr(step, "undo", None)
        undos = (command_undo(step.command.host, undo),) if undo is not None else ()
        with run.step(name, step.command.host, *undos) as done:
            done.detail = _command(run, step.command)
    elif step.http is not None:
        with run.step(name) as done:
            done.detail = _http(run, step.http)
    elif step.python is not None:
        with run.step(name) as done:
            done.detail = _python(run, step.python)


def _command(run: Run, command: RemoteCommand) -> str:
    fleet, _ = run.live()
    ended = fleet[command.host].run(command.run, timeout=command.timeout_seconds, privileged=command.privileged)
    if command.contains is not None and command.contains not in ended.text:
        raise HostError(f"`{shlex.join(command.run)}` printed no {command.contains!r}", host=command.host)
    return f"`{shlex.join(command.run)}`: {ended.complaint}"


def _http(run: Run, wanted: HttpRequest) -> str:
    url = wanted.url or run.inventory.gateway.url.rstrip("/") + (wanted.path or "/")
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.request(
                wanted.method, url, data=wanted.body, timeout=wanted.timeout_seconds, allow_redirects=False
            )
        except requests.RequestException as error:
            raise GatewayError(f"{url} gave no answer ({type(error).__name__})") from None
    if answer.status_code != wanted.status:
        raise GatewayError(f"{url} answers {answer.status_code}, not {wanted.status}")
    if wanted.contains is not None and wanted.contains not in answer.text:
        raise GatewayError(f"{url} answers without {wanted.contains!r}")
    return f"{wanted.method} {url}: {answer.status_code}"


def _python(run: Run, call: PythonCall) -> str:
    function = _function(call)
    try:
        return str(function(run, **call.arguments))
    except DrillctlError:
        raise
    except Exception as error:
        # It is somebody else's code: whatever it raises ends the drill in good order.
        raise Inconclusive(f"the function `{call.function}` raised {type(error).__name__}: {error}") from error


def _function(call: PythonCall) -> Callable[..., object]:
    found = list(entry_points(group=GROUP, name=call.function))
    if not found:
        known = sorted(point.name for point in entry_points(group=GROUP))
        raise NotStarted(
            f"no installed package registers the function `{call.function}`",
            hint=f"entry points of `{GROUP}` here: {', '.join(known) or 'none'}",
            state="nothing was changed",
        )
    try:
        function: Callable[..., object] = found[0].load()
    except Exception as error:  # whatever somebody else's module raises as it is imported
        raise NotStarted(
            f"the function `{call.function}` cannot be loaded from {found[0].value}: {type(error).__name__}: {error}",
            hint="mend or reinstall the package that registers it",
            state="nothing was changed",
        ) from error
    return function
