"""The playbook: what a drill does, what must hold before, and which objectives it is judged by.

A YAML file. `load` returns a `Playbook` or raises FileError with file:line:column and what is allowed.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, field_validator

from drillctl import template, yamlfile
from drillctl.capacity import CapacityPlan
from drillctl.errors import FileError, UsageError
from drillctl.faults import KINDS, Fault
from drillctl.fields import LocalPath, Name, Part
from drillctl.history.regression import Regression, from_flags
from drillctl.inventory import GatewayKind, Role
from drillctl.language import (
    ActionStep,
    DetectStep,
    FailbackStep,
    FallbackStep,
    HealStep,
    ObserveStep,
    ProbeStep,
    Seconds,
    StartStep,
    SwitchStep,
    VerifyStep,
)
from drillctl.stop import StopPlan
from drillctl.traffic.spec import LONGEST_TIMEOUT

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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"}


class Tolerance(Part):
    """How far scores of the same labels in the same order may be apart."""

    score_abs: Annotated[float, Field(strict=True, gt=0, lt=1)]


def _exact_or_keys(value: object) -> object:
    if not isinstance(value, (dict, Tolerance)) and value != "exact":
        raise ValueError("must be `exact`, or `{score_abs: NUMBER}`")
    return value


class Objectives(Part):
    """What the drill is judged by; `null` where something is no objective of this drill.

    The default recovery time is the runbook's five minutes. `detection_seconds`: from the first failed request until it
    was noticed. `fallback_seconds`: how long a client may wait for the fallback answer while no zone serves.
    `false_alarms`: how often clients' requests looked like an outage before there was a fault.
    """

    rto_seconds: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = 300.0
    lost_requests: Annotated[int, Field(strict=True, ge=0)] | None = None
    detection_seconds: Seconds | None = None
    fallback_seconds: Seconds | None = None
    false_alarms: Annotated[int, Field(strict=True, ge=0)] | None = None
    outputs: Annotated[Literal["exact"] | Tolerance, BeforeValidator(_exact_or_keys)] = "exact"
    restore_failed_requests: Annotated[int, Field(strict=True, ge=0)] | None = 0
    regressions: tuple[Regression, ...] = ()


class TrafficPlan(Part):
    """The client load during the drill: `rate` requests a second, each image in turn."""

    rate: Annotated[float, Field(strict=True, gt=0, le=1000)] = 50.0
    images: LocalPath = Path("images")
    timeout_seconds: Annotated[float, Field(strict=True, gt=0, le=LONGEST_TIMEOUT)] = 2.0
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


class Expects(Part):
    """What the drill is meant to do, in so many words, where it goes beyond the loss of the primary.

    `also_strikes` names what else its faults may hit: the standby, or both zones at once. Without it such a fault is
    refused, because it is more often a mistake than meant. `serving` says who serves when the steps are done, and
    `gateway` for which kinds of gateways the drill is made.
    """

    also_strikes: Literal["standby", "both"] | None = None
    serving: Role = "standby"
    gateway: Annotated[tuple[GatewayKind, ...], Field(min_length=1)] | None = None
    note: Annotated[str, StringConstraints(min_length=1, max_length=2000)] | None = None


def step_tag(step: object) -> str | None:
    """Return which kind of step this is: what `step` says, and for a fault what `fault` says, by default `kill`."""
    if isinstance(step, dict):
        kind, fault = step.get("step"), step.get("fault", "kill")
    else:
        kind, fault = getattr(step, "step", None), getattr(step, "fault", None)
    if not isinstance(kind, str):
        return None
    return f"fault.{fault}" if kind == "fault" else kind


if TYPE_CHECKING:
    Step = (
        Fault | DetectStep | SwitchStep | VerifyStep | FallbackStep | ObserveStep | StartStep | ProbeStep | ActionStep
    )
    RestoreStep = HealStep | FailbackStep | VerifyStep | ObserveStep | ProbeStep
else:
    Step = Annotated[
        Union[  # noqa: UP007 - built from the table of faults
            tuple(
                Annotated[kind, Tag(word)]
                for word, kind in {
                    **{f"fault.{word}": kind for word, kind in KINDS.items()},
                    "detect": DetectStep,
                    "switch": SwitchStep,
                    "verify": VerifyStep,
                    "fallback": FallbackStep,
                    "observe": ObserveStep,
                    "start": StartStep,
                    "probe": ProbeStep,
                    "action": ActionStep,
                }.items()
            )
        ],
        Discriminator(step_tag),
    ]
    RestoreStep = Annotated[HealStep | FailbackStep | VerifyStep | ObserveStep | ProbeStep, Field(discriminator="step")]


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
    expects: Expects = Expects()
    steady_state: Annotated[tuple[Check, ...], Field(min_length=1)] = CHECKS
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    restore: Annotated[tuple[RestoreStep, ...], Field(min_length=1)]

    @field_validator("steady_state")
    @classmethod
    def _in_order(cls, checks: tuple[Check, ...]) -> tuple[Check, ...]:
        return tuple(check for check in CHECKS if check in checks)


def load(path: Path, variables: Mapping[str, str] | None = None) -> Playbook:
    """Read a playbook with its variables and includes; its images folder is relative to it. Raises FileError."""
    file = template.load(path, variables or {})
    playbook = file.parse(Playbook)
    folder = (path.parent / playbook.traffic.images.expanduser()).absolute()
    problems = [f"{file.at(location)}: {message}" for location, message in contradictions(playbook)]
    try:
        missing = None if _images(folder) else f"no images in {folder} (allowed: {_suffixes()})"
    except (OSError, ValueError) as error:  # a name that no folder can have
        missing = f"the images' folder cannot be looked into: {getattr(error, 'strerror', None) or error}"
    if missing is not None:
        problems.append(f"{file.at(('traffic', 'images'))}: {missing}")
    if problems:
        raise FileError(problems)
    traffic = playbook.traffic.model_copy(update={"images": folder})
    return playbook.model_copy(update={"traffic": traffic})


def with_regressions(playbook: Playbook, rules: Sequence[str]) -> Playbook:
    """Return a playbook with further regressions, given as text. Raises UsageError for a rule that cannot be read."""
    if not rules:
        return playbook
    regressions = (*playbook.objectives.regressions, *from_flags(rules))
    objectives = playbook.objectives.model_copy(update={"regressions": regressions})
    return playbook.model_copy(update={"objectives": objectives})


def images(playbook: Playbook) -> tuple[Path, ...]:
    """Return the playbook's images, by name."""
    return tuple(_images(playbook.traffic.images))


