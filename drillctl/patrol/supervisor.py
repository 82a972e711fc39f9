"""What a patrol tells systemd of itself: that it is ready, that it lives, and how it goes (sd_notify(3))."""

from __future__ import annotations

import contextlib
import os
import socket


def tell(state: str) -> None:
    """Send a line such as READY=1 to the supervisor, if there is one that listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as wire:
        # A name that begins with @ is of the abstract namespace, unix(7).
        wire.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        wire.sendall(state.encode())
