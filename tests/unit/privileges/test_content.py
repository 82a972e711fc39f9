"""Which bytes may be written into the gateway's config: those that turn servers on or off, line by line."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from drillctl.privileges import content
from drillctl.privileges.program import REFUSED, Program

CASES = Path(__file__).parents[2] / "cases" / "nginx" / "switched"
NOT_BY_LINES = {
    "behind-the-brace",
    "down-behind-a-note",
    "ipv6-and-unix",
    "many-lines",
    "one-line",
    "quoted",
    "shared-line",
}
"""Cases in which a server shares its line, is quoted, or is not spelled as in the inventory: these are refused."""

LIVE = b"""\
upstream service {
    server 10.0.1.1:8000;  # zone a
    # server 10.0.2.1:8000 weight=5;
    server 10.0.9.9:8000 backup;
}
server { allow 10.0.0.0/8; deny all; }
# load_module x.so;
timeout 10
10
;
"""
ADDRESSES = ("10.0.1.1:8000", "10.0.2.1:8000")


def judged(tmp_path: Path, shell: list[str], addresses: tuple[str, ...], live: bytes, new: bytes) -> bytes | None:
    """Return what a program would read that takes `new` for `live`; None when it refuses."""
    (tmp_path / "live").write_bytes(live)
    checks = f'take_config "{tmp_path}/live"\n'
    program = Program("p", "try", "cat\n", ((),), content.functions(addresses), checks)
    (tmp_path / "p").write_text(program.text)
    done = subprocess.run([*shell, str(tmp_path / "p")], input=new, capture_output=True, check=False)
    assert done.returncode in {0, REFUSED}, done.stderr
    assert not list(Path("/run").glob("drillctl.??????"))
    return done.stdout if done.returncode == 0 else None


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="what is checked is first kept where only root may write")


@pytest.mark.parametrize("name", sorted(folder.name for folder in CASES.iterdir()))
def test_what_a_drill_edits_is_taken_where_each_server_has_a_line(tmp_path: Path, shell: list[str], name: str) -> None:
    case = tomllib.loads((CASES / name / "case.toml").read_text())
    before, after = ((CASES / name / file).read_bytes() for file in ("before.conf", "after.conf"))
    addresses = (*case["enable"], *case["disable"])
    assert judged(tmp_path, shell, addresses, before, before) == before
    taken = judged(tmp_path, shell, addresses, before, after)
    assert taken == (None if name in NOT_BY_LINES and before != after else after)


def test_servers_are_turned_on_and_off_and_back(tmp_path: Path, shell: list[str]) -> None:
    switched = LIVE.replace(b"    server 10.0.1.1", b"    #server 10.0.1.1").replace(
        b"# server 10.0.2", b"server 10.0.2"
    )
    by_down = LIVE.replace(b"10.0.1.1:8000;", b"10.0.1.1:8000 down;").replace(b"# server 10.0.2", b"server 10.0.2")
    for new in (switched, by_down):
        assert judged(tmp_path, shell, ADDRESSES, LIVE, new) == new
        assert judged(tmp_path, shell, ADDRESSES, new, LIVE) == LIVE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"10.0.2.1", b"10.0.6.6"),
        (b"weight=5", b"weight=6"),
        (b" weight=5", b""),
        (b"    server 10.0.9.9", b"    # server 10.0.9.9"),
        (b"deny all;", b""),
        (b"# load_module", b"load_module"),
        (b"# zone a", b"# zone b"),
        (b"10.0.1.1:8000;", b"10.0.1.1:8000; access_log /etc/cron.d/x;"),
        (b"10.0.1.1:8000;", b"10.0.1.1:8000 down; } server { listen 81;"),
        (b"10.0.1.1:8000;", b"10.0.1.1:8000 down\n;"),
        (b"# load_module x.so;\n", b""),
        (b"# load_module x.so;\n", b"# load_module x.so;\nload_module x.so;\n"),
        (b"# load_module x.so;\n", b"# load_module x.so;\n    server 10.0.1.1:8000;\n"),
        (b"# zone a", b"# zone a\0\n"),
        (b"backup;", b"backup;\0load_module x.so;"),
        (LIVE, b""),
        (b"timeout 10", b"timeout 10.0"),
        (b"\n10\n", b"\n1e1\n"),
        (b"\n10\n", b"\n010\n"),
    ],
)
def test_any_other_byte_is_refused(tmp_path: Path, shell: list[str], old: bytes, new: bytes) -> None:
    assert old in LIVE
    assert judged(tmp_path, shell, ADDRESSES, LIVE, LIVE.replace(old, new)) is None


ON = b"server 10.0.1.1:8000;"


@pytest.mark.parametrize(
    "off",
    [
        b"# server 10.0.1.1:8000;",
        b"#server 10.0.1.1:8000;",
        b"server 10.0.1.1:8000 down;",
        b"server 10.0.1.1:8000\tdown ;",
        b"# server 10.0.1.1:8000 down;",
    ],
)
def test_a_server_must_be_on(tmp_path: Path, shell: list[str], off: bytes) -> None:
    """HAProxy's programs demand it as well: a switch is to somebody."""
    assert ON in LIVE
    assert judged(tmp_path, shell, ADDRESSES, LIVE, LIVE.replace(ON, off)) is None
    # Bytes that are in place already change nothing.
    assert judged(tmp_path, shell, ADDRESSES, LIVE.replace(ON, off), LIVE.replace(ON, off)) is not None


def test_a_note_turns_no_server_off(tmp_path: Path, shell: list[str]) -> None:
    noted = LIVE.replace(b"# zone a", b"# down; was down;")
    new = noted.replace(b"# server 10.0.2.1", b"server 10.0.2.1").replace(b" weight=5;", b" weight=5 down;")
    assert judged(tmp_path, shell, ADDRESSES, noted, new) == new


def test_nothing_may_be_put_where_there_was_nothing(tmp_path: Path, shell: list[str]) -> None:
    assert judged(tmp_path, shell, ADDRESSES, b"", LIVE) is None