def contradictions(playbook: Playbook) -> list[tuple[yamlfile.Location, str]]:
    """Return steps that cannot follow each other as they stand, and changes that the restore does not undo."""
    order = [step.step for step in playbook.steps]
    return [*_restored(playbook, order), *_in_sequence(playbook, order), *_aimed(playbook), *_too_soon(playbook)]


def _too_soon(playbook: Playbook) -> list[tuple[yamlfile.Location, str]]:
    """Return a stop condition that would stop every drill."""
    pause = 2 / playbook.traffic.rate
    allowed = playbook.stop.outage_seconds
    if allowed is None or allowed > pause:
        return []
    message = f"at {playbook.traffic.rate:g} requests a second, {pause:g} s without an answer are no outage"
    return [(("stop", "outage_seconds"), message)]


def _restored(playbook: Playbook, order: Sequence[str]) -> list[tuple[yamlfile.Location, str]]:
    """Return what the steps change and the restore does not put back."""
    found: list[tuple[yamlfile.Location, str]] = []
    restore = [step.step for step in playbook.restore]
    if "switch" in order and "failback" not in restore:
        found.append((("restore",), "the steps switch the gateway, but `restore` has no `failback`"))
    if "fault" in order and "heal" not in restore:
        found.append((("restore",), "the steps make a fault, but `restore` has no `heal`"))
    for place, step in enumerate(playbook.steps):
        if isinstance(step, ActionStep) and step.undo is not None and "heal" not in restore:
            found.append((("steps", place), "only `heal` carries out the `undo` of an `action`; `restore` has none"))
    if "heal" in restore and "failback" in restore and restore.index("heal") > restore.index("failback"):
        place = restore.index("failback")
        found.append((("restore", place), "`failback` before `heal` would send clients to a zone that is down"))
    return found


