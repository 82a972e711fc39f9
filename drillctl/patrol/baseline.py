"""What was last known to be right and changes only on purpose: configs, environments, the zone that serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from drillctl.history.sample import Sample
    from drillctl.patrol.look import Look


@dataclass
class Config:
    """The config of one gateway host, and the number of the last lease when it was seen; None: not known."""

    sha256: str
    epoch: int | None


@dataclass
class Baseline:
    """Taken from the first look, or from the last samples of the history, so that what changed meanwhile is seen."""

    configs: dict[str, Config] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    serving: str | None = None
    accepted: bool = False
    """Whether a person took what a look showed for right."""

    @classmethod
    def of(cls, samples: Iterable[Sample], last_drill: datetime | None) -> Baseline:
        """Return the baseline that the history holds; of what a drill may have changed since, it knows nothing."""
        made = cls()
        for sample in samples:
            if last_drill is not None and last_drill >= sample.at:
                continue
            if sample.config_sha256 is not None:
                made.configs[sample.host] = Config(sample.config_sha256, None)
            if sample.fingerprint is not None:
                made.fingerprints[sample.host] = sample.fingerprint
            if sample.role == "gateway" and sample.serving_zone is not None:
                made.serving = sample.serving_zone
        return made

    def learn(self, look: Look) -> None:
        """Take over what is new in a look, and what drillctl itself changed: every lease has a higher number.

        While a lease is held, nothing is taken over: what is there then will be put back.
        """
        for gateway in look.gateways:
            holding = gateway.holding
            if gateway.config_sha256 is None or holding is None or holding.state != "free":
                continue
            known = self.configs.get(gateway.name)
            if known is None or (known.epoch is not None and known.epoch != holding.epoch):
                self.configs[gateway.name] = Config(gateway.config_sha256, holding.epoch)
                self.serving = look.serving_zone or self.serving
            elif known.epoch is None:
                known.epoch = holding.epoch
        if self.serving is None and look.drill is None:
            self.serving = look.serving_zone
        for zone in look.zones:
            if zone.fingerprint is not None:
                self.fingerprints.setdefault(zone.name, zone.fingerprint)

    def accept(self, look: Look) -> None:
        """Take over everything as a look shows it."""
        self.configs.clear()
        self.serving = None
        self.fingerprints.clear()
        self.accepted = True
        self.learn(look)

    def recall(self, known: Baseline) -> None:
        """Take over what the history holds, which could not be read earlier; a person's word outweighs it."""
        if self.accepted:
            return
        for name, config in known.configs.items():
            here = self.configs.get(name)
            self.configs[name] = Config(config.sha256, here.epoch if here else None)
        self.fingerprints.update(known.fingerprints)
        self.serving = known.serving or self.serving
