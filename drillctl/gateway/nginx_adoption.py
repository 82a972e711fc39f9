"""Make a person's own nginx config fit for drills, by editing lines: the flag, the backup, the fallback. Pure.

What is added depends on the kind of gateway: for `nginx-flag` an upstream of the standby and the choice between both
by a file; for `nginx-passive` the standby as `backup`; for every kind the fallback body for clients when no zone
answers, and time-outs that bound how long they wait for it. What is there already stays: adopting twice is adopting
once, and every line that is not named in the diff keeps its bytes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drillctl.errors import GatewayError
from drillctl.gateway.nginx_config import find_upstream, normalised, read_upstream, select
from drillctl.gateway.nginx_inheritance import (
    Blocks,
    Setting,
    effective,
    named,
    of_block,
    settings,
    with_blocks,
)
from drillctl.gateway.nginx_syntax import ENCODING, Directive, line_of, parse, seconds_of
from drillctl.inventory import NginxFlag, NginxPassive

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from drillctl.inventory import Nginx

FALLBACK = (
    '{"error":"service_unavailable","fallback":true,'
    '"suggestion":"No zone answers; retry in a few seconds, or answer without recognition."}'
)
"""The body that clients get with 503 when no zone answers: the shape of the inference server's own."""

BOUNDS = {"proxy_connect_timeout": "1s", "proxy_send_timeout": "5s", "proxy_read_timeout": "5s"}
"""Time-outs that are added where none is set; nginx's own defaults are 60 s each (ngx_http_proxy_module)."""

PATIENCE = "2s"
"""`proxy_read_timeout` of a passive failover: what a frozen server costs a client, who must wait longer than that."""

NEXT_UPSTREAM = ("error", "timeout", "http_503", "non_idempotent")
"""What a passive failover needs in `proxy_next_upstream` (ngx_http_proxy_module).

Without `non_idempotent`, nginx does not send a POST to the next server. Without `http_503`, clients get the 503 of a
server that is there again but still loads its model.
"""

_CODES = ("502", "504")


@dataclass
class _Edits:
    """Replacements of pieces of a text, applied together; positions are those of the text before."""

    text: str
    pieces: list[tuple[int, int, str]] = field(default_factory=list)

    def insert(self, at: int, what: str) -> None:
        self.pieces.append((at, at, what))

    def replace(self, start: int, end: int, what: str) -> None:
        self.pieces.append((start, end, what))

    def result(self) -> str:
        text = self.text
        # Pieces at the same place keep the order in which they came.
        ordered = sorted((start, end, number, what) for number, (start, end, what) in enumerate(self.pieces))
        for start, end, _, what in ordered[::-1]:
            text = text[:start] + what + text[end:]
        return text


@dataclass(frozen=True)
class _Pass:
    """A `proxy_pass` to the upstream, and the blocks around it: the one that holds it last, a `server` among them."""

    directive: Directive
    blocks: Blocks

    @property
    def holder(self) -> Directive:
        return self.blocks[-1]

    @property
    def server(self) -> Directive:
        return next(block for block in reversed(self.blocks) if block.name == "server")


def adopt(
    source: bytes,
    options: Nginx,
    primary: Collection[str],
    standby: Collection[str],
    http: Sequence[Setting] = (),
) -> bytes:
    """Return the config with what the kind of gateway needs; the same bytes when nothing is missing.

    `primary` and `standby` are the addresses of the zones' servers, as the config writes them; `http` is what other
    files set around this one. Raises GatewayError, with the line, when the file is not in its steady state or is
    written in a way that cannot be adopted.
    """
    if isinstance(options, NginxPassive):
        source = _with_backup(source, options.upstream, primary, standby)
    text = source.decode(ENCODING)
    _check_steady(source, options, primary)
    edits = _Edits(text)
    passes = list(_passes(text, options))
    if not passes:
        raise GatewayError(
            f"no `proxy_pass http://{options.upstream};` in this file",
            hint="`gateway.config` must be the file that holds the upstream and the location that passes to it",
        )
    if isinstance(options, NginxFlag):
        _add_standby_upstream(edits, options, standby)
    for server in _once(one.server for one in passes):
        inside = [one for one in passes if one.server == server]
        if isinstance(options, NginxFlag):
            _add_choice(edits, options, server, inside)
        _add_fallback(edits, options, server, inside, http)
    for holder in _once(one.holder for one in passes):
        one = next(one for one in passes if one.holder == holder)
        _add_bounds(edits, options, one, http)
    return edits.result().encode(ENCODING)


