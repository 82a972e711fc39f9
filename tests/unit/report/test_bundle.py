"""Evidence bundles with real keys and the real ssh-keygen: whatever was changed, cut or added afterwards is found."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from drillctl.errors import UsageError
from drillctl.report import archive, bundle, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from told import Told

    from drillctl.report.bundle import Finding
    from drillctl.report.stored import StoredRun

WHO = "auditor@example.org"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key without a passphrase."""
    return make_key(tmp_path_factory.mktemp("keys") / "key")


def make_key(file: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(file)], check=True)
    return file


@pytest.fixture(scope="module")
def signers(key: Path) -> Path:
    file = key.with_name("allowed_signers")
    file.write_text(f'{WHO} namespaces="{signature.NAMESPACE}" {key.with_suffix(".pub").read_text()}')
    return file


@pytest.fixture(scope="module")
def signed(recorded: StoredRun, key: Path) -> bytes:
    return bundle.make(recorded, key)


@pytest.fixture(scope="module")
def unsigned(recorded: StoredRun) -> bytes:
    return bundle.make(recorded, None)


def check(content: bytes, signers: Path | None = None, who: str | None = WHO) -> Finding:
    return bundle.verify(io.BytesIO(content), signers, who if signers else None)


def altered(content: bytes, change: Callable[[dict[str, bytes]], None], *, repack: bool = False) -> bytes:
    """Return a bundle whose members were changed; with `repack`, by somebody who also made the manifest anew."""
    members = archive.unpack(io.BytesIO(content))
    run = next(iter(members)).partition("/")[0]
    plain = {name.partition("/")[2]: member for name, member in members.items()}
    change(plain)
    if repack:
        listed = {n: m for n, m in plain.items() if n not in {bundle.MANIFEST, bundle.SIGNATURE}}
        lines = [f"{hashlib.sha256(listed[name]).hexdigest()}  {name}\n" for name in sorted(listed)]
        plain[bundle.MANIFEST] = "".join(lines).encode()
    return archive.pack({f"{run}/{name}": member for name, member in plain.items()})


def test_a_signed_bundle_is_vouched_for(signed: bytes, signers: Path, recorded: StoredRun) -> None:
    found = check(signed, signers)
    assert (found.problems, found.notes) == ([], [])
    assert (found.signed, found.vouched, found.verdict) == (True, True, recorded.report.verdict)
    assert WHO in found.words


def test_without_a_signature_nobody_vouches(unsigned: bytes, signers: Path) -> None:
    for found in (check(unsigned), check(unsigned, signers)):
        assert found.problems == []
        assert (found.signed, found.vouched) == (False, False)


def test_a_signature_alone_does_not_say_who(signed: bytes) -> None:
    found = check(signed)
    assert (found.problems, found.signed, found.vouched) == ([], True, False)
    assert "SHA256:" in found.words


def test_another_identity_or_another_key_does_not_vouch(recorded: StoredRun, signers: Path, tmp_path: Path) -> None:
    other = bundle.make(recorded, make_key(tmp_path / "other"))
    assert not check(other, signers).vouched
    assert check(other, signers).problems == []


