"""Old months go: bodies first, lines long after, none that is not closed, and what went is never rated again."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text

from chargeback.core.hours import HOUR_MS, month_after, month_span_ms
from chargeback.exports import Wish, export
from chargeback.months.close import verified
from chargeback.store.audit import entries
from chargeback.store.database import Database, DatabaseUnavailable, open_database
from chargeback.store.ledger import lines_of_month
from chargeback.store.months import CLOSED, DRAFT, MonthState, hours_of, put_state
from chargeback.store.node_hours import make_all_due, make_due_between
from chargeback.store.partitions import TooOld, attached, detached_tables, first_hour
from chargeback.store.retention import Gone, Keep, Waiting, let_go
from chargeback.store.rollup import totals_of_month
from chargeback.store.tables import lines, node_hour_bodies, node_hours
from chargeback.tasks.close_hours import close_all, close_due
from tests.chargeback.store import a_month
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, body, holding, put, start_ms

DAY_MS = 24 * HOUR_MS
KEEP = Keep(bodies_ms=400 * DAY_MS, lines_ms=3653 * DAY_MS)
MONTHS = ("2026-09", "2026-10", "2026-11")


def end_ms(month: str) -> int:
    return month_span_ms(month, "UTC")[1]


def fill(database: Database, months: tuple[str, ...] = MONTHS) -> None:
    """One node-hour in each month, in its middle, rated; its node's cards are gone the next hour."""
    for month in months:
        hour = first_hour(month) + 300
        put(database, body(hour=hour, holdings=[holding()]))
        put(database, body(hour=hour + 1, gpus=[]))
        close_all(database, start_ms(hour + 2) + GRACE_MS, GRACE_MS)


def set_state(database: Database, month: str, state: str = CLOSED) -> None:
    first, last = hours_of(month, "UTC")
    with database.write() as connection:
        put_state(
            connection,
            MonthState(month=month, state=state, draft=1, first_hour=first, last_hour=last, changed_ms=0),
        )


def count(database: Database, table: str = "node_hour_bodies") -> int:
    with database.read() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def months_with_lines(database: Database) -> list[str]:
    with database.read() as connection:
        return [month for month in MONTHS if list(lines_of_month(connection, month))]


def names(gone: list[Gone]) -> list[tuple[str, str]]:
    return [(each.table, each.month) for each in gone]


def test_bodies_go_when_their_month_is_closed_and_old(ledger: Database) -> None:
    """A millisecond before its time nothing goes; then one month, with its rows kept aside on PostgreSQL."""
    fill(ledger)
    for month in MONTHS:
        set_state(ledger, month)
    assert let_go(ledger, KEEP, end_ms("2026-09") + 400 * DAY_MS - 1) == ([], [])
    gone, waiting = let_go(ledger, KEEP, end_ms("2026-09") + 400 * DAY_MS)
    assert (names(gone), waiting) == ([("node_hour_bodies", "2026-09")], [])
    assert count(ledger) == 4
    assert months_with_lines(ledger) == list(MONTHS)
    with ledger.read() as connection:
        if ledger.is_sqlite:
            assert detached_tables(connection) == []
        else:
            assert detached_tables(connection) == ["node_hour_bodies_2026_09_detached"] == [gone[0].now]
            assert attached(connection, node_hour_bodies) == ["2026-10", "2026-11"]
        (entry,) = entries(connection, "node_hour_bodies 2026-09")
    assert (entry.action, entry.who) == ("let-go", "chargeback serve")
    if not ledger.is_sqlite:
        assert count(ledger, "node_hour_bodies_2026_09_detached") == 2
    assert let_go(ledger, KEEP, end_ms("2026-09") + 400 * DAY_MS) == ([], [])


@pytest.mark.parametrize("state", [DRAFT, None])
def test_a_month_that_is_not_closed_stays_and_so_do_later_ones(ledger: Database, state: str | None) -> None:
    """However old it is: it can still be corrected in place, from its bodies."""
    fill(ledger)
    if state is not None:
        set_state(ledger, "2026-09", state)
    for month in MONTHS[1:]:
        set_state(ledger, month)
    gone, waiting = let_go(ledger, KEEP, end_ms("2026-11") + 3000 * DAY_MS)
    assert (gone, waiting) == ([], [Waiting(table="node_hour_bodies", month="2026-09")])
    assert count(ledger) == 6