def variable(upstream: str) -> str:
    """Return the variable that holds the chosen upstream."""
    return "$drillctl_" + re.sub(r"\W", "_", upstream)


def flag_choice(source: bytes, options: NginxFlag) -> str | None:
    """Return what is missing in a config that chooses the upstream by the flag; None when it is all there."""
    text = source.decode(ENCODING)
    name = variable(options.upstream)
    passes = list(_passes(text, options))
    if not passes:
        return f"nothing passes requests to `{options.upstream}`"
    for one in passes:
        line = line_of(text, one.directive.start)
        if one.directive.arguments[0] != f"http://{name}":
            return f"line {line} passes to `{options.upstream}` whatever the flag says"
        if not any(_is_choice(part, options) for part in _directives(one.server)):
            return f"line {line} passes to `{name}`, and no `if (-f {options.flag_file})` in its server sets that"
        cached = [d for d in _directives(one.server) if d.name == "open_file_cache" and d.arguments != ("off",)]
        if cached:
            return f"line {line_of(text, cached[0].start)}: with open_file_cache nginx notices the flag late"
    return None


def _check_steady(source: bytes, options: Nginx, primary: Collection[str]) -> None:
    serving = {normalised(s.address) for s in read_upstream(source, options.upstream) if _serves(s.state, s.backup)}
    if serving != {normalised(address) for address in primary}:
        raise GatewayError(
            f"upstream `{options.upstream}` does not send clients to the primary alone: it names "
            + (", ".join(sorted(serving)) or "nobody"),
            hint="adopt a config in its steady state; with `drillctl status` see what it names now",
        )


def _serves(state: str, backup: bool) -> bool:
    return state == "enabled" and not backup


def _passes(text: str, options: Nginx) -> Iterator[_Pass]:
    """Yield each `proxy_pass` to the upstream, by name or by the variable. Raises when one cannot be adopted."""
    wanted = {f"http://{options.upstream}", f"http://{variable(options.upstream)}"}
    for blocks, one in with_blocks(parse(text)):
        if one.name != "proxy_pass" or not one.arguments or not any(block.name == "server" for block in blocks):
            continue
        target = one.arguments[0]
        if target in wanted:
            yield _Pass(one, blocks)
        elif re.match(rf"https?://{re.escape(options.upstream)}(?![\w.-])", target):
            raise GatewayError(
                f"line {line_of(text, one.start)}: `proxy_pass {target}` cannot be adopted",
                hint=f"only `proxy_pass http://{options.upstream};` can; a path behind it is replaced "
                "otherwise once a variable is used",
            )


def _add_standby_upstream(edits: _Edits, options: NginxFlag, standby: Collection[str]) -> None:
    text, name = edits.text, options.standby_upstream
    block = find_upstream(text, options.upstream)
    blocks = [d for p in parse(text) if isinstance(p, Directive) for d in p.walk() if d.name == "upstream"]
    if any(d.arguments[:1] == (name,) for d in blocks):
        return
    there = {normalised(s.address): s.text for s in read_upstream(text.encode(ENCODING), options.upstream)}
    indent, end = _indent_of(text, block), _line_end(text)
    lines = [f"upstream {name} {{"]
    for address in standby:
        written = there.get(normalised(address), f"server {address};").encode().decode(ENCODING)
        lines.append("    " + re.sub(r"\s+(?:down|backup)(?=\s|;)", "", written))
    for part in _directives(block):
        if part.name == "zone" and part.arguments:
            lines.append("    " + " ".join(["zone", f"{part.arguments[0]}_standby", *part.arguments[1:]]) + ";")
        elif part.name not in {"server", "include"}:
            lines.append("    " + text[part.start : part.end])
    lines.append("}")
    edits.insert(block.end, end + end + end.join(indent + line for line in lines))


