"""Where the files of a packed model come from: a folder, a web server, or a bucket (S3, or Aliyun OSS).

One method, ``open(name, start)``: the bytes of one file from ``start`` on. What goes wrong is either DownloadError, for
which somebody must do something, or PassingError, after which it is worth trying again. No message holds a credential:
they are made of the address as shown, a status, and the kind of an error.
"""

from __future__ import annotations

import base64
import http.client
import os
import re
import ssl
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from inference.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from http.client import HTTPMessage
    from typing import IO

    from inference.address import Address

_SILENT_SECONDS: Final = 30  # a connection that brings nothing for so long is given up
_PASSING_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_BEYOND_THE_END: Final = 416
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class PassingError(Exception):
    """The network or the other side failed in a way that may pass."""


@dataclass(frozen=True)
class Stream:
    """An open file: ``start`` is the offset of the first byte that ``read`` gives, ``total`` the size of the file.

    ``start`` is 0 where the other side cannot begin in the middle; ``total`` is None where it does not tell.
    """

    start: int
    total: int | None
    read: Callable[[int], bytes]


class Origin(Protocol):
    """A place that holds the files of one packed model."""

    def open(self, name: str, start: int) -> AbstractContextManager[Stream]:
        """Open one file from an offset on. Raises DownloadError or PassingError, also while it is read."""


def origin_of(address: Address) -> Origin:
    """Return the origin for an address. Raises DownloadError if its settings are missing or wrong."""
    if address.scheme == "file":
        return FolderOrigin(address)
    if address.scheme == "https":
        return WebOrigin(address)
    return BucketOrigin(address)


class FolderOrigin:
    """A folder of this machine, such as a network file system."""

    def __init__(self, address: Address) -> None:
        self._folder = Path(address.path)

    @contextmanager
    def open(self, name: str, start: int) -> Iterator[Stream]:
        path = self._folder / name
        with _failures_of_a_folder(path):
            file = path.open("rb")
        with file:
            total = file.seek(0, os.SEEK_END)

            def read(size: int) -> bytes:
                with _failures_of_a_folder(path):
                    return file.read(size)

            yield Stream(file.seek(min(start, total)), total, read)


class WebOrigin:
    """A folder of an HTTPS server; proxies and trusted authorities are those of the environment (SSL_CERT_FILE)."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=ssl.create_default_context()), _SafeRedirects()
        )

    @contextmanager
    def open(self, name: str, start: int) -> Iterator[Stream]:
        where = f"{self._address}/{name}"
        reply: http.client.HTTPResponse | None = None
        with _nothing_beyond_the_end(start), _failures_of_the_web(where):
            reply = self._opener.open(self._request(where, start), timeout=_SILENT_SECONDS)
        if reply is None:
            yield _nothing(start)
            return
        with reply:

            def read(size: int) -> bytes:
                with _failures_of_the_web(where):
                    return reply.read(size)

            length = reply.headers.get("Content-Length", "")
            partial = reply.status == http.client.PARTIAL_CONTENT
            first, total = _range(
                where,
                reply.headers.get("Content-Range") if partial else None,
                int(length) if length.isdigit() else None,
            )
            yield Stream(first, total, read)

    def _request(self, where: str, start: int) -> urllib.request.Request:
        address = self._address
        # Compressed on the way, the bytes could not be continued in the middle.
        headers = {"Accept-Encoding": "identity", "User-Agent": "inference"}
        if start:
            headers["Range"] = f"bytes={start}-"
        if address.user is not None:
            secret = f"{address.user}:{address.password or ''}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(secret).decode('ascii')}"
        url = where + (f"?{address.query}" if address.query else "")
        return urllib.request.Request(url, headers=headers)  # noqa: S310 - an address with https:, see parse_address


class BucketOrigin:
    """A bucket, spoken to as S3. Endpoint, region and credentials come from the environment.

    For s3: whatever boto3 reads (``AWS_ENDPOINT_URL_S3``, ``AWS_ACCESS_KEY_ID``, …). For oss: ``OSS_ENDPOINT`` or
    ``OSS_REGION``, ``OSS_ACCESS_KEY_ID``, ``OSS_ACCESS_KEY_SECRET`` and ``OSS_SESSION_TOKEN``, the names that Aliyun's
    own tools use; buckets are addressed by host name and checksums sent only where required, else OSS refuses.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client = _client(address)

    @contextmanager
    def open(self, name: str, start: int) -> Iterator[Stream]:
        where = f"{self._address}/{name}"
        key = f"{self._address.path}/{name}".lstrip("/")
        wanted = {"Range": f"bytes={start}-"} if start else {}
        found: Mapping[str, Any] | None = None
        with _nothing_beyond_the_end(start), _failures_of_a_bucket(where):
            found = self._client.get_object(Bucket=self._address.host, Key=key, **wanted)
        if found is None:
            yield _nothing(start)
            return
        first, total = _range(where, found.get("ContentRange"), found.get("ContentLength"))
        body = found["Body"]

        def read(size: int) -> bytes:
            with _failures_of_a_bucket(where):
                content: bytes = body.read(size)
                return content

        try:
            yield Stream(first, total, read)
        finally:
            body.close()


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to HTTPS only, and tells credentials to no other host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        target = urlsplit(newurl)
        if target.scheme != "https":
            fp.close()
            raise DownloadError(f"{req.host} redirects to {target.scheme or 'nowhere'}:, only https: is followed.")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and target.netloc != req.host:
            request.remove_header("Authorization")
        return request