def test_a_signature_of_something_else_is_none(
    recorded: StoredRun, key: Path, signers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was signed as a git commit, say, must not be taken for evidence."""
    monkeypatch.setattr(signature, "NAMESPACE", "git")
    made = bundle.make(recorded, key)
    monkeypatch.undo()
    assert check(made, signers).problems
    assert not check(made, signers).vouched


def test_an_agent_can_sign(recorded: StoredRun, key: Path, signers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with agent(key, monkeypatch):
        public = key.with_name("only.pub")
        public.write_text(key.with_suffix(".pub").read_text())
        assert check(bundle.make(recorded, public), signers).vouched


class agent:  # noqa: N801 - used as a statement
    """An ssh-agent that holds one key, for a while."""

    def __init__(self, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.key, self.monkeypatch = key, monkeypatch

    def __enter__(self) -> None:
        socket = self.key.with_name("agent")
        self.process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
        while not socket.exists():
            assert self.process.poll() is None
        self.monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(self.key)], check=True, stderr=subprocess.DEVNULL)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()


def test_the_same_run_gives_the_same_bundle(recorded: StoredRun, unsigned: bytes) -> None:
    assert bundle.make(recorded, None) == unsigned


def test_it_can_be_checked_without_drillctl(signed: bytes, signers: Path, tmp_path: Path, recorded: StoredRun) -> None:
    (tmp_path / "bundle.tar").write_bytes(signed)
    script = (
        'tar xf bundle.tar && cd "$1" && sha256sum --strict --quiet -c manifest.sha256 && gzip -t *.gz && '
        'ssh-keygen -Y verify -f "$2" -I "$3" -n drillctl-evidence -s manifest.sha256.sig < manifest.sha256'
    )
    done = subprocess.run(
        ["sh", "-c", script, "sh", recorded.report.run_id, str(signers), WHO], cwd=tmp_path, check=False
    )
    assert done.returncode == 0


def test_it_holds_all_that_the_run_left(unsigned: bytes, recorded: StoredRun) -> None:
    members = {n.partition("/")[2]: m for n, m in archive.unpack(io.BytesIO(unsigned)).items()}
    assert {
        "manifest.sha256", "report.html", "report.md", "report.junit.xml", "report.json", "probes.csv.gz",
        "probes.jsonl.gz", "journal.jsonl", "inventory.yaml", "playbook.yaml", "golden.jsonl", "before/gateway.conf",
        "staged/gateway.conf", "after/gateway.conf", "diff/gateway.diff", "thumbnails/001.webp",
    } <= set(members)  # fmt: skip
    for name in ("journal.jsonl", "report.json", "before/gateway.conf"):
        assert members[name] == (recorded.folder / name).read_bytes()
    assert gzip.decompress(members["probes.jsonl.gz"]) == (recorded.folder / "probes.jsonl").read_bytes()
    assert gzip.decompress(members["probes.csv.gz"]).count(b"\n") == len(recorded.probes) + 1


def damages(content: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield 200 random changes: bits and bytes of any place, cuts, stretches removed, doubled or zeroed."""
    chance = random.Random(seed)
    for number in range(200):
        place = chance.randrange(len(content))
        kind = number % 5
        if kind in {0, 1}:
            yield (
                f"byte {place}",
                content[:place] + bytes([content[place] ^ chance.randrange(1, 256)]) + content[place + 1 :],
            )
        elif kind == 2:
            yield f"cut at {place}", content[:place]
        elif kind == 3:
            end = min(len(content), place + chance.randrange(1, 2000))
            yield f"removed {place} to {end}", content[:place] + content[end:]
        else:
            end = min(len(content), place + chance.randrange(1, 2000))
            yield f"doubled {place} to {end}", content[:end] + content[place:]


@pytest.mark.parametrize("with_signature", [True, False], ids=["signed", "unsigned"])
def test_200_of_200_random_corruptions_are_found(with_signature: bool, signed: bytes, unsigned: bytes) -> None:
    content = signed if with_signature else unsigned
    missed = [what for what, damaged in damages(content, seed=20261125) if not check(damaged).problems]
    assert missed == []


def test_every_byte_of_manifest_and_signature_counts(signed: bytes) -> None:
    """These are what everything else hangs on, and what a forgiving reader would forgive most."""
    members = archive.unpack(io.BytesIO(signed))
    for name in (bundle.MANIFEST, bundle.SIGNATURE):
        start = signed.index(next(content for member, content in members.items() if member.endswith(name)))
        size = len(next(content for member, content in members.items() if member.endswith(name)))
        for place in range(start, start + size, 7 if name == bundle.MANIFEST else 3):
            changed = signed[:place] + bytes([signed[place] ^ 0x01]) + signed[place + 1 :]
            assert check(changed).problems, f"{name}, byte {place - start}"


CHANGES: dict[str, tuple[Callable[[dict[str, bytes]], object], str]] = {
    "changed": (lambda m: m.update({"report.md": m["report.md"] + b" "}), "report.md was changed"),
    "missing": (lambda m: m.pop("before/gateway.conf"), "before/gateway.conf is missing"),
    "added": (lambda m: m.update({"notes.txt": b"x"}), "notes.txt was added"),
    "no manifest": (lambda m: m.pop("manifest.sha256"), "manifest.sha256 is missing"),
    "no journal": (lambda m: m.pop("journal.jsonl"), "journal.jsonl is missing"),
    "swapped": (
        lambda m: m.update({"before/gateway.conf": m["staged/gateway.conf"]}),
        "before/gateway.conf was changed",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_part_is_named(name: str, signed: bytes) -> None:
    change, said = CHANGES[name]
    assert any(said in problem for problem in check(altered(signed, change)).problems)  # type: ignore[arg-type]


def no_verdict(members: dict[str, bytes]) -> None:
    lines = members["journal.jsonl"].splitlines(keepends=True)
    members["journal.jsonl"] = b"".join(line for line in lines if b'"restored"' not in line)


def another_detail(members: dict[str, bytes]) -> None:
    members["journal.jsonl"] = members["journal.jsonl"].replace(b"SIGKILL", b"SIGTERM")


def another_verdict(members: dict[str, bytes]) -> None:
    report = json.loads(members["report.json"])
    members["report.json"] = json.dumps(report | {"verdict": "inconclusive"}).encode()


def another_run(members: dict[str, bytes]) -> None:
    report = json.loads(members["report.json"])
    members["report.json"] = json.dumps(report | {"run_id": "20260101T000000Z-other-0000"}).encode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_verdict, "the journal's chain is broken"),
        (another_detail, "the journal's chain is broken"),
        (another_verdict, ", the report inconclusive"),
        (another_run, "report.json is of 20260101T000000Z-other-0000"),
    ],
)
def test_who_makes_the_manifest_anew_still_contradicts_the_journal_or_the_signature(
    change: Callable[[dict[str, bytes]], None], said: str, signed: bytes, unsigned: bytes
) -> None:
    assert any(said in problem for problem in check(altered(unsigned, change, repack=True)).problems)
    problems = check(altered(signed, change, repack=True)).problems
    assert any("the signature does not fit the manifest" in problem for problem in problems)


