"""The report as one HTML file that loads nothing: for a screen, a telephone, and paper (pure).

The template is templates/report.html. Whatever comes from hosts, servers or people is escaped by it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from drillctl.compare.equality import digest
from drillctl.report import picture
from drillctl.report.gates import gates_of
from drillctl.report.scale import duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drillctl.report.context import MachineRecord
    from drillctl.report.model import Report, StepResult
    from drillctl.report.stored import GoldenAnswer, StoredRun, Whose

_TONES = {"passed": "good", "failed": "bad", "restore-incomplete": "bad"}
_SYMBOLS = {"good": "✓", "bad": "✗", "doubt": "?"}
_SECTIONS = {"before": "Before anything was broken", "steps": "The drill", "restore": "Putting everything back"}
_STATUS = {"ok": ("good", "✓ ok"), "skipped": ("doubt", "– skipped"), "refused": ("bad", "✗ REFUSED")}
_SHOWN_PREDICTIONS = 3
_KEY_SHAPES = {
    "primary": "M2 7a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
    "standby": "M2 2h10v10h-10z",
    "other": "M7 1l6 6l-6 6l-6 -6z",
}


class Figure(NamedTuple):
    """One of the large figures under the verdict."""

    what: str
    figure: str
    unit: str
    more: str


class Proof(NamedTuple):
    """One statement on the restore."""

    tone: str
    what: str
    detail: str = ""
    hash: str = ""

    @property
    def symbol(self) -> str:
        return _SYMBOLS[self.tone]


class Prediction(NamedTuple):
    """A label with its score as shown."""

    label: str
    score: str


@dataclass(frozen=True)
class ShownAnswer:
    """One answer: its first predictions if it is a list of such, otherwise its text; and the digest's beginning."""

    top: Prediction | None
    rest: list[Prediction]
    text: str
    digest: str


def render(stored: StoredRun) -> str:
    """Return the page of a run."""
    report = stored.report
    tone = _TONES.get(report.verdict, "doubt")
    whole = picture.whole_run(report, stored.probes)
    gates = gates_of(report)
    loader = PackageLoader("drillctl", "report/templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {
        "seconds": _seconds,
        "milli": lambda value: "< 1 ms" if 0 <= value < 0.001 else duration(float(f"{value:.3g}")),
        "clock": lambda value: f"{value:.1f} s",
        "moment": lambda text: text[:19].replace("T", " "),
        "status_tone": lambda status: _STATUS.get(status, ("bad", ""))[0],
        "status_word": lambda status: _STATUS.get(status, ("", f"✗ {status.upper()}"))[1],
        "facts": _facts,
    }
    return environment.get_template("report.html").render(
        r=report,
        context=report.context,
        css=loader.get_source(environment, "report.css")[0].strip(),
        tone=tone,
        symbol=_SYMBOLS[tone],
        missed=[objective for objective in report.objectives if objective.met is not True],
        figures=_figures(report),
        contents=_contents(gates=bool(gates)),
        whole=whole,
        close=picture.close_up(report, stored.probes),
        zones=_zones(report),
        shapes=_KEY_SHAPES,
        parts=_parts(report),
        lost=stored.probes_lost,
        sections=_by_section(report.steps),
        golden=[_golden(stored, row) for row in stored.golden],
        other_differences=[] if stored.golden else report.equality.different,
        models=_models(report),
        compared_identity=any(step.name == "environment" and step.status == "ok" for step in report.steps),
        diffs=_diffs(report),
        proofs=_proofs(stored),
        gates=gates,
        scope=_scope(report),
    )


def _seconds(value: float) -> str:
    if value < 100:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _figures(report: Report) -> list[Figure]:
    recovery, traffic, equality, restore = report.recovery, report.traffic, report.equality, report.restore
    within = "no objective" if recovery.rto_seconds is None else f"objective ≤ {recovery.rto_seconds:g} s"
    if recovery.outage_seconds is None:
        first = Figure("Recovery time", "not measured", "", within)
        if recovery.said.startswith("not recovered"):
            first = Figure("Recovery time", "not recovered", "", within)
    else:
        error = f"s ± {recovery.uncertainty_seconds:.2f} s" if recovery.uncertainty_seconds is not None else "s"
        first = Figure("Recovery time", f"{recovery.outage_seconds:.2f}", error, within)
    lost = Figure("Requests failed", str(traffic.failed), f"of {traffic.sent}", "over the whole run")
    if not traffic.sent:
        lost = Figure("Requests failed", "none sent", "", "there was no traffic")
    same = Figure("Outputs identical", str(equality.identical), f"of {equality.compared}", equality.rule)
    if not equality.compared:
        same = Figure("Outputs identical", "not compared", "", equality.rule)
    config = {True: "config identical byte for byte", False: "config DIFFERS", None: "config not read again"}
    more = config[restore.config_identical] if restore.verdict != "nothing to restore" else "nothing was changed"
    return [first, lost, same, Figure("Put back", restore.verdict, "", more)]


