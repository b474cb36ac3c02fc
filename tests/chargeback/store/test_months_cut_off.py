"""What dies in the middle of a step leaves the month as it was, and the step can be taken again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import DBAPIError

from chargeback.core.lines import TRANSFER
from chargeback.core.policy import PolicyChange
from chargeback.months.close import approve, close, discard, verified
from chargeback.store.database import Database, DatabaseUnavailable, open_database, sqlite_url
from chargeback.store.drafts import digest_of, drafts_of
from chargeback.store.ledger import lines_of_month
from chargeback.store.months import APPROVED, CLOSED, OPEN, state_of
from chargeback.store.policies import change_policy
from chargeback.store.schema import migrate
from chargeback.store.statements import statements_of
from tests.chargeback.store.a_month import MONTH, NOW_MS, draft, fill
from tests.chargeback.store.conftest import begin
from tests.postgres import Postgres, find_binaries, start_postgres

WITHIN_S = 30.0
# Held by the test while a step waits for it in the middle.
GATE = 42


def approved(database: Database) -> None:
    fill(database)
    draft(database)
    approve(database, MONTH, "bob", NOW_MS)


def standing(database: Database) -> tuple[str, int, int]:
    """State of the month, its statements and its drafts."""
    with database.read() as connection:
        return state_of(connection, MONTH), len(statements_of(connection, MONTH)), len(drafts_of(connection, MONTH))


def fail_at(database: Database, table: str, condition: str) -> str:
    """Have the database refuse a row in the middle; the statement that ends it."""
    with database.write() as connection:
        if database.is_sqlite:
            body = "BEGIN SELECT RAISE(ABORT, 'no space left'); END"
            connection.exec_driver_sql(f"CREATE TRIGGER stop BEFORE INSERT ON {table} WHEN {condition} {body}")
            return "DROP TRIGGER stop"
        connection.exec_driver_sql(
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no space left'; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER stop BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION stop()"
        )
        return f"DROP TRIGGER stop ON {table}"


def test_a_close_that_fails_half_way_has_written_nothing(ledger: Database) -> None:
    """As on a full disk: at the third statement."""
    approved(ledger)
    mend = fail_at(ledger, "statements", "NEW.number = 3")
    with pytest.raises(DBAPIError, match="no space left"):
        close(ledger, MONTH, "ann", NOW_MS)
    assert standing(ledger) == (APPROVED, 0, 1)
    with ledger.write() as connection:
        connection.exec_driver_sql(mend)
    close(ledger, MONTH, "ann", NOW_MS)
    assert standing(ledger) == (CLOSED, 4, 1)
    assert list(verified(ledger)) == []


def test_a_draft_that_fails_half_way_leaves_no_transfer(ledger: Database) -> None:
    """Its transfers are written before it; a discarded draft takes its own with it."""
    share_idle(ledger)
    fill(ledger)
    before = lines(ledger)
    mend = fail_at(ledger, "audit", "NEW.action = 'draft-month'")
    with pytest.raises(DBAPIError, match="no space left"):
        draft(ledger)
    assert (standing(ledger), lines(ledger)) == ((OPEN, 0, 0), before)
    with ledger.write() as connection:
        connection.exec_driver_sql(mend)
    draft(ledger)
    shared = [line for line in lines(ledger) if line not in before]
    assert {(line.account, line.amount_micros) for line in shared} == {
        ("cc-a", 2_000_000),
        ("cc-b", 1_000_000),
        ("platform:idle", -3_000_000),
    }
    assert {line.kind for line in shared} == {TRANSFER}
    discard(ledger, MONTH, "ann", NOW_MS, "again")
    assert lines(ledger) == before


def share_idle(database: Database) -> None:
    with database.write() as connection:
        change = PolicyChange(version=0, from_ms=0, values={"idle": "list"})
        change_policy(connection, change, 0, who="ann", why="agreed")


def lines(database: Database) -> list[object]:
    with database.read() as connection:
        return list(lines_of_month(connection, MONTH))


@contextmanager
def gate(postgres_url: str) -> Iterator[None]:
    """Have the second statement wait for a lock that we hold."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN PERFORM pg_advisory_lock_shared({GATE}); RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER stall BEFORE INSERT ON statements FOR EACH ROW WHEN (NEW.number = 2) "
            "EXECUTE FUNCTION stall()"
        )
        connection.execute(f"SELECT pg_advisory_lock({GATE})")
        yield


