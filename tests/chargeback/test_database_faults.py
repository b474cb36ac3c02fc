"""A database that dies, is full or locked, a clock that jumps: nothing half-written, one error, and on it goes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from chargeback.core.lines import Line
from chargeback.core.nodes import Node
from chargeback.store.database import Database, DatabaseUnavailable, open_database, sqlite_url
from chargeback.store.ledger import lines_of_month
from chargeback.store.node_states import note_nodes
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all, close_due, keep_closing
from exporter import wire
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, gpu, holding, put, start_ms
from tests.chargeback.store.conftest import begin, database, url
from tests.postgres import Postgres, find_binaries, postgres, start_postgres

__all__ = ["database", "postgres", "url"]

# What the driver still holds of a server that died cannot be closed any more, and says so when it is collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

HOURS, NODES = 4, 5
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
END_MS = start_ms(HOUR + HOURS) + GRACE_MS
WITHIN_S = 60.0


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """By the test that left it, not by a later one."""
    yield
    gc.collect()


def bodies() -> Iterator[wire.NodeHour]:
    for hour in range(HOUR, HOUR + HOURS):
        for number in range(NODES):
            card = f"GPU-{number}"
            yield body(f"n{number}", hour, gpus=[gpu(card)], holdings=[holding(card, end=3_000_000 + number)])


def fill(database: Database) -> None:
    """Twenty node-hours; then the nodes are gone."""
    begin(database)
    nodes = [Node(name=f"n{number}", uid=f"{number}", created_ms=start_ms(HOUR)) for number in range(NODES)]
    with database.write() as connection:
        note_nodes(connection, CLUSTER, nodes, start_ms(HOUR))
        note_nodes(connection, CLUSTER, nodes, start_ms(HOUR + HOURS))
        note_nodes(connection, CLUSTER, [], start_ms(HOUR + HOURS) + 1)
    for sent in bodies():
        put(database, sent)


def ledger(database: Database) -> list[Line]:
    with database.read() as connection:
        return list(lines_of_month(connection, "2026-10"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Line]:
    """What is made of it where nothing happens."""
    database = open_database(sqlite_url(tmp_path_factory.mktemp("undisturbed") / "ledger.db"))
    migrate(database)
    fill(database)
    close_all(database, END_MS, GRACE_MS)
    found = ledger(database)
    database.close()
    assert len(found) == HOURS * NODES * 2
    return found


def opened(url: str) -> Database:
    database = open_database(url)
    migrate(database)
    return database


@pytest.fixture
def mortal() -> Iterator[Postgres]:
    """A server of the test's own, that syncs what it commits."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no `initdb` and `postgres` here: they come with Debian's package `postgresql`")
    with start_postgres(binaries, ("max_connections=40",)) as server:
        yield server


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def stall(url: str) -> None:
    """Have whoever puts the last node's lines wait for minutes."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(300); RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER stall BEFORE INSERT ON lines FOR EACH ROW WHEN (NEW.node = 'n4') EXECUTE FUNCTION stall()"
        )


def test_a_postgresql_that_dies_while_an_hour_is_closed(mortal: Postgres, undisturbed: list[Line]) -> None:
    """SIGKILL in the middle of putting lines: none of the batch is there, and closing again makes the same ledger."""
    url = mortal.new_database()
    database = opened(url)
    fill(database)
    stall(url)
    said: list[str] = []

    def close() -> None:
        with pytest.raises(DatabaseUnavailable) as refused:
            close_due(database, END_MS, GRACE_MS)
        said.append(str(refused.value))

    closing = threading.Thread(target=close)
    closing.start()
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with psycopg.connect(url, autocommit=True) as other:
        until(lambda: other.execute(sleeping).fetchone() == (1,))
    mortal.kill()
    closing.join(WITHIN_S)
    assert len(said) == 1
    with pytest.raises(DatabaseUnavailable, match="Connection refused"):
        close_due(database, END_MS, GRACE_MS)
    mortal.start_again()
    assert ledger(database) == []
    with database.write() as connection:
        connection.execute(text("DROP TRIGGER stall ON lines"))
    close_all(database, END_MS, GRACE_MS)
    assert ledger(database) == undisturbed
    database.close()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, which is soon full."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.decode()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def leave(folder: Path, free_bytes: int) -> Path:
    """Fill a disk up to so many bytes; the file that takes the room."""
    room = folder / "room"
    with room.open("wb") as file:
        left = shutil.disk_usage(folder).free - free_bytes
        while left > 0:
            left -= file.write(b"\0" * min(left, 2**16))
    return room


def test_a_full_disk_of_postgresql(mortal: Postgres, tmp_path: Path, undisturbed: list[Line]) -> None:
    """Tables that cannot grow: nothing of the batch is there, and with room again it is rated as if nothing was."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if parent.owner() == tmp_path.owner() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    with small_disk(tmp_path / "disk", "24m") as disk:
        (disk / "tables").mkdir()
        (disk / "tables").chmod(0o777)
        if os.geteuid() == 0:
            shutil.chown(disk / "tables", "postgres")
        url = mortal.new_database()
        name = url.rpartition("/")[2]
        mortal.run(f"CREATE TABLESPACE small LOCATION '{disk / 'tables'}'")
        mortal.run(f"ALTER DATABASE {name} SET default_tablespace = small")
        database = opened(url)
        fill(database)
        _make_ballast(database)
        leave(disk, 0)
        with pytest.raises(DatabaseUnavailable, match="No space left on device"):
            _close_until_it_fails(database)
        before = ledger(database)
        assert before == [line for line in undisturbed if line.line_id in {each.line_id for each in before}]
        (disk / "room").unlink()
        close_all(database, END_MS, GRACE_MS)
        assert ledger(database) == undisturbed
        database.close()
        mortal.run(f"DROP DATABASE {name}")
        mortal.run("DROP TABLESPACE small")