def test_a_signature_in_another_spelling_is_refused(signed: bytes) -> None:
    """ssh-keygen reads it all the same, so that bytes could change unseen."""

    def respell(members: dict[str, bytes]) -> None:
        members[bundle.SIGNATURE] = members[bundle.SIGNATURE].replace(b"\n-----END", b"\n\n-----END")

    assert any("not as ssh-keygen writes it" in problem for problem in check(altered(signed, respell)).problems)


def test_two_folders_are_no_bundle() -> None:
    assert check(archive.pack({"a/x": b"", "b/x": b""})).problems == [
        "its members are not in one folder: it is no bundle of a run"
    ]


def test_a_journal_without_a_chain_is_said_so(unsigned: bytes) -> None:
    def unchain(members: dict[str, bytes]) -> None:
        records = [json.loads(line) for line in members["journal.jsonl"].splitlines()]
        for record in records:
            del record["prev"]
        members["journal.jsonl"] = "".join(json.dumps(record) + "\n" for record in records).encode()

    found = check(altered(unsigned, unchain, repack=True))
    assert found.problems == []
    assert any("no hash chain" in note for note in found.notes)
    assert not found.chained


def test_a_report_of_another_version_does_not_keep_the_chain_from_being_checked(unsigned: bytes) -> None:
    def later(members: dict[str, bytes]) -> None:
        members["report.json"] = b'{"schema_version": 99}'
        lines = members["journal.jsonl"].splitlines(keepends=True)
        members["journal.jsonl"] = b"".join(lines[:2] + lines[3:])

    found = check(altered(unsigned, later, repack=True))
    assert any("chain is broken" in problem for problem in found.problems)


def test_a_verdict_without_a_verdict_is_a_contradiction(unsigned: bytes) -> None:
    def rob(members: dict[str, bytes]) -> None:
        records = [json.loads(line) for line in members["journal.jsonl"].splitlines()]
        for record in records:
            record.pop("prev")
            if record["event"] == "verdict":
                del record["verdict"]
        members["journal.jsonl"] = "".join(json.dumps(record) + "\n" for record in records).encode()

    assert check(altered(unsigned, rob, repack=True)).problems == ["the journal says None, the report passed"]


def test_a_key_that_is_not_there_or_no_key_is_told(recorded: StoredRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no key"):
        bundle.make(recorded, tmp_path / "none")
    (tmp_path / "bad").write_text("not a key")
    os.chmod(tmp_path / "bad", 0o600)  # noqa: PTH101
    with pytest.raises(UsageError, match="ssh-keygen did not sign"):
        bundle.make(recorded, tmp_path / "bad")


def test_a_missing_allowed_signers_file_is_told(signed: bytes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no allowed-signers file"):
        check(signed, tmp_path / "none")


def test_values_of_environments_are_in_no_member(tell: Callable[..., Told], process_text: str, tmp_path: Path) -> None:
    from drillctl import inventory as inventories

    file = tmp_path / "process.yaml"
    file.write_text(process_text)
    told = tell()
    told.run.inventory = inventories.load(file)
    content = bundle.make(told.stored(), None)
    assert b"API_TOKEN: redacted" in content
    assert b"s3cret" not in content
