"""The history: every run and every health sample.

    with History.open(inventory=estate) as history:
        history.add_run(report)
        history.runs(inventory="recognition", limit=20)
        history.add_samples(samples)
        history.last_samples("recognition")

Each call is one transaction (or several, where it says so). Every error of the database is a HistoryError with its
advice. A History may be used from several threads.
"""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from sqlalchemy import and_, delete, func, or_, select, tuple_

from drillctl.history import address as addresses
from drillctl.history import schema
from drillctl.history.database import Database
from drillctl.history.models import HostRow, ReportRow, RunRow, SampleRow, StateRow
from drillctl.history.record import UNFINISHED, RunRecord, record_of
from drillctl.history.sample import Sample
from drillctl.last_drill import LastDrill

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from sqlalchemy import Connection, Select

    from drillctl.history.address import Address
    from drillctl.inventory import Inventory
    from drillctl.report.model import Report

T = TypeVar("T")

KEEP_SAMPLES = timedelta(days=180)
"""How long samples are kept where the inventory does not say."""

_BATCH = 500  # rows of one statement; SQLite allows 32,766 values in one
_KEYS = 50  # conditions of one statement
_PAGE = 10_000
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_PRUNE_EVERY_SECONDS = 3600.0
_PRUNE_ROWS = 20_000  # so that a patrol never waits long for it
_RUN_COLUMNS = tuple(RunRow.__table__.c[field.name] for field in fields(RunRecord))
_STATE_FIELDS = tuple(column.name for column in StateRow.__table__.c if column.name not in {"id", "digest"})


class Pruned(NamedTuple):
    """How much was deleted."""

    runs: int
    samples: int


