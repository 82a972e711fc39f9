"""Sending messages in the background: whoever has something to say never waits, and no service can break a drill.

Every URL of a channel has a thread, a bounded queue and a bounded number of attempts, so that one that fails is tried
again without the others being told twice. Apprise bounds connecting and each wait for bytes, but not a whole exchange,
so that an attempt is also given up by the clock.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from drillctl.notify.channel import channels_of, redacted, secrets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from apprise import Apprise

    from drillctl.inventory import Inventory
    from drillctl.notify.channel import Channel
    from drillctl.notify.message import Message

MOST_WAITING = 100
"""Messages that wait for one URL; of more, the oldest are dropped."""


@dataclass(frozen=True)
class Patience:
    """How long one message is tried for: attempts, seconds for each, and the pauses between them, which double."""

    attempts: int = 3
    seconds: float = 10.0
    pause: float = 2.0


@dataclass
class Tally:
    """What became of the messages of a channel, each counted once for every URL."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0

    def add(self, other: Tally) -> None:
        """Count another one in."""
        self.sent += other.sent
        self.failed += other.failed
        self.dropped += other.dropped


class Sender:
    """Channels that are told in the background; `note` is given a sentence when one could not be.

    Leaving it waits a while for what is still to be sent (`close`).
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        secrets: Sequence[str] = (),
        note: Callable[[str], None] = lambda _: None,
        patience: Patience | None = None,
    ) -> None:
        self._secrets = secrets
        self._lines = [
            _Line(replace(channel, urls=(url,)), note, patience or Patience())
            for channel in channels
            for url in channel.urls
        ]

    @classmethod
    def of(cls, inventory: Inventory, note: Callable[[str], None], patience: Patience | None = None) -> Self:
        """Return the sender of an inventory's channels. Raises UsageError for a channel that cannot be used."""
        channels = channels_of(inventory)
        return cls(channels, secrets=secrets_of(inventory, channels), note=note, patience=patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, message: Message) -> None:
        """Have every channel that wants its topic told; returns at once."""
        for line in self._lines:
            if message.topic in line.channel.topics:
                line.put(self._clean(message))

    def send_to(self, channel: str, message: Message) -> None:
        """Have one channel told, whatever it wants; returns at once."""
        for line in self._lines:
            if line.channel.name == channel:
                line.put(self._clean(message))

    def _clean(self, message: Message) -> Message:
        title, body = redacted(message.title, self._secrets), redacted(message.body, self._secrets)
        return replace(message, title=title, body=body)

    @property
    def tallies(self) -> dict[str, Tally]:
        """Return what became of the messages so far, by channel."""
        found: dict[str, Tally] = {}
        for line in self._lines:
            found.setdefault(line.channel.name, Tally()).add(line.tally)
        return found

    def close(self, timeout: float = 15.0) -> tuple[str, ...]:
        """Wait for what is to be sent, at most so many seconds; return the channels of which something is left."""
        deadline = time.monotonic() + timeout
        for line in self._lines:
            line.finish()
        left = [line.channel.name for line in self._lines if not line.join(deadline - time.monotonic())]
        return tuple(dict.fromkeys(left))


class _Line:
    """One URL of a channel with its queue and its thread."""

    def __init__(self, channel: Channel, note: Callable[[str], None], patience: Patience) -> None:
        self.channel = channel
        self.tally = Tally()
        self._note = note
        self._patience = patience
        self._waiting: queue.Queue[Message | None] = queue.Queue(MOST_WAITING)
        self._attempt: threading.Thread | None = None
        self._thread = threading.Thread(target=self._work, name=f"notify {channel.name}", daemon=True)
        self._thread.start()

    def put(self, message: Message | None) -> None:
        while True:
            try:
                self._waiting.put_nowait(message)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._waiting.get_nowait()
                    self.tally.dropped += 1
            else:
                return

    def finish(self) -> None:
        self.put(None)

    def join(self, timeout: float) -> bool:
        self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def _work(self) -> None:
        one: Apprise | str | None = None
        while (message := self._waiting.get()) is not None:
            if one is None:
                one = _prepare(self.channel)
            why = one if isinstance(one, str) else self._deliver(one, message)
            if why is None:
                self.tally.sent += 1
            else:
                self.tally.failed += 1
                self._note(f"channel {self.channel.name} ({self.channel.kinds}) was not told: {why}")

    def _deliver(self, one: Apprise, message: Message) -> str | None:
        """Try to deliver a message; return why it could not be, or None."""
        why = "nothing was tried"
        for number in range(self._patience.attempts):
            if number:
                time.sleep(self._patience.pause * 2 ** (number - 1))
            if self._attempt is not None and self._attempt.is_alive():
                why = "an earlier attempt still hangs"
                continue
            outcome: list[str | None] = []
            self._attempt = threading.Thread(
                target=lambda told: told.append(_notify(one, message)),
                args=(outcome,),
                name=f"notify {self.channel.name} attempt",
                daemon=True,
            )
            self._attempt.start()
            self._attempt.join(self._patience.seconds)
            if not outcome:
                why = f"no answer within {self._patience.seconds:g} s"
            elif outcome[0] is None:
                return None
            else:
                why = outcome[0]
        return f"{why} ({self._patience.attempts} attempts)"


def _prepare(channel: Channel) -> Apprise | str:
    """Return what sends to a channel, or why it cannot be had. Importing and making it takes most of a second."""
    import apprise

    # Its own log names services and answers; what matters of that is in ours.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    asset = apprise.AppriseAsset(app_id="drillctl", plugin_paths=[], storage_mode=apprise.PersistentStoreMode.MEMORY)
    one = apprise.Apprise(asset=asset)
    return one if one.add(channel.urls[0]) else "a URL of it is none that Apprise knows"


def _notify(one: Apprise, message: Message) -> str | None:
    """Send one message, once; return why it could not be, without anything of a URL in it."""
    import apprise

    kinds = {"success": apprise.NotifyType.SUCCESS, "failure": apprise.NotifyType.FAILURE}
    kind = kinds.get(message.severity, apprise.NotifyType.WARNING)
    try:
        done = one.notify(title=message.title, body=message.body, notify_type=kind)
    except Exception as error:  # noqa: BLE001 - what somebody else's plugin raises must not end the thread
        return f"it failed with {type(error).__name__}"
    return None if done else "the service did not take it"