def _contents(*, gates: bool) -> list[tuple[str, str]]:
    found = [
        ("timeline", "What clients saw"),
        ("steps", "Steps"),
        ("outputs", "Same outputs"),
        ("identity", "Identity of the zones"),
        ("config", "Gateway config"),
        ("restore", "Everything put back"),
        ("follow-ups", "Deviations and follow-ups"),
        ("gates", "Gates"),
        ("machines", "Machines, versions and clocks"),
        ("scope", "Scope and people"),
    ]
    return [entry for entry in found if gates or entry[0] != "gates"]


def _zones(report: Report) -> list[tuple[str, str, str]]:
    """Return the zones that answered: name, class, and role where it is known."""
    roles = {machine.zone: machine.role for machine in report.context.machines if machine.zone}
    found = [(zone, picture.class_of(report, zone), roles.get(zone, "")) for zone in report.traffic.by_zone]
    return sorted(found, key=lambda zone: (zone[1], zone[0]))


class Part(NamedTuple):
    """One part of the outage, as shown."""

    name: str
    begin: str
    end: str
    took: str


def _parts(report: Report) -> list[Part]:
    recovery = report.recovery
    if recovery.detection_seconds is None and recovery.switch_seconds is None:
        return []
    named = [
        ("detection", "first failed request", "failures noticed", recovery.detection_seconds),
        ("switch", "failures noticed", "new config in place, reloaded", recovery.switch_seconds),
        ("answer", "new config in place", "first sustained good answer was due", recovery.answer_seconds),
        ("outage", "first failed request", "first sustained good answer was due", recovery.outage_seconds),
    ]
    return [Part(name, begin, end, duration(round(t, 3))) for name, begin, end, t in named if t is not None]


def _by_section(steps: Iterable[StepResult]) -> list[tuple[str, list[StepResult]]]:
    found: dict[str, list[StepResult]] = {}
    for step in steps:
        found.setdefault(_SECTIONS.get(step.section, step.section), []).append(step)
    return list(found.items())


def _golden(stored: StoredRun, row: GoldenAnswer) -> dict[str, object]:
    content = stored.thumbnails.get(row.thumbnail or "")
    same = None
    if row.primary is not None and row.standby is not None:
        same = "identical" if _same(row, "standby") else "within tolerance"
    return {
        "image": row.image,
        "sha256": (row.sha256 or "")[:8],
        "picture": f"data:image/webp;base64,{base64.b64encode(content).decode()}" if content else None,
        "primary": _answer(row.primary, _digest(row, "primary")),
        "standby": _answer(row.standby, _digest(row, "standby")),
        "difference": row.difference,
        "same": same,
    }


def _digest(row: GoldenAnswer, whose: Whose) -> str | None:
    """Return the hash of a whole answer; None where there is none, or it was cut before hashes were kept."""
    text: str | None = getattr(row, whose)
    return row.digests.get(whose) or (digest(text.encode()) if text is not None else None)


def _same(row: GoldenAnswer, whose: Whose) -> bool:
    """Tell whether an answer is known to be the one that the primary gave before the fault."""
    first = _digest(row, "primary")
    return first is not None and first == _digest(row, whose)


def _answer(text: str | None, sha256: str | None) -> ShownAnswer | None:
    if text is None:
        return None
    found = _predictions(text)
    short = (sha256 or "")[:8]
    if not found:
        return ShownAnswer(None, [], text if len(text) <= 200 else text[:200] + "…", short)
    return ShownAnswer(found[0], found[1:_SHOWN_PREDICTIONS], "", short)


