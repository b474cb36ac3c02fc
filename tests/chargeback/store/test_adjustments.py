"""What people adjust: sums balance and are posted once, facts over time are rated, and both can be withdrawn."""

from __future__ import annotations

import pytest

from chargeback.core.adjustments import Adjustment, Scope
from chargeback.core.hours import HOUR_MS
from chargeback.store.adjustments import (
    adjustments,
    make_adjustment,
    waivers_of,
    withdraw_adjustment,
)
from chargeback.store.audit import entries
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, holding, put, start_ms
from tests.chargeback.store.closing import put_month

OCTOBER, NOVEMBER, DECEMBER = "2026-10", "2026-11", "2026-12"
NOW_MS = start_ms(HOUR + 3)


def wanted(kind: str = "credit", amount_micros: int | None = 500_000, **scope: str) -> Adjustment:
    return Adjustment(
        number=0,
        kind=kind,
        from_ms=start_ms(HOUR),
        until_ms=start_ms(HOUR + 1),
        scope=Scope(**({"cluster": CLUSTER, "cost_center": "cc-a"} | scope)),
        amount_micros=amount_micros,
        month="",
        reason="the storage was down",
        ticket="T-1",
        who="jo",
        recorded_ms=NOW_MS,
    )


def make(database: Database, adjustment: Adjustment) -> tuple[Adjustment, int]:
    with database.write() as connection:
        return make_adjustment(connection, adjustment, "UTC", 1)


def withdraw(database: Database, number: int) -> tuple[Adjustment, int, str | None]:
    with database.write() as connection:
        return withdraw_adjustment(connection, number, "jo", "a mistake", NOW_MS)


def posted(database: Database, month: str) -> list[tuple[str, str, str, int | None]]:
    """Of the lines of adjustments: account, kind, part and amount."""
    with database.read() as connection:
        return sorted(
            (line.account, line.kind, line.part, line.amount_micros)
            for line in lines_of_month(connection, month)
            if line.device.startswith("adjustment-")
        )


def test_a_credit_balances(ledger: Database) -> None:
    """What the cost center gets lies on the discount."""
    made, due = make(ledger, wanted())
    assert (made.number, made.month, due) == (1, OCTOBER, 0)
    assert posted(ledger, OCTOBER) == [
        ("cc-a", "credit", "charge", -500_000),
        ("platform:discount", "debit", "charge", 500_000),
    ]


def test_a_debit_is_the_other_way(ledger: Database) -> None:
    """And a second adjustment of the same hour stands beside the first."""
    make(ledger, wanted())
    made, _ = make(ledger, wanted("debit"))
    assert made.number == 2
    assert len(posted(ledger, OCTOBER)) == 4
    assert ("cc-a", "debit", "charge", 500_000) in posted(ledger, OCTOBER)


def test_a_sum_for_a_settled_month_is_posted_in_the_next_open_one(ledger: Database) -> None:
    """A closed one and a drafted one are passed over; the lines say for which month it is."""
    put_month(ledger, OCTOBER)
    put_month(ledger, NOVEMBER, "draft")
    made, _ = make(ledger, wanted())
    assert made.month == DECEMBER
    assert posted(ledger, OCTOBER) == posted(ledger, NOVEMBER) == []
    with ledger.read() as connection:
        found = list(lines_of_month(connection, DECEMBER))
    assert {(line.day, line.corrects_month, line.evidence) for line in found} == {("2026-12-01", OCTOBER, "T-1")}
    assert sum(line.amount_micros or 0 for line in found) == sum(line.list_micros or 0 for line in found) == 0


def test_rating_the_hour_again_leaves_a_sum_alone(ledger: Database) -> None:
    """It is nobody's node-hour."""
    put(ledger, body(holdings=[holding()]))
    make(ledger, wanted())
    before = posted(ledger, OCTOBER)
    put(ledger, body(seq=2), NOW_MS)
    close_all(ledger, NOW_MS, GRACE_MS)
    assert posted(ledger, OCTOBER) == before


