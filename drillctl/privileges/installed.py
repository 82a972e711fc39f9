"""What may be run as root on a host where drillctl's programs are installed, and whether they are the right ones."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from drillctl.errors import HostError
from drillctl.privileges import installer, registry
from drillctl.privileges.program import FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drillctl.hosts.transport import Transport
    from drillctl.inventory import Host, Inventory

_SUDO = ("sudo", "-n", "--")

_LOOK = """
cd -- "$1" 2>/dev/null && for file in *; do
    sum=$(sha256sum <"$file") && echo "file $file ${sum%% *}"
    # Whoever else may write it may run anything as root.
    [ "$(stat -c %u:%g "$file")" = 0:0 ] && [ ! -w "$file" ] || echo "open $file"
done
sudo -n -- "$1/check" 2>&1 </dev/null || echo "check $?"
"""


class Installed:
    """The programs of one host, as this version of drillctl and the inventory want them."""

    def __init__(self, inventory: Inventory, host: Host) -> None:
        self.host = host
        self.programs = registry.programs(inventory, host)
        self._user = inventory.login(host).user
        self._files = installer.files(inventory, host)
        self._by_source = {_hash(program.source): program for program in self.programs if program.command is None}
        self._by_command = {program.command: program for program in self.programs if program.command is not None}

    @property
    def as_root(self) -> bool:
        """Tell whether anything is run as root here; a process that drillctl starts is the user's own."""
        return bool(self.programs)

    def of_script(self, called: str, source: str, arguments: Sequence[str]) -> tuple[str, ...]:
        """Return the words that run the program of a script's text. Raises HostError when none is installed."""
        if not self.as_root:
            return ("sh", "-c", source, "drillctl", *arguments)
        program = self._by_source.get(_hash(source))
        if program is None:
            raise self._none(called)
        return (*_SUDO, program.path, *arguments)

    def of_command(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Return the words that run the program of a plain command. Raises HostError when none is installed."""
        if not self.as_root:
            return tuple(argv)
        program = self._by_command.get(tuple(argv))
        if program is None:
            raise self._none(f"`{' '.join(argv)}`")
        return (*_SUDO, program.path)

    def has(self, argv: Sequence[str]) -> bool:
        """Tell whether a plain command can be run."""
        return not self.as_root or tuple(argv) in self._by_command

    def verify(self, transport: Transport) -> None:
        """See that the programs and sudo's rules are exactly those wanted. Raises HostError with what to do."""
        if not self.as_root:
            return
        done = transport.script("looking at the installed programs", _LOOK, FOLDER, check=False)
        lines = [line.split(" ") for line in done.text.splitlines()]
        found = {line[1]: line[2] for line in lines if line[0] == "file" and len(line) == 3}
        rules = next((line[1] for line in lines if line[0] == "sudoers" and len(line) == 2), None)
        wanted = {path.rpartition("/")[2]: _hash(text) for path, (text, _) in self._files.items()}
        sudoers = wanted.pop(installer.SUDOERS.rpartition("/")[2])
        if not found:
            raise self._wrong(f"{FOLDER} holds no programs")
        wrong = sorted(name for name in wanted if found.get(name) != wanted[name])
        if wrong:
            missing = [name for name in wrong if name not in found]
            altered = [name for name in wrong if name in found]
            parts = [f"missing: {', '.join(missing)}"] * bool(missing)
            parts += [f"not this version's, or altered: {', '.join(altered)}"] * bool(altered)
            raise self._wrong(f"the programs in {FOLDER} are not those that drillctl needs ({'; '.join(parts)})")
        opened = [line[1] for line in lines if line[0] == "open"]
        if opened:
            raise self._wrong(f"not only root may write these in {FOLDER}: {', '.join(opened)}")
        if rules is None:
            said = [" ".join(line) for line in lines if line[0] not in {"file", "open", "check", "sudoers"}]
            raise self._wrong(f"sudo does not run {FOLDER}/check: {' '.join(said) or 'it said nothing'}")
        if rules != sudoers:
            raise self._wrong(f"{installer.SUDOERS} is not what drillctl needs")

    def _none(self, called: str) -> HostError:
        return HostError(
            f"{called} needs root, and no program for it is among those installed for drillctl",
            host=self.host.name,
            hint="if it is a fault, name it in the inventory's `faults` and install again; else leave it out of the "
            "playbook, or log in with `privileges: sudo` (docs/privileges.md)",
            state="it was not run",
        )

    def _wrong(self, what: str) -> HostError:
        return HostError(
            what,
            host=self.host.name,
            hint=f"as an administrator: {installer.how(self.host.name, self.host.address)}",
            state="nothing was changed",
        )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
