"""The server's configuration: environment variables in, one frozen ``Settings`` out."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from inference.address import parse_address
from inference.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.address import Address

ServiceName = Literal["main", "backup"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16"]

_HEADER_SAFE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Settings:
    """What the environment asks for.

    ``model_path`` is where the model lies; with a ``model_uri``, where it will lie in the cache once it was fetched.
    ``batch_size`` None means the device's default. ``threads`` is the number of CPU threads of one computation; it is
    fixed, not derived from the machine, because another number changes the last bits of the answers. ``lanes`` is the
    number of computations at one time (None: as many as the cores allow); it changes no bits. ``batch_wait`` is in
    seconds: how long a batch that is not full waits for images that are on their way (None: the device's default).
    ``drain`` is how many seconds requests in flight get after SIGTERM.
    """

    service_name: ServiceName
    zone: str
    node_name: str
    model_path: Path
    model_uri: Address | None
    model_sha256: str | None
    default_image_path: Path | None
    log_level: str
    host: str
    port: int
    top_k: int
    device: DeviceChoice
    batch_size: int | None
    threads: int
    lanes: int | None
    precision: Precision
    channels_last: bool
    cuda_graph: bool
    queue_size: int
    queue_wait: float
    batch_wait: float | None
    drain: int

    @property
    def is_primary(self) -> bool:
        return self.service_name == "main"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Check all variables; an empty value counts as not set.

    Raises SettingsError naming the variable and what is allowed.
    """
    env = {name: value.strip() for name, value in environment.items() if value.strip()}
    service_name = _one_of(env, "SERVICE_NAME", "main", ("main", "backup"))
    model_sha256 = _sha256(env.get("MODEL_SHA256"))
    model_path, model_uri = _model(env, model_sha256)
    return Settings(
        service_name=cast("ServiceName", service_name),
        zone=_header_safe("ZONE", env.get("ZONE", service_name)),
        node_name=_header_safe("NODE_NAME", env.get("NODE_NAME") or socket.gethostname()),
        model_path=model_path,
        model_uri=model_uri,
        model_sha256=model_sha256,
        default_image_path=_file(env, "DEFAULT_IMAGE_PATH"),
        log_level=_one_of(env, "LOG_LEVEL", "info", ("debug", "info", "warning", "error")),
        host=env.get("HOST", "127.0.0.1"),
        port=_number(env, "PORT", 8080, 0, 65535),
        top_k=_number(env, "TOP_K", 5, 1, 1000),
        device=cast("DeviceChoice", _one_of(env, "DEVICE", "auto", ("auto", "cpu", "cuda"))),
        batch_size=_number(env, "BATCH_SIZE", 0, 1, 1024) if "BATCH_SIZE" in env else None,
        threads=_number(env, "THREADS", 1, 1, 256),
        lanes=_number(env, "LANES", 0, 1, 256) if "LANES" in env else None,
        precision=cast("Precision", _one_of(env, "DTYPE", "fp32", ("fp32", "bf16", "fp16"))),
        channels_last=_one_of(env, "CHANNELS_LAST", "0", ("0", "1")) == "1",
        cuda_graph=_one_of(env, "CUDA_GRAPH", "1", ("0", "1")) == "1",
        queue_size=_number(env, "QUEUE_SIZE", 64, 1, 10_000),
        queue_wait=_number(env, "QUEUE_WAIT_MS", 0, 0, 600_000) / 1e3,
        batch_wait=_number(env, "BATCH_WAIT_MS", 0, 0, 1000) / 1e3 if "BATCH_WAIT_MS" in env else None,
        drain=_number(env, "DRAIN_SECONDS", 20, 1, 3600),
    )


def _model(env: Mapping[str, str], sha256: str | None) -> tuple[Path, Address | None]:
    """Return where the model lies, or will lie, and where to fetch it from."""
    if "MODEL_URI" not in env:
        if "MODEL_PATH" not in env:
            raise SettingsError(
                "MODEL_PATH is not set: name the folder that holds model.safetensors, labels.txt and model.json "
                "(the sample model is in inference/sample), or set MODEL_URI to fetch one."
            )
        return Path(env["MODEL_PATH"]), None
    if "MODEL_PATH" in env:
        raise SettingsError("MODEL_PATH and MODEL_URI are both set: keep the one that is meant.")
    if sha256 is None:
        raise SettingsError(
            "MODEL_URI needs MODEL_SHA256, the SHA-256 of the weights: it tells what is to be fetched, and names it in "
            "the cache."
        )
    # systemd sets CACHE_DIRECTORY for a unit with CacheDirectory=.
    base = env.get("CACHE_DIRECTORY") or str(Path(env.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "inference")
    cache = Path(env.get("MODEL_CACHE", base))
    if not cache.is_absolute():
        raise SettingsError(f"MODEL_CACHE is {str(cache)!r}; it must be an absolute path.")
    return cache / sha256, parse_address(env["MODEL_URI"])


def _one_of(env: Mapping[str, str], name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = env.get(name, default).lower()
    if value not in allowed:
        raise SettingsError(f"{name} is {value!r}; allowed are {', '.join(allowed)}.")
    return value


def _number(env: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    text = env.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
        raise SettingsError(f"{name} is {text!r}; allowed is a whole number from {lowest} to {highest}.")
    return int(text)


def _header_safe(name: str, value: str) -> str:
    if not _HEADER_SAFE.fullmatch(value):
        raise SettingsError(f"{name} is {value!r}; allowed are up to 64 letters, digits, dots, dashes and underscores.")
    return value


def _sha256(value: str | None) -> str | None:
    if value is not None and not _SHA256.fullmatch(value.lower()):
        raise SettingsError(
            f"MODEL_SHA256 is {value!r}; it must be 64 hexadecimal digits, or empty to accept any weights."
        )
    return value.lower() if value else None


def _file(env: Mapping[str, str], name: str) -> Path | None:
    if name not in env:
        return None
    path = Path(env[name])
    if not path.is_file():
        raise SettingsError(f"{name} is {str(path)!r}, which is not a file.")
    return path
