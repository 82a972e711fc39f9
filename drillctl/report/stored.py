"""A run's folder: what is kept there for its report, and reading it again, on this machine or another.

journal.jsonl  report.json  probes.jsonl          the record, the report, every request
inventory.yaml  playbook.yaml                      as used; values of environments are not kept
golden.jsonl  thumbnails/NN.webp                   each golden image: its hash, its answers, how it looks
before/HOST.conf  staged/HOST.conf  after/HOST.conf   the gateway's config
report.html                                        for people
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from drillctl import journal as journals
from drillctl.compare import equality
from drillctl.errors import UsageError
from drillctl.report.document import Document
from drillctl.report.model import SCHEMA_VERSION, Report
from drillctl.traffic.probe import Probe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from drillctl.inventory import Inventory
    from drillctl.playbook import Playbook
    from drillctl.run import Run

REDACTED = "redacted"
"""What stands for every value of an environment: only its name is kept."""

THUMBNAIL = 96
"""Pixels of a thumbnail's longer side."""

Whose = Literal["primary", "standby", "restored"]

_ENVIRONMENT = "environment"
_LARGEST_ANSWER = 16 << 10


class GoldenAnswer(Document):
    """One golden image and what it was answered with.

    `primary` is the primary's answer from before the fault, `standby` the standby's, `restored` the primary's after
    everything was put back: the bodies as text, cut at 16 KiB; None: it was not asked. `digests` has the SHA-256 of
    each whole answer's canonical JSON, or of its bytes where it is none. `thumbnail` names a file of the folder.
    """

    image: str
    sha256: str | None = None
    size: int | None = None
    primary: str | None = None
    standby: str | None = None
    restored: str | None = None
    difference: str | None = None
    thumbnail: str | None = None
    digests: dict[Whose, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class StoredRun:
    """A run as it lies in its folder; `probes_lost` counts lines of probes.jsonl that are no record of a request."""

    folder: Path
    report: Report
    probes: list[Probe]
    golden: list[GoldenAnswer]
    thumbnails: dict[str, bytes]
    probes_lost: int = 0

    def configs(self, when: Literal["before", "staged", "after"]) -> dict[str, bytes]:
        """Return the gateway config of each host from before the drill, as staged, or from after it."""
        files = sorted((self.folder / when).glob("*.conf"))
        return {file.stem: content for file in files if (content := _bytes(file)) is not None}


def keep_sources(folder: Path, inventory: Inventory, playbook: Playbook) -> None:
    """Write inventory and playbook as they are used, without the values of environments. Raises OSError."""
    for name, part in (("inventory.yaml", inventory), ("playbook.yaml", playbook)):
        document = redacted(part.model_dump(mode="json", exclude_unset=True, by_alias=True))
        (folder / name).write_text(_yaml(document), encoding="utf-8")


def redacted(value: object, *, secret: bool = False) -> object:
    """Return a document in which every value of an `environment` mapping is `redacted`."""
    if isinstance(value, dict):
        return {
            key: redacted(inner, secret=secret or (key == _ENVIRONMENT and isinstance(inner, dict)))
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [redacted(inner, secret=secret) for inner in value]
    return REDACTED if secret else value


def _yaml(document: object) -> str:
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def keep_golden(run: Run) -> None:
    """Write the golden images' answers and thumbnails to the run's folder. Raises OSError."""
    from drillctl.playbook import images

    bodies: dict[Whose, Mapping[str, bytes]] = {
        "primary": run.findings.baseline,
        "standby": run.findings.answers.get("standby", {}),
        # A playbook may also verify the primary in the middle of its steps: that proves nothing of the restore.
        "restored": run.findings.answers.get("primary", {}) if run.findings.primary_restored is not None else {},
    }
    compared = run.findings.standby_serving or run.findings.standby_before
    different = {d.image: d.what for d in compared.different} if compared else {}
    paths = {path.name: path for path in images(run.playbook)}
    folder = run.folder / "thumbnails"
    folder.mkdir(mode=0o700, exist_ok=True)
    rows: list[str] = []
    for number, name in enumerate(sorted(run.findings.baseline), start=1):
        content = _bytes(paths.get(name))
        picture = _thumbnail(content) if content is not None else None
        file = f"thumbnails/{number:03}.webp" if picture is not None else None
        if file is not None and picture is not None:
            (run.folder / file).write_bytes(picture)
        row = GoldenAnswer(
            image=name,
            sha256=hashlib.sha256(content).hexdigest() if content is not None else None,
            size=len(content) if content is not None else None,
            primary=_text(bodies["primary"], name),
            standby=_text(bodies["standby"], name),
            restored=_text(bodies["restored"], name),
            digests={whose: _digest(of[name]) for whose, of in bodies.items() if name in of},
            difference=different.get(name),
            thumbnail=file,
        )
        rows.append(row.model_dump_json())
    (run.folder / "golden.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def _bytes(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path is not None else None
    except OSError:
        return None


def _thumbnail(content: bytes) -> bytes | None:
    """Return a small WebP of an image; None when it is none that can be read."""
    from PIL import Image, ImageOps

    stream = io.BytesIO()
    # An image that servers were asked to recognise may be broken on purpose.
    with (
        contextlib.suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError),
        Image.open(io.BytesIO(content)) as image,
    ):
        image.draft("RGB", (THUMBNAIL, THUMBNAIL))
        small = ImageOps.exif_transpose(image).convert("RGBA")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        small.save(stream, "WEBP", quality=75, method=4)
        return stream.getvalue()
    return None


def _digest(body: bytes) -> str:
    return equality.digest(body) or hashlib.sha256(body).hexdigest()


def _text(bodies: Mapping[str, bytes], name: str) -> str | None:
    body = bodies.get(name)
    return None if body is None else body[:_LARGEST_ANSWER].decode("utf-8", "replace")


def read(folder: Path) -> StoredRun:
    """Read a run. Raises UsageError when it has no report, or one that this drillctl cannot read."""
    report = read_report(folder)
    probes, lost = read_probes(folder / "probes.jsonl")
    golden = read_golden(folder / "golden.jsonl")
    pictures = {
        row.thumbnail: content
        for row in golden
        if row.thumbnail and (content := _bytes(folder / row.thumbnail)) is not None
    }
    return StoredRun(folder, report, probes, golden, pictures, lost)


def read_report(folder: Path) -> Report:
    """Read report.json. Raises UsageError."""
    file = folder / "report.json"
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"{folder.name} has no report: drillctl ended before it could write one",
            state=f"its journal and probes are in {folder}",
            hint=f"`drillctl recover {folder.name}` puts back what it may have left",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {_why(error)}", state="nothing was changed") from None
    try:
        return Report.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(
            f"{file} is not a report that drillctl can read: {_first(error, text)}",
            state="nothing was changed",
            hint="it was changed, cut short, or written by another version of drillctl",
        ) from None


def _first(error: ValidationError, text: str) -> str:
    with contextlib.suppress(ValueError):
        document = json.loads(text)
        version = document.get("schema_version") if isinstance(document, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            return f"its schema_version is {version}, and this one knows {SCHEMA_VERSION}"
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else problem["msg"]


def read_probes(file: Path) -> tuple[list[Probe], int]:
    """Return the requests of a record by when they were due, and how many lines were none."""
    probes: list[Probe] = []
    lost = 0
    try:
        with file.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    probes.append(Probe.from_json(line))
                except (ValueError, TypeError):
                    lost += 1
    except OSError:
        return [], 0
    probes.sort(key=lambda probe: (probe.scheduled, probe.seq))
    return probes, lost


def read_golden(file: Path) -> list[GoldenAnswer]:
    """Return the golden images' answers; a line that is none is left out."""
    found: list[GoldenAnswer] = []
    for line in (_bytes(file) or b"").splitlines():
        with contextlib.suppress(ValidationError):
            found.append(GoldenAnswer.model_validate_json(line))
    return found


def find(wanted: str | None, runs: Path) -> Path:
    """Return the folder of a run: by its id or the beginning of it, or of the last one that has a report.

    `wanted` None, `last` or `latest` means the last one. Raises UsageError when there is none, or more than one, and
    when the folder of the runs cannot be read.
    """
    names = journals.runs(runs)
    wanted = wanted or journals.LAST[0]
    is_last = wanted in journals.LAST
    found = journals.find(wanted, names, [name for name in names if _has_report(runs / name)] if is_last else ())
    if found is not None:
        return runs / found
    if is_last:
        raise UsageError(f"no run in {runs} has a report", hint="`drillctl run PLAYBOOK` makes one")
    last = f"the last one is {names[-1]}" if names else "there is none yet"
    raise UsageError(f"there is no run `{wanted}` in {runs}", hint=f"{last}; `last` names the last with a report")


def _has_report(folder: Path) -> bool:
    try:
        return (folder / "report.json").is_file()
    except OSError:
        return False  # of a run that may not be looked at


def _why(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8"
