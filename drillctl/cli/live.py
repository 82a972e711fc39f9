"""`drillctl status --watch`: the state of an estate as it is now, until Ctrl-C; nothing is stored, nobody is told."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING

from drillctl.cli.status import host_table
from drillctl.cli.watch import interval, stop_on_signals

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from drillctl.inventory import Inventory
    from drillctl.patrol.event import Event
    from drillctl.patrol.finding import Finding
    from drillctl.patrol.look import Look

SHOWN_FINDINGS = 10
SHOWN_EVENTS = 6


def show(estate: Inventory, every: str) -> None:
    """Show an estate live: on a terminal as a table that is drawn anew, elsewhere as a line for each change."""
    from drillctl.cli.console import out
    from drillctl.patrol.connections import Connections
    from drillctl.patrol.patrol import Patrol
    from drillctl.patrol.sampler import Sampler

    seconds = interval(every)
    console = out()
    events: deque[Event] = deque(maxlen=SHOWN_EVENTS)
    stop = stop_on_signals()
    with contextlib.ExitStack() as stack:
        connections = stack.enter_context(Connections(estate))
        patrol = Patrol(
            inventory=estate,
            sampler=Sampler(estate, connections),
            every=seconds,
            say=events.append,
            hold=1,
        )
        if console.is_terminal and not console.is_dumb_terminal:
            from rich.live import Live

            text = f"looking at the {len(estate.hosts)} hosts of {estate.name} …"
            live = stack.enter_context(Live(text, console=console, auto_refresh=False, transient=False))
            patrol.observe = lambda look, found: live.update(screen(estate, look, found, events, every), refresh=True)
        else:
            patrol.say = lambda event: console.print(event.line(), soft_wrap=True, markup=False)
        patrol.run(stop)


def screen(
    estate: Inventory, look: Look, findings: Sequence[Finding], events: Iterable[Event], every: str
) -> RenderableType:
    """Return what is on the screen: hosts, gateway, what is wrong now, and the last changes."""
    from rich.console import Group
    from rich.text import Text

    lines: list[RenderableType] = [
        Text(f"{estate.name} ({estate.environment}) at {look.at:%H:%M:%S} UTC, every {every}; Ctrl-C ends it"),
        host_table([zone.survey for zone in look.zones], estate),
        Text(f"{look.configured}; {look.served}"),
    ]
    if look.drill is not None:
        lines.append(Text(f"a drill is going on: {look.drill.run}, by {look.drill.owner}", style="cyan"))
    lines.append(Text("NOT all is well", style="bold red") if findings else Text("all is well", style="bold green"))
    lines += [Text(f"! {finding}", style="yellow") for finding in findings[:SHOWN_FINDINGS]]
    if len(findings) > SHOWN_FINDINGS:
        lines.append(Text(f"  and {len(findings) - SHOWN_FINDINGS} more: `drillctl watch --once` has them all"))
    lines += [Text(event.line(), style="dim") for event in events]
    return Group(*lines)