def _make_ballast(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("CREATE TABLE ballast (x text)"))
        if not database.is_sqlite:
            connection.execute(text("ALTER TABLE ballast ALTER x SET STORAGE EXTERNAL"))  # as large as it looks


def _close_until_it_fails(database: Database) -> None:
    """A node-hour at a time, and what else the database has to do, until there is no room left for it."""
    for _ in range(100):
        close_due(database, END_MS, GRACE_MS, limit=1)
        with database.write() as connection:
            connection.execute(text("INSERT INTO ballast VALUES (:x)"), {"x": "x" * 100_000})


def test_a_full_disk_of_sqlite(tmp_path: Path, undisturbed: list[Line]) -> None:
    """The same, of the embedded database: it can be read meanwhile."""
    with small_disk(tmp_path / "disk", "8m") as disk:
        database = opened(sqlite_url(disk / "ledger.db"))
        fill(database)
        _make_ballast(database)
        room = leave(disk, 0)
        with pytest.raises(DatabaseUnavailable, match=r"disk is full|disk I/O error"):
            _close_until_it_fails(database)
        before = ledger(database)
        assert before == [line for line in undisturbed if line.line_id in {each.line_id for each in before}]
        room.unlink()
        close_all(database, END_MS, GRACE_MS)
        assert ledger(database) == undisturbed
        database.close()


