"""What the prober is told to send: one JSON line on its standard input."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from drillctl.traffic.probe import LANES, Lane

LONGEST_TIMEOUT = 300.0
"""Seconds for which a request may be waited for."""


class TrafficSpec(BaseModel):
    """The load of a drill. `url` is the whole address to post to; `rate` is in requests per second, over all lanes.

    `images` are paths of files. `timeout` and `slow` are seconds from the send: after `timeout` a request is given up
    as lost, after `slow` it is reported as overdue while it waits. `lanes` take turns. `seed` decides the order of the
    images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]
    rate: Annotated[float, Field(gt=0, le=2000)]
    images: Annotated[tuple[str, ...], Field(min_length=1)]
    timeout: Annotated[float, Field(gt=0, le=LONGEST_TIMEOUT)] = 5.0
    slow: Annotated[float, Field(gt=0)] | None = None
    lanes: Annotated[tuple[Lane, ...], Field(min_length=1)] = LANES
    zone_header: str = "X-Served-Zone"
    host_header: str = "X-Served-Host"
    seed: int = 0

    @model_validator(mode="after")
    def _images_have_names_of_their_own(self) -> TrafficSpec:
        names = [path.rsplit("/", 1)[-1] for path in self.images]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two images are called {twice[0]}; the record could not tell them apart")
        return self

    @property
    def interval(self) -> float:
        """Seconds between two scheduled sends."""
        return 1 / self.rate
