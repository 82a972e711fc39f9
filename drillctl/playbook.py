"""The playbook: what a drill does, what must hold before, and which objectives it is judged by.

A YAML file. `load` returns a `Playbook` or raises FileError with file:line:column and what is allowed.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator

from drillctl import yamlfile
from drillctl.capacity import CapacityPlan
from drillctl.errors import FileError, UsageError
from drillctl.inventory import Name, Part, Role
from drillctl.stop import StopPlan

Seconds = Annotated[float, Field(strict=True, gt=0, le=3600)]
Check = Literal["health", "role", "model", "environment", "isolation", "gateway", "equality", "capacity"]

CHECKS: tuple[Check, ...] = (
    "health",
    "role",
    "model",
    "environment",
    "isolation",
    "gateway",
    "equality",
    "capacity",
)
"""Every check of the steady state, in the order in which they run."""

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}


class Tolerance(Part):
    """How far scores of the same labels in the same order may be apart."""

    score_abs: Annotated[float, Field(strict=True, gt=0, lt=1)]


def _exact_or_keys(value: object) -> object:
    if not isinstance(value, (dict, Tolerance)) and value != "exact":
        raise ValueError("must be `exact`, or `{score_abs: NUMBER}`")
    return value


class Objectives(Part):
    """What the drill is judged by. The default recovery time is the runbook's five minutes."""

    rto_seconds: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] = 300.0
    lost_requests: Annotated[int, Field(strict=True, ge=0)] | None = None
    outputs: Annotated[Literal["exact"] | Tolerance, BeforeValidator(_exact_or_keys)] = "exact"
    restore_failed_requests: Annotated[int, Field(strict=True, ge=0)] = 0


class TrafficPlan(Part):
    """The client load during the drill: `rate` requests a second, each image in turn."""

    rate: Annotated[float, Field(strict=True, gt=0, le=1000)] = 50.0
    images: Path = Path("images")
    timeout_seconds: Seconds = 2.0
    slow_seconds: Seconds = 1.0
    baseline_seconds: Seconds = 3.0
    observation_seconds: Seconds = 3.0


class StartPlan(Part):
    """Start servers that are not running; they are left running unless `stop_after`."""

    ready_seconds: Seconds = 120.0
    stop_after: bool = False


class GuardPlan(Part):
    """The guards on the hosts undo by themselves when drillctl was not heard of for `ttl_seconds`."""

    ttl_seconds: Annotated[int, Field(strict=True, ge=5, le=3600)] = 20


class FaultStep(Part):
    """Break the zone. `kill`: SIGKILL every process of the service, and keep supervisors from restarting it."""

    step: Literal["fault"]
    fault: Literal["kill"] = "kill"
    zone: Role = "primary"


class DetectStep(Part):
    """Wait until clients notice: so many failed probes in a row."""

    step: Literal["detect"]
    failures: Annotated[int, Field(strict=True, ge=1, le=1000)] = 3
    within_seconds: Seconds = 30.0


class SwitchStep(Part):
    """Point the gateway at the other zone, reload, and prove that it is applied."""

    step: Literal["switch"]
    to: Role = "standby"
    within_seconds: Seconds = 30.0


class VerifyStep(Part):
    """Prove that the zone serves through the gateway: sustained, same outputs, named in the access log."""

    step: Literal["verify"]
    zone: Role = "standby"


class HealStep(Part):
    """Undo the fault and wait until the zone is ready and answers as before."""

    step: Literal["heal"]
    ready_seconds: Seconds = 120.0


class FailbackStep(Part):
    """Point the gateway back, with the very bytes that its config had."""

    step: Literal["failback"]
    within_seconds: Seconds = 30.0


Step = Annotated[FaultStep | DetectStep | SwitchStep | VerifyStep, Field(discriminator="step")]
RestoreStep = Annotated[HealStep | FailbackStep | VerifyStep, Field(discriminator="step")]


class Playbook(Part):
    """One drill."""

    name: Name
    description: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    objectives: Objectives = Objectives()
    traffic: TrafficPlan = TrafficPlan()
    start: StartPlan = StartPlan()
    guard: GuardPlan = GuardPlan()
    capacity: CapacityPlan = CapacityPlan()
    stop: StopPlan = StopPlan()
    steady_state: Annotated[tuple[Check, ...], Field(min_length=1)] = CHECKS
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    restore: Annotated[tuple[RestoreStep, ...], Field(min_length=1)]

    @field_validator("steady_state")
    @classmethod
    def _in_order(cls, checks: tuple[Check, ...]) -> tuple[Check, ...]:
        return tuple(check for check in CHECKS if check in checks)


