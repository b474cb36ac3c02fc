"""The schema of the database: migrated up at `serve`'s start and by `chargeback migrate`."""

from __future__ import annotations

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

from chargeback.store.database import Connection, Database, DatabaseError
from chargeback.store.tables import metadata

# How long the migration waits for tables in use: often for a little, ten minutes in all; a startup probe longer.
HOLD_TRIES, HOLD_WITHIN_MS, HOLD_PAUSE_S = 1_000, 500, 0.1
_LOCK_NOT_AVAILABLE = "55P03"
# Any number will do, as long as every replica takes the same: two must not migrate at once.
_LOCK = 0x67707563


def migrate(database: Database, revision: str = "head") -> tuple[str | None, str | None]:
    """Bring the schema to a revision in one transaction; the revisions before and after.

    Raises DatabaseError where this release does not know the revision, or the one that the database has.
    """
    try:
        return _migrate(database, revision)
    except CommandError as error:
        raise DatabaseError(f"database: its schema cannot be brought to {revision}: {error}") from error


def _migrate(database: Database, revision: str) -> tuple[str | None, str | None]:
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        before = current(connection)
        config = _config(connection)
        if before is not None and not _is_there(config, revision, before):
            _hold_all(connection)
        if revision != "head" and _is_older(config, revision, before):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        return before, current(connection)


def _hold_all(connection: Connection) -> None:
    """Let nobody else read or write until the migration is over: who begins meanwhile waits, and nothing is lost.

    All tables at once or none: whoever holds one and waits for another is let through first. Giving up before the
    server looks for deadlocks (after 1 s, unless told otherwise), it breaks nobody's transaction.
    """
    if connection.dialect.name == "sqlite":
        return  # has one writer, and readers that see what was
    tables = ", ".join(sorted(metadata.tables.keys() & set(inspect(connection).get_table_names())))
    for _ in range(HOLD_TRIES):
        try:
            with connection.begin_nested():
                connection.execute(text(f"SET LOCAL lock_timeout = {HOLD_WITHIN_MS}"))
                connection.execute(text(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            time.sleep(HOLD_PAUSE_S)
        else:
            connection.execute(text("SET LOCAL lock_timeout TO DEFAULT"))
            return
    raise DatabaseError("database: its tables are in use by long transactions: end them and migrate again")


def current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def is_current(database: Database) -> bool:
    with database.read() as connection:
        return current(connection) == ScriptDirectory(str(migrations_folder())).get_current_head()


def migrations_folder() -> Path:
    """Inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def _config(connection: Connection) -> Config:
    config = Config()
    # A % in the path would be read as interpolation.
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _is_there(config: Config, revision: str, before: str) -> bool:
    if revision == "head":
        return before == ScriptDirectory.from_config(config).get_current_head()
    return revision == before


def _is_older(config: Config, revision: str, before: str | None) -> bool:
    if before is None:
        return False
    if revision == "base":
        return True
    older = {script.revision for script in ScriptDirectory.from_config(config).iterate_revisions(before, "base")}
    return revision in older and revision != before
