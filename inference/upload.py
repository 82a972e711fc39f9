"""The file of a ``multipart/form-data`` request, read from the stream into memory under fixed limits.

Nothing touches the disk and no name that a client gives is used for anything.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header  # type: ignore[import-untyped]
from starlette.requests import ClientDisconnect

from inference.errors import UploadError

if TYPE_CHECKING:
    from starlette.requests import Request

FIELD: Final = "file"
MAX_FILE: Final = 10 << 20  # bytes
MAX_BODY: Final = MAX_FILE + (64 << 10)  # room for boundaries, part headers and small other fields
MAX_PARTS: Final = 16
MAX_SECONDS: Final = 30.0


async def read_upload(request: Request) -> bytes:
    """Read the content of the one part named ``file``.

    Raises UploadError: 400 without such a part, with two, with an empty one or with a malformed body, 408 when it takes
    longer than ``MAX_SECONDS``, 413 beyond ``MAX_FILE`` bytes. Raises starlette's ClientDisconnect if the client left.
    """
    try:
        async with asyncio.timeout(MAX_SECONDS):
            return await _read(request)
    except TimeoutError:
        raise UploadError(408, "too_slow", f"The upload took longer than {MAX_SECONDS:.0f} s.") from None


def _declared_length(request: Request) -> int:
    # The HTTP parser below has refused anything but digits.
    return int(request.headers.get("content-length", "0"))


def _too_large() -> UploadError:
    return UploadError(413, "file_too_large", f"The file is larger than {MAX_FILE} bytes.")


async def _read(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise UploadError(
            400,
            "no_file",
            f"Send multipart/form-data with a boundary and one part named {FIELD!r} that holds the image.",
        )
    if _declared_length(request) > MAX_BODY:
        raise _too_large()
    content = bytearray()
    found = False
    inside = False
    received = 0
    try:
        with PushMultipartParser(options["boundary"], max_segment_count=MAX_PARTS) as parser:
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk: bytes = message.get("body", b"")
                more = message.get("more_body", False)
                if not chunk:  # the parser takes it for the end
                    continue
                received += len(chunk)
                if received > MAX_BODY:
                    raise _too_large()
                for event in parser.parse(chunk):
                    if isinstance(event, MultipartSegment):
                        inside = event.name == FIELD
                        if inside and found:
                            raise UploadError(
                                400, "two_files", f"There is more than one part named {FIELD!r}; send one."
                            )
                        found = found or inside
                    elif event is None:
                        inside = False
                    elif inside:
                        content += event
                if len(content) > MAX_FILE:
                    raise _too_large()
    except MultipartError as error:
        raise UploadError(400, "malformed_body", f"The multipart body is not well-formed: {error}.") from None
    if not found:
        raise UploadError(400, "no_file", f"There is no part named {FIELD!r} in the request.")
    if not content:
        raise UploadError(400, "empty_file", "The file is empty.")
    return bytes(content)
