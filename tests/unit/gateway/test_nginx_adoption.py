"""Adopting a config: files before and after, refusals, and that nginx accepts what comes out."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from drillctl.errors import GatewayError
from drillctl.gateway.nginx_adoption import adopt, flag_choice
from drillctl.gateway.nginx_inheritance import http_level
from drillctl.gateway.passive_traps import outlasting, traps
from drillctl.inventory import Gateway, Nginx, NginxFlag, NginxPassive

from .conftest import NGINX

CASES = Path(__file__).parents[2] / "cases" / "adopt"
PRIMARY, STANDBY = ["10.0.1.1:8000"], ["10.0.2.1:8000"]


def options(kind: object) -> Nginx:
    made = TypeAdapter(Gateway).validate_python(
        {
            "kind": kind,
            "hosts": [{"name": "g", "address": "10.0.0.9"}],
            "url": "http://10.0.0.9",
            "config": "/etc/nginx/conf.d/service.conf",
            "upstream": "service",
        }
    )
    assert isinstance(made, Nginx)
    return made


def cases(kind: str) -> list[object]:
    folders = sorted((CASES / kind).iterdir())
    assert len(folders) >= 9, "the cases are gone"
    return [
        pytest.param(folder, tomllib.loads((folder / "case.toml").read_text()), id=folder.name) for folder in folders
    ]


@pytest.mark.parametrize(("folder", "told"), cases("adopted"))
def test_a_config_is_adopted_and_adopted_once(folder: Path, told: dict[str, str]) -> None:
    before, kind = (folder / "before.conf").read_bytes(), options(told["kind"])
    after = adopt(before, kind, PRIMARY, STANDBY)
    assert after == (folder / "after.conf").read_bytes()
    assert adopt(after, kind, PRIMARY, STANDBY) == after
    if isinstance(kind, NginxFlag):
        assert flag_choice(before, kind) is not None
        assert flag_choice(after, kind) is None
    if isinstance(kind, NginxPassive):
        assert traps(after, "service") == []


@pytest.mark.parametrize(("folder", "told"), cases("adopted"))
def test_lines_that_were_there_stay(folder: Path, told: dict[str, str]) -> None:
    """All but those that must say something else: which upstream, which server is a backup, what is tried next."""
    after = (folder / "after.conf").read_bytes().splitlines()
    for line in (folder / "before.conf").read_bytes().splitlines():
        if not re.search(rb"proxy_pass|proxy_next_upstream|server 10.0.2.1|server x|server \{ listen", line):
            assert line in after


@pytest.mark.parametrize(("folder", "told"), cases("refused"))
def test_refuses_and_says_why(folder: Path, told: dict[str, str]) -> None:
    with pytest.raises(GatewayError) as caught:
        adopt((folder / "before.conf").read_bytes(), options(told["kind"]), PRIMARY, STANDBY)
    assert str(caught.value) == told["error"]


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize(("folder", "told"), cases("adopted"))
def test_nginx_accepts_what_comes_out(folder: Path, told: dict[str, str], tmp_path: Path) -> None:
    main = tmp_path / "nginx.conf"
    main.write_text(
        f'pid "{tmp_path}/pid";\nerror_log "{tmp_path}/log";\nevents {{}}\n'
        f'http {{ access_log off; include "{folder}/after.conf"; }}\n'
    )
    done = subprocess.run([str(NGINX), "-t", "-c", str(main)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr.replace('[warn] the "user" directive', "")


@pytest.mark.parametrize("written", ["", " backup", " max_fails=3 backup", ' backup "max_fails=1" fail_timeout=3s'])
def test_a_backup_is_never_left_out_however_it_was_written(written: str) -> None:
    before = (CASES / "adopted" / "passive-plain" / "before.conf").read_text()
    assert "10.0.2.1:8000;" in before
    source = before.replace("10.0.2.1:8000;", f"10.0.2.1:8000{written};")
    after = adopt(source.encode(), options("nginx-passive"), PRIMARY, STANDBY)
    assert traps(after, "service") == []
    assert after.count(b"max_fails=") == 1
    assert adopt(after, options("nginx-passive"), PRIMARY, STANDBY) == after


@pytest.mark.parametrize(
    ("change", "trap"),
    [
        ((" non_idempotent", ""), "a POST that was sent is not sent to the backup"),
        (("error timeout http_503 non_idempotent", "off"), "a request that fails is not sent to the backup"),
        (("error timeout", "timeout"), "lacks `error` or `timeout`"),
        ((" http_503", ""), "still loads its model"),
        ((" backup max_fails=0;", ";"), "of a single server nginx ignores max_fails"),
        (("    zone service 64k;\n", ""), "no `zone`"),
        (("proxy_read_timeout 5s", "proxy_read_timeout 1m"), "proxy_read_timeout is 1m"),
        (("        proxy_read_timeout 5s;\n", ""), "proxy_read_timeout is 60s"),
        (("proxy_connect_timeout 1s", "proxy_connect_timeout 60"), "proxy_connect_timeout is 60"),
        (("10.0.1.1:8000;", "10.0.1.1:8000 max_fails=0;"), "never left out"),
        (("10.0.1.1:8000;", "10.0.1.1:8000 max_fails=1000;"), "max_fails=1000: that many requests fail"),
        (("proxy_next_upstream_timeout 6s;", "proxy_next_upstream_timeout 500ms;"), "given up after 5 s: too late"),
        (("proxy_read_timeout 5s;", "proxy_read_timeout 5s; proxy_next_upstream_tries 1;"), "tries is 1: a request"),
        (
            ("proxy_read_timeout 5s;", "proxy_read_timeout 5s; proxy_request_buffering off;"),
            "a POST that nginx has begun",
        ),
        ((" backup max_fails=0;", " backup;"), "one that answers 503 once is left out"),
        (("proxy_pass http://service;", "return 204;"), "nothing in this file passes"),
    ],
)
def test_each_trap_of_a_passive_failover_is_named(change: tuple[str, str], trap: str) -> None:
    good = (CASES / "adopted" / "passive-plain" / "after.conf").read_text()
    assert traps(good.encode(), "service") == []
    assert change[0] in good
    found = traps(good.replace(*change).encode(), "service")
    assert len(found) == 1, found
    assert trap in found[0]


@pytest.mark.parametrize(
    ("value", "clients", "said"),
    [
        ("proxy_read_timeout 5s;", 5, "proxy_read_timeout is 5s, and clients wait 5 s"),
        ("proxy_read_timeout 5s;", 5.1, ""),
        ("proxy_read_timeout 900ms;", 1, ""),
        ("proxy_read_timeout 1m;", 10, "proxy_read_timeout is 1m"),
        ("", 10, "proxy_read_timeout is 60s"),
        ("proxy_read_timeout $patience;", 10, "proxy_read_timeout is $patience"),
    ],
)
def test_a_gateway_that_waits_as_long_as_its_clients_is_a_trap(value: str, clients: float, said: str) -> None:
    config = (CASES / "adopted" / "passive-plain" / "after.conf").read_text()
    assert "proxy_read_timeout 5s;" in config
    found = outlasting(config.replace("proxy_read_timeout 5s;", value).encode(), "service", clients)
    assert [said in line for line in found] == ([True] if said else [])


def test_adopting_a_passive_gateway_gives_up_a_frozen_server_early() -> None:
    config = (CASES / "adopted" / "passive-plain" / "before.conf").read_text()
    bare = config.replace("        proxy_read_timeout 5s;\n", "")
    assert bare != config
    assert b"proxy_read_timeout 2s;" in adopt(bare.encode(), options("nginx-passive"), PRIMARY, STANDBY)
    assert b"proxy_read_timeout 5s;" in adopt(bare.encode(), options("nginx-flag"), PRIMARY, STANDBY)


@pytest.mark.parametrize(
    ("written", "mended"),
    [
        ("proxy_next_upstream_tries 1;", "proxy_next_upstream_tries 0;"),
        ("proxy_next_upstream_tries 2;", "proxy_next_upstream_tries 2;"),
        ("proxy_request_buffering off;", "proxy_request_buffering on;"),
        ("proxy_next_upstream_timeout 1s;", "proxy_next_upstream_timeout 6s;"),
        ("proxy_next_upstream_timeout 0;", "proxy_next_upstream_timeout 0;"),
    ],
)
def test_adopting_mends_what_keeps_a_request_from_the_backup(written: str, mended: str) -> None:
    before = (CASES / "adopted" / "passive-plain" / "before.conf").read_text()
    assert "proxy_read_timeout 5s;" in before
    source = before.replace("proxy_read_timeout 5s;", f"proxy_read_timeout 5s; {written}").encode()
    after = adopt(source, options("nginx-passive"), PRIMARY, STANDBY)
    assert mended.encode() in after
    assert after.count(written.split()[0].encode() + b" ") == 1
    assert traps(after, "service") == []


def test_a_slow_service_has_time_for_the_backup() -> None:
    before = (CASES / "adopted" / "passive-plain" / "before.conf").read_text()
    source = before.replace("proxy_read_timeout 5s;", "proxy_read_timeout 9500ms;").encode()
    after = adopt(source, options("nginx-passive"), PRIMARY, STANDBY)
    assert b"proxy_next_upstream_timeout 11s;" in after
    assert traps(after, "service") == []


WHOLE = """\
http {
    proxy_read_timeout 120s;
    error_page 404 /404.html;
    error_page 500 503 /maintenance.html;
    upstream service {
        server 10.0.1.1:8000;
        # server 10.0.2.1:8000;
    }
    server {
        listen 80;
        location / {
            proxy_connect_timeout 3s;
            location /a { proxy_pass http://service; }
        }
    }
}
"""


def test_what_is_set_around_a_server_stays_in_force() -> None:
    """A server with one error page of its own inherits none any more, and its own time-out replaces what was set."""
    after = adopt(WHOLE.encode(), options("nginx"), PRIMARY, STANDBY).decode()
    server = after[after.index("    server {") :]
    for line in ("error_page 404 /404.html;", "error_page 500 503 /maintenance.html;", "error_page 502 504 = @service"):
        assert server.count(line) == 1
    assert "proxy_read_timeout" not in server
    assert server.count("proxy_connect_timeout") == 1
    assert "proxy_send_timeout 5s;" in server
    assert adopt(after.encode(), options("nginx"), PRIMARY, STANDBY).decode() == after


@pytest.mark.parametrize("page", ["error_page 500 502 503 504 /maintenance.html;", "error_page 502 = @mine;"])
def test_an_error_page_of_ones_own_around_a_server_is_left_alone(page: str) -> None:
    source = WHOLE.replace("error_page 404 /404.html;", page)
    after = adopt(source.encode(), options("nginx"), PRIMARY, STANDBY).decode()
    assert "@service_fallback" not in after


def test_what_other_files_set_around_this_one_stays_in_force() -> None:
    begin, end = WHOLE.index("    upstream"), WHOLE.rindex("}")
    main, own = WHOLE[:begin] + "    include conf.d/*.conf;\n}\n", WHOLE[begin:end]
    http = http_level([main.encode(), b"broken {", b"events { }"])
    after = adopt(own.encode(), options("nginx"), PRIMARY, STANDBY, http).decode()
    assert "error_page 404 /404.html;" in after
    assert "error_page 500 503 /maintenance.html;" in after
    assert "proxy_read_timeout" not in after
    assert "proxy_send_timeout 5s;" in after
    alone = adopt(own.encode(), options("nginx"), PRIMARY, STANDBY).decode()
    assert "proxy_read_timeout 5s;" in alone
    assert "/404.html" not in alone


def test_time_outs_set_around_a_location_count() -> None:
    good = (CASES / "adopted" / "passive-plain" / "after.conf").read_text()
    moved = good.replace("        proxy_read_timeout 5s;\n", "").replace(
        "listen 80;", "listen 80; proxy_read_timeout 5s;"
    )
    assert traps(moved.encode(), "service") == []
    assert b"proxy_read_timeout" in adopt(moved.encode(), options("nginx-passive"), PRIMARY, STANDBY)
    assert adopt(moved.encode(), options("nginx-passive"), PRIMARY, STANDBY) == moved.encode()
