"""Totals are the lines they are made of, at every instant."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction

import pytest

from chargeback.core.lines import Line
from chargeback.core.totals import Total, total_of
from chargeback.store.claims import Settled, claim, settle
from chargeback.store.database import Database, DatabaseUnavailable, open_database
from chargeback.store.known import NOTHING
from chargeback.store.ledger import lines_of_month, replace_lines
from chargeback.store.rollup import (
    mark_days,
    marked,
    months,
    rebuild_marked_day,
    totals_by_day,
    totals_of_day,
    totals_of_month,
)
from chargeback.tasks.close_hours import close_all, close_due, rebuild_days
from tests.chargeback.store.bodies import (
    CLUSTER,
    GRACE_MS,
    HOUR,
    body,
    gpu,
    holding,
    instance,
    mig_gpu,
    put,
    start_ms,
)

LATER_MS = start_ms(HOUR + 40)
DAY = (CLUSTER, "2026-10-03")

Sums = dict[tuple[str, ...], tuple[Fraction, Fraction, int, int]]


def fill(database: Database) -> None:
    """Two days, two nodes; shares, slices, an unpriced card and a discount."""
    for hour in (HOUR, HOUR + 1, HOUR + 14):
        put(
            database,
            body(
                "n1",
                hour,
                gpus=[gpu(), gpu("GPU-X", model="Unknown 9000")],
                holdings=[holding(end=1_234_567), holding("GPU-X", start=7)],
            ),
        )
        put(
            database,
            body(
                "n2",
                hour,
                gpus=[mig_gpu()],
                instances=[instance(f"MIG-{gi}", gi=gi) for gi in range(1, 4)],
                holdings=[holding("MIG-1", namespace="beta"), holding("MIG-2", namespace="stranger", end=99)],
            ),
        )


def sums_of(totals: list[Total]) -> Sums:
    sums: Sums = defaultdict(lambda: (Fraction(0), Fraction(0), 0, 0))
    for total in totals:
        gpu_ms, quantity_ms, listed, amount = sums[total.key]
        sums[total.key] = (
            gpu_ms + total.gpu_ms,
            quantity_ms + total.quantity_ms,
            listed + (total.list_micros or 0),
            amount + (total.amount_micros or 0),
        )
    return dict(sums)


def lines(database: Database) -> list[Line]:
    with database.read() as connection:
        return list(lines_of_month(connection, "2026-10"))


def test_the_totals_of_a_month_are_its_lines(ledger: Database) -> None:
    """By every key, in exact time and in micros; before the days are made anew, and after."""
    fill(ledger)
    while close_due(ledger, LATER_MS, GRACE_MS):
        pass
    wanted = sums_of([total_of(line) for line in lines(ledger)])
    assert len(wanted) > 8
    with ledger.read() as connection:
        assert marked(connection) == 3  # the cards are silent into a third day
        straight = list(totals_of_month(connection, "2026-10"))
    rebuild_days(ledger)
    with ledger.read() as connection:
        assert marked(connection) == 0
        assert list(totals_of_month(connection, "2026-10")) == straight
    assert sums_of(straight) == wanted


def test_totals_by_day_are_the_lines_of_the_day(ledger: Database) -> None:
    """Both days apart; the first day alone; none outside."""
    fill(ledger)
    close_all(ledger, LATER_MS, GRACE_MS)
    of_day = [total_of(line) for line in lines(ledger) if line.day == "2026-10-04"]
    with ledger.read() as connection:
        assert sums_of(totals_of_day(connection, "2026-10-04")) == sums_of(of_day)
        days = {day for day, _ in totals_by_day(connection, "2026-10-03", "2026-10-04")}
        assert days == {"2026-10-03", "2026-10-04"}
        assert totals_by_day(connection, "2026-10-06", "2026-10-31") == []
        assert months(connection) == ["2026-10"]


def test_a_day_that_is_rated_again_is_right_before_it_is_made_anew(ledger: Database) -> None:
    """A report is never behind the ledger: a marked day is summed from its lines."""
    put(ledger, body(holdings=[holding()]))
    close_all(ledger, LATER_MS, GRACE_MS)
    put(ledger, body(seq=2), LATER_MS)
    close_due(ledger, LATER_MS, GRACE_MS)
    with ledger.read() as connection:
        assert marked(connection) == 1
        by_account = {total.account: total.amount_micros for total in totals_of_month(connection, "2026-10")}
    assert (by_account["platform:idle"], by_account.get("cc-a")) == (3_000_000, None)


def test_a_mark_is_not_taken_before_what_it_stands_for_is_there(ledger: Database, url: str) -> None:
    """A replica that sums the day meanwhile leaves the mark of a rating that has not committed."""
    put(ledger, body())
    close_due(ledger, LATER_MS, GRACE_MS)  # marks the day a first time
    put(ledger, body("n2", gpus=[gpu("GPU-2")]))
    other = open_database(url)
    summing = threading.Thread(target=rebuild_days, args=(other,))
    with ledger.write() as connection:
        ((key, revision, _),) = [found for found in claim(connection, LATER_MS, 9) if found[0].node == "n2"]
        (line,) = lines(other)
        days = replace_lines(
            connection, key, [replace(line, node="n2", device="GPU-2", parent="GPU-2")], revision + 1
        )
        settle(connection, [Settled(key=key, revision=revision + 1, known=NOTHING)])
        mark_days(connection, {(key.cluster, day) for day in days})
        summing.start()
        summing.join(0.3)
    summing.join()
    other.close()
    rebuild_days(ledger)
    with ledger.read() as connection:
        assert sum(total.gpu_ms for total in totals_of_day(connection, DAY[1])) == 2 * 3_600_000


def test_marking_twice_is_marking_once(ledger: Database) -> None:
    """And a marked day without lines has no totals."""
    with ledger.write() as connection:
        mark_days(connection, [DAY, DAY])
        mark_days(connection, [DAY])
        mark_days(connection, [])
        assert marked(connection) == 1
        assert rebuild_marked_day(connection)
        assert not rebuild_marked_day(connection)
        assert list(totals_of_month(connection, "2026-10")) == []


def test_days_of_several_clusters_are_marked_apart(ledger: Database) -> None:
    """One database may hold many clusters."""
    put(ledger, body(cluster="Lab-2"))
    put(ledger, body())
    close_all(ledger, LATER_MS, GRACE_MS)
    with ledger.read() as connection:
        totals = list(totals_of_month(connection, "2026-10"))
    assert {total.cluster for total in totals} == {"Lab-2", CLUSTER}
    assert [total.key for total in totals] == sorted(total.key for total in totals)


def test_a_sum_that_no_column_holds_is_said_and_passes(ledger: Database) -> None:
    """A slip in a price: whoever sums says what to look for, and goes on once it is taken back."""
    fill(ledger)
    close_all(ledger, LATER_MS, GRACE_MS)
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE lines SET list_micros = 5000000000000000000 WHERE list_micros > 0")
        mark_days(connection, [DAY])
    with pytest.raises(DatabaseUnavailable, match=r"beyond 9223372036854\.775807: look for a slip in `chargeback"):
        rebuild_days(ledger)
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE lines SET list_micros = 1 WHERE list_micros > 0")
    rebuild_days(ledger)
    with ledger.read() as connection:
        assert marked(connection) == 0
