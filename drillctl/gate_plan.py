"""The plan of the gates: when, by the inventory, a drill of an estate may begin."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from drillctl.fields import WEEKDAYS, ClockTime, Day, Part, TimeZone, Weekday


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