def _client(address: Address) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=_SILENT_SECONDS,
        read_timeout=_SILENT_SECONDS,
        retries={"total_max_attempts": 1},  # trying again, from where it stopped, is the cache's business
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session()
    try:
        if address.scheme == "s3":
            return session.client("s3", config=config)
        region = os.environ.get("OSS_REGION")
        endpoint = os.environ.get("OSS_ENDPOINT") or (f"oss-{region}.aliyuncs.com" if region else None)
        if endpoint is None:
            raise DownloadError(f"{address}: neither OSS_ENDPOINT nor OSS_REGION is set.")
        return session.client(
            "s3",
            endpoint_url=endpoint if "://" in endpoint else f"https://{endpoint}",
            region_name=region or "oss",
            aws_access_key_id=os.environ.get("OSS_ACCESS_KEY_ID"),
            aws_secret_access_key=os.environ.get("OSS_ACCESS_KEY_SECRET"),
            aws_session_token=os.environ.get("OSS_SESSION_TOKEN"),
            config=config.merge(Config(s3={"addressing_style": "virtual"})),
        )
    except (BotoCoreError, ValueError) as error:
        raise DownloadError(
            f"{address}: {type(error).__name__}; look at the endpoint, region and credentials in the environment."
        ) from None


class _BeyondTheEnd(Exception):
    """Status 416: there is no byte at the offset that was asked for, because all of the file was fetched before."""


@contextmanager
def _nothing_beyond_the_end(start: int) -> Iterator[None]:
    try:
        yield
    except _BeyondTheEnd:
        if not start:
            raise PassingError("status 416, though the whole file was asked for") from None


def _nothing(start: int) -> Stream:
    return Stream(start, start, lambda _: b"")


@contextmanager
def _failures_of_a_folder(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(f"Cannot read {path}: {error.strerror}.") from error


@contextmanager
def _failures_of_the_web(where: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _by_status(where, error.code, http.client.responses.get(error.code, "")) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadError(f"{where}: the server's certificate is not trusted.") from None
        raise PassingError(f"{where}: {_kind(error.reason)}") from None
    except (OSError, http.client.HTTPException) as error:
        raise PassingError(f"{where}: {_kind(error)}") from None


@contextmanager
def _failures_of_a_bucket(where: str) -> Iterator[None]:
    import urllib3
    from botocore import exceptions as boto

    try:
        yield
    except boto.ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        raise _by_status(where, status, str(error.response.get("Error", {}).get("Code", ""))) from None
    except boto.SSLError:
        raise DownloadError(f"{where}: the server's certificate is not trusted.") from None
    except (boto.NoCredentialsError, boto.PartialCredentialsError):
        raise DownloadError(f"{where}: the environment holds no credentials for it.") from None
    except (
        boto.ConnectionError,
        boto.HTTPClientError,
        boto.IncompleteReadError,
        urllib3.exceptions.HTTPError,
        OSError,
    ) as error:
        raise PassingError(f"{where}: {_kind(error)}") from None
    except boto.BotoCoreError as error:
        raise DownloadError(f"{where}: {type(error).__name__}; look at its endpoint, region and bucket.") from None


def _range(where: str, content_range: str | None, length: int | None) -> tuple[int, int | None]:
    """Return the offset at which a body begins and the size of the whole file (RFC 9110, 14.4)."""
    if content_range is None:
        return 0, length
    found = _CONTENT_RANGE.fullmatch(content_range)
    if found is None:
        raise PassingError(f"{where}: an answer with the Content-Range {content_range[:80]!r}")
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _by_status(where: str, status: int, word: str) -> Exception:
    if status == _BEYOND_THE_END:
        return _BeyondTheEnd()
    said = f"{where}: status {status}" + (f" ({word})" if re.fullmatch(r"[A-Za-z .]{1,60}", word) else "")
    return PassingError(said) if status in _PASSING_STATUS or status == 0 else DownloadError(f"{said}.")


def _kind(error: object) -> str:
    """Return what an error is, not what it says: that can hold the whole request."""
    if isinstance(error, OSError) and error.strerror and type(error).__module__ in ("builtins", "socket"):
        return error.strerror
    return type(error).__name__
