"""PostgreSQL: the platform's own tables, and what reading changes needs at the source.

The tables are every statement of ``include/postgres/*.sql``, applied once.
"""

from __future__ import annotations

from lakehouse import metadata_store, replication
from lakehouse.files import include_dir
from lakehouse.setup.changes import Change

_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY 1"


def apply() -> list[Change]:
    """Create the declared tables that are not there, then publications and replication slots.

    The files hold ``CREATE TABLE IF NOT EXISTS`` statements, one table a file.

    Returns:
        One change for each file, publication, slot and table of change data.

    Raises:
        MetadataStoreError: When PostgreSQL cannot be reached.
        ReplicationError: When a source of change data cannot be read as declared.
    """
    changes = []
    with metadata_store.transaction() as connection, connection.cursor() as cursor:
        # Two set-ups at once would both see no table and race to create it.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('lakehouse.setup.postgres'))")
        for path in sorted((include_dir() / "postgres").glob("*.sql")):
            cursor.execute(_TABLES)
            before = {row[0] for row in cursor.fetchall()}
            cursor.execute(path.read_text(encoding="utf-8"))
            cursor.execute(_TABLES)
            created = {row[0] for row in cursor.fetchall()} - before
            name = ", ".join(sorted(created)) or path.stem.partition("_")[2]
            changes.append(Change("postgres", "table", name, "created" if created else "unchanged"))
    return [*changes, *replication.apply()]
