"""Read and edit the servers of one upstream in an nginx config. Pure: bytes in, bytes out.

Only the characters that switch a server on or off are touched; every other byte stays as it was, whatever its
encoding or line ends. The grammar is in `nginx_syntax.py`.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl.errors import GatewayError
from drillctl.gateway.gateway import Server
from drillctl.gateway.nginx_syntax import ENCODING, Directive, Token, directives, line_of, parse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from drillctl.gateway.gateway import State

DEFAULT_PORT = 80
"""The port of a server that names none (ngx_http_upstream_module)."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_PREFIX = re.compile(r"(#+)([ \t]*)(?=server[ \t])")
_PARAMETER = re.compile(
    r"(weight|max_conns|max_fails|fail_timeout|slow_start|service|route|id)=\S+|backup|down|resolve|drain"
)


def read_upstream(source: bytes, upstream: str) -> tuple[Server, ...]:
    """Return the servers of an upstream, those that are commented out included, in the order of the file.

    Raises GatewayError when there is no such upstream (the message names those there are), when there are two of
    that name, or when the file cannot be understood; each message has the line.
    """
    return tuple(entry.server for entry in _Upstream(source.decode(ENCODING), upstream).entries)


def select(source: bytes, upstream: str, enable: Collection[str], disable: Collection[str]) -> bytes:
    """Return the config with the servers in `enable` serving and those in `disable` not; the rest is untouched.

    A server is switched off as its siblings are: when those being switched on were commented out, it is commented
    out with their prefix; when they carried `down`, it gets `down`; otherwise as any other server that is off, and
    as a comment when there is none. A server that shares its line with something else, or takes several lines,
    cannot be commented out and gets `down`. Servers that are already as wanted stay byte for byte.

    Raises GatewayError when an address is not in the upstream or in both lists, when a server to switch on is there
    twice, and when no server, or only `backup` servers, would be left to serve.
    """
    text = source.decode(ENCODING)
    block = _Upstream(text, upstream)
    on, off = {normalised(a): a for a in enable}, {normalised(a): a for a in disable}
    both = on.keys() & off.keys()
    if both:
        raise GatewayError(f"upstream `{upstream}`: {_listed(both)} cannot be both switched on and off")
    enabling = [entry for key, address in on.items() if (entry := block.to_enable(key, address)) is not None]
    disabling = [entry for key, address in off.items() for entry in block.to_disable(key, address)]
    comment_style = block.style(enabling)
    edits: list[tuple[int, int, str]] = []
    for entry in enabling:
        edits.extend(block.switch_on(entry))
    edits.extend(block.switch_off(entry, comment_style) for entry in disabling)
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    _check_result(_Upstream(text, upstream), on, off)
    return text.encode(ENCODING)


def diff(old: bytes, new: bytes, path: str) -> str:
    """Return a unified diff of two versions of a file; empty when equal. Bytes that are not UTF-8 are escaped."""
    sides = [_LINE.findall(side.decode("utf-8", "backslashreplace")) for side in (old, new)]
    lines = difflib.unified_diff(sides[0], sides[1], f"{path} (live)", f"{path} (candidate)")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def normalised(address: str) -> str:
    """Return an address in the one form used to compare: lower case, with its port, IPv6 in brackets and short.

    `unix:` paths are compared as they are. `::1:8080` without brackets is read as host and port when it can be.
    """
    if address.lower().startswith("unix:"):
        return "unix:" + address[5:]
    text = address.lower()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") > 1:
        host, _, port = text.rpartition(":")
        if not (port.isdecimal() and _is_ipv6(host)):
            host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if _is_ipv6(host):
        host = f"[{ipaddress.IPv6Address(host).compressed}]"
    return f"{host}:{int(port) if port.isdecimal() else port or DEFAULT_PORT}"


@dataclass(frozen=True)
class _Entry:
    """A server and where it stands.

    `comment` is the comment that holds it; `alone` tells that it is on one line with nothing but a comment behind it.
    """

    server: Server
    key: str
    words: tuple[Token, ...]
    start: int
    alone: bool
    comment: Token | None = None


@dataclass(frozen=True)
class _CommentStyle:
    """How a server is commented out: the marks (`#`, `## `, …), put before the indentation or behind it."""

    marks: str
    at_margin: bool = False


class _Upstream:
    """One upstream block within a text, and the edits that switch its servers."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        block = find_upstream(text, name)
        body = block.body or ()
        self.entries = tuple(sorted(self._read(body), key=lambda entry: entry.start))
        self.includes = [d.arguments[0] for d in body if isinstance(d, Directive) and d.name == "include"]
        self.indent = next((self._indent(e.start) for e in self.entries if e.comment is None and e.alone), "")

    def to_enable(self, key: str, address: str) -> _Entry | None:
        """Return the entry to switch on, or None when the address serves already."""
        found = self._find(key, address)
        if any(entry.server.state == "enabled" for entry in found):
            return None
        if len(found) > 1:
            lines = ", ".join(str(entry.server.line) for entry in found)
            raise GatewayError(
                f"upstream `{self.name}`: {address} is there {len(found)} times, on lines {lines}, and none serves",
                hint="keep one of them, so that it is clear which to switch on",
            )
        if found[0].comment is not None and not found[0].alone:
            raise GatewayError(
                f"upstream `{self.name}`: line {found[0].server.line} comments several servers out at once",
                hint="put each on a line of its own",
            )
        return found[0]

    def to_disable(self, key: str, address: str) -> list[_Entry]:
        """Return the entries of an address that serve now."""
        return [entry for entry in self._find(key, address) if entry.server.state == "enabled"]

    def style(self, enabling: Sequence[_Entry]) -> _CommentStyle | None:
        """Return how to comment servers out here; None when `down` is the way."""
        for entries in (enabling, self.entries):
            commented = next((entry for entry in entries if entry.comment is not None and entry.alone), None)
            if commented is not None:
                return self._style_of(commented)
            if any(entry.server.state == "down" for entry in entries):
                return None
        return _CommentStyle("# ")

    def switch_on(self, entry: _Entry) -> Iterator[tuple[int, int, str]]:
        """Yield the edits that make an entry serve: its comment marks and its `down` go."""
        if entry.comment is not None:
            style = self._style_of(entry)
            indent = len(self.indent) if style.at_margin else 0
            yield entry.comment.start, entry.start - indent, ""
        for before, word in zip(entry.words[1:], entry.words[2:], strict=False):
            if word.text == "down":
                # Between two words there may also be a line end behind a comment, which must stay.
                gap = self.text[before.end : word.start]
                yield (before.end if gap.strip(" \t") == "" else word.start), word.end, ""

    def switch_off(self, entry: _Entry, style: _CommentStyle | None) -> tuple[int, int, str]:
        """Return the edit that makes an entry not serve."""
        if style is None or not entry.alone:
            end = entry.words[-1].end
            return end, end, " down"
        start = entry.start - len(self._indent(entry.start)) if style.at_margin else entry.start
        return start, start, style.marks

    def _read(self, body: Iterable[Directive | Token]) -> Iterator[_Entry]:
        for part in body:
            if isinstance(part, Token):
                yield from self._commented(part)
            elif part.name == "server" and part.arguments and part.body is None:
                yield self._entry(part.words, part.start, part.end, alone=self._alone(part))

    def _entry(
        self, words: tuple[Token, ...], start: int, end: int, *, alone: bool, comment: Token | None = None
    ) -> _Entry:
        parameters = [word.text for word in words[2:]]
        state: State = "commented" if comment else "down" if "down" in parameters else "enabled"
        address = _as_utf8(words[1].text)
        text = _as_utf8(self.text[start:end])
        server = Server(line_of(self.text, start), address, state, text, "backup" in parameters)
        return _Entry(server, normalised(address), words, start, alone, comment)

    def _commented(self, comment: Token) -> Iterator[_Entry]:
        """Yield the servers that a comment holds, if it is nothing but servers and starts its line."""
        prefix = _PREFIX.match(comment.text)
        if prefix is None or not self._starts_line(comment.start):
            return
        try:
            parts = parse(comment.text[prefix.end() :])
        except GatewayError:
            return  # prose that happens to begin with the word
        held = [part for part in parts if isinstance(part, Directive)]
        if not all(_is_server(directive) for directive in held):
            return
        offset = comment.start + prefix.end()
        for directive in held:
            words = tuple(Token(w.kind, w.text, w.start + offset, w.end + offset) for w in directive.words)
            start, end = directive.start + offset, directive.end + offset
            yield self._entry(words, start, end, alone=len(held) == 1, comment=comment)

    def _find(self, key: str, address: str) -> list[_Entry]:
        found = [entry for entry in self.entries if entry.key == key]
        if not found:
            there = _listed(entry.server.address for entry in self.entries) or "no servers"
            included = f"; it also includes {_listed(self.includes)}, which is not searched" if self.includes else ""
            raise GatewayError(
                f"upstream `{self.name}` has no server {address}; there are: {there}{included}",
                hint="the inventory's `upstream` of a host must be its address as the gateway's config writes it",
            )
        return found

    def _style_of(self, entry: _Entry) -> _CommentStyle:
        """Return how an entry is commented out.

        Marks at the margin, with the siblings' indentation behind them, are a style of their own: that is how
        editors toggle lines.
        """
        first = entry.comment.start if entry.comment is not None else entry.start
        marks = self.text[first : entry.start]
        margin = self._indent(first) == ""
        if margin and self.indent and marks.endswith(self.indent):
            return _CommentStyle(marks[: -len(self.indent)], at_margin=True)
        return _CommentStyle(marks)

    def _starts_line(self, position: int) -> bool:
        return self._before(position).strip(" \t") == ""

    def _indent(self, position: int) -> str:
        """Return the white space before a position that starts its line."""
        return self._before(position)

    def _before(self, position: int) -> str:
        return self.text[self.text.rfind("\n", 0, position) + 1 : position]

    def _alone(self, directive: Directive) -> bool:
        """Tell whether a directive is on one line with nothing else but a comment behind it."""
        end = self.text.find("\n", directive.end)
        rest = self.text[directive.end : end if end >= 0 else len(self.text)].strip(" \t\r")
        one_line = "\n" not in self.text[directive.start : directive.end]
        return one_line and self._starts_line(directive.start) and (rest == "" or rest.startswith("#"))


def find_upstream(text: str, name: str) -> Directive:
    """Return the only upstream of a name in a decoded config. Raises GatewayError when there is none, or two."""
    wanted = name.encode("utf-8").decode(ENCODING)
    blocks = [d for d in directives(text) if d.name == "upstream" and d.body is not None and len(d.words) == 2]
    found = [block for block in blocks if block.arguments[0] == wanted]
    if not found:
        there = _listed(_as_utf8(block.arguments[0]) for block in blocks)
        raise GatewayError(
            f"there is no upstream `{name}`; " + (f"there are: {there}" if there else "there is none at all"),
            hint="`gateway.config` must be the file that holds the upstream, and `gateway.upstream` its name",
        )
    if len(found) > 1:
        lines = " and ".join(str(line_of(text, block.start)) for block in found)
        raise GatewayError(f"there are {len(found)} upstreams `{name}`, on lines {lines}")
    return found[0]


def _check_result(block: _Upstream, on: Collection[str], off: Collection[str]) -> None:
    """Raise unless the edited text says what it should; the edits are read back as nginx would."""
    serving = [entry for entry in block.entries if entry.server.state == "enabled"]
    keys = {entry.key for entry in serving}
    if not serving:
        raise GatewayError(f"upstream `{block.name}`: no server would be left to serve")
    if all(entry.server.backup for entry in serving):
        left = _listed(entry.server.address for entry in serving)
        raise GatewayError(
            f"upstream `{block.name}`: only `backup` servers would be left: {left}",
            hint="such a server is not meant to serve alone; write the zones' servers without `backup`",
        )
    wrong = sorted((set(on) - keys) | (set(off) & keys))
    if wrong:
        raise GatewayError(f"upstream `{block.name}`: {_listed(wrong)} cannot be switched by editing this file")


def _is_server(directive: Directive) -> bool:
    """Tell whether commented text is a server and no prose: its words must be parameters that nginx knows."""
    return (
        directive.name == "server"
        and directive.body is None
        and len(directive.words) > 1
        and all(_PARAMETER.fullmatch(word) for word in directive.arguments[1:])
    )


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _as_utf8(text: str) -> str:
    return text.encode(ENCODING).decode("utf-8", "backslashreplace")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))
