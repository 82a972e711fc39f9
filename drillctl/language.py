"""The small language that playbooks are written in: the steps of `steps` and `restore`, beside the faults.

A step is keys with values, of which `step` says the kind. Faults are steps too, of `step: fault`; each has its own file
in `faults/`. What a step does is in the file of the same name in `steps/`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from drillctl.fields import AbsolutePath, Name, Part, UrlPath
from drillctl.inventory import Role

Seconds = Annotated[float, Field(strict=True, gt=0, le=3600)]
Count = Annotated[int, Field(strict=True, ge=1, le=1000)]
Share = Annotated[float, Field(strict=True, gt=0, le=1)]
Words = Annotated[tuple[Annotated[str, StringConstraints(min_length=1)], ...], Field(min_length=1)]
Target = Literal["primary", "standby", "both"]
Signal = Literal["refused", "reset", "closed", "timeout", "5xx", "4xx", "slow", "other"]

SIGNALS: tuple[Signal, ...] = ("refused", "reset", "closed", "timeout", "5xx", "4xx", "slow", "other")
"""What a request can show of an outage; `closed` is an answer that was cut off, `slow` one that took too long."""


def _one_line(words: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what the guard, which keeps an undo in lines, could not carry out as it was meant."""
    if any("\n" in word for word in words):
        raise ValueError("must be of one line, as its host's guard keeps it; put a script on the host and name that")
    return words


UndoWords = Annotated[Words, AfterValidator(_one_line)]


class StepModel(Part):
    """What every step may have: a name for the report, and a condition under which it is carried out at all.

    A condition is `NAME`, `not NAME`, `NAME == VALUE` or `NAME != VALUE`, over the playbook's variables; it is decided
    when the playbook is read, so that the plan shows exactly what will be done.
    """

    name: Annotated[str, StringConstraints(min_length=1, max_length=80)] | None = None


class RateRule(Part):
    """So large a share of the requests of the last seconds failed; at least `requests` of them."""

    share: Share
    seconds: Annotated[float, Field(strict=True, gt=0, le=60)] = 2.0
    requests: Count = 10


class DetectStep(StepModel):
    """Wait until clients notice: so many bad requests in a row, or so large a share of the last seconds' requests.

    `signals` says which kinds of trouble count. `expect: nothing` is for drills that must not alarm: then it passes
    when nothing was detected within the time.
    """

    step: Literal["detect"]
    failures: Count | None = 3
    rate: RateRule | None = None
    signals: Annotated[tuple[Signal, ...], Field(min_length=1)] = SIGNALS
    slow_seconds: Seconds | None = None
    within_seconds: Seconds = 30.0
    expect: Literal["failure", "nothing"] = "failure"

    @model_validator(mode="after")
    def _has_a_rule(self) -> DetectStep:
        if self.failures is None and self.rate is None:
            raise ValueError("a detection needs `failures` or `rate`")
        return self


class SwitchStep(StepModel):
    """Point the gateway at the other zone, reload, and prove that it is applied."""

    step: Literal["switch"]
    to: Role = "standby"
    within_seconds: Seconds = 30.0


class VerifyStep(StepModel):
    """Prove that the zone serves through the gateway: sustained, same outputs, named in the access log."""

    step: Literal["verify"]
    zone: Role = "standby"


class FallbackStep(StepModel):
    """Prove that clients get the fallback answer, quickly, while no zone serves: 503 with its JSON, never a hang."""

    step: Literal["fallback"]
    answer_seconds: Seconds = 1.5
    observe_seconds: Seconds = 2.0
    within_seconds: Seconds = 10.0


class ObserveStep(StepModel):
    """Let clients go on for a while, and change nothing."""

    step: Literal["observe"]
    seconds: Seconds = 3.0


class StartStep(StepModel):
    """Undo what the drill did to a zone's servers, start them, and wait until they are ready: a cold start."""

    step: Literal["start"]
    zone: Role = "standby"
    ready_seconds: Seconds = 120.0


class HttpRequest(Part):
    """A request of the operator's machine to the gateway, or to any URL."""

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")] | None = None
    path: UrlPath | None = None
    method: Literal["GET", "POST", "PUT", "DELETE", "HEAD"] = "GET"
    body: str | None = None
    status: Annotated[int, Field(strict=True, ge=100, le=599)] = 200
    contains: str | None = None
    timeout_seconds: Seconds = 5.0

    @model_validator(mode="after")
    def _has_one_target(self) -> HttpRequest:
        if (self.url is None) == (self.path is None):
            raise ValueError("needs either `url`, or `path` on the gateway")
        return self


class RemoteCommand(Part):
    """A command on a host of the inventory; it succeeds with exit code 0, and `contains` in what it prints."""

    host: Name
    run: Words
    contains: str | None = None
    privileged: bool = False
    timeout_seconds: Seconds = 30.0


class PythonCall(Part):
    """A function that a package registers under the entry point `drillctl.steps`; see docs/playbooks.md."""

    function: Name
    arguments: dict[str, str | int | float | bool] = Field(default_factory=dict)


def _one_way(step: ProbeStep | ActionStep) -> None:
    if sum(way is not None for way in (step.http, step.command, step.python)) != 1:
        raise ValueError("needs exactly one of `http`, `command` and `python`")


class ProbeStep(StepModel):
    """A check of the user's own, which changes nothing. What does not hold ends the drill."""

    step: Literal["probe"]
    http: HttpRequest | None = None
    command: RemoteCommand | None = None
    python: PythonCall | None = None

    @model_validator(mode="after")
    def _has_one_way(self) -> ProbeStep:
        _one_way(self)
        return self


class ActionStep(StepModel):
    """A change of the user's own. A `command` needs its `undo`: the guard of its host carries that out as well."""

    step: Literal["action"]
    http: HttpRequest | None = None
    command: RemoteCommand | None = None
    python: PythonCall | None = None
    undo: UndoWords | None = None

    @model_validator(mode="after")
    def _has_one_way(self) -> ActionStep:
        _one_way(self)
        if self.command is not None and self.undo is None:
            raise ValueError(
                "a `command` needs an `undo`, words of a command that puts things back and may be repeated"
            )
        if self.command is None and self.undo is not None:
            raise ValueError("`undo` is for a `command`, whose host can carry it out")
        return self


class HealStep(StepModel):
    """Undo the faults and wait until every server is ready and answers as before."""

    step: Literal["heal"]
    ready_seconds: Seconds = 120.0


class FailbackStep(StepModel):
    """Point the gateway back, with the very bytes that its config had."""

    step: Literal["failback"]
    within_seconds: Seconds = 30.0


__all__ = [
    "AbsolutePath",
    "ActionStep",
    "Count",
    "DetectStep",
    "FailbackStep",
    "FallbackStep",
    "HealStep",
    "HttpRequest",
    "ObserveStep",
    "ProbeStep",
    "PythonCall",
    "RateRule",
    "RemoteCommand",
    "Seconds",
    "Share",
    "Signal",
    "StartStep",
    "StepModel",
    "SwitchStep",
    "Target",
    "UndoWords",
    "VerifyStep",
    "Words",
]
