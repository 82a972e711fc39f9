"""setup/setup.sh, run for real: in a copy of the project, and with root in an overlay of this machine's files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from drillctl.lab import ground

PROJECT = Path(__file__).resolve().parents[3]

_OVERLAY = """
set -eu
mount -n -t tmpfs sandbox /run
mkdir /run/upper /run/work /run/root
mount -n -t overlay sandbox -o lowerdir=/,upperdir=/run/upper,workdir=/run/work /run/root
mount -n -t tmpfs sandbox /run/root/run
mount -n -t proc sandbox /run/root/proc
mount -n --rbind /dev /run/root/dev
mount -n --bind "$1" /run/root/mnt
exec chroot /run/root /bin/sh -euc "$2"
"""

FAKE_APT = """#!/bin/sh
# Installs nginx as the distribution would: asks policy-rc.d whether it may start it, and enables its unit.
echo "$*" >>/mnt/apt.log
[ ! -e /mnt/apt-fails ] || { echo 'E: Unable to fetch some archives' >&2; exit 100; }
cp /bin/true /usr/sbin/nginx
if [ ! -x /usr/sbin/policy-rc.d ] || /usr/sbin/policy-rc.d nginx start; then echo started >/mnt/started; fi
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -sf /lib/systemd/system/nginx.service /etc/systemd/system/multi-user.target.wants/nginx.service
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose .venv is up to date, so that nothing has to be fetched."""
    place = tmp_path / "checkout"
    (place / "setup/node").mkdir(parents=True)
    for name in (
        "setup/setup.sh",
        "setup/tools.txt",
        "setup/node/package.json",
        "setup/node/package-lock.json",
        "requirements.txt",
        "pyproject.toml",
    ):
        shutil.copy(PROJECT / name, place / name)
    (place / ".venv/bin").mkdir(parents=True)
    (place / ".venv/bin/python").symlink_to(sys.executable)
    (place / ".venv/node").mkdir()
    for package in ("drillctl", "inference"):
        (place / package).mkdir()
        (place / package / "__init__.py").touch()
    script = "sha256sum <setup/node/package-lock.json >.venv/node/setup"
    subprocess.run(["sh", "-c", script], cwd=place, check=True)
    return place


def stamp(checkout: Path, seen_as: Path | None = None) -> None:
    inputs = "cat requirements.txt pyproject.toml setup/tools.txt"
    script = f"{{ echo {seen_as or checkout}; {inputs}; }} | sha256sum >.venv/drillctl-setup"
    subprocess.run(["sh", "-c", script], cwd=checkout, check=True)


def setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "setup/setup.sh"],
        cwd=checkout,
        env=dict(os.environ) | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def in_overlay(shared: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with root in a copy of this machine's files; the folder `shared` is /mnt in it."""
    if os.geteuid() != 0 or ground.obstacle():
        pytest.skip("an overlay needs root")
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", _OVERLAY, "sh", str(shared), script],
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


WITHOUT_NGINX = """
rm -f /usr/sbin/nginx /usr/sbin/policy-rc.d /etc/systemd/system/multi-user.target.wants/nginx.service
rm -f /usr/bin/apt-get; cp /mnt/apt-get /usr/bin/apt-get
"""
SETUP = "code=0; sh /mnt/checkout/setup/setup.sh || code=$?; "
SETUP_TESTS = SETUP.replace("setup.sh", "setup.sh tests")
AFTER = (
    "ls /usr/sbin/policy-rc.d /etc/systemd/system/multi-user.target.wants/nginx.service 2>/dev/null || :; exit $code"
)


@pytest.fixture
def machine(checkout: Path) -> Path:
    """What the overlay shares: the checkout, and an apt-get that needs no network."""
    shared = checkout.parent
    stamp(checkout, seen_as=Path("/mnt/checkout"))
    (shared / "apt-get").write_text(FAKE_APT)
    (shared / "apt-get").chmod(0o755)
    return shared


def test_the_packages_are_those_that_the_lab_asks_for() -> None:
    text = (PROJECT / "setup/setup.sh").read_text()
    pairs = re.search(r'LAB_PROGRAMS="([^"]*)"', text)
    assert pairs is not None
    assert dict(pair.split(":") for pair in pairs.group(1).split()) == ground.PACKAGES