def stalled(postgres_url: str) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s"
    with psycopg.connect(postgres_url) as connection:
        return connection.execute(query, (GATE,)).fetchone() == (1,)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def closing(database: Database) -> tuple[threading.Thread, list[Exception]]:
    raised: list[Exception] = []

    def run() -> None:
        try:
            close(database, MONTH, "ann", NOW_MS)
        except DatabaseUnavailable as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def test_a_postgresql_that_is_killed_in_mid_close() -> None:
    """With SIGKILL, all of it; when it is back the month is approved as before, and closes."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here")
    with start_postgres(binaries) as server:
        url = server.new_database()
        # The server of tests forgets the last commits when it dies; one in production does not.
        server.run(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = on")
        database = open_database(url)
        migrate(database)
        begin(database)
        approved(database)
        with gate(url):
            thread, raised = closing(database)
            until(lambda: stalled(url))
            data, postmaster = kill(server)
        thread.join()
        assert len(raised) == 1
        with restarted(binaries, data, server.port, postmaster):
            until(lambda: answers(url))
            assert standing(database) == (APPROVED, 0, 1)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("DROP TRIGGER stall ON statements")
            close(database, MONTH, "ann", NOW_MS)
            assert standing(database) == (CLOSED, 4, 1)
            assert list(verified(database)) == []
            database.close()


def kill(server: Postgres) -> tuple[Path, int]:
    """Kill the server and all of its backends; its folder, and who it ran as."""
    with psycopg.connect(server.url("postgres")) as connection:
        (shown,) = connection.execute("SHOW data_directory").fetchone() or ("",)
        backends = [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity")]
    data = Path(shown)
    postmaster = int((data / "postmaster.pid").read_text().split()[0])
    for pid in (postmaster, *backends):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue  # gone with the others
    os.waitpid(postmaster, 0)  # a new one would take what is left of it for alive
    return data, (data / "PG_VERSION").stat().st_uid


@contextmanager
def restarted(binaries: Path, data: Path, port: int, user: int) -> Iterator[None]:
    """The same server again, on the same folder and port."""
    who = (
        {"user": user, "group": (data / "PG_VERSION").stat().st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    )
    options = ("listen_addresses=127.0.0.1", f"unix_socket_directories={data.parent}")
    command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port)]
    command += [part for option in options for part in ("-c", option)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=data, **who) as process:  # type: ignore[call-overload]
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(WITHIN_S)


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_connection_that_is_cut_in_mid_close(postgres: Postgres) -> None:
    """The other programs of the server go on."""
    url = postgres.new_database()
    database = open_database(url)
    migrate(database)
    begin(database)
    approved(database)
    with gate(url):
        thread, raised = closing(database)
        until(lambda: stalled(url))
        postgres.refuse(url)
        thread.join()
    postgres.accept(url)
    assert len(raised) == 1
    assert standing(database) == (APPROVED, 0, 1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TRIGGER stall ON statements")
    close(database, MONTH, "ann", NOW_MS)
    assert list(verified(database)) == []
    database.close()


# Closes as `chargeback close` does, but stalls in the middle: SQLite itself has nothing to wait for.
STALLING = """
import sys, time
from sqlalchemy import event
from chargeback.months.close import close
from chargeback.store.database import open_database
from tests.chargeback.store.a_month import MONTH, NOW_MS

def stall():
    print("stalls", flush=True)
    time.sleep(60)

database = open_database(sys.argv[1])
event.listen(database.engine, "connect", lambda connection, _: connection.create_function("stall", 0, stall))
database.engine.dispose()
close(database, MONTH, "ann", NOW_MS)
"""


def test_a_program_that_is_killed_in_mid_close(tmp_path: Path) -> None:
    """On SQLite, where the program is the database."""
    url = sqlite_url(tmp_path / "ledger.db")
    database = open_database(url)
    migrate(database)
    begin(database)
    approved(database)
    with database.write() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER stall BEFORE INSERT ON statements WHEN NEW.number = 2 BEGIN SELECT stall(); END"
        )
    with subprocess.Popen([sys.executable, "-c", STALLING, url], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stalls\n"
        process.kill()
    assert standing(database) == (APPROVED, 0, 1)
    with database.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER stall")
    close(database, MONTH, "ann", NOW_MS)
    assert standing(database) == (CLOSED, 4, 1)
    with database.read() as connection:
        (made,) = drafts_of(connection, MONTH)
        assert digest_of(connection, MONTH) == made.digest
    database.close()
