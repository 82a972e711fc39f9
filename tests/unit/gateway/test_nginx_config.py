"""Editing an upstream: files before and after, refusals, and properties that hold for any config."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import crossplane
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drillctl.errors import GatewayError
from drillctl.gateway.nginx_config import diff, normalised, read_upstream, select

from .conftest import NGINX

CASES = Path(__file__).parents[2] / "cases" / "nginx"
WRAPPER = 'pid "{folder}/pid";\nerror_log "{folder}/log";\nevents {{}}\nhttp {{ access_log off; include "{path}"; }}\n'


@dataclass(frozen=True)
class Case:
    """A folder with before.conf, after.conf and case.toml."""

    folder: Path
    told: dict[str, object]

    @property
    def before(self) -> bytes:
        return (self.folder / "before.conf").read_bytes()

    @property
    def after(self) -> bytes:
        return (self.folder / "after.conf").read_bytes()

    def addresses(self, key: str) -> list[str]:
        value = self.told[key]
        assert isinstance(value, list)
        return value


def cases(kind: str) -> list[object]:
    folders = sorted((CASES / kind).iterdir())
    assert len(folders) >= 12, "the cases are gone"
    told = [tomllib.loads((folder / "case.toml").read_text()) for folder in folders]
    return [pytest.param(Case(*pair), id=pair[0].name) for pair in zip(folders, told, strict=True)]


@pytest.mark.parametrize("case", cases("switched"))
def test_switches_and_leaves_the_rest_byte_identical(case: Case) -> None:
    enable, disable = case.addresses("enable"), case.addresses("disable")
    after = select(case.before, "service", enable, disable)
    assert after == case.after
    assert select(after, "service", enable, disable) == after, "a second time changes nothing"
    back = select(after, "service", disable, enable) if case.told.get("reversible", True) else case.before
    assert back == case.before


@pytest.mark.parametrize("case", cases("switched"))
def test_only_the_wanted_servers_change_their_state(case: Case) -> None:
    before = {s.text: s.state for s in read_upstream(case.before, "service")}
    on = {normalised(a) for a in case.addresses("enable")}
    off = {normalised(a) for a in case.addresses("disable")}
    for server in read_upstream(case.after, "service"):
        key = normalised(server.address)
        if key in off:
            assert server.state != "enabled"
        elif key not in on:
            assert before[server.text] == server.state
    serving = {normalised(s.address) for s in read_upstream(case.after, "service") if s.state == "enabled"}
    assert on <= serving


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
@pytest.mark.parametrize("version", ["before.conf", "after.conf"])
@pytest.mark.parametrize("case", cases("switched"))
def test_nginx_accepts_it(case: Case, version: str, tmp_path: Path) -> None:
    config = tmp_path / "nginx.conf"
    if case.told.get("main", False):
        config.write_bytes(
            f'pid "{tmp_path}/pid";\nerror_log "{tmp_path}/log";\n'.encode() + (case.folder / version).read_bytes()
        )
    else:
        config.write_text(WRAPPER.format(folder=tmp_path, path=case.folder / version))
    done = subprocess.run([str(NGINX), "-t", "-p", str(tmp_path), "-c", str(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", cases("switched"))
def test_an_independent_parser_sees_the_same_servers(case: Case) -> None:
    """crossplane reads every file of the cases by its own grammar: the active servers must be the same."""
    parsed = crossplane.parse(str(case.folder / "after.conf"), single=True, check_ctx=False, check_args=False)
    assert parsed["status"] == "ok", parsed["errors"]

    def upstreams(block: list[dict[str, object]]) -> list[dict[str, object]]:
        found = []
        for directive in block:
            inner = directive.get("block")
            if directive["directive"] == "upstream" and directive["args"] == ["service"]:
                found.append(directive)
            elif isinstance(inner, list):
                found.extend(upstreams(inner))
        return found

    (block,) = upstreams(parsed["config"][0]["parsed"])
    assert isinstance(block["block"], list)
    theirs = [(d["line"], d["args"]) for d in block["block"] if d["directive"] == "server"]
    ours = [s for s in read_upstream(case.after, "service") if s.state != "commented"]
    assert [(s.line, s.address) for s in ours] == [(line, args[0]) for line, args in theirs]
    assert [s.state == "down" for s in ours] == ["down" in args for _, args in theirs]


@pytest.mark.parametrize("case", cases("refused"))
def test_refuses_with_one_clear_sentence(case: Case) -> None:
    with pytest.raises(GatewayError) as caught:
        select(case.before, "service", case.addresses("enable"), case.addresses("disable"))
    assert str(caught.value) == case.told["error"]


def test_a_server_is_read_with_its_line_state_and_text() -> None:
    source = b"upstream u {\n  server a:1 weight=5;\n  # server b;  # note\n  server c:3 down backup;\n}\n"
    told = [(s.line, s.address, s.state, s.text, s.backup) for s in read_upstream(source, "u")]
    assert told == [
        (2, "a:1", "enabled", "server a:1 weight=5;", False),
        (3, "b", "commented", "server b;", False),
        (4, "c:3", "down", "server c:3 down backup;", True),
    ]


def test_braces_in_lua_do_not_count() -> None:
    source = b"""location / { content_by_lua_block {
        local s = "}" -- } and {
        local t = [==[ } upstream u { server z; } ]==]
        if s then ngx.say('{') end
    } }
    init_by_lua_block { f = function() return {1, {2}} end }
    set_by_lua_block $x { return "}" }
    upstream u { server a; }
    """
    assert [s.address for s in read_upstream(source, "u")] == ["a"]


def test_escaped_quotes_and_braces_end_nothing() -> None:
    source = rb"""
    set $a "\"; upstream u { server x; } #\"";
    set $b '\\'; set $c a\;b\{c;
    upstream u { server "\a"; server 'b'; }
    """
    assert [s.address for s in read_upstream(source, "u")] == ["\\a", "b"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("10.0.0.1", "10.0.0.1:80"),
        ("Backend-A:8080", "backend-a:8080"),
        ("[::1]", "[0:0::1]:80"),
        ("[::1]:8000", "::1:8000"),
        ("fd00::A:8000", "[fd00::a]:8000"),
        ("UNIX:/run/a.sock", "unix:/run/a.sock"),
        ("10.0.0.1:0080", "10.0.0.1:80"),
    ],
)
def test_one_server_written_differently_is_one_address(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("10.0.0.1:80", "10.0.0.1:8080"), ("unix:/run/A", "unix:/run/a"), ("a:1", "b:1"), ("[::1]:80", "[::2]:80")],
)
def test_different_servers_stay_different(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_the_diff_shows_bytes_that_are_no_utf8_and_missing_line_ends() -> None:
    shown = diff(b"\xff\nserver a;", b"\xff\n# server a;", "/etc/nginx/x.conf")
    assert shown.splitlines()[:2] == ["--- /etc/nginx/x.conf (live)", "+++ /etc/nginx/x.conf (candidate)"]
    assert "\n \\xff\n" in shown
    assert shown.count("\\ No newline at end of file") == 2
    assert diff(b"same", b"same", "x") == ""


NOISE = st.sampled_from(
    [
        "",
        "   ",
        "# prose about a server; or two",
        "# server is down today",
        "#",
        "keepalive 8;",
        "least_conn; # server x; }",
        'random "two;{" least_conn;',
        "# upstream service { server 9.9.9.9; }",
        "# 备用 {",
    ]
)
INDENT = st.sampled_from(["", "  ", "    ", "\t"])
MARKS = st.sampled_from(["#", "# ", "## ", "#\t", "##"])
NOTE = st.sampled_from(["", " # note", "  # server 9.9.9.9;", "# }", "\t"])
PARAMETERS = st.sampled_from(["", " weight=5", " max_fails=3  fail_timeout=10s", "\tmax_conns=10"])
END = st.sampled_from(["\n", "\r\n"])


@st.composite
def configs(draw: st.DrawFn) -> tuple[bytes, list[str], list[str]]:
    """Draw a config with a consistent style, the addresses that serve, and those that do not."""
    end, indent, marks = draw(END), draw(INDENT), draw(MARKS)
    at_margin, down = draw(st.booleans()), draw(st.booleans())
    serving = [f"10.0.1.{n}:8000" for n in range(1, draw(st.integers(1, 3)) + 1)]
    waiting = [f"10.0.2.{n}" for n in range(1, draw(st.integers(1, 3)) + 1)]
    lines: list[str] = []
    for address in draw(st.permutations(serving + waiting)):
        lines.extend(indent + noise for noise in draw(st.lists(NOISE, max_size=2)))
        off = address in waiting
        text = f"server {address}{draw(PARAMETERS)}{' down' if off and down else ''};{draw(NOTE)}"
        commented = off and not down
        before = (marks + indent if at_margin else indent + marks) if commented else indent
        lines.append(before + text)
    head = draw(st.sampled_from(["upstream service {", f"upstream service{end}{{", "upstream\tservice  { # {"]))
    outside = draw(st.sampled_from(["", "upstream other { server 10.0.1.1:8000; }", "gzip on;", "# 上游"]))
    text = end.join([outside, head, *lines, "}", draw(st.sampled_from(["", outside and "# end"]))])
    return text.encode(), serving, waiting


@settings(deadline=None)
@given(configs())
def test_there_and_back_is_byte_identical_for_any_config_of_one_style(
    drawn: tuple[bytes, list[str], list[str]],
) -> None:
    source, serving, waiting = drawn
    switched = select(source, "service", waiting, serving)
    assert {s.address for s in read_upstream(switched, "service") if s.state == "enabled"} == set(waiting)
    assert select(switched, "service", waiting, serving) == switched
    assert select(switched, "service", serving, waiting) == source
    assert switched.count(b"\n") == source.count(b"\n")
    # Nothing but marks, blanks and `down` can have changed.
    assert re.sub(rb"[#\s]|\bdown\b", b"", switched) == re.sub(rb"[#\s]|\bdown\b", b"", source)


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_bytes_around_the_upstream_never_make_it_fail_otherwise_than_clearly(before: bytes, behind: bytes) -> None:
    source = before + b"\nupstream service {\n server a:1;\n # server b:1;\n}\n" + behind
    try:
        switched = select(source, "service", ["b:1"], ["a:1"])
    except GatewayError:
        return
    assert len(switched) == len(source)
    assert switched.startswith(before)
    assert switched.endswith(behind)
