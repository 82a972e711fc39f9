"""Whatever a client sends: the right 4xx as JSON, nothing repeated, and the next good request answered as before."""

from __future__ import annotations

import io
import random
import socket
import struct
import zlib
from typing import TYPE_CHECKING, Final

import httpx
import pytest
from PIL import Image

if TYPE_CHECKING:
    from conftest import ServerProcess


def encoded(image: Image.Image, name: str) -> bytes:
    out = io.BytesIO()
    image.save(out, name)
    return out.getvalue()


RANDOM: Final = random.Random(1)
NOISE: Final = Image.frombytes("RGB", (64, 64), RANDOM.randbytes(64 * 64 * 3))
PNG: Final = encoded(Image.new("RGB", (64, 64), "red"), "PNG")
JPEG: Final = encoded(NOISE, "JPEG")
WEBP: Final = encoded(NOISE, "WEBP")
BMP: Final = encoded(NOISE, "BMP")
GIF: Final = encoded(NOISE.convert("P"), "GIF")
MEBIBYTE: Final = 1 << 20
SECRET: Final = "s3cr3t-marker"

FILE: Final = 'Content-Disposition: form-data; name="file"; filename="a.png"'
OTHER: Final = 'Content-Disposition: form-data; name="other"'
TYPE: Final = "multipart/form-data; boundary=b"


