"""The grammar of an nginx config, with the place of every word, so that it can be edited without being rewritten.

The rules are those of nginx's own reader (`ngx_conf_read_token`): a `#` starts a comment and a quote a string only
where a word could start; `{`, `;` and white space end a word, but the brace of `${name}` does not; a backslash keeps
the next character. Files are read as latin-1, so that each character is one byte and positions are byte positions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from drillctl.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator

ENCODING = "latin-1"
"""One character per byte, whatever the file's real encoding is: every byte can be kept."""

Kind = Literal["word", "comment", ";", "{", "}"]

_SPACE = " \t\r\n"
_MARKS: dict[str, Kind] = {";": ";", "{": "{", "}": "}"}
_ESCAPE = re.compile(r"\\([\"'\\trn])")
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n"}
_LUA_LONG = re.compile(r"(?:--)?\[(=*)\[")


_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Token:
    """A word (`text` without quotes and escapes), a comment (`text` from its `#`), or one of `;`, `{` and `}`.

    `start` and `end` are positions in the source, end exclusive.
    """

    kind: Kind
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Directive:
    """A directive: its words, where it starts, where it ends (behind its `;` or `}`), and its block if it has one."""

    words: tuple[Token, ...]
    start: int
    end: int
    body: tuple[Directive | Token, ...] | None = None

    @property
    def name(self) -> str:
        """The first word."""
        return self.words[0].text

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words behind the first."""
        return tuple(word.text for word in self.words[1:])

    def walk(self) -> Iterator[Directive]:
        """Yield this directive and all within its block, in the order of the file."""
        pending: list[Directive] = [self]
        while pending:
            directive = pending.pop()
            yield directive
            pending.extend(entry for entry in reversed(directive.body or ()) if isinstance(entry, Directive))


def line_of(source: str, position: int) -> int:
    """Return the number, from 1, of the line that holds a position."""
    return source.count("\n", 0, position) + 1


def tokens(source: str) -> Iterator[Token]:
    """Yield the tokens of a config, comments included. Raises GatewayError on a quote that is never closed."""
    position, length = 0, len(source)
    at_start = True  # of a directive
    lua = False
    while position < length:
        char = source[position]
        if char in _SPACE:
            position += 1
            continue
        if char == "#":
            end = source.find("\n", position)
            end = length if end < 0 else end
            yield Token("comment", source[position:end], position, end)
        elif char in _MARKS:
            end = position + 1
            yield Token(_MARKS[char], char, position, end)
            at_start = True
            if char == "{" and lua:
                end = _lua_end(source, end)
            lua = False
        else:
            end = _quoted_end(source, position) if char in "\"'" else _word_end(source, position)
            raw = source[position + 1 : end - 1] if char in "\"'" else source[position:end]
            text = _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[1]), raw)
            yield Token("word", text, position, end)
            if at_start:
                lua = text.endswith("_by_lua_block")
            at_start = False
        position = end


def parse(source: str) -> tuple[Directive | Token, ...]:
    """Return the directives of a config and the comments between them.

    Comments inside a directive, between its words, belong to that directive and are not returned. Raises
    GatewayError, with the line, on braces that do not match and directives that do not end.
    """
    bodies: list[list[Directive | Token]] = [[]]
    opened: list[tuple[Token, ...]] = []
    words: list[Token] = []
    for token in tokens(source):
        if token.kind == "word":
            words.append(token)
        elif token.kind == "comment":
            if not words:
                bodies[-1].append(token)
        elif token.kind == "}":
            if words:
                raise GatewayError(f"line {line_of(source, words[0].start)}: `{words[0].text}` does not end with `;`")
            if not opened:
                raise GatewayError(f"line {line_of(source, token.start)}: this `}}` closes nothing: unbalanced braces")
            body, head = tuple(bodies.pop()), opened.pop()
            bodies[-1].append(Directive(head, head[0].start, token.end, body))
        elif not words:
            raise GatewayError(f"line {line_of(source, token.start)}: `{token.text}` with no directive before it")
        elif token.kind == ";":
            bodies[-1].append(Directive(tuple(words), words[0].start, token.end))
            words = []
        else:
            opened.append(tuple(words))
            bodies.append([])
            words = []
    if words:
        raise GatewayError(
            f"line {line_of(source, words[0].start)}: `{words[0].text}` has no `;` before the end of the file"
        )
    if opened:
        head = opened[-1]
        name = " ".join(word.text for word in head)
        raise GatewayError(
            f"line {line_of(source, head[0].start)}: the block `{name}` is never closed: unbalanced braces"
        )
    return tuple(bodies[0])


def directives(source: str) -> Iterator[Directive]:
    """Yield every directive of a config at any depth, in the order of the file. Raises as `parse` does."""
    for entry in parse(source):
        if isinstance(entry, Directive):
            yield from entry.walk()


def quoted(word: str) -> str:
    """Return a word as nginx reads it back, in double quotes."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def seconds_of(value: str) -> float | None:
    """Return a time of nginx's, such as `500ms` or `1m`, in seconds; None when it is none, or several parts."""
    found = re.fullmatch(r"(\d+)(ms|s|m|h|d)?", value)
    return int(found[1]) * _UNITS[found[2] or ""] if found else None


def _word_end(source: str, start: int) -> int:
    position = start
    while position < len(source):
        char = source[position]
        if char == "\\" or source.startswith("${", position):
            position += 2
        elif char in _SPACE or char in ";{":
            return position
        else:
            position += 1
    return len(source)


def _quoted_end(source: str, start: int) -> int:
    position = start + 1
    while position < len(source):
        if source[position] == "\\":
            position += 2
        elif source[position] == source[start]:
            return position + 1
        else:
            position += 1
    raise GatewayError(f"line {line_of(source, start)}: the quote {source[start]} is never closed")


def _lua_end(source: str, start: int) -> int:
    """Return where the `}` is that closes a block of Lua: braces in its strings and comments do not count."""
    depth, position = 0, start
    while position < len(source):
        char = source[position]
        long = _LUA_LONG.match(source, position)
        if long:
            position = _behind(source, f"]{long[1]}]", long.end())
        elif source.startswith("--", position):
            position = _behind(source, "\n", position)
        elif char in "\"'":
            position = _quoted_end(source, position)
        elif char == "}" and depth == 0:
            return position
        else:
            depth += (char == "{") - (char == "}")
            position += 1
    return len(source)


def _behind(source: str, mark: str, position: int) -> int:
    found = source.find(mark, position)
    return len(source) if found < 0 else found + len(mark)
