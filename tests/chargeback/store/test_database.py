"""Opening a database, its transactions, and what is said when it cannot be had."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from chargeback.store.database import Database, DatabaseError, DatabaseUnavailable, open_database, sqlite_url
from chargeback.store.node_hours import last_pushes, unrated
from chargeback.store.schema import migrate
from tests.chargeback.store.bodies import body, put
from tests.postgres import Postgres


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "want a SQLAlchemy URL"),
        ("mysql://localhost/x", "want sqlite or postgresql"),
        ("sqlite://", "want a file"),
        ("sqlite:///:memory:", "want a file"),
        ("postgresql://tests@127.0.0.1:1/x", "Connection refused"),
    ],
)
def test_a_database_that_cannot_be_used_is_named_with_the_reason(url: str, problem: str) -> None:
    """One error, whatever is wrong with the URL or the server."""
    with pytest.raises(DatabaseError, match=problem):
        open_database(url)


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    """A wrong path must not look like a defect of ours."""
    (tmp_path / "ledger.db").write_bytes(b"this is a spreadsheet" * 100)
    with pytest.raises(DatabaseError, match="file is not a database"):
        open_database(sqlite_url(tmp_path / "ledger.db"))


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """The data folder lies below a file."""
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError, match=r"ledger\.db"):
        open_database(sqlite_url(tmp_path / "file" / "ledger.db"))


def test_a_password_is_never_shown() -> None:
    """Errors go to logs."""
    with pytest.raises(DatabaseError) as caught:
        open_database("postgresql://tests:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)


def test_what_fails_half_way_is_not_written(database: Database) -> None:
    """A transaction is whole or not at all."""

    def fail_half_way() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO marked_days VALUES ('lab', '2026-10-03')"))
            raise LookupError

    with pytest.raises(LookupError):
        fail_half_way()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM marked_days")).scalar() == 0


def test_what_is_committed_outlives_a_power_cut(tmp_path: Path) -> None:
    """An agent lets go of an hour once it is told that we have it: SQLite must have synced it by then."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    with database.write() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        full = 2  # with less, a log is only synced when it is moved into the database
        assert connection.execute(text("PRAGMA synchronous")).scalar() == full
    database.close()


def test_a_reader_sees_one_instant(ledger: Database) -> None:
    """What is written meanwhile does not show up in the middle of a report."""
    with ledger.read() as connection:
        assert unrated(connection) == []
        thread = threading.Thread(target=put, args=(ledger, body()))
        thread.start()
        thread.join()
        assert unrated(connection) == []
        assert last_pushes(connection) == []
    with ledger.read() as connection:
        assert len(unrated(connection)) == 1


def test_a_writer_that_reads_first_waits_for_another_process(tmp_path: Path) -> None:
    """`rerate` beside a running server: SQLite would refuse to turn a stale reader into a writer."""
    ours, theirs = (open_database(sqlite_url(tmp_path / "ledger.db")) for _ in range(2))
    migrate(ours)
    thread = threading.Thread(target=put, args=(theirs, body("n2")))
    with ours.write() as connection:
        assert unrated(connection) == []
        thread.start()
        thread.join(0.3)
        connection.execute(text("INSERT INTO marked_days VALUES ('lab', '2026-10-03')"))
    thread.join()
    with ours.read() as connection:
        assert [key.node for key in unrated(connection)] == ["n2"]
    ours.close()
    theirs.close()


def test_a_server_that_goes_away_is_unavailable_and_comes_back(postgres: Postgres) -> None:
    """Nothing of it is a defect: the caller may try again."""
    url = postgres.new_database()
    database = open_database(url)
    migrate(database)
    postgres.refuse(url)
    with pytest.raises(DatabaseUnavailable):
        put(database, body())
    postgres.accept(url)
    assert put(database, body())
    database.close()