def test_a_withdrawn_sum_of_an_open_month_is_gone(ledger: Database) -> None:
    """The adjustment itself stays on record."""
    make(ledger, wanted())
    _, due, month = withdraw(ledger, 1)
    assert (due, month) == (0, None)
    assert posted(ledger, OCTOBER) == []
    with ledger.read() as connection:
        assert [(each.number, each.withdrawn_ms) for each in adjustments(connection)] == [(1, NOW_MS)]
        noted = [(entry.action, entry.who, entry.why) for entry in entries(connection, "adjustment-1")]
    assert noted == [("adjust credit", "jo", "the storage was down"), ("withdraw credit", "jo", "a mistake")]


def test_a_withdrawn_sum_of_a_settled_month_is_answered_in_the_open_one(ledger: Database) -> None:
    """By its opposite, which cites it; the settled month stays as it is."""
    make(ledger, wanted())
    put_month(ledger, OCTOBER)
    before = posted(ledger, OCTOBER)
    assert withdraw(ledger, 1)[2] == NOVEMBER
    assert posted(ledger, OCTOBER) == before
    assert posted(ledger, NOVEMBER) == [
        ("cc-a", "credit", "reversal", 500_000),
        ("platform:discount", "debit", "reversal", -500_000),
    ]
    with ledger.read() as connection:
        cited = {line.corrects for line in lines_of_month(connection, NOVEMBER)}
        assert cited == {line.line_id for line in lines_of_month(connection, OCTOBER)}
    # Rating an hour of the settled month again does not take the answer away.
    put(ledger, body(seq=2), NOW_MS)
    close_all(ledger, NOW_MS, GRACE_MS)
    assert len(posted(ledger, NOVEMBER)) == 2


def test_withdrawing_twice_or_nothing_says_so(ledger: Database) -> None:
    """And changes nothing."""
    make(ledger, wanted())
    withdraw(ledger, 1)
    with pytest.raises(ValueError, match="1: was withdrawn already"):
        withdraw(ledger, 1)
    with pytest.raises(ValueError, match="2: there is no such adjustment"):
        withdraw(ledger, 2)


def test_a_waiver_makes_the_hours_that_it_touches_due(ledger: Database) -> None:
    """Those of its cluster and node, and again when it is withdrawn."""
    for node in ("n1", "n2"):
        for hour in (HOUR, HOUR + 1):
            put(ledger, body(node, hour=hour))
    close_all(ledger, NOW_MS, 0)
    _, due = make(ledger, wanted("outage", None, cost_center="", node="n1"))
    assert due == 1
    assert close_all(ledger, NOW_MS, 0).node_hours == 1
    made, due = make(ledger, wanted("nonbillable", None))
    assert due == 2
    assert close_all(ledger, NOW_MS, 0).node_hours == 2
    assert withdraw(ledger, made.number)[1:] == (2, None)


def test_waivers_hold_in_their_span_and_cluster(ledger: Database) -> None:
    """Half-open, in the order in which they were made; sums are none."""
    make(ledger, wanted("outage", None, cost_center="", node="n1"))
    make(ledger, wanted("nonbillable", None, cluster=""))
    make(ledger, wanted("nonbillable", None, cluster="other"))
    make(ledger, wanted())
    start, end = start_ms(HOUR), start_ms(HOUR + 1)
    with ledger.read() as connection:
        found = waivers_of(connection, CLUSTER, start, end)
        assert [(each.kind, each.node, each.cost_center) for each in found] == [
            ("outage", "n1", None),
            ("nonbillable", None, "cc-a"),
        ]
        assert len(waivers_of(connection, CLUSTER, end - 1, end + HOUR_MS)) == 2
        assert waivers_of(connection, CLUSTER, end, end + HOUR_MS) == []
        assert waivers_of(connection, CLUSTER, start - HOUR_MS, start) == []
    withdraw(ledger, 1)
    with ledger.read() as connection:
        assert len(waivers_of(connection, CLUSTER, start, end)) == 1
