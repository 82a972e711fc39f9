"""Who answered, by the gateway's access log. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from drillctl.gateway.gateway import Served
from drillctl.gateway.nginx_config import normalised

if TYPE_CHECKING:
    from collections.abc import Collection

MOST_BYTES = 32 << 20
"""How much of an access log is fetched at most."""


def count_served(lines: bytes, addresses: Collection[str]) -> Served:
    """Count the lines of an access log by the server that answered each.

    `addresses` are those of the upstream's servers. nginx writes `$upstream_addr` as a list when it tried several
    servers, commas between retries and colons between internal redirects: the last one gave the answer. A line that
    names none (answered by the gateway itself, or for another upstream) is counted in `requests` only.
    """
    text = lines.decode("utf-8", "replace")
    requests = [line for line in text.splitlines() if line.strip()]
    keys = {normalised(address) for address in addresses}
    names = "|".join(sorted(map(re.escape, keys), key=len, reverse=True))
    pattern = re.compile(rf"(?<![\w.:\[/-])(?:{names})(?![\w.-])", re.IGNORECASE)
    counted: Counter[str] = Counter()
    for line in requests:
        named = pattern.findall(line)
        if named:
            counted[normalised(named[-1])] += 1
    if requests and not counted:
        shown = ", ".join(sorted(keys))
        reason = f"none of {len(requests)} lines names {shown}: `$upstream_addr` is not in the log_format"
        return Served(len(requests), None, reason)
    return Served(len(requests), dict(counted))


def total(parts: Collection[Served]) -> Served:
    """Return the sum over several hosts; `by_address` is None when one of them cannot tell."""
    requests = sum(part.requests for part in parts)
    silent = next((part for part in parts if part.by_address is None), None)
    if silent is not None:
        return Served(requests, None, silent.reason)
    counted: Counter[str] = Counter()
    for part in parts:
        counted.update(part.by_address or {})
    return Served(requests, dict(counted))
