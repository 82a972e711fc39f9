"""The scripts that an administrator runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from drillctl.privileges import installer

if TYPE_CHECKING:
    from drillctl.inventory import Inventory

SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def texts(estate: Inventory) -> dict[str, str]:
    """Return every script and program, by host and name."""
    found: dict[str, str] = {}
    for host in estate.hosts:
        found |= {
            f"{host.name} {path.rpartition('/')[2]}": text
            for path, (text, _) in installer.files(estate, host).items()
            if path != installer.SUDOERS
        }
        found[f"{host.name} install"] = installer.install_script(estate, host)
        found[f"{host.name} remove"] = installer.remove_script(estate, host)
    return found


def test_every_shell_reads_every_text(kinds: dict[str, Inventory], shell: list[str], tmp_path: Path) -> None:
    for name, text in [pair for estate in kinds.values() for pair in texts(estate).items()]:
        (tmp_path / "script").write_text(text)
        read = subprocess.run([*shell, "-n", str(tmp_path / "script")], capture_output=True, check=False)
        assert (name, read.returncode, read.stderr) == (name, 0, b"")


def test_every_text_ends_with_a_lines_end_as_a_here_document_does(kinds: dict[str, Inventory]) -> None:
    for estate in kinds.values():
        for host in estate.hosts:
            for path, (text, _) in installer.files(estate, host).items():
                assert text.endswith("\n"), path


def test_shellcheck_finds_nothing(kinds: dict[str, Inventory], tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    for kind, estate in kinds.items():
        for name, text in texts(estate).items():
            (tmp_path / "all" / f"{kind} {name}".replace(" ", "-")).write_text(text)
    # `info` would complain of functions that only some of the programs with a common beginning use.
    judge = [str(SHELLCHECK), "--shell=sh", "--severity=warning"]
    done = subprocess.run([*judge, *map(str, tmp_path.glob("all/*"))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (tmp_path / "bad").write_text("#!/bin/sh\nrm -rf $1/*\ncd $x\n[ $a = b ] && c='$(id)'\nfor i in 1; do :; done\n")
    assert subprocess.run([*judge, str(tmp_path / "bad")], capture_output=True, check=False).returncode == 1


def test_without_root_it_says_so_and_changes_nothing(example: Inventory, shell: list[str], tmp_path: Path) -> None:
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    script = installer.install_script(example, example.hosts[0]).replace("PATH=/usr/sbin", f"PATH={tmp_path}:/usr/sbin")
    done = subprocess.run(shell, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "drillctl: this must be run by root\ndrillctl: nothing was changed\n"
    assert done.stdout == ""


def test_a_user_who_is_not_there_is_named_with_what_makes_one(
    example: Inventory, shell: list[str], tmp_path: Path
) -> None:
    (tmp_path / "id").write_text("#!/bin/sh\n[ $# = 1 ] && echo 0\n")
    (tmp_path / "id").chmod(0o755)
    script = installer.install_script(example, example.hosts[0]).replace("PATH=/usr/sbin", f"PATH={tmp_path}:/usr/sbin")
    done = subprocess.run(shell, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    if "there is no program" not in done.stderr:
        assert "there is no user drill here: useradd --system --create-home --shell /bin/sh drill" in done.stderr


def test_a_host_that_needs_no_root_gets_nothing(example: Inventory) -> None:
    elsewhere = example.hosts[0].model_copy(update={"name": "unknown"})
    assert installer.files(example, elsewhere) == {}
    assert installer.install_script(example, elsewhere) == ""


def test_files_are_roots_and_only_root_reads_the_rules(example: Inventory) -> None:
    for host in example.hosts:
        modes = {path: mode for path, (_, mode) in installer.files(example, host).items()}
        assert modes.pop(installer.SUDOERS) == 0o440
        assert set(modes.values()) == {0o755}


def test_what_root_trusts_is_looked_at(kinds: dict[str, Inventory]) -> None:
    """The folders above, and the files whose writer could have anything done."""
    scripts = {kind: installer.install_script(estate, estate.gateway.hosts[0]) for kind, estate in kinds.items()}
    watched = {
        kind: set(text.partition("for place in ")[2].partition(";")[0].split()) for kind, text in scripts.items()
    }
    assert "/var/lib/drillctl-flags" in watched["nginx-flag"]
    assert {"/run/haproxy", "/run/haproxy/admin.sock", "/var/lib/haproxy", "/etc/haproxy/haproxy.cfg"} <= watched[
        "haproxy"
    ]
    for kind in ("nginx", "nginx-flag", "nginx-passive"):
        assert {kinds[kind].gateway.config, "/etc/nginx", "/var/log/nginx", "/run"} <= watched[kind]