def test_a_sqlite_file_that_another_process_has_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: list[Line]
) -> None:
    """Waited for, for a while; then it is said, and later it works."""
    monkeypatch.setattr("chargeback.store.database.BUSY_TIMEOUT_S", 0.2)
    database = opened(sqlite_url(tmp_path / "ledger.db"))
    fill(database)
    with sqlite3.connect(tmp_path / "ledger.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable, match="locked"):
            close_due(database, END_MS, GRACE_MS)
        assert ledger(database) == []
        other.execute("ROLLBACK")
    other.close()
    close_all(database, END_MS, GRACE_MS)
    assert ledger(database) == undisturbed
    database.close()


def _think_too_long(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("DELETE FROM node_hours"))
        time.sleep(2)
        connection.execute(text("SELECT 1"))


@pytest.mark.parametrize("setting", ["lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"])
def test_timeouts_of_the_operator(postgres: Postgres, setting: str, undisturbed: list[Line]) -> None:
    """A database that is told not to wait: closing fails as a whole, and the next time it works."""
    url = postgres.new_database()
    patient = opened(url)  # before it is told: what shall work must not hang on how busy the machine is
    fill(patient)
    postgres.run(f"ALTER DATABASE {url.rpartition('/')[2]} SET {setting} = '1s'")
    database = open_database(url)
    if setting == "idle_in_transaction_session_timeout":
        with pytest.raises(DatabaseUnavailable):
            _think_too_long(database)
    else:
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE lines IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(DatabaseUnavailable, match="timeout"):
                close_due(database, END_MS, GRACE_MS)
        assert ledger(patient) == []
    close_all(patient, END_MS, GRACE_MS)
    assert ledger(database) == undisturbed
    database.close()
    patient.close()


def test_a_standby_in_the_place_of_the_primary(postgres: Postgres) -> None:
    """After a failover: what cannot be written yet may be later."""
    url = postgres.new_database()
    opened(url).close()
    postgres.run(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    database = open_database(url)
    with pytest.raises(DatabaseUnavailable, match="read-only transaction"):
        put(database, body())
    postgres.run(f"ALTER DATABASE {url.rpartition('/')[2]} RESET default_transaction_read_only")
    assert put(database, body())  # by a new connection: who is still joined to the standby would never write again
    database.close()


@pytest.mark.parametrize("jump_ms", [-DAY_MS, -HOUR_MS, HOUR_MS, DAY_MS], ids=["-1d", "-1h", "+1h", "+1d"])
async def test_a_clock_that_jumps_and_comes_back(database: Database, jump_ms: int, undisturbed: list[Line]) -> None:
    """Hours that are closed too early are rated again with what comes; none is forgotten, none is billed twice."""
    begin(database)
    nodes = [Node(name=f"n{number}", uid=f"{number}", created_ms=start_ms(HOUR)) for number in range(NODES)]
    with database.write() as connection:
        note_nodes(connection, CLUSTER, nodes, start_ms(HOUR))
    for hour in range(HOUR, HOUR + HOURS):
        sent = [each for each in bodies() if each.hour == body(hour=hour).hour]
        now_ms = start_ms(hour) + HOUR_MS
        for each in sent[: NODES // 2]:
            put(database, each, now_ms)
        close_all(database, now_ms + jump_ms, GRACE_MS)
        for each in sent[NODES // 2 :]:
            put(database, each, now_ms + jump_ms)
        close_all(database, now_ms + GRACE_MS, GRACE_MS)
    with database.write() as connection:
        note_nodes(connection, CLUSTER, nodes, start_ms(HOUR + HOURS))
        note_nodes(connection, CLUSTER, [], start_ms(HOUR + HOURS) + 1)
    close_all(database, END_MS + 2 * DAY_MS, GRACE_MS)
    assert ledger(database) == undisturbed


async def test_closing_goes_on_after_a_database_that_was_away(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """One line a try, and no more; then what is due is closed."""
    url = postgres.new_database()
    database = await asyncio.to_thread(opened, url)
    await asyncio.to_thread(fill, database)
    postgres.refuse(url)
    slept: list[float] = []

    class Turns:
        def now_ms(self) -> int:
            return END_MS

        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 2:
                postgres.accept(url)
            if len(slept) == 3:
                raise asyncio.CancelledError

    with caplog.at_level(logging.WARNING), pytest.raises(asyncio.CancelledError):
        await keep_closing(database, Turns(), GRACE_MS)
    assert [record.message for record in caplog.records] == ["closing hours failed"] * 2
    assert len(ledger(database)) == HOURS * NODES * 2
    database.close()