@pytest.mark.skipif(bool(ground.missing(ground.FOR_MACHINES)), reason="the lab's packages are not installed")
def test_nothing_is_done_and_little_time_is_taken_when_nothing_is_missing(checkout: Path) -> None:
    stamp(checkout)
    started = time.monotonic()
    done = setup(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - started < 1


def test_what_hosts_see_read_only_is_compiled_for_them(checkout: Path) -> None:
    stamp(checkout)
    done = setup(checkout, PYTHONDONTWRITEBYTECODE="1")
    assert (done.returncode, done.stderr) == (0, "")
    for package in ("drillctl", "inference"):
        assert list((checkout / package / "__pycache__").glob("__init__.*.pyc"))


@pytest.mark.skipif(not (PROJECT / ".venv/drillctl-setup").exists(), reason="this .venv was not made by setup.sh")
def test_pytorch_is_compiled_so_that_no_server_does_it_at_each_start() -> None:
    modules = list((Path(sys.prefix) / "lib").glob("python3*/site-packages/torch/nn/modules/*.py"))
    assert modules
    assert [module.name for module in modules if not Path(cache_from_source(str(module))).exists()] == []


def test_a_changed_requirement_is_noticed(checkout: Path) -> None:
    stamp(checkout)
    (checkout / "requirements.txt").write_text("")
    (checkout / ".venv/bin/python").unlink()
    (checkout / ".venv/bin/python").symlink_to("/bin/false")
    done = setup(checkout)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "setup: .venv is there but is no Python environment; move it away"


def test_without_a_python_that_will_do_one_sentence_says_so(checkout: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("dirname", "sha256sum", "cat"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    (programs / "python3").write_text("#!/bin/sh\nexit 1\n")
    (programs / "python3").chmod(0o755)
    script = (checkout / "setup/setup.sh").read_text()
    (checkout / "setup/setup.sh").write_text(script.replace("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin", ""))
    done = setup(checkout, PATH=str(programs))
    assert done.returncode == 1
    assert done.stderr == (
        "setup: Python 3.11 or newer is needed and none was found; "
        "on Debian and Ubuntu: apt-get install python3 python3-venv\n"
    )


def test_missing_packages_are_installed_and_their_services_neither_started_nor_enabled(machine: Path) -> None:
    done = in_overlay(machine, WITHOUT_NGINX + SETUP + AFTER)
    assert done.returncode == 0, done.stderr
    assert "for .venv: nginx\n" in done.stderr
    assert "install --no-install-recommends nginx" in (machine / "apt.log").read_text()
    assert not (machine / "started").exists()
    assert done.stdout == ""  # no policy-rc.d is left, and the unit is not enabled


def test_what_only_the_tests_need_is_installed_for_them_alone(machine: Path) -> None:
    """A browser and fonts of 400 MB are not what somebody wants who only tries a drill."""
    without = "rm -f /usr/bin/chromium /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc; "
    done = in_overlay(machine, WITHOUT_NGINX + without + SETUP_TESTS + AFTER)
    assert done.returncode == 0, done.stderr
    (installed,) = (machine / "apt.log").read_text().splitlines()
    assert {"nginx", "chromium", "fonts-noto-cjk"} <= set(installed.split())
    (machine / "apt.log").unlink()
    in_overlay(machine, WITHOUT_NGINX + without + SETUP + AFTER)
    assert (machine / "apt.log").read_text().split()[-1] == "nginx"


def test_make_test_asks_for_what_the_tests_need() -> None:
    # As a person would call it, also where these tests are run by a make of their own.
    own = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    called = subprocess.run(["make", "-n", "test"], cwd=PROJECT, capture_output=True, text=True, check=True, env=own)
    made = called.stdout
    assert made.splitlines()[0] == "sh setup/setup.sh tests"


def test_a_failed_installation_leaves_no_policy_behind(machine: Path) -> None:
    (machine / "apt-fails").touch()
    done = in_overlay(machine, WITHOUT_NGINX + SETUP + AFTER)
    assert done.returncode == 1
    assert "E: Unable to fetch some archives" in done.stderr
    assert "setup: apt-get could not install them" in done.stderr
    assert done.stdout == ""
    assert [line.split()[-1] for line in (machine / "apt.log").read_text().splitlines()] == ["nginx", "update"]


def test_a_policy_that_is_already_there_is_respected_and_kept(machine: Path) -> None:
    policy = "printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; "
    done = in_overlay(machine, WITHOUT_NGINX + policy + SETUP + AFTER)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "/usr/sbin/policy-rc.d\n"
    assert not (machine / "started").exists()


def test_without_root_the_command_to_type_is_named_and_setup_goes_on(machine: Path) -> None:
    script = "rm -f /usr/sbin/nginx; chmod o+x /mnt; cd /mnt/checkout; PATH=/mnt/bin:$PATH sh setup/setup.sh"
    (machine / "bin").mkdir()
    (machine / "bin/id").write_text("#!/bin/sh\necho 1000\n")
    (machine / "bin/id").chmod(0o755)
    done = in_overlay(machine, script)
    assert (done.returncode, done.stderr) == (
        0,
        "setup: the lab wants packages that only root can install: "
        "sudo apt-get install -y --no-install-recommends nginx\n",
    )


def test_the_server_of_a_shared_history_is_installed_and_neither_started_nor_enabled(machine: Path) -> None:
    def of_postgresql(script: str) -> str:
        return script.replace("/usr/sbin/nginx", "/usr/bin/pg_ctlcluster").replace("nginx.", "postgresql.")

    (machine / "apt-get").write_text(of_postgresql(FAKE_APT).replace("policy-rc.d nginx", "policy-rc.d postgresql"))
    done = in_overlay(machine, of_postgresql(WITHOUT_NGINX) + SETUP_TESTS + of_postgresql(AFTER))
    assert done.returncode == 0, done.stderr
    assert "install --no-install-recommends postgresql\n" in (machine / "apt.log").read_text()
    assert not (machine / "started").exists()
    assert done.stdout == ""
