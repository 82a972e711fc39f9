"""The evidence bundle: one tar file with all that a run left, a manifest of hashes, and the signature of who vouches.

    RUN/manifest.sha256       sha256 of every other member, as `sha256sum` writes and checks it
    RUN/manifest.sha256.sig   optional: the manifest's signature by ssh-keygen, namespace drillctl-evidence
    RUN/report.html  report.md  report.junit.xml  report.json      the report, in four forms
    RUN/probes.csv.gz  probes.jsonl.gz                             every request
    RUN/journal.jsonl                                              the hash chain of what was done
    RUN/inventory.yaml  playbook.yaml                              as used, without values of environments
    RUN/golden.jsonl  thumbnails/…  before/…  staged/…  after/…  diff/HOST.diff

It can be checked without drillctl: `tar xf`, `sha256sum -c manifest.sha256`, `ssh-keygen -Y verify`.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError

from drillctl import journal as journals
from drillctl.errors import UsageError
from drillctl.report import archive, csvfile, junit, markdown, page, signature
from drillctl.report.model import Report

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from drillctl.report.stored import StoredRun

MANIFEST = "manifest.sha256"
SIGNATURE = "manifest.sha256.sig"

_LINE = re.compile(r"([0-9a-f]{64})  (\S+)")
_AS_THEY_ARE = ("journal.jsonl", "report.json", "inventory.yaml", "playbook.yaml", "golden.jsonl", "staged.json")
_FOLDERS = ("thumbnails", "before", "staged", "after")


def make(stored: StoredRun, key: Path | None) -> bytes:
    """Return the bundle of a run, signed when a key is given. The same run gives the same bytes (but the signature).

    Raises UsageError when a file cannot be read, has no name that a bundle can hold, or ssh-keygen does not sign.
    """
    members = _members(stored)
    manifest = "".join(f"{hashlib.sha256(members[name]).hexdigest()}  {name}\n" for name in sorted(members)).encode()
    members[MANIFEST] = manifest
    if key is not None:
        members[SIGNATURE] = signature.sign(manifest, key)
    try:
        return archive.pack({f"{stored.report.run_id}/{name}": content for name, content in members.items()})
    except ValueError as error:
        raise UsageError(str(error), state="no bundle was written") from None


def _members(stored: StoredRun) -> dict[str, bytes]:
    report = stored.report
    clock = report.timeline.clock or (stored.probes[0].scheduled if stored.probes else 0.0)
    members = {
        "report.html": page.render(stored).encode(),
        "report.md": markdown.render(report).encode(),
        "report.junit.xml": junit.render(report).encode(),
        "probes.csv.gz": _gzip(csvfile.render(stored.probes, clock).encode()),
    }
    for host, diff in report.config_diffs.items():
        members[f"diff/{host}.diff"] = diff.encode()
    try:
        for name in _AS_THEY_ARE:
            if (stored.folder / name).is_file():
                members[name] = (stored.folder / name).read_bytes()
        for folder in _FOLDERS:
            for file in sorted((stored.folder / folder).glob("*")):
                if file.is_file() and not file.name.startswith("."):
                    members[f"{folder}/{file.name}"] = file.read_bytes()
        record = stored.folder / "probes.jsonl"
        if record.is_file():
            members["probes.jsonl.gz"] = _gzip(record.read_bytes())
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read: {error.strerror}", state="no bundle was written") from None
    return members


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=6, mtime=0)


@dataclass
class Finding:
    """What a check of a bundle found: `problems` is empty when every part is what it was when it was packed.

    `signed` tells whether it carries a signature, `vouched` whether the identity that was asked for made it; `words`
    are what ssh-keygen said, and `notes` what a reader should know. `chained`: the journal is a chain of hashes, whole
    unless a problem says otherwise.
    """

    run_id: str | None = None
    verdict: str | None = None
    members: int = 0
    size: int = 0
    signed: bool = False
    vouched: bool = False
    chained: bool = False
    words: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify(stream: BinaryIO, allowed_signers: Path | None = None, identity: str | None = None) -> Finding:
    """Check a bundle: its form, every member against the manifest, the journal's chain, and who signed.

    Raises UsageError when the allowed-signers file is not there, or ssh-keygen is not.
    """
    found = Finding()
    try:
        packed = archive.unpack(stream)
    except archive.ArchiveError as error:
        found.problems.append(str(error))
        return found
    found.size = sum(map(len, packed.values()))
    folders = {name.partition("/")[0] for name in packed}
    if len(folders) != 1:
        found.problems.append("its members are not in one folder: it is no bundle of a run")
        return found
    found.run_id = folders.pop()
    members = {name.partition("/")[2]: content for name, content in packed.items()}
    manifest, signed = members.pop(MANIFEST, None), members.pop(SIGNATURE, None)
    found.members = len(members)
    if manifest is None:
        found.problems.append(f"{MANIFEST} is missing: nothing says what the members must be")
        return found
    found.problems += _against(manifest, members)
    found.problems += _contradictions(found, members)
    found.signed = signed is not None
    if signed is not None:
        _signature(found, manifest, signed, allowed_signers, identity)
    elif allowed_signers is not None:
        found.words = "it carries no signature"
    return found


def _against(manifest: bytes, members: dict[str, bytes]) -> list[str]:
    """Compare members with the manifest; one that is not in the form that drillctl writes is a problem itself."""
    wanted: dict[str, str] = {}
    for line in manifest.decode("utf-8", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[2] in wanted:
            return [f"{MANIFEST} is damaged: `{line[:100]}`"]
        wanted[match[2]] = match[1]
    written = "".join(f"{wanted[name]}  {name}\n" for name in sorted(wanted)).encode()
    problems = [] if written == manifest else [f"{MANIFEST} is not as drillctl writes it"]
    problems += [f"{name} is missing" for name in sorted(wanted.keys() - members.keys())]
    problems += [f"{name} was added: the manifest does not name it" for name in sorted(members.keys() - wanted.keys())]
    return problems + [
        f"{name} was changed: its sha256 is not the manifest's"
        for name in sorted(wanted.keys() & members.keys())
        if hashlib.sha256(members[name]).hexdigest() != wanted[name]
    ]


def _contradictions(found: Finding, members: dict[str, bytes]) -> list[str]:
    """Check that report and journal are of this run, agree with each other, and that the journal's chain is whole."""
    lacking = [f"{name} is missing" for name in ("report.json", "journal.jsonl") if name not in members]
    if lacking:
        return lacking
    journal = members["journal.jsonl"]
    problems = _broken_chain(found, journal)
    try:
        report = Report.model_validate_json(members["report.json"])
    except ValidationError:
        found.notes.append("this drillctl cannot read report.json, and did not compare it with the journal")
        return problems
    found.verdict = report.verdict
    if report.run_id != found.run_id:
        problems.append(f"report.json is of {report.run_id}, not of {found.run_id}")
    records = [record for record in journals.parse(journal) if isinstance(record, dict)]
    if not records or records[0].get("run_id") != report.run_id:
        problems.append("the journal is not that of the report's run")
    verdicts = [record.get("verdict") for record in records if record.get("event") == "verdict"]
    if verdicts and verdicts[-1] != report.verdict:
        problems.append(f"the journal says {verdicts[-1]}, the report {report.verdict}")
    return problems


def _broken_chain(found: Finding, journal: bytes) -> list[str]:
    broken = journals.broken_links(journal)
    found.chained = broken is not None
    if broken is None:
        found.notes.append("the journal is no hash chain: an older drillctl wrote it")
        return []
    lines = ", ".join(map(str, broken[:5]))
    return [f"the journal's chain is broken at line {lines}: a record was changed, removed or put in"] if broken else []


def _signature(
    found: Finding, manifest: bytes, signed: bytes, allowed_signers: Path | None, identity: str | None
) -> None:
    problem = signature.problem_of(signed)
    if problem is not None:
        found.problems.append(problem)
        return
    alone = signature.check_alone(manifest, signed)
    found.words = alone.words
    if not alone.vouched:
        found.problems.append(f"the signature does not fit the manifest: {alone.words}")
    elif allowed_signers is not None and identity is not None:
        checked = signature.check(manifest, signed, allowed_signers, identity)
        found.vouched, found.words = checked.vouched, checked.words