def test_lines_go_after_ten_years_with_what_is_kept_beside_them(ledger: Database) -> None:
    """Totals and audit stay: a report of the month says the same as before."""
    fill(ledger)
    for month in MONTHS[:2]:
        set_state(ledger, month)
    with ledger.read() as connection:
        before = list(totals_of_month(connection, "2026-09"))
    gone, waiting = let_go(ledger, KEEP, end_ms("2026-09") + KEEP.lines_ms)
    assert names(gone) == [("node_hour_bodies", "2026-09"), ("node_hour_bodies", "2026-10"), ("lines", "2026-09")]
    assert waiting == [Waiting(table="node_hour_bodies", month="2026-11")]
    assert months_with_lines(ledger) == ["2026-10", "2026-11"]
    with ledger.read() as connection:
        assert list(totals_of_month(connection, "2026-09")) == before != []
        hours = connection.execute(select(func.min(node_hours.c.hour))).scalar_one()
    assert hours == first_hour("2026-10") + 300


def test_lines_outlive_their_bodies(ledger: Database) -> None:
    """Else bodies that are still there would be rated again into a month that looks empty."""
    fill(ledger)
    for month in MONTHS:
        set_state(ledger, month)
    gone, _ = let_go(ledger, Keep(bodies_ms=KEEP.bodies_ms, lines_ms=0), end_ms("2026-10") + KEEP.bodies_ms)
    assert names(gone) == [
        ("node_hour_bodies", "2026-09"),
        ("node_hour_bodies", "2026-10"),
        ("lines", "2026-09"),
        ("lines", "2026-10"),
    ]
    assert months_with_lines(ledger) == ["2026-11"]


def test_what_went_is_neither_taken_in_nor_rated_again(ledger: Database) -> None:
    """Without its bodies it would be taken for unobserved, and corrected away."""
    fill(ledger)
    for month in MONTHS:
        set_state(ledger, month)
    now_ms = end_ms("2026-09") + 400 * DAY_MS
    hour = first_hour("2026-09") + 300
    with ledger.write() as connection:
        make_due_between(connection, CLUSTER, None, hour, hour, now_ms)
    let_go(ledger, KEEP, now_ms)
    with ledger.read() as connection:
        before = list(lines_of_month(connection, "2026-09"))
    with ledger.write() as connection:
        assert make_due_between(connection, CLUSTER, None, 0, first_hour("2026-10") - 1, now_ms) == 0
        make_all_due(connection, None, 0, now_ms)
    while close_due(ledger, now_ms, GRACE_MS):
        pass
    with ledger.read() as connection:
        assert list(lines_of_month(connection, "2026-09")) == before
        revisions = select(node_hours.c.revision).where(node_hours.c.hour == hour)
        assert connection.execute(revisions).scalar_one() == 1
        assert connection.execute(select(func.count()).where(lines.c.corrects_month == "2026-09")).scalar_one() == 0
    ledger.engine.dispose()  # a connection remembers for a minute which months it may write
    with pytest.raises(TooOld, match="2026-09 is no longer kept"):
        put(ledger, body(hour=hour, seq=2), now_ms)


def test_a_month_of_a_zone_lies_in_two_of_utc(ledger: Database) -> None:
    """Bodies go by UTC months: a September of UTC has hours of a local October, which must be closed, too."""
    with ledger.write() as connection:
        connection.execute(text("UPDATE policies SET timezone = 'Asia/Tokyo'"))
    put(ledger, body(hour=first_hour("2026-10") - 1, holdings=[holding()]))
    set_state(ledger, "2026-09")
    now_ms = end_ms("2026-09") + KEEP.bodies_ms
    assert let_go(ledger, KEEP, now_ms) == ([], [Waiting(table="node_hour_bodies", month="2026-09")])
    set_state(ledger, "2026-10")
    assert names(let_go(ledger, KEEP, now_ms)[0]) == [("node_hour_bodies", "2026-09")]