class History:
    """The runs and samples of one database; `keep_samples` is how long samples are kept."""

    def __init__(self, database: Database, keep_samples: timedelta = KEEP_SAMPLES) -> None:
        self._database = database
        self._keep_samples = keep_samples
        self._hosts: dict[tuple[str, str], int] = {}
        self._states: dict[bytes, int] = {}
        self._prune_at = time.monotonic()

    @classmethod
    def open(cls, url: str | None = None, *, inventory: Inventory | None = None) -> Self:
        """Open the history, and bring its schema up to date.

        The database is the one of `url`, else of $DRILLCTL_HISTORY_URL, else of the inventory, else a SQLite file
        beside the runs' folder, which is made when there is none.

        Raises UsageError for a URL that is none, HistoryError when the database cannot be used: unreachable, locked,
        damaged, or from a newer version.
        """
        database = Database(addresses.choose(url, inventory))
        keep = KEEP_SAMPLES if inventory is None else timedelta(days=inventory.history.keep_samples_days)
        try:
            schema.ensure(database)
        except BaseException:
            database.close()
            raise
        return cls(database, keep)

    @property
    def address(self) -> Address:
        """Return which database it is."""
        return self._database.address

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def __enter__(self) -> Self:
        """Return the history itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    # --- runs -------------------------------------------------------------------------------------------------------

    def add_run(self, report: Report | Mapping[str, Any], *, controller: str | None = None) -> bool:
        """Store a run with its report; tell whether it was new.

        A run that is there already is left as it is, whatever this report says, unless it was stored as unfinished.
        `controller` names the machine that drilled; by default this one. Raises ValueError when it is no report.
        """
        document: Mapping[str, Any] = report if not hasattr(report, "model_dump") else report.model_dump(mode="json")
        record = record_of(document, controller=controller or _this_machine())
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        return self.add_record(record, text)

    def add_record(self, record: RunRecord, report: bytes | None = None) -> bool:
        """Store a run as a record, with its report as JSON if there is one; otherwise as `add_run`."""
        values = {field.name: getattr(record, field.name) for field in fields(record)}
        with self._database.writing() as connection:
            if record.verdict != UNFINISHED:
                unfinished = (RunRow.run_id == record.run_id, RunRow.verdict == UNFINISHED)
                connection.execute(delete(RunRow).where(*unfinished))
            insert = self._insert(RunRow).values(values).on_conflict_do_nothing().returning(RunRow.run_id)
            new = connection.execute(insert).first() is not None
            if new and report is not None:
                row = {"run_id": record.run_id, "document": zlib.compress(report, 6)}
                connection.execute(self._insert(ReportRow).values(row))
        return new

    def runs(
        self,
        inventory: str | None = None,
        playbook: str | None = None,
        limit: int | None = None,
        *,
        environment: str | None = None,
        verdict: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        comparable: bool = False,
        begins: str | None = None,
    ) -> list[RunRecord]:
        """Return runs, the newest first; `since` and `until` bound their start, the first inclusive.

        `begins` is what their ids begin with.
        """
        query = select(*_RUN_COLUMNS).order_by(RunRow.started_at.desc(), RunRow.run_id.desc()).limit(limit)
        wanted = (
            (RunRow.inventory, inventory),
            (RunRow.playbook, playbook),
            (RunRow.environment, environment),
            (RunRow.verdict, verdict),
        )
        for column, value in wanted:
            if value is not None:
                query = query.where(column == value)
        if since is not None:
            query = query.where(RunRow.started_at >= since)
        if until is not None:
            query = query.where(RunRow.started_at < until)
        if comparable:
            query = query.where(RunRow.comparable)
        if begins is not None:
            query = query.where(RunRow.run_id.startswith(begins, autoescape=True))
        with self._database.reading() as connection:
            return [RunRecord(*row) for row in connection.execute(query)]

    def run(self, run_id: str) -> RunRecord | None:
        """Return one run, or None."""
        with self._database.reading() as connection:
            row = connection.execute(select(*_RUN_COLUMNS).where(RunRow.run_id == run_id)).first()
        return None if row is None else RunRecord(*row)

    def report(self, run_id: str) -> dict[str, Any] | None:
        """Return the whole report of a run as the document that `--json` prints, or None."""
        with self._database.reading() as connection:
            found = connection.execute(select(ReportRow.document).where(ReportRow.run_id == run_id)).scalar()
        if found is None:
            return None
        document: dict[str, Any] = json.loads(zlib.decompress(found))
        return document

    def run_ids(self) -> dict[str, bool]:
        """Return the id of every run, and whether its report is there."""
        query = select(RunRow.run_id, ReportRow.run_id.is_not(None).label("there")).outerjoin(
            ReportRow, RunRow.run_id == ReportRow.run_id
        )
        with self._database.reading() as connection:
            return {row.run_id: row.there for row in connection.execute(query)}

    def series(self) -> list[tuple[str, str]]:
        """Return every pair of inventory and playbook that has runs, by name."""
        query = select(RunRow.inventory, RunRow.playbook).distinct().order_by(RunRow.inventory, RunRow.playbook)
        with self._database.reading() as connection:
            return [(row.inventory, row.playbook) for row in connection.execute(query)]

    def last_drill(self, inventory: str) -> LastDrill | None:
        """Return the run on an inventory that was the last to change something on its hosts, or None."""
        ended = func.coalesce(RunRow.finished_at, RunRow.started_at, type_=RunRow.started_at.type)
        query = (
            select(RunRow.started_at, RunRow.run_id, RunRow.finished_at)
            .where(RunRow.inventory == inventory, RunRow.changed, RunRow.verdict != "not-started")
            .order_by(ended.desc(), RunRow.run_id.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else LastDrill(*row)

    # --- samples ----------------------------------------------------------------------------------------------------

    def add_samples(self, samples: Sequence[Sample]) -> None:
        """Store samples in one transaction; those that are there already (same host and time) are left as they are.

        Once an hour it also deletes a part of the samples that are older than they are kept.
        """
        if not samples:
            return
        with self._database.writing() as connection:
            hosts, states = self._learn_hosts(connection, samples), self._learn_states(connection, samples)
            rows = [
                {
                    "host_id": hosts[sample.inventory, sample.host],
                    "at": sample.at,
                    "state_id": states[_digest(sample)],
                    "latency_seconds": sample.latency_seconds,
                }
                for sample in samples
            ]
            connection.execute(self._insert(SampleRow).on_conflict_do_nothing(), rows)
        # Only what is stored for good may be remembered.
        self._hosts, self._states = hosts, states
        if time.monotonic() >= self._prune_at:
            self._prune_at = time.monotonic() + _PRUNE_EVERY_SECONDS
            self._delete_samples(datetime.now(UTC) - self._keep_samples, at_most=_PRUNE_ROWS)

    def samples(
        self, inventory: str, host: str, since: datetime, until: datetime, limit: int | None = None
    ) -> list[Sample]:
        """Return the samples of a host from `since` to before `until`, by time."""
        query = (
            _sample_query()
            .where(HostRow.inventory == inventory, HostRow.name == host)
            .where(SampleRow.at >= since, SampleRow.at < until)
            .order_by(SampleRow.at)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [Sample(**row._mapping) for row in connection.execute(query)]

    def each_sample(
        self, inventory: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[Sample]:
        """Yield samples host by host, each by time, a page of them in memory at once.

        Each page is a transaction: what is written meanwhile may or may not be among them.
        """
        hosts = select(HostRow.inventory, HostRow.name).order_by(HostRow.inventory, HostRow.name)
        if inventory is not None:
            hosts = hosts.where(HostRow.inventory == inventory)
        with self._database.reading() as connection:
            named = [(row.inventory, row.name) for row in connection.execute(hosts)]
        for estate, host in named:
            start = since or _FIRST
            while page := self.samples(estate, host, start, until or _LAST, _PAGE):
                yield from page
                start = page[-1].at + timedelta(microseconds=1)

    def last_samples(self, inventory: str | None = None) -> dict[tuple[str, str], Sample]:
        """Return the last sample of every host, by inventory and host."""
        last = select(func.max(SampleRow.at)).where(SampleRow.host_id == HostRow.id).scalar_subquery()
        hosts = select(HostRow.id, last)
        if inventory is not None:
            hosts = hosts.where(HostRow.inventory == inventory)
        with self._database.reading() as connection:
            keys = [(host_id, at) for host_id, at in connection.execute(hosts) if at is not None]
            found: list[Sample] = []
            for batch in _batches(keys, _KEYS):
                # Each key by itself: SQLite finds no row of a list of pairs by the index.
                exactly = (and_(SampleRow.host_id == host_id, SampleRow.at == at) for host_id, at in batch)
                query = _sample_query().where(or_(*exactly))
                found += [Sample(**row._mapping) for row in connection.execute(query)]
        found.sort(key=lambda sample: (sample.inventory, sample.host))
        return {(sample.inventory, sample.host): sample for sample in found}

    # --- retention --------------------------------------------------------------------------------------------------

    def prune(self, *, samples_before: datetime | None = None, runs_before: datetime | None = None) -> Pruned:
        """Delete samples, and runs with their reports, from before a time; None: keep them all.

        In transactions of a bounded size, so that others can write in between.
        """
        samples = runs = 0
        if samples_before is not None:
            samples = self._delete_samples(samples_before)
        if runs_before is not None:
            old = select(RunRow.run_id).where(RunRow.started_at < runs_before)
            with self._database.writing() as connection:
                connection.execute(delete(ReportRow).where(ReportRow.run_id.in_(old)))
                runs = connection.execute(delete(RunRow).where(RunRow.started_at < runs_before)).rowcount
        return Pruned(runs, samples)

    def _delete_samples(self, before: datetime, at_most: int | None = None) -> int:
        """Delete samples from before a time, host by host, because that is how they lie; return how many."""
        with self._database.reading() as connection:
            hosts = list(connection.execute(select(HostRow.id)).scalars())
        deleted = 0
        for host in hosts:
            while at_most is None or deleted < at_most:
                here = SampleRow.host_id == host
                with self._database.writing() as connection:
                    # The first row that stays (or the end of this bite) is found by the key, whatever the table's size.
                    later = select(SampleRow.at).where(here).order_by(SampleRow.at).offset(_PRUNE_ROWS).limit(1)
                    end = connection.execute(later).scalar()
                    until = before if end is None else min(end, before)
                    gone = connection.execute(delete(SampleRow).where(here, SampleRow.at < until)).rowcount
                deleted += gone
                if gone == 0 or end is None or end >= before:
                    break
        return deleted

    # --- within a transaction ---------------------------------------------------------------------------------------

    def _learn_hosts(self, connection: Connection, samples: Iterable[Sample]) -> dict[tuple[str, str], int]:
        """Return the ids of hosts, those of the samples among them; new hosts are stored."""
        missing = sorted({(s.inventory, s.host) for s in samples} - self._hosts.keys())
        if not missing:
            return self._hosts
        rows = [{"inventory": inventory, "name": name} for inventory, name in missing]
        connection.execute(self._insert(HostRow).on_conflict_do_nothing(), rows)
        known = dict(self._hosts)
        for batch in _batches(missing):
            query = select(HostRow).where(tuple_(HostRow.inventory, HostRow.name).in_(batch))
            known |= {(row.inventory, row.name): row.id for row in connection.execute(query)}
        return known

    def _learn_states(self, connection: Connection, samples: Iterable[Sample]) -> dict[bytes, int]:
        """Return the ids of states by digest, those of the samples among them; new states are stored."""
        wanted = {_digest(sample): sample for sample in samples}
        missing = sorted(wanted.keys() - self._states.keys())
        if not missing:
            return self._states
        rows = [
            {"digest": digest, **{name: getattr(wanted[digest], name) for name in _STATE_FIELDS}} for digest in missing
        ]
        connection.execute(self._insert(StateRow).on_conflict_do_nothing(), rows)
        known = dict(self._states)
        for batch in _batches(missing):
            query = select(StateRow.digest, StateRow.id).where(StateRow.digest.in_(batch))
            known |= {row.digest: row.id for row in connection.execute(query)}
        return known

    def _insert(self, model: type[RunRow | ReportRow | HostRow | StateRow | SampleRow]) -> Any:
        """Return an INSERT of the dialect: both databases know ON CONFLICT, SQLAlchemy's common one does not."""
        if self._database.dialect == "sqlite":
            from sqlalchemy.dialects.sqlite import insert
        else:
            from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
        return insert(model)


def _sample_query() -> Select[Any]:
    """Return a query of samples, its columns named as the fields of `Sample`."""
    states = [StateRow.__table__.c[name] for name in _STATE_FIELDS]
    return (
        select(SampleRow.at, HostRow.inventory, HostRow.name.label("host"), SampleRow.latency_seconds, *states)
        .join(HostRow, HostRow.id == SampleRow.host_id)
        .join(StateRow, StateRow.id == SampleRow.state_id)
    )


def _digest(sample: Sample) -> bytes:
    """Return the sha256 of everything in a sample but host, time and latency."""
    state = [getattr(sample, name) for name in _STATE_FIELDS]
    return hashlib.sha256(json.dumps(state, ensure_ascii=True).encode()).digest()


def _batches(values: list[T], size: int = _BATCH) -> list[list[T]]:
    return [values[start : start + size] for start in range(0, len(values), size)]


def _this_machine() -> str:
    import socket

    return socket.gethostname()
