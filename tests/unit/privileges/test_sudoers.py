"""The sudoers files of estates, as written down in tests/cases/privileges, and as sudo itself reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drillctl import inventory as inventories
from drillctl.errors import FileError, UsageError
from drillctl.lab.ground import program
from drillctl.privileges import installer, sudoers

if TYPE_CHECKING:
    from drillctl.inventory import Inventory

CASES = Path(__file__).parents[2] / "cases" / "privileges"
VISUDO = program("visudo")


@pytest.mark.parametrize("host", ["gw-1", "rec-h-1"])
def test_a_host_of_the_example_gets_these_rules(example: Inventory, host: str) -> None:
    chosen = next(one for one in example.hosts if one.name == host)
    assert sudoers.text(example, chosen) == (CASES / f"{host}.sudoers").read_text()


@pytest.mark.skipif(VISUDO is None, reason="sudo is not installed; `make setup` does")
def test_sudo_reads_the_rules_and_would_say_what_is_wrong_with_them(example: Inventory, tmp_path: Path) -> None:
    for host in example.hosts:
        text = sudoers.text(example, host)
        for rules, right in ((text, True), (text.replace("NOPASSWD:", "NOPASSWD"), False)):
            file = tmp_path / "rules"
            file.write_text(rules)
            file.chmod(0o440)
            done = subprocess.run([str(VISUDO), "-cf", str(file)], capture_output=True, text=True, check=False)
            assert (done.returncode == 0) == right, done.stdout + done.stderr
            file.unlink()


def test_the_example_is_in_the_documentation_as_it_is(example: Inventory) -> None:
    page = (Path(__file__).parents[3] / "docs" / "privileges.md").read_text()
    for host in ("gw-1", "rec-h-1"):
        assert (CASES / f"{host}.sudoers").read_text() in page


def test_a_process_of_the_users_own_needs_no_root(tmp_path: Path, process_text: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(process_text + "  privileges: installed\n")
    estate = inventories.load(file)
    assert sudoers.text(estate, estate.zone("primary").hosts[0]) == ""
    assert "gateway-activate" in sudoers.text(estate, estate.gateway.hosts[0])


@pytest.mark.parametrize(("login", "said"), [("user: root", "as root"), ("port: 22", "does not say who logs in")])
def test_rules_are_for_a_user_of_drillctls_own(tmp_path: Path, inventory_text: str, login: str, said: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(inventory_text.replace("user: drill", login))
    estate = inventories.load(file)
    with pytest.raises(UsageError, match=said):
        sudoers.text(estate, estate.hosts[0])


@pytest.mark.parametrize("user", ["drill", "d.rill-1_x", "drill@example.org", r"SHOP\drill", "drill$"])
def test_a_user_goes_into_rules_and_scripts_as_one_word(tmp_path: Path, inventory_text: str, user: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(inventory_text.replace("user: drill", f"user: '{user}'"))
    estate = inventories.load(file)
    script = installer.install_script(estate, estate.hosts[0])
    assignment = next(line for line in script.splitlines() if line.startswith("folder="))
    done = subprocess.run(["sh", "-c", f'{assignment}; printf %s "$user"'], capture_output=True, text=True, check=True)
    assert done.stdout == user
    if VISUDO is not None:
        rules = tmp_path / "rules"
        rules.write_text(sudoers.text(estate, estate.hosts[0]))
        rules.chmod(0o440)
        checked = subprocess.run([str(VISUDO), "-cf", str(rules)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("user", ["a b", "a;b", "$(id)", "-x", "a$b", "a'b", "a, b", "%wheel", ""])
def test_what_is_no_users_name_is_refused(tmp_path: Path, inventory_text: str, user: str) -> None:
    file = tmp_path / "inventory.yaml"
    file.write_text(inventory_text.replace("user: drill", f'user: "{user}"'))
    with pytest.raises(FileError, match="a user's name of letters"):
        inventories.load(file)