def test_a_month_that_nobody_can_close_keeps_nothing(ledger: Database) -> None:
    """East or west of UTC a month lies in two; one in which no body lies may have no line, and so is never closed."""
    with ledger.write() as connection:
        connection.execute(text("UPDATE policies SET timezone = 'Asia/Tokyo'"))
    fill(ledger, MONTHS[:1])
    set_state(ledger, "2026-09")
    gone, waiting = let_go(ledger, KEEP, end_ms("2026-09") + KEEP.bodies_ms)
    assert (names(gone), waiting) == ([("node_hour_bodies", "2026-09")], [])


def test_a_closed_month_whose_lines_went_is_still_what_was_closed(ledger: Database) -> None:
    """Its statements stay, and are verified; of lines that were let go nobody has changed any."""
    a_month.fill(ledger)
    a_month.closed(ledger)
    gone, _ = let_go(ledger, Keep(bodies_ms=0, lines_ms=0), end_ms(a_month.MONTH))
    assert names(gone) == [("node_hour_bodies", a_month.MONTH), ("lines", a_month.MONTH)]
    assert list(verified(ledger)) == []
    with ledger.write() as connection:
        connection.execute(text("UPDATE statements SET amount_micros = amount_micros + 1 WHERE account = 'cc-a'"))
    assert any("its statements have amount_micros 12000001" in each for each in verified(ledger))


def test_details_of_lines_that_went_are_refused(ledger: Database) -> None:
    """An empty one would read as a month without costs. What is made of the totals of days is as before."""
    a_month.fill(ledger)
    a_month.closed(ledger)
    details = ("summary", "namespace", "pod", "hour")
    before = {detail: b"".join(export(ledger, Wish(month=a_month.MONTH, detail=detail))) for detail in details}
    let_go(ledger, Keep(bodies_ms=0, lines_ms=0), end_ms(a_month.MONTH))
    for detail in ("summary", "namespace"):
        assert b"".join(export(ledger, Wish(month=a_month.MONTH, detail=detail))) == before[detail]
    for detail in ("pod", "hour"):
        with pytest.raises(TooOld, match="2024-10 is no longer kept: want 2024-11 or later"):
            list(export(ledger, Wish(month=a_month.MONTH, detail=detail)))


def test_replicas_let_go_of_a_month_once(ledger: Database, url: str) -> None:
    """And each comes to the same."""
    fill(ledger)
    for month in MONTHS:
        set_state(ledger, month)
    replicas = [open_database(url) for _ in range(3)]
    gate = threading.Barrier(len(replicas))

    def run(replica: Database) -> None:
        gate.wait()
        let_go(replica, KEEP, end_ms("2026-11") + KEEP.bodies_ms)

    with ThreadPoolExecutor(len(replicas)) as pool:
        list(pool.map(run, replicas))
    for replica in replicas:
        let_go(replica, KEEP, end_ms("2026-11") + KEEP.bodies_ms)  # who was not first finds it done
        replica.close()
    assert count(ledger) == 0
    with ledger.read() as connection:
        assert len([entry for entry in entries(connection) if entry.action == "let-go"]) == 3


def test_a_long_report_is_not_cut_off(ledger: Database) -> None:
    """Detaching gives up after a moment, and the next time it works."""
    if ledger.is_sqlite:
        return  # its readers see what was
    fill(ledger)
    set_state(ledger, "2026-09")
    now_ms = end_ms("2026-09") + KEEP.bodies_ms
    with ledger.read() as report:
        assert report.execute(select(func.count()).select_from(node_hour_bodies)).scalar_one() == 6
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            let_go(ledger, KEEP, now_ms)
        assert report.execute(select(func.count()).select_from(node_hour_bodies)).scalar_one() == 6
    assert names(let_go(ledger, KEEP, now_ms)[0]) == [("node_hour_bodies", "2026-09")]


def test_deleting_goes_on_where_it_was_stopped(ledger: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row a transaction, as if it had been stopped after the first: the rest goes the next time."""
    if not ledger.is_sqlite:
        return
    monkeypatch.setattr("chargeback.store.retention.BATCH_ROWS", 1)
    fill(ledger)
    set_state(ledger, "2026-09")
    with ledger.write() as connection:
        connection.execute(text("INSERT INTO kept_from VALUES ('node_hour_bodies', '2026-10')"))
    assert let_go(ledger, KEEP, end_ms(month_after("2026-09"))) == ([], [])
    assert count(ledger) == 4
