"""command: a fault of the user's own, for what nobody foresaw: commands that inject, prove and undo it."""

from __future__ import annotations

import hashlib
import shlex
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict

from drillctl.errors import Inconclusive
from drillctl.faults.fault import Fault, Place
from drillctl.language import Seconds, UndoWords, Words
from drillctl.undo import Undo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drillctl.inventory import Host, Inventory


class Command(Fault):
    """Commands of the user's own, as words: `inject`, `prove` (exit code 0 when it took effect) and `undo`.

    `undo` must be safe to repeat, and safe when the injection was never made: the guard may carry it out after a crash.
    """

    fault: Literal["command"]
    inject_words: Words
    prove_words: Words
    undo_words: UndoWords
    timeout_seconds: Seconds = 30.0
    privileged: bool = True

    model_config = ConfigDict(alias_generator=lambda name: name.removesuffix("_words"), populate_by_name=True)

    def does(self, inventory: Inventory, host: Host) -> tuple[str, str]:
        return shlex.join(self.inject_words), shlex.join(self.undo_words)

    def undos(self, place: Place) -> tuple[Undo, ...]:
        return (command_undo(place.host.name, self.undo_words),)

    def inject(self, place: Place) -> str:
        done = place.transport.run(self.inject_words, timeout=self.timeout_seconds, privileged=self.privileged)
        return done.complaint if done.stdout or done.stderr else ""

    def prove(self, place: Place, said: str) -> str:
        done = self._prove(place)
        if done:
            raise Inconclusive(f"the fault is not proven: {done}", host=place.host.name)
        return f"`{shlex.join(self.prove_words)}` says so"

    def still(self, place: Place) -> None:
        if done := self._prove(place):
            raise Inconclusive(f"the fault did not last: {done}", host=place.host.name)

    def _prove(self, place: Place) -> str:
        """Return why the proof does not hold; empty when it does."""
        done = place.transport.run(
            self.prove_words, timeout=self.timeout_seconds, check=False, privileged=self.privileged
        )
        return (
            f"`{shlex.join(self.prove_words)}` ended with {done.exit_code}: {done.complaint}" if done.exit_code else ""
        )


def command_undo(host: str, words: Sequence[str]) -> Undo:
    """Return the undo that runs a command of the user's own, with an id of its own."""
    line = shlex.join(words)
    name = f"command.run.{hashlib.sha256(line.encode()).hexdigest()[:8]}"
    return Undo("command.run", host, f"run: {line}", {"id": name, "line": line})
