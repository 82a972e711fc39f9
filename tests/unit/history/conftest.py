"""Histories in both kinds of database: a SQLite file, and a real PostgreSQL server that the tests start."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from postgresql import Server, programs

from drillctl.history.sample import Sample
from drillctl.history.store import History

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """One server for all tests that do not break it; each has a database of its own."""
    need_postgresql()
    with Server() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server for one test that kills it, or lets it hang."""
    need_postgresql()
    with Server() as server:
        yield server


def need_postgresql() -> None:
    """Skip where PostgreSQL is not installed; but never in CI, where `make test` installs it."""
    if programs() is None and not os.environ.get("CI"):
        pytest.skip("PostgreSQL is not installed; `make test` does that as root on Debian and Ubuntu")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of the test, and no history of this machine's own."""
    monkeypatch.setenv("DRILLCTL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DRILLCTL_HISTORY_URL", raising=False)
    return tmp_path / "home"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind, still empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.db'}"
    server: Server = request.getfixturevalue("shared_server")
    return server.database()


@pytest.fixture
def history(url: str) -> Iterator[History]:
    """An empty history of each kind."""
    with History.open(url) as opened:
        yield opened


@pytest.fixture
def make_report() -> Callable[..., dict[str, Any]]:
    """Return a function that makes the document of a report; runs are an hour apart."""

    def make(number: int = 0, verdict: str = "passed", outage: float | None = 0.25, **more: Any) -> dict[str, Any]:
        began = NOON + timedelta(hours=number)
        return {
            "schema_version": 1,
            "run_id": f"{began:%Y%m%dT%H%M%SZ}-zone-failover-{number:04x}",
            "inventory": "shop",
            "environment": "staging",
            "playbook": "zone-failover",
            "verdict": verdict,
            "exit_code": 0 if verdict == "passed" else 1,
            "reason": None,
            "started_at": began.isoformat().replace("+00:00", "Z"),
            "finished_at": (began + timedelta(seconds=22, milliseconds=500)).isoformat(),
            "seconds": 22.5,
            "recovery": {"rto_seconds": 0.5, "outage_seconds": outage, "lost_requests": 11, "detection_seconds": 0.125},
            "traffic": {"sent": 900, "wrong": 0, "p50_seconds": 0.03, "p99_seconds": 0.09},
            "restore": {
                "verdict": "nothing to restore" if verdict == "not-started" else "complete",
                "failed_requests": 0,
                "seconds": 7.0,
            },
            "objectives": [{"name": "lost requests", "rule": "≤ 20", "measured": "11", "met": True}],
            **more,
        }

    return make


@pytest.fixture
def make_sample() -> Callable[..., Sample]:
    """Return a function that makes samples, 30 seconds apart."""

    def make(number: int = 0, host: str = "a-1", **more: Any) -> Sample:
        about: dict[str, Any] = {
            "at": NOON + number * timedelta(seconds=30),
            "inventory": "shop",
            "host": host,
            "role": "primary",
            "health": "healthy",
            "ready": True,
            "zone": "zone-a",
            "latency_seconds": 0.0123,
        }
        return Sample(**(about | more))

    return make