def _add_choice(edits: _Edits, options: NginxFlag, server: Directive, passes: list[_Pass]) -> None:
    text, name = edits.text, variable(options.upstream)
    for one in passes:
        word = one.directive.words[1]
        if word.text != f"http://{name}":
            edits.replace(word.start, word.end, f"http://{name}")
    if any(_is_choice(part, options) for part in _directives(server)):
        return
    cached = next((part for part in _directives(server) if part.name == "open_file_cache"), None)
    if cached is not None and cached.arguments != ("off",):
        raise GatewayError(
            f"line {line_of(text, cached.start)}: with open_file_cache nginx would notice the flag late",
            hint="leave it out of this server, or use the kind `nginx`",
        )
    lines = [
        f"set {name} {options.upstream};",
        f"if (-f {options.flag_file}) {{",
        f"    set {name} {options.standby_upstream};",
        "}",
    ]
    if cached is None:
        lines.insert(0, "open_file_cache off;")
    _insert_first(edits, server, lines)


def _is_choice(part: Directive, options: NginxFlag) -> bool:
    """Tell whether a directive is the `if` that sends clients to the standby while the flag is there."""
    wanted = ("set", variable(options.upstream), options.standby_upstream)
    condition = " ".join(word.text for word in part.words[1:])
    return (
        part.name == "if"
        and condition == f"(-f {options.flag_file})"
        and any(tuple(word.text for word in inner.words) == wanted for inner in _directives(part))
    )


def _add_fallback(
    edits: _Edits, options: Nginx, server: Directive, passes: list[_Pass], http: Sequence[Setting]
) -> None:
    text, name = edits.text, f"@{options.upstream}_fallback"
    if any(part.arguments == (name,) for part in of_block(server, "location")):
        return
    added = False
    for block in _once([_with_pages(one) for one in passes]):
        pages = settings(text, of_block(block, "error_page"))
        repeated: list[str] = []
        if not pages:
            # From now on it inherits none: those that it did inherit are repeated.
            around = next(one.blocks[: one.blocks.index(server)] for one in passes)
            pages = settings(text, effective(around, "error_page")) or named(http, "error_page")
            repeated = [" ".join(page.text.split()) for page in pages]
        if not any(code in page.arguments[:-1] for page in pages for code in _CODES):
            _insert_first(edits, block, [*repeated, f"error_page {' '.join(_CODES)} = {name};"])
            added = True
    if added:
        lines = [
            f"location {name} {{",
            "    types { }",
            "    default_type application/json;",
            "    add_header Retry-After 1 always;",
            f"    return 503 '{FALLBACK}';",
            "}",
        ]
        _insert_last(edits, server, lines)


def _with_pages(one: _Pass) -> Directive:
    """Return the innermost block with error pages of its own, from the `proxy_pass` out to its server, else that."""
    inside = one.blocks[one.blocks.index(one.server) :]
    return next((block for block in reversed(inside) if of_block(block, "error_page")), one.server)


def _add_bounds(edits: _Edits, options: Nginx, one: _Pass, http: Sequence[Setting]) -> None:
    """Add the time-outs that are not set anywhere around the `proxy_pass`.

    Of a passive gateway this file alone must tell, because it is all that is looked at before a drill.
    """
    passive = isinstance(options, NginxPassive)
    bounds = BOUNDS | ({"proxy_read_timeout": PATIENCE} if passive else {})
    around = () if passive else http
    lines = [
        f"{name} {value};"
        for name, value in bounds.items()
        if not effective(one.blocks, name) and not named(around, name)
    ]
    if passive:
        own = next(iter(of_block(one.holder, "proxy_next_upstream")), None)
        wanted = [*NEXT_UPSTREAM, *(word for word in own.arguments if word != "off")] if own else NEXT_UPSTREAM
        line = f"proxy_next_upstream {' '.join(dict.fromkeys(wanted))};"
        if own is None:
            lines.append(line)
        elif not set(NEXT_UPSTREAM) <= set(own.arguments):
            edits.replace(own.start, own.end, line)
        lines += _next_in_time(edits, one, bounds)
    if lines:
        text = edits.text
        indent, end = _indent_of(text, one.directive), _line_end(text)
        edits.insert(one.directive.end, "".join(end + indent + line for line in lines))


