"""Errors of several gateway hosts become one: of what kind that is decides what a drill says of the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl.errors import ConnectionLost, DrillctlError, GatewayError, Unreachable
from drillctl.gateway.hosts import GatewayHosts

if TYPE_CHECKING:
    from pathlib import Path

LOST = ConnectionLost("the connection is closed", state="it is not known whether it was done")


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ({"gw-1": LOST, "gw-2": LOST}, ConnectionLost),
        ({"gw-1": LOST}, ConnectionLost),
        ({"gw-1": LOST, "gw-2": GatewayError("no reload")}, GatewayError),
        ({"gw-1": LOST, "gw-2": Unreachable("no answer")}, GatewayError),
        ({"gw-2": GatewayError("no reload")}, GatewayError),
    ],
)
def test_lost_connections_stay_that_and_nothing_else_becomes_it(
    inventory_file: Path, errors: dict[str, DrillctlError], kind: type[DrillctlError]
) -> None:
    one = "    - name: gateway\n      address: 10.0.0.1\n"
    both = "".join(f"    - {{name: gw-{number}, address: 10.0.0.{number}}}\n" for number in (1, 2))
    inventory_file.write_text(inventory_file.read_text().replace(one, both))
    hosts = GatewayHosts(inventories.load(inventory_file), {"gw-1": "gw-1", "gw-2": "gw-2"})

    def work(name: str) -> None:
        if name in errors:
            raise errors[name]

    with pytest.raises(kind) as caught:
        hosts.everywhere(work)
    assert type(caught.value) is kind
    if len(errors) == 1:
        assert (caught.value.state or "").endswith("done")
