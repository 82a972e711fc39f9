"""The database of runs and health samples: SQLite on this machine, or a PostgreSQL that several controllers share."""