def load(path: Path) -> Playbook:
    """Read a playbook; its images folder is relative to it. Raises FileError."""
    file = yamlfile.load(path)
    playbook = file.parse(Playbook)
    folder = (path.parent / playbook.traffic.images.expanduser()).absolute()
    problems = [f"{file.at(location)}: {message}" for location, message in contradictions(playbook)]
    if not _images(folder):
        problems.append(f"{file.at(('traffic', 'images'))}: no images in {folder} (allowed: {_suffixes()})")
    if problems:
        raise FileError(problems)
    traffic = playbook.traffic.model_copy(update={"images": folder})
    return playbook.model_copy(update={"traffic": traffic})


def images(playbook: Playbook) -> tuple[Path, ...]:
    """Return the playbook's images, by name."""
    return tuple(_images(playbook.traffic.images))


def contradictions(playbook: Playbook) -> list[tuple[yamlfile.Location, str]]:
    """Return steps that cannot follow each other as they stand, and changes that the restore does not undo."""
    found: list[tuple[yamlfile.Location, str]] = []
    order = [step.step for step in playbook.steps]
    restore = [step.step for step in playbook.restore]
    for kind in ("fault", "detect", "switch"):
        places = [place for place, step in enumerate(order) if step == kind]
        if len(places) > 1:
            found.append((("steps", places[1]), f"`{kind}` comes twice; a drill has one"))
    if "switch" in order and "failback" not in restore:
        found.append((("restore",), "the steps switch the gateway, but `restore` has no `failback`"))
    if "fault" in order and "heal" not in restore:
        found.append((("restore",), "the steps make a fault, but `restore` has no `heal`"))
    if "heal" in restore and "failback" in restore and restore.index("heal") > restore.index("failback"):
        place = restore.index("failback")
        found.append((("restore", place), "`failback` before `heal` would send clients to a zone that is down"))
    if "detect" in order and "fault" not in order[: order.index("detect")]:
        found.append((("steps", order.index("detect")), "`detect` needs a `fault` before it"))
    if "fault" in order and "switch" in order and order.index("switch") < order.index("fault"):
        found.append((("steps", order.index("switch")), "`switch` before `fault`: then the fault hits nobody's zone"))
    pause = 2 / playbook.traffic.rate
    if playbook.stop.outage_seconds is not None and playbook.stop.outage_seconds <= pause:
        message = f"at {playbook.traffic.rate:g} requests a second, {pause:g} s without an answer are no outage"
        found.append((("stop", "outage_seconds"), message))
    for place, step in enumerate(playbook.steps):
        if isinstance(step, FaultStep) and step.zone != "primary":
            found.append((("steps", place, "zone"), "the fault is aimed at the standby; only the primary is supported"))
        if isinstance(step, SwitchStep) and step.to != "standby":
            found.append((("steps", place, "to"), "the drill switches to the standby; `failback` is the way back"))
    return found


def find(name_or_path: str) -> Path:
    """Return the file of a playbook given by path, or by the name of one that ships. Raises UsageError."""
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or "/" in name_or_path:
        if path.is_file():
            return path
        raise UsageError(f"there is no playbook file {path}", hint=f"the built-in ones: {', '.join(builtin())}")
    shipped = builtin()
    if name_or_path in shipped:
        return shipped[name_or_path]
    raise UsageError(
        f"there is no built-in playbook `{name_or_path}`",
        hint=f"the built-in ones: {', '.join(shipped)}; a file of your own is given by its path, ending in .yaml",
    )


def builtin() -> dict[str, Path]:
    """Return the playbooks that ship, by name."""
    return {path.stem: path for path in sorted(_shipped().glob("*.yaml"))}


def _shipped() -> Path:
    """Return the folder of the playbooks: in the package when installed, beside it in a checkout."""
    package = Path(str(resources.files("drillctl")))
    installed = package / "playbooks"
    return installed if installed.is_dir() else package.parent / "playbooks"


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
