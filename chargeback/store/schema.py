"""The schema of the database: migrated up at `serve`'s start and by `chargeback migrate`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text

from chargeback.store.database import Connection, Database, DatabaseError

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
        if revision != "head" and _is_older(config, revision, before):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        return before, current(connection)


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


def _is_older(config: Config, revision: str, before: str | None) -> bool:
    if before is None:
        return False
    if revision == "base":
        return True
    older = {script.revision for script in ScriptDirectory.from_config(config).iterate_revisions(before, "base")}
    return revision in older and revision != before
