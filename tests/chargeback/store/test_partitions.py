"""Months of their own on PostgreSQL: made ahead and on demand, by several at once, and while others write."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from chargeback.core.hours import parse_hour
from chargeback.store.bulk import bulk_insert
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.partitions import (
    PARTITIONED,
    TooOld,
    attached,
    detached_tables,
    first_hour,
    make_ahead,
    name_of,
    utc_month,
    want_months,
)
from chargeback.store.schema import migrate
from chargeback.store.tables import kept_from, lines, node_hour_bodies
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import GRACE_MS, HOUR, body, holding, put, start_ms
from tests.chargeback.store.conftest import begin
from tests.postgres import Postgres


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Database]:
    """A migrated PostgreSQL database without any partition."""
    database = open_database(postgres.new_database())
    migrate(database)
    yield database
    database.close()


def months(database: Database) -> list[list[str]]:
    with database.read() as connection:
        return [attached(connection, table) for table in PARTITIONED]


@pytest.mark.parametrize(
    ("hour", "month"),
    [("2026-09-30T23Z", "2026-09"), ("2026-10-01T00Z", "2026-10"), ("2028-02-29T23Z", "2028-02")],
)
def test_bodies_are_kept_by_utc_months(hour: str, month: str) -> None:
    """Whatever the ledger's time zone: a body's hour is one of UTC."""
    number = parse_hour(hour)
    assert utc_month(number) == month
    assert first_hour(month) <= number < first_hour(month) + 31 * 24


def test_this_month_and_the_next_three_are_made_ahead(server: Database) -> None:
    """Over the end of a year, and only once."""
    now_ms = start_ms(parse_hour("2026-11-15T10Z"))
    made = make_ahead(server, now_ms)
    want = ["2026-11", "2026-12", "2027-01", "2027-02"]
    assert made == [name_of(table, month) for table in PARTITIONED for month in want]
    assert months(server) == [want, want]
    assert make_ahead(server, now_ms) == []


def test_sqlite_has_none(tmp_path: Path) -> None:
    """The same functions, and nothing to do."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    assert make_ahead(database, start_ms(HOUR)) == []
    assert months(database) == [[], []]
    with database.read() as connection:
        assert detached_tables(connection) == []
    database.close()


def test_a_late_body_makes_the_partition_of_its_month(server: Database) -> None:
    """Up to 400 days late; its lines follow when it is rated."""
    begin(server)
    late = HOUR - 399 * 24
    assert put(server, body(hour=late, holdings=[holding()]))
    assert put(server, body(hour=late, seq=2, holdings=[holding()]))
    assert months(server) == [[utc_month(late)], []]
    close_all(server, start_ms(late + 1) + GRACE_MS, GRACE_MS)
    assert months(server) == [[utc_month(late)], [utc_month(late)]]


def test_a_partition_stays_though_its_first_row_does_not(server: Database) -> None:
    """It is made in a transaction of its own, so what fails after it undoes nothing that others may use by now."""

    def fail() -> None:
        with server.write() as connection:
            want_months(connection, lines, ["2026-10"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert months(server) == [[], ["2026-10"]]
    with server.write() as connection:
        want_months(connection, lines, ["2026-10"])


def test_replicas_make_the_same_partitions_at_once(server: Database) -> None:
    """Each asks for the same months; one makes each, the others find it there."""
    url = server.engine.url.render_as_string(hide_password=False)
    replicas = [open_database(url) for _ in range(4)]
    gate = threading.Barrier(len(replicas))

    def make(replica: Database) -> list[str]:
        gate.wait()
        with replica.write() as connection:
            want_months(connection, node_hour_bodies, ["2026-10", "2026-11"])
        return make_ahead(replica, start_ms(HOUR))

    with ThreadPoolExecutor(len(replicas)) as pool:
        made = [name for names in pool.map(make, replicas) for name in names]
    assert max(Counter(made).values()) == 1
    want = ["2026-10", "2026-11", "2026-12", "2027-01"]
    assert months(server) == [want, want]
    for replica in replicas:
        replica.close()


def test_a_partition_is_made_while_others_write_and_read(server: Database) -> None:
    """A long report and an open push, of other months, are not waited for and do not wait."""
    make_ahead(server, start_ms(HOUR))
    begin(server)
    put(server, body(holdings=[holding()]))
    close_all(server, start_ms(HOUR + 1) + GRACE_MS, GRACE_MS)
    with server.read() as report, server.write() as push:
        assert report.execute(select(func.count()).select_from(lines)).scalar() == 1
        push.execute(text("UPDATE lines SET revision = revision"))
        with server.write() as other:
            want_months(other, lines, ["2025-01"])
    assert "2025-01" in months(server)[1]


def test_what_was_let_go_is_refused(database: Database) -> None:
    """On both databases: a body of a month that is no longer kept could not be rated rightly."""
    with database.write() as connection:
        bulk_insert(connection, kept_from, ("what", "month"), [("node_hour_bodies", "2026-10")])
    with pytest.raises(TooOld, match="2026-09 is no longer kept: want 2026-10 or later"):
        put(database, body(hour=parse_hour("2026-09-30T23Z")))
    assert put(database, body(hour=parse_hour("2026-10-01T00Z")))
