"""What keeps an nginx with a `backup` server from failing over unnoticed: defaults, and what looks harmless. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drillctl.gateway.nginx_config import find_upstream
from drillctl.gateway.nginx_inheritance import Blocks, effective, with_blocks
from drillctl.gateway.nginx_syntax import ENCODING, Directive, line_of, parse, seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 10.0
"""Seconds for a time-out; nginx's defaults are 60 s, for which clients of a frozen server wait."""

MOST_FAILS = 10
"""Failed requests within `fail_timeout` after which a server should be left out; nginx's default is 1."""

_DEFAULTS = {"proxy_connect_timeout": "60s", "proxy_read_timeout": "60s", "proxy_send_timeout": "60s"}


def traps(source: bytes, upstream: str) -> list[str]:
    """Return the traps that a config holds, in words, each with its line. Raises GatewayError as `read_upstream`."""
    text = source.decode(ENCODING)
    return [*_of_upstream(text, upstream), *_of_locations(text, upstream)]


def outlasting(source: bytes, upstream: str, clients: float) -> list[str]:
    """Return in words, each with its line, where nginx waits for an answer no less than its clients do, `clients` s.

    A request whose client has left does not count as failed: nginx would go on sending to a frozen server.
    """
    text = source.decode(ENCODING)
    found = []
    for blocks, part in _passes(text, upstream):
        (value, *_) = _effective(blocks, "proxy_read_timeout") or (_DEFAULTS["proxy_read_timeout"],)
        seconds = seconds_of(value)
        if seconds is None or seconds >= clients:
            where = f"line {line_of(text, part.start)}"
            found.append(f"{where}: proxy_read_timeout is {value}, and clients wait {clients:g} s")
    return found


def _never_again(blocks: Blocks) -> Iterator[str]:
    """Yield in words what keeps a request that failed from being sent to another server, whatever failed."""
    if _effective(blocks, "proxy_next_upstream_tries") == ("1",):
        yield "proxy_next_upstream_tries is 1: a request that fails is not sent to the backup"
    if _effective(blocks, "proxy_request_buffering") == ("off",):
        yield "proxy_request_buffering is off: a POST that nginx has begun to send is not sent to the backup"
    value = (_effective(blocks, "proxy_next_upstream_timeout") or ("0",))[0]
    within, needed = seconds_of(value), _patience(blocks)
    if within and needed is not None and within <= needed <= LONGEST:  # above that, the time-outs are the trap
        yield (
            f"proxy_next_upstream_timeout is {value}, and a server is given up after {needed:g} s: too late for the "
            "backup to be asked"
        )


def _patience(blocks: Blocks) -> float | None:
    """Return the seconds after which nginx gives a silent server up at the latest; None when that is not a number."""
    given = [(_effective(blocks, name) or (default,))[0] for name, default in _DEFAULTS.items()]
    seconds = [seconds_of(value) for value in given]
    return None if None in seconds else max(second for second in seconds if second is not None)


def _fails(server: Directive) -> int:
    """Return the max_fails of a server; nginx's default is 1."""
    given = (word.removeprefix("max_fails=") for word in server.arguments if word.startswith("max_fails="))
    return next((int(number) for number in given if number.isdecimal()), 1)


def _of_upstream(text: str, upstream: str) -> Iterator[str]:
    block = find_upstream(text, upstream)
    parts = _directives(block)
    servers = [part for part in parts if part.name == "server"]
    if not any("backup" in part.arguments for part in servers):
        yield (
            f"line {line_of(text, block.start)}: no server has `backup`; of a single server nginx ignores max_fails "
            "and fail_timeout, and sends it everything whether it answers or not"
        )
    if not any(part.name == "zone" for part in parts):
        yield (
            f"line {line_of(text, block.start)}: no `zone`: every worker finds out for itself that a server is lost, "
            "each with failed requests of its own"
        )
    for part in servers:
        where = f"line {line_of(text, part.start)}"
        never = "max_fails=0" in part.arguments
        if "backup" not in part.arguments and never:
            yield f"{where}: max_fails=0: a server that fails is never left out"
        elif "backup" not in part.arguments and _fails(part) > MOST_FAILS:
            yield f"{where}: max_fails={_fails(part)}: that many requests fail, or wait, before a server is left out"
        elif "backup" in part.arguments and not never:
            yield (
                f"{where}: a `backup` without max_fails=0: while the others are lost, one that answers 503 once is "
                "left out for fail_timeout, and nobody serves"
            )


def _of_locations(text: str, upstream: str) -> Iterator[str]:
    found = False
    for blocks, part in _passes(text, upstream):
        found = True
        where = f"line {line_of(text, part.start)}"
        retry = _effective(blocks, "proxy_next_upstream") or ("error", "timeout")
        if "off" in retry:
            yield f"{where}: `proxy_next_upstream off`: a request that fails is not sent to the backup"
        elif "non_idempotent" not in retry:
            yield f"{where}: no `non_idempotent` in proxy_next_upstream: a POST that was sent is not sent to the backup"
        elif not {"error", "timeout"} <= set(retry):
            yield f"{where}: proxy_next_upstream lacks `error` or `timeout`"
        elif "http_503" not in retry:
            yield (
                f"{where}: no `http_503` in proxy_next_upstream: a server that is back but still loads its model "
                "answers 503, and clients get that"
            )
        yield from (f"{where}: {why}" for why in _never_again(blocks))
        for name, default in _DEFAULTS.items():
            value = (_effective(blocks, name) or (default,))[0]
            seconds = seconds_of(value)
            if seconds is None or seconds > LONGEST:
                yield f"{where}: {name} is {value}: that long clients of a frozen server wait"
    if not found:
        yield f"nothing in this file passes requests to `{upstream}`"


def _passes(text: str, upstream: str) -> Iterator[tuple[Blocks, Directive]]:
    """Yield each `proxy_pass` to the upstream with the blocks around it."""
    for blocks, part in with_blocks(parse(text)):
        if part.name == "proxy_pass" and part.arguments[:1] == (f"http://{upstream}",):
            yield blocks, part


def _effective(blocks: Blocks, name: str) -> tuple[str, ...] | None:
    """Return the arguments of a directive that holds in the innermost block; None when none is in this file."""
    return next((part.arguments for part in effective(blocks, name)), None)


def _directives(block: Directive) -> list[Directive]:
    return [part for part in block.body or () if isinstance(part, Directive)]
