"""A channel of paramiko that never speaks of itself after it was closed.

paramiko notes under the channel's lock that data or an end of input goes out, and sends it once the lock is open again.
A command that ends between the two makes paramiko's reading thread close the channel first; sshd then hears of a
channel that it has forgotten, and hangs up the whole connection (paramiko's issues 1115 and 1705, open since 2017).
Here both are done under the lock. paramiko does not do that for the sake of new keys, which are agreed on after 2**29
bytes, or when sshd's RekeyLimit says so: while that goes on its own way is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import paramiko

if TYPE_CHECKING:
    from collections.abc import Callable

    from paramiko.message import Message


class Channel(paramiko.Channel):
    """Sends what it has noted before anything else can be noted."""

    if TYPE_CHECKING:  # what paramiko's stubs leave out
        transport: Any
        _send_eof: Callable[[], Message | None]
        _wait_for_send_window: Callable[[int], int]

    def shutdown(self, how: int) -> None:
        """End one direction or both, as paramiko does."""
        if how == 0 or not _may_send(self):
            super().shutdown(how)
            return
        with self.lock:
            if how == 2:
                self.eof_received = True
            end = self._send_eof()
            if end is not None:
                self.transport._send_user_message(end)

    def _send(self, s: bytes, m: Message) -> int:
        """Send as much of `s` as the other side takes, waiting until it takes some; return how much."""
        if not _may_send(self):
            return int(super()._send(s, m))  # type: ignore[misc]
        with self.lock:
            if self.closed:
                raise OSError("the channel is closed")
            size = self._wait_for_send_window(len(s))
            if size:
                m.add_string(s[:size])
                self.transport._send_user_message(m)
            return size


def whole(channel: paramiko.Channel) -> Channel:
    """Make a channel that paramiko has opened one of these: it offers no other way to choose the class."""
    channel.__class__ = Channel
    return cast("Channel", channel)


def _may_send(channel: Channel) -> bool:
    return bool(channel.transport.clear_to_send.is_set())
