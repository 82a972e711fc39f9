"""Fetching a model over real connections: files, and HTTPS from a server that misbehaves."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from file_server import FileServer, file_server
from origin import MEBIBYTE, QUICK, SECRETS, manifest, whole

from inference.address import parse_address
from inference.cache import fetch
from inference.checkpoint import read_checkpoint
from inference.errors import CheckpointError, DownloadError, HashMismatchError
from inference.model_source import obtain_model
from inference.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from conftest import ServerProcess

SAMPLE = Path(__file__).resolve().parents[3] / "inference" / "sample"


@pytest.fixture
def web(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with file_server(source.parent, tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        yield server


def test_a_folder_is_fetched_whole_once_and_not_again(source: Path, cached: Path, sha256: str) -> None:
    seen: list[float] = []
    fetch(parse_address(f"file://{source}"), sha256, cached, seen.append)
    assert whole(cached, source)
    assert (seen == sorted(seen), seen[-1]) == (True, 1.0)
    assert sorted(path.name for path in cached.parent.iterdir()) == [sha256, f"{sha256}.lock"]
    fetch(parse_address("file:///nowhere"), sha256, cached)


def test_https_is_fetched_with_a_trusted_certificate(source: Path, cached: Path, sha256: str, web: FileServer) -> None:
    fetch(parse_address(f"{web.url}/model/"), sha256, cached)
    assert whole(cached, source)


def test_an_untrusted_certificate_is_refused(
    cached: Path, sha256: str, web: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(DownloadError, match="certificate is not trusted"):
        fetch(parse_address(f"{web.url}/model"), sha256, cached, waits=QUICK)


def test_a_connection_that_breaks_is_continued_where_it_broke(
    source: Path, cached: Path, sha256: str, web: FileServer
) -> None:
    web.manners.cut_after = [2 * MEBIBYTE, MEBIBYTE]
    web.manners.statuses = []
    fetch(parse_address(f"{web.url}/model"), sha256, cached, waits=QUICK)
    assert whole(cached, source)
    ranges = [asked for path, asked, _ in web.requests if path.endswith(".safetensors")]
    assert ranges[0] is None
    assert ranges[1:] == [f"bytes={2 * MEBIBYTE}-", f"bytes={3 * MEBIBYTE}-"]
    assert web.sent < 5.1 * MEBIBYTE


def test_what_passes_is_tried_again_and_what_does_not_is_not(
    source: Path, cached: Path, sha256: str, web: FileServer
) -> None:
    web.manners.statuses = [503, 429, 500]
    fetch(parse_address(f"{web.url}/model"), sha256, cached, waits=QUICK)
    assert whole(cached, source)
    shutil.rmtree(cached)
    web.manners.statuses = [503] * 9
    with pytest.raises(DownloadError, match=r"503 .*Given up after 4 attempts.* kept in"):
        fetch(parse_address(f"{web.url}/model"), sha256, cached, waits=QUICK)
    web.manners.statuses = [403]
    web.requests.clear()
    with pytest.raises(DownloadError, match="403"):
        fetch(parse_address(f"{web.url}/model"), sha256, cached, waits=QUICK)
    assert len([path for path, _, _ in web.requests if path.endswith(".safetensors")]) == 1


def test_a_start_that_was_killed_is_continued_by_the_next(
    source: Path, cached: Path, sha256: str, web: FileServer
) -> None:
    part = cached.with_name(f"{sha256}.part")
    part.mkdir(parents=True)
    (part / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[: 4 * MEBIBYTE])
    fetch(parse_address(f"{web.url}/model"), sha256, cached)
    assert whole(cached, source)
    assert web.sent < 1.1 * MEBIBYTE


def test_a_start_that_was_killed_after_the_last_byte_fetches_nothing_again(
    source: Path, cached: Path, sha256: str, web: FileServer
) -> None:
    part = cached.with_name(f"{sha256}.part")
    part.mkdir(parents=True)
    shutil.copy(source / "model.safetensors", part)
    fetch(parse_address(f"{web.url}/model"), sha256, cached)
    assert whole(cached, source)
    assert not [path for path, _, _ in web.requests if path.endswith(".safetensors")]


@pytest.mark.parametrize("size", [3 * MEBIBYTE, 5 * MEBIBYTE + 321, 9 * MEBIBYTE])
def test_a_remainder_of_something_else_is_thrown_away(
    source: Path, cached: Path, sha256: str, web: FileServer, size: int
) -> None:
    part = cached.with_name(f"{sha256}.part")
    part.mkdir(parents=True)
    (part / "model.safetensors").write_bytes(bytes(size))
    fetch(parse_address(f"{web.url}/model"), sha256, cached)
    assert whole(cached, source)


def test_a_server_that_cannot_continue_sends_all_of_it_again(
    source: Path, cached: Path, sha256: str, web: FileServer
) -> None:
    web.manners.ranges = False
    web.manners.cut_after = [2 * MEBIBYTE]
    fetch(parse_address(f"{web.url}/model"), sha256, cached, waits=QUICK)
    assert whole(cached, source)


@pytest.mark.parametrize("name", ["model.safetensors", "labels.txt", "model.json"])
def test_a_file_that_is_damaged_at_its_origin_is_refused_by_name(
    source: Path, tmp_path: Path, sha256: str, name: str
) -> None:
    damaged = Path(shutil.copytree(source, tmp_path / "damaged"))
    data = bytearray((damaged / name).read_bytes())
    data[7] ^= 1
    (damaged / name).write_bytes(data)
    cached = tmp_path / "cache" / sha256
    with pytest.raises(HashMismatchError, match=rf"{name} is damaged"):
        fetch(parse_address(f"file://{damaged}"), sha256, cached)
    assert not cached.exists()
    fetch(parse_address(f"file://{source}"), sha256, cached)
    assert whole(cached, source)


def test_another_model_is_refused_before_it_is_fetched(source: Path, tmp_path: Path, sha256: str) -> None:
    wrong = "0" * 64
    with pytest.raises(HashMismatchError, match=f"{sha256}.*{wrong}"):
        fetch(parse_address(f"file://{source}"), wrong, tmp_path / wrong)
    assert not (tmp_path / f"{wrong}.part" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "Cannot read .*SHA256SUMS"),
        (b"", "not a manifest"),
        (b"\xff", "not a manifest"),
        (b"x" * 70_000, "not a"),
    ],
)
def test_an_origin_without_a_manifest_is_refused(
    source: Path, tmp_path: Path, sha256: str, content: bytes | None, said: str
) -> None:
    folder = Path(shutil.copytree(source, tmp_path / "origin"))
    (folder / "SHA256SUMS").unlink()
    if content is not None:
        (folder / "SHA256SUMS").write_bytes(content)
    with pytest.raises(DownloadError, match=said):
        fetch(parse_address(f"file://{folder}"), sha256, tmp_path / "cache" / sha256)


def test_an_origin_that_lists_too_little_is_refused(source: Path, tmp_path: Path, sha256: str) -> None:
    folder = Path(shutil.copytree(source, tmp_path / "origin"))
    (folder / "SHA256SUMS").write_text(f"{sha256}  model.safetensors\n")
    with pytest.raises(DownloadError, match=r"does not list labels\.txt, model\.json"):
        fetch(parse_address(f"file://{folder}"), sha256, tmp_path / "cache" / sha256)


def test_credentials_reach_their_server_and_no_message(
    source: Path, cached: Path, sha256: str, web: FileServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with_secrets = f"{web.url.replace('://', '://jo:s3cr3tpass@')}/model?sig=t0k3n"
    web.manners.authorization = "Basic am86czNjcjN0cGFzcw=="  # jo:s3cr3tpass
    fetch(parse_address(with_secrets), sha256, cached)
    assert whole(cached, source)
    assert all(path.endswith("?sig=t0k3n") for path, _, _ in web.requests)
    shutil.rmtree(cached)
    said = ""
    for manners in (
        {"authorization": "other"},
        {"statuses": [503] * 9, "authorization": None},
        {"redirect": "http://x"},
    ):
        for name, value in manners.items():
            setattr(web.manners, name, value)
        with pytest.raises(DownloadError) as raised:
            fetch(parse_address(with_secrets), sha256, cached, waits=QUICK)
        said += f"{raised.value!r} {raised.value.__cause__!r}\n"
    assert "401" in said
    assert "503" in said
    assert "only https: is followed" in said
    assert not any(secret in said + caplog.text for secret in SECRETS)


def test_a_redirect_to_another_host_is_told_no_credentials(
    source: Path, cached: Path, sha256: str, web: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    with file_server(source.parent, tmp_path / "other") as other:
        both = tmp_path / "both.pem"
        both.write_bytes(web.certificate.read_bytes() + other.certificate.read_bytes())
        monkeypatch.setenv("SSL_CERT_FILE", str(both))
        web.manners.redirect = other.url
        fetch(parse_address(f"{web.url.replace('://', '://jo:s3cr3tpass@')}/model"), sha256, cached)
        assert whole(cached, source)
        assert {header for _, _, header in other.requests} == {None}
        assert None not in {header for _, _, header in web.requests}


def test_a_cache_that_cannot_be_written_is_said(source: Path, tmp_path: Path, sha256: str) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"The cache .* cannot be written"):
        fetch(parse_address(f"file://{source}"), sha256, tmp_path / "cache" / sha256)


FETCHING = """
import sys
from pathlib import Path
from inference.address import parse_address
from inference.cache import fetch
fetch(parse_address(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), lambda share: print(share, flush=True))
"""


def start_fetching(url: str, sha256: str, cached: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", FETCHING, url, sha256, str(cached)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=SAMPLE.parents[1], env={**os.environ})


def test_starts_at_the_same_time_fetch_once_and_a_killed_one_is_taken_over(
    source: Path, cached: Path, sha256: str, web: FileServer
) -> None:
    """Four processes; the one that fetches is killed half-way, and another goes on where it was."""
    web.manners.seconds_per_mebibyte = 0.4
    processes = [start_fetching(f"{web.url}/model", sha256, cached) for _ in range(4)]
    part = cached.with_name(f"{sha256}.part") / "model.safetensors"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= 2 * MEBIBYTE):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    holders = [process for process in processes if _holds(process.pid, part)]
    assert len(holders) == 1
    holders[0].kill()
    outputs = {process: process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes if process not in holders] == [0, 0, 0]
    assert whole(cached, source)
    assert web.sent < 6 * MEBIBYTE
    for process, output in outputs.items():
        shares = [float(line) for line in output.split()]
        assert shares == sorted(shares), "progress never goes back"
        assert process in holders or any(0 < share < 1 for share in shares), "those who wait see the progress too"


def _holds(pid: int, path: Path) -> bool:
    return any(os.path.realpath(link) == str(path) for link in Path(f"/proc/{pid}/fd").iterdir())


def test_a_model_that_went_bad_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    origin = Path(shutil.copytree(SAMPLE, tmp_path / "origin"))
    (origin / "SHA256SUMS").write_text(manifest(origin))
    sha256 = hashlib.sha256((origin / "model.safetensors").read_bytes()).hexdigest()
    variables = {"MODEL_URI": f"file://{origin}", "MODEL_SHA256": sha256, "MODEL_CACHE": str(tmp_path / "cache")}
    seen: list[float] = []
    first = obtain_model(read_settings(variables), seen.append)
    assert (seen == sorted(seen), seen[-1]) == (True, 1.0)
    for name in ("model.safetensors", "labels.txt"):
        victim = tmp_path / "cache" / sha256 / name
        victim.write_bytes(victim.read_bytes()[:-1] + b"?")
        assert obtain_model(read_settings(variables)).description == first.description
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [sha256, f"{sha256}.lock"]


def test_a_server_fetches_its_model_and_shows_how_far_it_is(
    tmp_path: Path, web: FileServer, serving: Callable[..., AbstractContextManager[ServerProcess]]
) -> None:
    origin = Path(shutil.copytree(SAMPLE, tmp_path / "web" / "sample"))
    (origin / "SHA256SUMS").write_text(manifest(origin))
    sha256 = hashlib.sha256((origin / "model.safetensors").read_bytes()).hexdigest()
    with file_server(origin.parent, tmp_path / "web") as slow:
        slow.manners.seconds_per_mebibyte = 1
        variables = {
            "MODEL_PATH": "",
            "MODEL_URI": f"{slow.url.replace('://', '://jo:s3cr3tpass@')}/sample?sig=t0k3n",
            "MODEL_SHA256": sha256,
            "MODEL_CACHE": str(tmp_path / "cache"),
            "SSL_CERT_FILE": str(slow.certificate),
            "LOG_LEVEL": "debug",
        }
        with serving(**variables) as server:
            server.wait_bound()
            seen = set()
            deadline = time.monotonic() + 60
            while (health := httpx.get(f"{server.url}/health", timeout=10)).status_code != 200:
                assert time.monotonic() < deadline
                seen.add(health.json()["progress"])
                time.sleep(0.05)
            assert len(seen) > 4
            assert httpx.get(f"{server.url}/info").json()["model"]["path"] == str(tmp_path / "cache" / sha256)
            assert server.stop() == 0
            said = "".join(server.stderr)
    assert "model wanted" in said
    assert not any(secret in said for secret in SECRETS)
    assert read_checkpoint(tmp_path / "cache" / sha256, sha256).description.sha256 == sha256


def test_a_server_whose_model_cannot_be_had_refuses_to_start(
    tmp_path: Path, serving: Callable[..., AbstractContextManager[ServerProcess]]
) -> None:
    variables = {
        "MODEL_PATH": "",
        "MODEL_URI": f"file://{tmp_path}/nothing",
        "MODEL_SHA256": "0" * 64,
        "MODEL_CACHE": str(tmp_path / "cache"),
    }
    with serving(**variables) as server:
        assert server.process.wait(30) == 3
    said = "".join(server.stderr)
    assert "Cannot read" in said
    assert "Traceback" not in said
