"""Images as they are posted: encoded once, before the traffic starts."""

from __future__ import annotations

import mimetypes
import random
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Body:
    """One image as the body of a POST, encoded once: multipart/form-data with the field `file` (RFC 7578)."""

    def __init__(self, path: Path) -> None:
        """Read the image. Raises OSError."""
        self.image = path.name
        boundary = secrets.token_hex(16)
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        name = path.name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        tail = f"\r\n--{boundary}--\r\n"
        self.content = f"{head}Content-Type: {kind}\r\n\r\n".encode() + path.read_bytes() + tail.encode()
        self.headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def shuffled_rounds(bodies: list[Body], seed: int) -> Iterator[Body]:
    """Yield every body once per round, in an order that the seed decides, without end."""
    order = random.Random(seed)  # noqa: S311 - an order that can be repeated, no secret
    while True:
        yield from order.sample(bodies, len(bodies))
