"""What an installed program accepts is decided by the very words that it got, in every shell."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from drillctl.privileges.argument import MODE, PERSON, PIDS, RUN, SHA256, SHA256_OR_NOTHING, exactly
from drillctl.privileges.program import REFUSED, Program, Variant, plain

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = RUN.within("/etc/x/.drillctl-")
FILE = (RUN.within("/etc/x/.drillctl-", "/a.candidate"), RUN.within("/etc/x/.drillctl-", "/b.candidate"))
WAYS: tuple[Variant, ...] = (
    (exactly("it's $HOME"), FOLDER, SHA256),
    (exactly("put"), FILE, SHA256_OR_NOTHING, MODE, PERSON),
    (exactly(""), PIDS),
    (),
)
SHA = "0123456789abcdef" * 4


def run(tmp_path: Path, shell: list[str], program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / program.name
    file.write_text(program.text)
    return subprocess.run(
        [*shell, str(file), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "words",
    [
        ("it's $HOME", "/etc/x/.drillctl-20260101T000000Z-loss.of_zone-0a", SHA),
        ("put", "/etc/x/.drillctl-1/a.candidate", "", "644", "ana@host-1 pid 12"),
        ("put", "/etc/x/.drillctl-1/b.candidate", SHA, "0", "x"),
        ("", "12 13 14"),
        ("", ""),
        (),
    ],
)
def test_what_it_is_for_is_done_with_the_words_as_they_are(
    tmp_path: Path, shell: list[str], words: tuple[str, ...]
) -> None:
    done = run(tmp_path, shell, Program("p", "try", "printf '<%s>' \"$@\"\n", WAYS), *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("".join(f"<{word}>" for word in words) or "<>")


@pytest.mark.parametrize(
    "words",
    [
        ("it's $HOME", "/etc/x/.drillctl-1"),
        ("it's $HOME", "/etc/x/.drillctl-1", SHA, ""),
        ("it's /root", "/etc/x/.drillctl-1", SHA),
        ("it's $HOME ", "/etc/x/.drillctl-1", SHA),
        ("it's $HOME /etc/x/.drillctl-1", SHA),
        ("it's $HOME", "/etc/x/.drillctl-", SHA),
        ("it's $HOME", "/etc/x/.drillctl-../../passwd", SHA),
        ("it's $HOME", "/etc/x/.drillctl-adopted-service.conf", SHA),
        ("it's $HOME", "/etc/x/.drillctl-adopted-service.conf.sums", SHA),
        ("it's $HOME", "/etc/x/.drillctl-.1", SHA),
        ("put", "/etc/x/.drillctl-a1/a.candidate", "", "644", "x"),
        ("it's $HOME", "/etc/x/.drillctl-1\n", SHA),
        ("it's $HOME", "/etc/x/.drillctl-*", SHA),
        ("it's $HOME", "/etc/x/.drillctl-1 2", SHA),
        ("it's $HOME", "/etc/x/.drillctl-" + "9" * 129, SHA),
        ("it's $HOME", "/etc/x/xdrillctl-1", SHA),
        ("it's $HOME", "/etc/x/.drillctl-é", SHA),
        ("it's $HOME", "/etc/x/.drillctl-1", SHA[:-1]),
        ("it's $HOME", "/etc/x/.drillctl-1", SHA + "0"),
        ("it's $HOME", "/etc/x/.drillctl-1", SHA.upper()),
        ("it's $HOME", "/etc/x/.drillctl-1", ""),
        ("put", "/etc/x/.drillctl-1/c.candidate", "", "644", "x"),
        ("put", "/etc/x/.drillctl-1/../a.candidate", "", "644", "x"),
        ("put", "/etc/x/.drillctl-/a.candidate", "", "644", "x"),
        ("put", "/etc/x/.drillctl-1/a.candidate", "", "u+s", "x"),
        ("put", "/etc/x/.drillctl-1/a.candidate", "", "04755", "x"),
        ("put", "/etc/x/.drillctl-1/a.candidate", "", "644", "x\nttl 9"),
        ("put", "/etc/x/.drillctl-1/a.candidate", "", "644", "$(id)"),
        ("put", "/etc/x/.drillctl-1/a.candidate", "", "644", "`id`"),
        ("", "12\n13"),
        ("", "-1"),
        ("",),
        ("[",),
        ("-n", "="),
        ("!",),
        ("(",),
    ],
)
def test_anything_else_is_refused_and_nothing_is_done(tmp_path: Path, shell: list[str], words: tuple[str, ...]) -> None:
    done = run(tmp_path, shell, Program("p", "try", "echo done\n", WAYS), *words)
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert done.stderr == "refused, nothing was done: these are not the arguments of p\n"


def test_checks_come_between_the_arguments_and_what_is_done(tmp_path: Path, shell: list[str]) -> None:
    checked = Program("p", "try", "echo done\n", ((SHA256,),), "bad() { false; }\n", 'bad "$1" || deny "for $#"\n')
    done = run(tmp_path, shell, checked, SHA)
    assert (done.returncode, done.stdout, done.stderr) == (REFUSED, "", "refused, nothing was done: for 1\n")


def test_a_command_takes_no_words_and_is_run_as_it_was_written(tmp_path: Path, shell: list[str]) -> None:
    command = plain("p", "say it", ["printf", "<%s>", "two words", "it's", "$HOME", ";id"])
    assert run(tmp_path, shell, command).stdout == "<two words><it's><$HOME><;id>"
    assert run(tmp_path, shell, command, "more").returncode == REFUSED


def test_neither_the_environment_nor_the_folder_of_the_caller_matters(tmp_path: Path, shell: list[str]) -> None:
    program = Program("p", "try", 'echo "$PATH $LC_ALL $(umask) $PWD"\n')
    (tmp_path / "p").write_text(program.text)
    done = subprocess.run(
        [*shell, str(tmp_path / "p")],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "LC_ALL": "tr_TR.UTF-8", "IFS": "x", "CDPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        umask=0,
    )
    assert done.stdout == "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin C 0022 /\n"


def test_no_pager_is_started_as_root(tmp_path: Path, shell: list[str]) -> None:
    """From `less` anybody gets a shell (`!sh`), and sudo may be told to keep what names the pager."""
    (tmp_path / "p").write_text(Program("p", "try", "env\n").text)
    pagers = {"PAGER": "less", "SYSTEMD_PAGER": "less", "SYSTEMD_LESS": "-X", "SYSTEMD_PAGERSECURE": "0"}
    done = subprocess.run(
        [*shell, str(tmp_path / "p")],
        env={"PATH": "/usr/bin:/bin", **pagers},
        capture_output=True,
        text=True,
        check=True,
    )
    told = {"PAGER=cat", "SYSTEMD_PAGER=cat", "SYSTEMD_PAGERSECURE=1", "SYSTEMD_LESS=", "LESSSECURE=1"}
    assert told <= set(done.stdout.splitlines())
