"""MODEL_URI: where a packed model can be fetched from, as a value that can be shown without its secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, cast
from urllib.parse import unquote, urlsplit

from inference.errors import SettingsError

Scheme = Literal["file", "https", "s3", "oss"]
SCHEMES: Final = ("file", "https", "s3", "oss")

_WEIGHTS: Final = ".safetensors"


@dataclass(frozen=True)
class Address:
    """The folder of a packed model. ``host`` is a bucket for s3 and oss, empty for file; ``path`` ends without slash.

    User, password and query can be secrets: they are in no text made from this.
    """

    scheme: Scheme
    host: str
    path: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    query: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"


def parse_address(text: str) -> Address:
    """Read MODEL_URI; it names the folder, or the weights file in it. Raises SettingsError, which shows no secret."""
    try:
        parts = urlsplit(text)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError as error:
        raise SettingsError("MODEL_URI is not a URI.") from error
    if parts.scheme not in SCHEMES:
        allowed = ", ".join(f"{scheme}:" for scheme in SCHEMES)
        raise SettingsError(
            f"MODEL_URI begins with {parts.scheme + ':' if parts.scheme else 'no scheme'}; allowed are {allowed}."
        )
    scheme = cast("Scheme", parts.scheme)
    path = parts.path.rstrip("/")
    if path.endswith(_WEIGHTS):
        path = path.rpartition("/")[0]
    host = (parts.hostname or "") + port
    if scheme == "file" and (host not in ("", "localhost") or not path.startswith("/")):
        raise SettingsError("MODEL_URI with file: must be file:///absolute/folder.")
    if scheme != "file" and not host:
        raise SettingsError(f"MODEL_URI with {scheme}: names no {'host' if scheme == 'https' else 'bucket'}.")
    if scheme != "https" and (parts.username or parts.query or parts.fragment):
        raise SettingsError(
            f"MODEL_URI with {scheme}: takes no user, query or fragment; credentials belong into the environment."
        )
    return Address(
        scheme=scheme,
        host="" if scheme == "file" else host,
        path=unquote(path) if scheme != "https" else path,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        query=parts.query,
    )
