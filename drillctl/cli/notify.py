"""`drillctl notify`: send a message of the three kinds to every channel, to see that people get it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from drillctl.cli.estate import InventoryOption, LabOption, load_estate
from drillctl.errors import UsageError

if TYPE_CHECKING:
    from drillctl.notify.channel import Channel


def notify(inventory: InventoryOption = None, lab: LabOption = False) -> None:
    """Send a test message to every channel of the inventory. Exit code 1 when one could not be told."""
    from drillctl.cli.console import err, out
    from drillctl.notify.channel import channels_of, secrets_of
    from drillctl.notify.message import Message
    from drillctl.notify.sender import Sender

    estate = load_estate(inventory, lab)
    if not estate.notify:
        raise UsageError(
            f"the inventory {estate.name} names nobody to tell",
            hint="write `notify:` into it; docs/patrol.md shows how",
            state="nothing was sent",
        )
    channels = channels_of(estate)
    sender = Sender(
        channels,
        secrets=secrets_of(estate, channels),
        note=lambda text: err().print(text, soft_wrap=True, markup=False),
    )
    title = f"drillctl, {estate.name} ({estate.environment}): a test"
    for channel in channels:
        sender.send_to(channel.name, Message(channel.topics[0], "success", title, "Whoever reads this will be told."))
    sender.close(60)
    everybody = True
    for channel in channels:
        told = sender.tallies[channel.name].sent == len(channel.urls)
        everybody = everybody and told
        out().print(
            f"{channel.name}: {'told' if told else 'NOT told'}, {_wants(channel)}", soft_wrap=True, markup=False
        )
    if not everybody:
        raise typer.Exit(1)


def _wants(channel: Channel) -> str:
    return f"by {channel.kinds}, of {', '.join(channel.topics)}"
