"""What holds in a block of an nginx config: its own settings, else those of the blocks around it. Pure.

A directive of several lines, such as `error_page`, is inherited only by a block that has none of its own; so is a
time-out (ngx_http_core_module, ngx_http_proxy_module).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drillctl.errors import GatewayError
from drillctl.gateway.nginx_syntax import ENCODING, Directive, Token, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Blocks = tuple[Directive, ...]
"""The blocks around a directive, the innermost last."""


@dataclass(frozen=True)
class Setting:
    """A directive without a block, with the text that it has in its file."""

    name: str
    arguments: tuple[str, ...]
    text: str


def with_blocks(parts: Iterable[Directive | Token], blocks: Blocks = ()) -> Iterator[tuple[Blocks, Directive]]:
    """Yield each directive, at any depth, with the blocks around it."""
    for part in parts:
        if isinstance(part, Directive):
            yield blocks, part
            yield from with_blocks(part.body or (), (*blocks, part))


def of_block(block: Directive, name: str) -> list[Directive]:
    """Return the directives of a name that stand in a block itself."""
    return [part for part in block.body or () if isinstance(part, Directive) and part.name == name]


def effective(blocks: Blocks, name: str) -> list[Directive]:
    """Return the directives of a name that hold in the innermost block; none when no block has any."""
    return next((found for block in reversed(blocks) if (found := of_block(block, name))), [])


def http_level(files: Iterable[bytes]) -> tuple[Setting, ...]:
    """Return what is set in the `http` blocks of files, for what is included there; unreadable files hold nothing."""
    found: list[Setting] = []
    for content in files:
        text = content.decode(ENCODING)
        try:
            parts = parse(text)
        except GatewayError:
            continue
        for part in parts:
            if isinstance(part, Directive) and part.name == "http":
                found += settings(text, (p for p in part.body or () if isinstance(p, Directive) and p.body is None))
    return tuple(found)


def settings(text: str, parts: Iterable[Directive]) -> list[Setting]:
    """Return directives with the text that they have in their file."""
    return [Setting(part.name, part.arguments, text[part.start : part.end]) for part in parts]


def named(found: Sequence[Setting], name: str) -> list[Setting]:
    """Return the settings of a name."""
    return [one for one in found if one.name == name]
