"""Real hosts on one machine, for trying drillctl, for its tests and for CI: a gateway and two zones."""

from drillctl.lab.lab import Lab, LabHost, answering, current, down, up

__all__ = ["Lab", "LabHost", "answering", "current", "down", "up"]
