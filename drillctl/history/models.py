"""The tables of the history, as typed models. A change here needs a file in `migrations/versions`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Dialect, Double, ForeignKey, Index, Integer, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Moment(TypeDecorator[datetime]):
    """A moment as whole microseconds since 1970 in UTC: 8 bytes, exact, and the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Return what is stored. A time without a timezone is a bug, and refused."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no timezone")
        return (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment that was stored, in UTC."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Words(TypeDecorator[str]):
    """Text of any origin: what no database takes (lone surrogates, and NUL for PostgreSQL) is written as an escape."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return what is stored."""
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


# A SQLite key that counts by itself must be an INTEGER; elsewhere four bytes are enough as well.
_Id = Integer


class Base(DeclarativeBase):
    """The tables; their names begin with drillctl_, because a database may be shared with other programs."""

    type_annotation_map = {str: Words, float: Double, datetime: Moment, bytes: LargeBinary}  # noqa: RUF012 - SQLAlchemy's own contract


class RunRow(Base):
    """A run in columns, to be listed, compared and drawn; the fields are those of `record.RunRecord`."""

    __tablename__ = "drillctl_run"
    __table_args__ = (
        Index("drillctl_run_started", "started_at"),
        Index("drillctl_run_series", "inventory", "playbook", "started_at"),
    )

    run_id: Mapped[str] = mapped_column(primary_key=True)
    inventory: Mapped[str]
    playbook: Mapped[str]
    environment: Mapped[str]
    verdict: Mapped[str]
    exit_code: Mapped[int | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    changed: Mapped[bool]
    comparable: Mapped[bool]
    reason: Mapped[str | None]
    drillctl_version: Mapped[str | None]
    controller: Mapped[str | None]
    recovery_time: Mapped[float | None]
    uncertainty: Mapped[float | None]
    detection: Mapped[float | None]
    switch: Mapped[float | None]
    answer: Mapped[float | None]
    lost_requests: Mapped[float | None]
    wrong_answers: Mapped[float | None]
    restore_failed: Mapped[float | None]
    restore_time: Mapped[float | None]
    latency_p50: Mapped[float | None]
    latency_p99: Mapped[float | None]
    duration: Mapped[float | None]
    recovery_time_limit: Mapped[float | None]
    lost_requests_limit: Mapped[float | None]
    restore_failed_limit: Mapped[float | None]


class ReportRow(Base):
    """The whole report of a run, as JSON in UTF-8, compressed by zlib; apart from the run, so that lists stay quick."""

    __tablename__ = "drillctl_report"

    run_id: Mapped[str] = mapped_column(ForeignKey("drillctl_run.run_id", ondelete="CASCADE"), primary_key=True)
    document: Mapped[bytes]


class HostRow(Base):
    """A host of an inventory that was ever sampled."""

    __tablename__ = "drillctl_host"
    __table_args__ = (UniqueConstraint("inventory", "name", name="drillctl_host_name"),)

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    inventory: Mapped[str]
    name: Mapped[str]


class StateRow(Base):
    """Everything of a sample but its time and latency. Hosts seldom change, so a state is kept once and named often.

    `digest` is the sha256 of all the other columns, which makes equal states one row.
    """

    __tablename__ = "drillctl_state"
    __table_args__ = (UniqueConstraint("digest", name="drillctl_state_digest"),)

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    digest: Mapped[bytes]
    zone: Mapped[str | None]
    role: Mapped[str]
    health: Mapped[str]
    ready: Mapped[bool]
    model_sha256: Mapped[str | None]
    fingerprint: Mapped[str | None]
    config_sha256: Mapped[str | None]
    configured_zone: Mapped[str | None]
    serving_zone: Mapped[str | None]
    problem: Mapped[str | None]


class SampleRow(Base):
    """One sample. Its key is also the order in which samples are read: by host, then by time."""

    __tablename__ = "drillctl_sample"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's own contract

    host_id: Mapped[int] = mapped_column(ForeignKey("drillctl_host.id"), primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    state_id: Mapped[int] = mapped_column(ForeignKey("drillctl_state.id"))
    latency_seconds: Mapped[float | None]
