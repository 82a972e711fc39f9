"""A real HTTPS server of one folder that can be told to misbehave, with a certificate that it makes itself."""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import secrets
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Manners:
    """How the server behaves. Lists are used up, one entry for each request of a weights file."""

    cut_after: list[int] = field(default_factory=list)
    """Close the connection after so many bytes of the body."""
    statuses: list[int] = field(default_factory=list)
    """Answer with this status instead."""
    ranges: bool = True
    """Whether `Range` is understood."""
    redirect: str | None = None
    """Send every request on to this address."""
    authorization: str | None = None
    """The header that a request must carry."""
    seconds_per_mebibyte: float = 0.0


@dataclass
class FileServer:
    url: str
    certificate: Path
    manners: Manners
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """Path with query, `Range` and `Authorization` of each request."""
    sent: int = 0
    """Bytes of bodies."""


@contextmanager
def file_server(folder: Path, workplace: Path) -> Iterator[FileServer]:
    """Serve a folder over HTTPS on 127.0.0.1; the certificate is written to `workplace`."""
    pem = _certificate(workplace)
    served: FileServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            manners = served.manners
            served.requests.append((self.path, self.headers["Range"], self.headers["Authorization"]))
            if manners.redirect is not None:
                self._end(302, Location=manners.redirect + self.path)
                return
            if manners.authorization is not None and self.headers["Authorization"] != manners.authorization:
                self._end(401)
                return
            path = folder / self.path.partition("?")[0].lstrip("/")
            weights = path.suffix == ".safetensors"
            if weights and manners.statuses:
                self._end(manners.statuses.pop(0))
                return
            if not path.is_file():
                self._end(404)
                return
            self._send(path.read_bytes(), manners.cut_after.pop(0) if weights and manners.cut_after else None)

        def _send(self, content: bytes, cut: int | None) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            start = int(asked[1]) if asked and served.manners.ranges else 0
            if start >= len(content) > 0:
                self._end(416)
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            body = content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            for position in range(0, len(body), 1 << 16):
                piece = body[position : min(position + (1 << 16), len(body) if cut is None else cut)]
                self.wfile.write(piece)
                served.sent += len(piece)
                time.sleep(served.manners.seconds_per_mebibyte / 16)
                if cut is not None and position + (1 << 16) >= cut:
                    self.close_connection = True
                    return

        def _end(self, status: int, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that go away are part of the tests
    # Shaking hands belongs to the connection's own thread, which also closes what comes of a client that refuses.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served = FileServer(f"https://127.0.0.1:{server.server_port}", pem, Manners())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _certificate(workplace: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(8))])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = workplace / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