def _next_in_time(edits: _Edits, one: _Pass, bounds: Mapping[str, str]) -> Iterator[str]:
    """Mend what keeps a request that failed from being sent to the backup; yield the lines that are missing."""
    for name, wanted in (("proxy_next_upstream_tries", ("1", "0")), ("proxy_request_buffering", ("off", "on"))):
        for own in effective(one.blocks, name):
            if own.arguments == wanted[:1]:
                edits.replace(own.start, own.end, f"{name} {wanted[1]};")
    given = [next((d.arguments[0] for d in effective(one.blocks, name)), value) for name, value in bounds.items()]
    needed = max((seconds for value in given if (seconds := seconds_of(value)) is not None), default=0.0)
    line = f"proxy_next_upstream_timeout {max(6, math.ceil(needed) + 1)}s;"
    found = effective(one.blocks, "proxy_next_upstream_timeout")
    if not found:
        yield line
    for own in found:
        if 0 < (seconds_of(own.arguments[0]) or 0) <= needed:
            edits.replace(own.start, own.end, line)


def _with_backup(source: bytes, upstream: str, primary: Collection[str], standby: Collection[str]) -> bytes:
    """Return the config with the standby's servers as `backup`, and a zone, so that workers share what failed.

    With `max_fails=0`: there is nobody behind them, and by default nginx leaves one that said 503 once out for 10 s.
    """
    servers = {normalised(server.address): server for server in read_upstream(source, upstream)}
    missing = [address for address in standby if normalised(address) not in servers]
    if missing:
        raise GatewayError(f"upstream `{upstream}` has no server {', '.join(missing)}")
    if not all(servers[normalised(a)].state == "enabled" for a in standby):
        source = select(source, upstream, [*primary, *standby], [])
    text = source.decode(ENCODING)
    edits = _Edits(text)
    block = find_upstream(text, upstream)
    keys = {normalised(address) for address in standby}
    for part in _directives(block):
        if part.name != "server" or normalised(part.arguments[0]) not in keys:
            continue
        if "backup" not in part.arguments:
            edits.insert(part.words[-1].end, " backup")
        limit = next((word for word in part.words if word.text.startswith("max_fails=")), None)
        if limit is None:
            edits.insert(part.words[-1].end, " max_fails=0")
        elif limit.text != "max_fails=0":
            edits.replace(limit.start, limit.end, "max_fails=0")
    if not any(part.name == "zone" for part in _directives(block)):
        _insert_first(edits, block, [f"zone {upstream} 64k;"])
    return edits.result().encode(ENCODING)


def _directives(block: Directive) -> list[Directive]:
    return [part for part in block.body or () if isinstance(part, Directive)]


def _once(blocks: Iterator[Directive] | list[Directive]) -> list[Directive]:
    return list({block.start: block for block in blocks}.values())


def _line_end(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _indent_of(text: str, part: Directive) -> str:
    before = text[text.rfind("\n", 0, part.start) + 1 : part.start]
    return before if before.strip(" \t") == "" else "    "


def _inner_indent(text: str, block: Directive) -> str:
    """Return the indentation of what is in a block: that of its first directive which starts a line."""
    for part in _directives(block):
        before = text[text.rfind("\n", 0, part.start) + 1 : part.start]
        if before.strip(" \t") == "" and "\n" in text[block.start : part.start]:
            return before
    return _indent_of(text, block) + "    "


def _insert_first(edits: _Edits, block: Directive, lines: list[str]) -> None:
    """Insert lines behind the brace that opens a block."""
    text = edits.text
    indent, end = _inner_indent(text, block), _line_end(text)
    at = text.index("{", block.words[-1].end) + 1
    edits.insert(at, "".join(end + indent + line for line in lines))


def _insert_last(edits: _Edits, block: Directive, lines: list[str]) -> None:
    """Insert lines before the brace that closes a block."""
    text = edits.text
    indent, end = _inner_indent(text, block), _line_end(text)
    brace = block.end - 1
    start = text.rfind("\n", 0, brace) + 1
    if text[start:brace].strip(" \t") == "":
        edits.insert(start, end + "".join(indent + line + end for line in lines))
    else:
        edits.insert(brace, end + "".join(indent + line + end for line in lines))
