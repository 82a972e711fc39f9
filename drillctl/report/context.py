"""Who drilled what, where and with what: the part of the report that an auditor asks for first (pure)."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from drillctl import __version__
from drillctl.inventory import Haproxy
from drillctl.machine import Machine
from drillctl.report.document import Document

if TYPE_CHECKING:
    from drillctl.run import Run

_LIBRARIES = ("paramiko", "h11", "pydantic")


class People(Document):
    """Who answers for the drill. `operator` is the account that ran drillctl, and where, as user@host."""

    approver: str | None = None
    participants: tuple[str, ...] = ()
    operator: str | None = None


class MachineRecord(Document):
    """One host. `zone` is None for a gateway host. Offsets are in seconds; positive: its clock is ahead of ours."""

    name: str
    zone: str | None = None
    role: str = "gateway"
    address: str
    failure_domain: str | None = None
    system: str | None = None
    kernel: str | None = None
    machine_id: str | None = None
    boot_id: str | None = None
    host_key: str | None = None
    software: dict[str, str] = {}
    clock_offset_seconds: float | None = None
    clock_error_seconds: float | None = None
    problem: str | None = None


class Scope(Document):
    """What was drilled, and with which traffic."""

    url: str = ""
    gateway_config: str = ""
    upstream: str = ""
    model_path: str = ""
    images: int = 0
    rate: float = 0.0
    timeout_seconds: float = 0.0
    slow_seconds: float = 0.0
    waivers: dict[str, str] = {}


class Context(Document):
    """The whole of it. `software` is that of the controller."""

    people: People = People()
    scope: Scope = Scope()
    machines: tuple[MachineRecord, ...] = ()
    software: dict[str, str] = {}


def context_of(run: Run) -> Context:
    """Return who, where and with what, of a run that has ended."""
    return Context(
        people=People(approver=run.people.approver, participants=run.people.participants, operator=run.people.operator),
        scope=_scope(run),
        machines=tuple(_machines(run)),
        software=own_software(),
    )


def own_software() -> dict[str, str]:
    """Return the versions of drillctl and of what it measures with."""
    found = {"drillctl": __version__, "Python": platform.python_version(), "system": platform.platform(terse=True)}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _scope(run: Run) -> Scope:
    estate, traffic = run.inventory, run.playbook.traffic
    return Scope(
        url=estate.gateway.url,
        gateway_config=estate.gateway.config,
        upstream=estate.gateway.backend if isinstance(estate.gateway, Haproxy) else estate.gateway.upstream,
        model_path=estate.service.model.path,
        images=len(run.findings.baseline),
        rate=traffic.rate,
        timeout_seconds=traffic.timeout_seconds,
        slow_seconds=traffic.slow_seconds,
        waivers={waiver.check: waiver.reason for waiver in estate.waivers},
    )


def _machines(run: Run) -> list[MachineRecord]:
    estate = run.inventory
    records: list[MachineRecord] = []
    for host in estate.hosts:
        zone = estate.zone_of(host.name)
        machine = run.findings.machines.get(host.name) or Machine(host.name)
        survey = run.findings.surveys.get(host.name)
        served = survey.info.get("versions") if survey else None
        software = {str(k): str(v) for k, v in served.items()} if isinstance(served, dict) else {}
        records.append(
            MachineRecord(
                name=host.name,
                zone=zone.name if zone else None,
                role=zone.role if zone else "gateway",
                address=host.address,
                failure_domain=zone.failure_domain if zone else None,
                system=machine.system,
                kernel=machine.kernel,
                machine_id=machine.machine_id,
                boot_id=machine.boot_id,
                host_key=machine.host_key,
                software=machine.software | software,
                clock_offset_seconds=_rounded(machine.clock_offset),
                clock_error_seconds=_rounded(machine.clock_error),
                problem=machine.problem,
            )
        )
    return records


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
