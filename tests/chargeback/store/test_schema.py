"""Migrations make what `store/tables.py` says, down takes it away again, and two at once do no harm."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from chargeback.store.database import Database, DatabaseError, open_database
from chargeback.store.partitions import PARTITIONED, attached, name_of
from chargeback.store.schema import current, is_current, migrate, migrations_folder
from chargeback.store.tables import metadata
from tests.chargeback.store.bodies import body, put

WITHIN_S = 300  # three starts of Python and of all its libraries took 55 on a machine with 25 programs to run
NEWEST = max(file.name[:4] for file in (migrations_folder() / "versions").glob("0*.py"))


def test_the_migrations_make_the_tables_that_the_code_knows(database: Database) -> None:
    """Names, types, nullability, keys and indexes."""
    with database.read() as connection:
        partitions = {name_of(table, month) for table in PARTITIONED for month in attached(connection, table)}

        def is_ours(name: str | None, kind: str, _: object) -> bool:
            return kind != "table" or name not in partitions

        options = {"compare_type": True, "include_name": is_ours}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    found = inspect(database.engine)
    for table in metadata.tables.values():
        assert found.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]


def test_text_is_ordered_bytewise(database: Database) -> None:
    """Whatever the order of the database itself: exports must not depend on it."""
    with database.write() as connection:
        for word in ("a", "B", "é", "_", "-", "Z", "z"):
            connection.execute(text("INSERT INTO marked_days VALUES (:word, '2026-10-03')"), {"word": word})
        found = connection.execute(text("SELECT cluster FROM marked_days ORDER BY cluster")).scalars().all()
    assert found == sorted(found, key=str.encode)
    if not database.is_sqlite:
        with database.read() as connection:
            assert connection.execute(text("SELECT 'a' < 'B'")).scalar() is True  # the server's own order is another


def test_up_down_and_up_again(database: Database) -> None:
    """Down to nothing, and the ledger works after."""
    assert migrate(database) == (NEWEST, NEWEST)
    assert is_current(database)
    assert migrate(database, "base") == (NEWEST, None)
    assert not is_current(database)
    assert set(inspect(database.engine).get_table_names()) <= {"alembic_version"}
    assert migrate(database, "base") == (None, None)
    assert migrate(database) == (None, NEWEST)
    assert put(database, body())


def test_a_revision_that_is_unknown_is_said(database: Database) -> None:
    """A typing error on the command line."""
    with pytest.raises(DatabaseError, match="0815"):
        migrate(database, "0815")
    assert is_current(database)


def test_a_database_of_a_newer_release_is_left_alone(database: Database) -> None:
    """An older program after a rollback."""
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="9999"):
        migrate(database)
    assert not is_current(database)
    with database.read() as connection:
        assert current(connection) == "9999"


def test_a_migration_that_fails_leaves_nothing(url: str) -> None:
    """DDL is in the transaction, on both databases."""
    database = open_database(url)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE price_books (old INTEGER)"))
    with pytest.raises(Exception, match="price_books"):
        migrate(database)
    assert inspect(database.engine).get_table_names() == ["price_books"]
    database.close()


def test_two_processes_may_migrate_at_once(url: str) -> None:
    """Replicas start together; the one that comes second finds the work done."""
    command = [sys.executable, "-m", "chargeback.cli.main", "migrate", "--database", url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate(timeout=WITHIN_S) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    changes = sorted(out.decode().rpartition(": ")[2].strip() for out, _ in said)
    assert changes == [f"{NEWEST} → {NEWEST}", f"{NEWEST} → {NEWEST}", f"empty → {NEWEST}"]
    database = open_database(url)
    assert is_current(database)
    database.close()
