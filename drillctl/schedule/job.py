"""A drill that runs by itself: what is run, when, how much later at most, and what becomes of a run that was missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from drillctl.schedule.expression import Expression

Missed = Literal["skip", "catch-up"]
"""What becomes of a run whose time came while the machine was off: nothing, or it runs when the machine is back."""

Form = Literal["systemd", "crontab", "github", "gitlab"]
FORMS: tuple[Form, ...] = ("systemd", "crontab", "github", "gitlab")
CI_FORMS = ("github", "gitlab")
"""Those that read a repository, and whose clock is UTC."""

DEFAULT_KEY, DEFAULT_KNOWN_HOSTS = "~/.ssh/id_ed25519", "~/.ssh/known_hosts"
"""Where a login finds its key and the host keys when the inventory does not say."""


@dataclass(frozen=True)
class Job:
    """One drill by the clock.

    `program` is drillctl's path; `playbook` a name or path, `inventory` a path: absolute, or within the repository for
    a job of a CI. `jitter` is in seconds. For a CI, `runner` is the label or image of a machine that reaches the hosts,
    `source` what pip installs drillctl from, and `key` and `known_hosts` where the inventory wants them: under `~/`,
    absolute, or within the repository; `known_hosts` is None where the repository has the file itself. `environment` is
    what the run needs, such as DRILLCTL_HOME; nothing secret. `secrets` are the names of variables that it needs as
    well, whose values are kept elsewhere.
    """

    estate: str
    drill: str
    expression: Expression
    program: str
    playbook: str
    inventory: str
    jitter: int = 0
    missed: Missed = "skip"
    environment: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    production: bool = False
    runner: str = "ubuntu-latest"
    source: str = ""
    key: str = DEFAULT_KEY
    known_hosts: str | None = DEFAULT_KNOWN_HOSTS

    @property
    def name(self) -> str:
        """Return the name of what is installed."""
        return f"drillctl-{self.estate}-{self.drill}"

    @property
    def title(self) -> str:
        """Return what it is, for a person."""
        return f"Drill {self.drill} of {self.estate}"

    @property
    def agreement(self) -> tuple[str, ...]:
        """Return the words that agree to the drill: off a terminal nobody can be asked (docs/gates.md)."""
        return ("--confirm", self.estate) if self.production else ("--yes",)

    @property
    def command(self) -> tuple[str, ...]:
        """Return the words that run the drill."""
        return (self.program, "run", self.playbook, "--inventory", self.inventory, *self.agreement)


@dataclass(frozen=True)
class Artefact:
    """A file to be installed, or the block of a crontab when `path` is empty."""

    path: str
    content: str
