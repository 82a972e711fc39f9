"""Where the gateway sends clients: by its config, and by what a client gets; what is not known is said so (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Configured:
    """The zone that the gateway is configured for.

    None means that it names no single one, or that this is not `known`; `reason` says why.
    """

    zone: str | None
    reason: str | None = None
    known: bool = True

    @classmethod
    def unreachable(cls, hosts: Iterable[str]) -> Configured:
        """Return what is known of gateway hosts that cannot be reached: nothing."""
        return cls(None, f"{', '.join(hosts)} cannot be reached", known=False)

    def __str__(self) -> str:
        """Return it in words."""
        if not self.known:
            return f"what the gateway is configured for is unknown: {self.reason}"
        return f"the gateway is configured for {self.zone or 'no single zone'}"


@dataclass(frozen=True)
class Served:
    """What a client gets through the gateway: the zone that answers, the answer's status, and what is wrong with it.

    Without a status there is no answer; with 200 and without a zone, the answer does not say which of ours gave it.
    """

    zone: str | None
    status: int | None = None
    problem: str | None = None

    def __str__(self) -> str:
        """Return it in words."""
        if self.zone is not None:
            return f"{self.zone} answers"
        if self.status is None:
            return "a client gets no answer"
        return f"a client is answered with {self.status}" + (", by no zone that is known" if self.status == 200 else "")