def _in_sequence(playbook: Playbook, order: Sequence[str]) -> list[tuple[yamlfile.Location, str]]:
    """Return steps that come twice, or before what they need."""
    found: list[tuple[yamlfile.Location, str]] = []
    for kind in ("detect", "switch"):
        places = [place for place, step in enumerate(order) if step == kind]
        if len(places) > 1:
            found.append((("steps", places[1]), f"`{kind}` comes twice; a drill has one"))
    struck: set[str] = set()
    switched = False
    for place, step in enumerate(playbook.steps):
        here: yamlfile.Location = ("steps", place)
        if isinstance(step, Fault):
            zones = _struck_by(playbook, step)
            if zones & struck:
                found.append(
                    (here, f"the {' and the '.join(sorted(zones & struck))} is struck twice without a `start` between")
                )
            struck |= zones
        elif isinstance(step, StartStep):
            if step.zone not in struck:
                found.append((here, f"`start` of the {step.zone}, which no step before has stopped"))
            struck.discard(step.zone)
        elif isinstance(step, SwitchStep):
            switched = True
            if step.to == "standby" and step.to in struck:
                found.append((here, f"`switch` to the {step.to} while a fault strikes it"))
        elif isinstance(step, VerifyStep):
            if step.zone in struck and not _bearable(playbook, step.zone):
                found.append((here, f"`verify` of the {step.zone} while a fault strikes it"))
        elif isinstance(step, DetectStep) and "fault" not in order[:place]:
            found.append((here, "`detect` needs a `fault` before it"))
    if "fault" in order and switched and "fault" not in order[: order.index("switch")]:
        found.append((("steps", order.index("switch")), "`switch` before `fault`: then the fault hits nobody's zone"))
    return found


def _struck_by(playbook: Playbook, fault: Fault) -> set[str]:
    """Return the zones that a fault strikes, as far as the playbook says that it is meant."""
    if fault.on_gateway:
        return set()
    if fault.zone == "both":
        return {"primary", "standby"}
    meant = fault.zone == "primary" or playbook.expects.also_strikes in {"both", fault.zone}
    return {fault.zone} if meant else set()


def _bearable(playbook: Playbook, zone: Role) -> bool:
    """Tell whether all faults that strike a zone leave it able to answer: lost packets, a slow server."""
    faults = [step for step in playbook.steps if isinstance(step, Fault) and step.zone in (zone, "both")]
    return all(
        step.on_gateway or getattr(step, "fault", "") in {"loss", "slow", "disk-full", "command"} for step in faults
    )


def _aimed(playbook: Playbook) -> list[tuple[yamlfile.Location, str]]:
    """Return faults and switches that are aimed at what the playbook does not say that it means."""
    found: list[tuple[yamlfile.Location, str]] = []
    said = playbook.expects.also_strikes
    for place, step in enumerate(playbook.steps):
        if isinstance(step, Fault) and step.zone != "primary" and said != "both" and said != step.zone:
            found.append(
                (
                    ("steps", place, "zone"),
                    f"the fault is aimed at {'both zones' if step.zone == 'both' else 'the standby'}; "
                    f"if that is meant, say `expects: {{also_strikes: {step.zone}}}`",
                )
            )
        if isinstance(step, SwitchStep) and step.to != "standby":
            found.append((("steps", place, "to"), "the drill switches to the standby; `failback` is the way back"))
    return found


def find(name_or_path: str) -> Path:
    """Return the file of a playbook given by path, or by the name of one that ships. Raises UsageError."""
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or "/" in name_or_path:
        try:
            if path.is_file():
                return path
        except OSError as error:  # a folder on the way that may not be looked into
            raise UsageError(f"the playbook file {path} cannot be reached: {error.strerror or error}") from None
        raise UsageError(f"there is no playbook file {path}", hint=f"the built-in ones: {', '.join(builtin())}")
    shipped = builtin()
    if name_or_path in shipped:
        return shipped[name_or_path]
    near = get_close_matches(name_or_path, shipped, n=1)
    raise UsageError(
        f"there is no built-in playbook `{name_or_path}`" + (f"; did you mean `{near[0]}`?" if near else ""),
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
