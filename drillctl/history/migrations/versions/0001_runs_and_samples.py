"""Runs with their reports; hosts, their states and samples."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_METRICS = (
    "recovery_time",
    "uncertainty",
    "detection",
    "switch",
    "answer",
    "lost_requests",
    "wrong_answers",
    "restore_failed",
    "restore_time",
    "latency_p50",
    "latency_p99",
    "duration",
    "recovery_time_limit",
    "lost_requests_limit",
    "restore_failed_limit",
)


def upgrade() -> None:
    """Make the tables. Times are microseconds since 1970 in UTC."""
    op.create_table(
        "drillctl_run",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("inventory", sa.Text, nullable=False),
        sa.Column("playbook", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("exit_code", sa.Integer),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("changed", sa.Boolean, nullable=False),
        sa.Column("comparable", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("drillctl_version", sa.Text),
        sa.Column("controller", sa.Text),
        *(sa.Column(name, sa.Double) for name in _METRICS),
    )
    op.create_index("drillctl_run_started", "drillctl_run", ["started_at"])
    op.create_index("drillctl_run_series", "drillctl_run", ["inventory", "playbook", "started_at"])
    op.create_table(
        "drillctl_report",
        sa.Column("run_id", sa.Text, sa.ForeignKey("drillctl_run.run_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("document", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "drillctl_host",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("inventory", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.UniqueConstraint("inventory", "name", name="drillctl_host_name"),
    )
    op.create_table(
        "drillctl_state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("zone", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("health", sa.Text, nullable=False),
        sa.Column("ready", sa.Boolean, nullable=False),
        sa.Column("model_sha256", sa.Text),
        sa.Column("fingerprint", sa.Text),
        sa.Column("config_sha256", sa.Text),
        sa.Column("configured_zone", sa.Text),
        sa.Column("serving_zone", sa.Text),
        sa.Column("problem", sa.Text),
        sa.UniqueConstraint("digest", name="drillctl_state_digest"),
    )
    op.create_table(
        "drillctl_sample",
        sa.Column("host_id", sa.Integer, sa.ForeignKey("drillctl_host.id"), primary_key=True),
        sa.Column("at", sa.BigInteger, primary_key=True),
        sa.Column("state_id", sa.Integer, sa.ForeignKey("drillctl_state.id"), nullable=False),
        sa.Column("latency_seconds", sa.Double),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """There is no way back: an older drillctl refuses a newer database and says so."""
    raise NotImplementedError