def png(width: int, height: int, *, data: bytes = b"\0", kind: int = 2, depth: int = 8) -> bytes:
    """A PNG whose header says what it likes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    """A BMP that claims a size and holds nothing."""
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def body(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(b"--b\r\n%s\r\n\r\n%s\r\n" % (head.encode(), content) for head, content in parts) + b"--b--\r\n"


BODIES: Final = {  # status, error, content type, body
    "no body": (400, "no_file", "", b""),
    "a bare image": (400, "no_file", "image/png", PNG),
    "json": (400, "no_file", "application/json", b'{"file":"' + SECRET.encode() + b'"}'),
    "urlencoded": (400, "no_file", "application/x-www-form-urlencoded", b"file=x"),
    "no boundary": (400, "no_file", "multipart/form-data", body((FILE, PNG))),
    "empty boundary": (400, "no_file", "multipart/form-data; boundary=", body((FILE, PNG))),
    "mixed instead of form-data": (400, "no_file", "multipart/mixed; boundary=b", body((FILE, PNG))),
    "a type that is none": (400, "no_file", ";;;===", body((FILE, PNG))),
    "boundary of 5,000 bytes": (400, "malformed_body", TYPE + "b" * 5000, body((FILE, PNG))),
    "another boundary": (400, "malformed_body", "multipart/form-data; boundary=c", body((FILE, PNG))),
    "boundary but no body": (400, "malformed_body", TYPE, b""),
    "no parts": (400, "no_file", TYPE, body()),
    "unfinished": (400, "malformed_body", TYPE, body((FILE, PNG))[:-6]),
    "only half of the file": (400, "malformed_body", TYPE, body((FILE, PNG))[:100]),
    "part without headers": (400, "malformed_body", TYPE, b"--b\r\n\r\nx\r\n--b--\r\n"),
    "part without a name": (400, "no_file", TYPE, body(("Content-Disposition: form-data", PNG))),
    "part that is an attachment": (400, "malformed_body", TYPE, body((FILE.replace("form-data", "attachment"), PNG))),
    "binary part header": (400, "malformed_body", TYPE, b"--b\r\n\xff\xfe\0: x\r\n\r\nx\r\n--b--\r\n"),
    "part header without end": (400, "malformed_body", TYPE, b"--b\r\n" + FILE.encode() + b"x" * 70_000),
    "many part headers": (400, "malformed_body", TYPE, body((FILE + "\r\nX: y" * 100, PNG))),
    "huge part header": (400, "malformed_body", TYPE, body((FILE + "; x=" + "y" * 9000, PNG))),
    "wrong field": (400, "no_file", TYPE, body((OTHER, PNG))),
    "field name in capitals": (400, "no_file", TYPE, body((FILE.replace('"file"', '"File"'), PNG))),
    "field name with a bracket": (400, "no_file", TYPE, body((FILE.replace('"file"', '"file[]"'), PNG))),
    "two files": (400, "two_files", TYPE, body((FILE, PNG), (FILE, PNG))),
    "the same file twice with another between": (400, "two_files", TYPE, body((FILE, PNG), (OTHER, b"1"), (FILE, PNG))),
    "many parts": (400, "malformed_body", TYPE, body(*[(OTHER, b"x")] * 40, (FILE, PNG))),
    "junk before the first boundary": (400, "malformed_body", TYPE, RANDOM.randbytes(3000) + body((FILE, PNG))),
    "random bytes as body": (400, "malformed_body", TYPE, RANDOM.randbytes(3000)),
    "a bare line feed as line end": (400, "malformed_body", TYPE, body((FILE, PNG)).replace(b"\r\n", b"\n")),
    "too large": (413, "file_too_large", TYPE, body((FILE, bytes(10 * MEBIBYTE + 1)))),
    "much too large": (413, "file_too_large", TYPE, body((FILE, bytes(30 * MEBIBYTE)))),
    "a large field beside the file": (413, "file_too_large", TYPE, body((FILE, PNG), (OTHER, bytes(11 * MEBIBYTE)))),
}  # fmt: skip

FILES: Final = {  # status, error, file
    "empty file": (400, "empty_file", b""),
    "one byte": (400, "unreadable_image", b"\xff"),
    "text": (400, "unreadable_image", SECRET.encode()),
    "a path": (400, "unreadable_image", b"/etc/passwd"),
    "a URL": (400, "unreadable_image", b"http://127.0.0.1/"),
    "HTML": (400, "unreadable_image", b"<!DOCTYPE html><script>alert(1)</script>"),
    "random bytes": (400, "unreadable_image", RANDOM.randbytes(5000)),
    "zeros": (400, "unreadable_image", bytes(5000)),
    "a pickle with code": (400, "unreadable_image", b"\x80\x04cos\nsystem\n(S'id'\ntR."),
    "truncated PNG": (400, "unreadable_image", PNG[:-40]),
    "PNG signature alone": (400, "unreadable_image", PNG[:8]),
    "PNG with a wrong checksum": (400, "unreadable_image", PNG[:30] + bytes([PNG[30] ^ 1]) + PNG[31:]),
    "PNG without pixels": (400, "unreadable_image", png(64, 64, data=b"")),
    "PNG of width 0": (400, "unreadable_image", png(0, 64)),
    "PNG of an unknown kind": (400, "unreadable_image", png(64, 64, kind=5)),
    "PNG of 30,000 × 30,000": (413, "image_too_large", png(30_000, 30_000)),
    "PNG of 2 billion × 2 billion": (413, "image_too_large", png(2**31 - 1, 2**31 - 1)),
    "PNG of 1 × 1,000,000": (400, "unreadable_image", png(1, 1_000_000)),
    "PNG of 40 megapixels and one row": (413, "image_too_large", png(8000, 5001)),
    "truncated JPEG": (400, "unreadable_image", JPEG[: len(JPEG) // 2]),
    "JPEG header alone": (400, "unreadable_image", JPEG[:20]),
    "JPEG of 65,535 × 65,535": (413, "image_too_large", JPEG.replace(b"\x08\0@\0@\x03", b"\x08\xff\xff\xff\xff\x03")),
    "truncated WebP": (400, "unreadable_image", WEBP[: len(WEBP) // 2]),
    "WebP header alone": (400, "unreadable_image", WEBP[:12]),
    "truncated BMP": (400, "unreadable_image", BMP[:-2000]),
    "BMP of 50,000 × 50,000": (413, "image_too_large", bmp(50_000, 50_000)),
    "BMP of negative width": (413, "image_too_large", bmp(-64, 64)),
    "GIF": (415, "unsupported_format", GIF),
    "GIF bomb": (415, "unsupported_format", b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b"," * 2000),
    "SVG": (415, "unsupported_format", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "XML with an entity bomb": (415, "unsupported_format", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "a">]>'),
    "HEIC": (415, "unsupported_format", b"\0\0\0\x18ftypheic" + bytes(40)),
    "AVIF": (415, "unsupported_format", b"\0\0\0\x18ftypavif" + bytes(40)),
    "TIFF": (415, "unsupported_format", encoded(NOISE, "TIFF")),
    "ICO": (415, "unsupported_format", b"\0\0\x01\0\x01\0" + bytes(40)),
    "JPEG 2000": (415, "unsupported_format", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40)),
    "PDF": (415, "unsupported_format", b"%PDF-1.7\n"),
    "PostScript": (400, "unreadable_image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(id) system\n"),
    "zip": (415, "unsupported_format", b"PK\x03\x04" + bytes(99)),
    "gzip": (400, "unreadable_image", b"\x1f\x8b\x08\0" + bytes(99)),
    "PPM": (400, "unreadable_image", b"P6 64 64 255\n" + bytes(64 * 64 * 3)),
    "FITS": (400, "unreadable_image", b"SIMPLE  =                    T" + bytes(99)),
}  # fmt: skip

LINES: Final = {  # status, what is sent before the connection is left to the server
    "unknown path": (404, b"GET /x HTTP/1.1\r\n\r\n"),
    "path traversal": (404, b"GET /../../etc/passwd HTTP/1.1\r\n\r\n"),
    "encoded path traversal": (404, b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n\r\n"),
    "path with a null": (404, b"GET /health%00 HTTP/1.1\r\n\r\n"),
    "path with an encoded line end": (404, b"GET /%0d%0aX:%20y HTTP/1.1\r\n\r\n"),
    "path that is not UTF-8": (404, b"GET /%ff%fe HTTP/1.1\r\n\r\n"),
    "trailing slash": (404, b"GET /health/ HTTP/1.1\r\n\r\n"),
    "doubled slash": (404, b"GET //health HTTP/1.1\r\n\r\n"),
    "wrong method": (405, b"GET /predict HTTP/1.1\r\n\r\n"),
    "wrong method on health": (405, b"DELETE /health HTTP/1.1\r\n\r\n"),
    "trace": (405, b"TRACE /predict HTTP/1.1\r\n\r\n"),
    "unknown method": (400, b"BREW /predict HTTP/1.1\r\n\r\n"),
    "websocket upgrade": (404, b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    "no HTTP": (400, b"hello\r\n\r\n"),
    "TLS to a plain port": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "huge header": (431, b"GET /health HTTP/1.1\r\nA: " + b"y" * 60_000 + b"\r\n\r\n"),
    "huge path": (431, b"GET /" + b"y" * 60_000 + b" HTTP/1.1\r\n\r\n"),
    "header with a null": (400, b"GET /health HTTP/1.1\r\nA: \0\r\n\r\n"),
    "header name with a space": (400, b"GET /health HTTP/1.1\r\nA b: y\r\n\r\n"),
    "length that is no number": (400, b"POST /predict HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
    "negative length": (400, b"POST /predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n"),
    "two lengths": (400, b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    "length and chunks": (
        400,
        b"POST /predict HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "chunk of a size that is no number": (
        400,
        b"POST /predict HTTP/1.1\r\nContent-Type: " + TYPE.encode() + b"\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ),
    "length of an exabyte": (
        413,
        b"POST /predict HTTP/1.1\r\nContent-Type: " + TYPE.encode() + b"\r\nContent-Length: %d\r\n\r\n" % 10**18,
    ),
}  # fmt: skip


def assert_refused(response: httpx.Response, status: int, error: str, sent: bytes) -> None:
    assert (response.status_code, response.json()["error"]) == (status, error), response.text
    assert response.json().keys() == {"error", "message"}
    assert_clean(response.content, sent)
    assert (response.headers["x-served-zone"], response.headers["x-served-host"]) == ("zone-a", "host-a")
    assert response.headers["x-request-id"]


def assert_clean(answer: bytes, sent: bytes) -> None:
    """Nothing of the request, of this host or of Python in the answer."""
    assert not any(word in answer for word in (SECRET.encode(), b"Traceback", b"/work", b"site-packages", b".py"))
    assert len(answer) < 600 or len(sent) < 600


def assert_still_well(server: ServerProcess, expected: bytes) -> None:
    assert httpx.post(f"{server.url}/predict", files={"file": PNG}).content == expected
    assert server.process.poll() is None


@pytest.fixture(scope="module")
def expected(server: ServerProcess) -> bytes:
    """The answer to a good request before any bad one."""
    response = httpx.post(f"{server.url}/predict", files={"file": PNG})
    assert response.status_code == 200
    return response.content


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused(server: ServerProcess, expected: bytes, name: str) -> None:
    status, error, kind, content = BODIES[name]
    headers = {"Content-Type": kind} if kind else {}
    assert_refused(
        httpx.post(f"{server.url}/predict", headers=headers, content=content, timeout=30), status, error, content
    )
    assert_still_well(server, expected)


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_refused(server: ServerProcess, expected: bytes, name: str) -> None:
    status, error, content = FILES[name]
    response = httpx.post(f"{server.url}/predict", files={"file": (SECRET, content)}, timeout=30)
    assert_refused(response, status, error, content)
    assert_still_well(server, expected)


@pytest.mark.parametrize("name", LINES)
def test_a_bad_request_line_or_head_is_refused(server: ServerProcess, expected: bytes, name: str) -> None:
    status, sent = LINES[name]
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(10)
        client.sendall(sent.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", 1))
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert content.startswith(b'{"error":')
    assert b"x-served-zone: zone-a" in head
    assert b"x-request-id: " in head
    assert_clean(content, sent)
    assert_still_well(server, expected)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..\\\\..\\\\boot.ini",
        "/etc/passwd",
        "a" * 1000,
        "%00",
        "\u202egnp.exe",
        "'; DROP TABLE x",
        "",
    ],
)
def test_no_file_name_of_a_client_changes_the_answer(server: ServerProcess, expected: bytes, name: str) -> None:
    part = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    response = httpx.post(f"{server.url}/predict", headers={"Content-Type": TYPE}, content=body((part, PNG)))
    assert (response.status_code, response.content) == (200, expected)


def test_there_are_at_least_sixty() -> None:
    assert len(BODIES) + len(FILES) + len(LINES) >= 60


def test_nothing_of_it_reached_the_log(server: ServerProcess) -> None:
    said = "".join(server.stderr)
    assert SECRET not in said
    assert "raceback" not in said
