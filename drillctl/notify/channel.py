"""One way to people: URLs for Apprise, from a variable or a file, which are secret from here on."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from drillctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.inventory import Inventory, NotifyChannel
    from drillctl.notify.message import Topic

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASS|KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 4
"""Characters below which a part of a URL is no secret, and taking it out of a text would only garble that."""


@dataclass(frozen=True)
class Channel:
    """A channel that can be used. Its URLs are in no message, log or representation."""

    name: str
    topics: tuple[Topic, ...]
    urls: tuple[str, ...] = field(repr=False)

    @property
    def kinds(self) -> str:
        """Return which services these are, such as `dingtalk`: that is not secret."""
        return ", ".join(sorted({urlsplit(url).scheme for url in self.urls}))


def channels_of(inventory: Inventory) -> tuple[Channel, ...]:
    """Return the channels of an inventory. Raises UsageError, with no secret in it, for one that cannot be used."""
    return tuple(_channel(plan) for plan in inventory.notify)


def secrets_of(inventory: Inventory, channels: Iterable[Channel]) -> tuple[str, ...]:
    """Return every text that no message may hold, the longest first: URLs, their parts, and what a service is given."""
    found: set[str] = set()
    for channel in channels:
        for url in channel.urls:
            parts = urlsplit(url)
            query = [pair.partition("=")[2] for pair in parts.query.split("&")]
            login, _, host = parts.netloc.rpartition("@")
            # Apprise keeps tokens where other URLs keep the host, too; what has a dot or a port is a host.
            token = [] if re.search(r"[.:]", host) else [host]
            words = [*login.split(":"), *token, *parts.path.split("/"), *query]
            found |= {url, *words, *map(unquote, words)}
    environments = [inventory.environment_of(host) for host in inventory.hosts]
    found |= {value for one in environments for name, value in one.items() if _SECRET_NAME.search(name)}
    if inventory.history.url is not None:
        found.add(inventory.history.url.get_secret_value())
    # A path such as /zone/ is no secret, and *** in place of a host's name would hide what an alarm is about.
    said = ["drillctl", inventory.name, inventory.environment]
    said += [zone.name for zone in inventory.zones] + [host.name for host in inventory.hosts]
    secret = {text for text in found if len(text) >= _SHORTEST and not any(text in name for name in said)}
    return tuple(sorted(secret, key=len, reverse=True))


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text with *** for every secret in it."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _channel(plan: NotifyChannel) -> Channel:
    text = _from_file(plan) if plan.file is not None else os.environ.get(plan.environment or "", "")
    urls = tuple(line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    where = str(plan.file) if plan.file is not None else f"the variable {plan.environment}"
    if not urls:
        raise _refused(plan, f"{where} holds no URL", "put one there, as Apprise has them; a line each for several")
    if not all(map(_is_url, urls)):
        raise _refused(plan, f"{where} holds something that is no URL", "each line is a URL, as Apprise has them")
    return Channel(plan.name, plan.on, urls)


def _is_url(text: str) -> bool:
    """Tell whether a text has the form of a URL; one such as `mail://a:b[c@host` cannot even be taken apart."""
    try:
        return bool(urlsplit(text).scheme) and "://" in text
    except ValueError:
        return False


def _from_file(plan: NotifyChannel) -> str:
    path = plan.file
    if path is None:
        return ""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IROTH:
                raise _refused(plan, f"everybody may read {path}, and it holds secrets", f"chmod 600 {path}")
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise _refused(plan, f"{path} cannot be read: {why}", "correct `file` in the inventory") from None


def _refused(plan: NotifyChannel, what: str, hint: str) -> UsageError:
    return UsageError(f"channel `{plan.name}` of `notify` cannot be used: {what}", hint=hint, state="nobody was told")
