"""drillctl with every remote command line written down, whole: SAID names the file. What goes to stdin is not in it.

A sampling of /proc can miss a command that lives for a millisecond; this misses none.
"""

from __future__ import annotations

import os
from pathlib import Path

from drillctl.hosts import ssh


def main() -> None:
    """Run drillctl."""
    record, execute = Path(os.environ["SAID"]), ssh.SshTransport.execute

    def recorded(self: ssh.SshTransport, command: str, stdin: bytes, timeout: float) -> tuple[int, bytes, bytes]:
        with record.open("a", encoding="utf-8") as file:
            file.write(f"{self.host}: {command}\n")
        return execute(self, command, stdin, timeout)

    ssh.SshTransport.execute = recorded  # type: ignore[method-assign]
    from drillctl.__main__ import main as drillctl

    drillctl()


if __name__ == "__main__":
    main()
