"""Fetching a model over real connections from S3 and OSS: an S3 server in a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import boto3
import pytest
from origin import MEBIBYTE, QUICK, SECRETS, whole

from inference.address import parse_address
from inference.cache import fetch
from inference.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def bucket(source: Path) -> Iterator[int]:
    """A real S3 server, in a process of its own, that holds the model; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    argv = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert server.poll() is None
            assert time.monotonic() < deadline
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        client.create_bucket(Bucket="models")
        for path in source.iterdir():
            client.upload_file(str(path), "models", f"zoo/sample/{path.name}")
        yield port
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def credentials(bucket: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "OSS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{bucket}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRETS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS[1])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.mark.usefixtures("credentials")
def test_s3_is_fetched_and_continued(source: Path, cached: Path, sha256: str) -> None:
    fetch(parse_address("s3://models/zoo/sample"), sha256, cached)
    assert whole(cached, source)
    shutil.rmtree(cached)
    for have in (2 * MEBIBYTE, 5 * MEBIBYTE + 321, 6 * MEBIBYTE):
        part = cached.with_name(f"{sha256}.part")
        part.mkdir(parents=True)
        start = (source / "model.safetensors").read_bytes()[:have]
        (part / "model.safetensors").write_bytes(start.ljust(have, b"x"))
        fetch(parse_address("s3://models/zoo/sample/model.safetensors"), sha256, cached, waits=QUICK)
        assert whole(cached, source)
        shutil.rmtree(cached)


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("uri", "variables", "said"),
    [
        ("s3://models/elsewhere", {}, r"s3://models/elsewhere/SHA256SUMS: status 404 \(NoSuchKey\)"),
        ("s3://nobodys/model", {}, r"status 404 \(NoSuchBucket\)"),
        ("s3://models/zoo/sample", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials"),
        ("s3://models/zoo/sample", {"AWS_ENDPOINT_URL_S3": "no url"}, "look at the endpoint"),
        ("s3://models/zoo/sample", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}, "Given up after 4 attempts"),
        ("oss://models/zoo/sample", {}, "neither OSS_ENDPOINT nor OSS_REGION"),
    ],
)
def test_a_bucket_that_gives_nothing_is_said_without_secrets(
    cached: Path,
    sha256: str,
    uri: str,
    variables: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(DownloadError, match=said) as raised:
        fetch(parse_address(uri), sha256, cached, waits=QUICK)
    assert not any(secret in f"{raised.value!r}{caplog.text}" for secret in SECRETS)


def test_oss_is_addressed_by_host_name_and_asked_for_no_checksum(
    source: Path, cached: Path, sha256: str, bucket: int, credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket is part of the host name, which only the resolver of this test knows."""
    asked: list[str] = []
    resolve = socket.getaddrinfo

    def resolved(host: str, *arguments: object, **options: object) -> object:
        asked.append(host)
        return resolve("127.0.0.1" if host.endswith(".localhost") else host, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setenv("OSS_ENDPOINT", f"http://oss.localhost:{bucket}")
    monkeypatch.setenv("OSS_ACCESS_KEY_ID", SECRETS[0])
    monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", SECRETS[1])
    fetch(parse_address("oss://models/zoo/sample"), sha256, cached, waits=QUICK)
    assert whole(cached, source)
    assert set(asked) == {"models.oss.localhost"}
