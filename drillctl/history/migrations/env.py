"""What Alembic runs: it migrates over the connection that `schema.py` opened, within that one's transaction."""

from __future__ import annotations

from alembic import context

from drillctl.history.models import Base
from drillctl.history.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