def _predictions(text: str) -> list[Prediction]:
    try:
        rows = json.loads(text)["predictions"]
        return [Prediction(str(row["label"]), f"{float(row['score']):.4f}") for row in rows]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []


def _models(report: Report) -> list[dict[str, object]]:
    pinned = report.model.expected_sha256
    return [
        {
            "host": host,
            "zone": zone,
            "disk": (hashes.get("sha256_disk") or "unknown")[:16],
            "loaded": (hashes.get("sha256_loaded") or "unknown")[:16],
            "pinned": hashes.get("sha256_disk") == hashes.get("sha256_loaded") == pinned,
        }
        for zone, hosts in report.model.zones.items()
        for host, hashes in hosts.items()
    ]


def _diffs(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    diffs = report.config_diffs or ({"gateway": report.config_diff} if report.config_diff else {})
    return [(host, [(_line_class(line), line) for line in diff.splitlines()]) for host, diff in diffs.items()]


def _line_class(line: str) -> str:
    if line.startswith(("+++", "---", "@@")):
        return "at"
    return {"+": "add", "-": "del"}.get(line[:1], "")


def _proofs(stored: StoredRun) -> list[Proof]:
    """Return what shows that everything is as it was, or what is not."""
    report = stored.report
    restore = report.restore
    found = [Proof("bad", "NOT put back", what) for what in restore.left]
    if restore.verdict == "nothing to restore":
        return [*found, Proof("good", "nothing was changed")]
    if restore.config_identical is not None:
        said = "is what it was, byte for byte" if restore.config_identical else "DIFFERS from before"
        found.append(Proof("good" if restore.config_identical else "bad", f"the gateway's config {said}"))
    for host, before in stored.configs("before").items():
        after = stored.configs("after").get(host)
        if after is not None:
            same = before == after
            word = f"{host}: " + ("same bytes before and after" if same else "other bytes after than before")
            hashes = f"sha256 {_sha(before)} → {_sha(after)}"
            found.append(Proof("good" if same else "bad", word, hash=hashes))
    if restore.failed_requests is not None:
        tone = "good" if restore.failed_requests == 0 else "bad"
        found.append(Proof(tone, f"{restore.failed_requests} requests failed while everything was put back"))
    again = [row for row in stored.golden if row.primary is not None and row.restored is not None]
    if again:
        same_again = sum(_same(row, "restored") for row in again)
        tone = "good" if same_again == len(again) else "bad"
        found.append(Proof(tone, f"the primary serves again and answers {same_again} of {len(again)} as before"))
    if not restore.left:
        found.append(Proof("good", "nothing is left to undo"))
    return found


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _facts(machine: MachineRecord) -> list[tuple[str, str]]:
    clock = None
    if machine.clock_offset_seconds is not None and machine.clock_error_seconds is not None:
        offset, error = machine.clock_offset_seconds * 1000, machine.clock_error_seconds * 1000
        clock = f"{offset:+.1f} ms ± {error:.1f} ms from the controller's"
    named = [
        ("zone", machine.zone),
        ("fails with", machine.failure_domain),
        ("address", machine.address),
        ("system", machine.system),
        ("kernel", machine.kernel),
        *machine.software.items(),
        ("clock", clock),
        ("machine-id", machine.machine_id),
        ("boot-id", machine.boot_id),
        ("host key", machine.host_key),
        ("not asked", machine.problem),
    ]
    return [(name, value) for name, value in named if value]


def _scope(report: Report) -> list[tuple[str, str]]:
    scope, rto = report.context.scope, report.recovery.rto_seconds
    named = [
        ("estate", f"{report.inventory} ({report.environment})"),
        ("playbook", report.playbook),
        ("clients' address", scope.url),
        ("gateway config", f"{scope.gateway_config}, upstream {scope.upstream}" if scope.gateway_config else ""),
        ("model", scope.model_path),
        ("traffic", f"{scope.rate:g} requests/s of {scope.images} images" if scope.rate else ""),
        ("a request fails", f"after {scope.timeout_seconds:g} s" if scope.timeout_seconds else ""),
        ("is slow", f"after {scope.slow_seconds:g} s" if scope.slow_seconds else ""),
        ("objective", f"recovery within {rto:g} s" if rto is not None else ""),
    ]
    return [(name, value) for name, value in named if value]
