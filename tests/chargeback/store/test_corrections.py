"""Closed is closed: what comes late is posted in an open month, cites what it corrects, and adds up to the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from chargeback.core.lines import RESTATED, REVERSAL, Line
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.tables import lines as table
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import GRACE_MS, HOUR, body, gpu, holding, put, start_ms
from tests.chargeback.store.closing import put_month

OCTOBER, NOVEMBER, DECEMBER = "2026-10", "2026-11", "2026-12"
LATER_MS = start_ms(HOUR + 2)


def rate_all(database: Database) -> None:
    close_all(database, LATER_MS, GRACE_MS)


def lines(database: Database, month: str) -> list[Line]:
    with database.read() as connection:
        return list(lines_of_month(connection, month))


def rows(database: Database, month: str) -> list[Any]:
    """Everything that is stored of a month's lines, revisions included."""
    with database.read() as connection:
        return [
            tuple(row) for row in connection.execute(select(table).where(table.c.month == month).order_by("line_id"))
        ]


def sums(found: Sequence[Line]) -> dict[str, tuple[int, int, int]]:
    """By account: list, amount, and ms of cards; what adds up to nothing is left out."""
    totals: dict[str, tuple[int, int, int]] = {}
    for line in found:
        assert line.list_micros is not None and line.amount_micros is not None and line.gpu_ms_num % line.ms_den == 0
        before = totals.get(line.account, (0, 0, 0))
        mine = (line.list_micros, line.amount_micros, line.gpu_ms_num // line.ms_den)
        totals[line.account] = (before[0] + mine[0], before[1] + mine[1], before[2] + mine[2])
    return {account: total for account, total in totals.items() if any(total)}


@pytest.fixture
def closed(ledger: Database) -> Database:
    """October is closed: n1's card was held for a whole hour, as far as was known."""
    put(ledger, body(holdings=[holding()]))
    rate_all(ledger)
    put_month(ledger, OCTOBER)
    return ledger


HALF = body(seq=2, gpus=[gpu()], holdings=[holding(end=1_800_000)])


def test_a_late_body_is_answered_in_the_open_month(closed: Database) -> None:
    """One reversal and one restated line for what changed, one line for what is new; all cite what they are about."""
    before = rows(closed, OCTOBER)
    put(closed, HALF, LATER_MS)
    rate_all(closed)
    assert rows(closed, OCTOBER) == before
    (charge,) = lines(closed, OCTOBER)
    posted = {(line.account, line.part): line for line in lines(closed, NOVEMBER)}
    assert {key: line.amount_micros for key, line in posted.items()} == {
        ("cc-a", REVERSAL): -3_000_000,
        ("cc-a", RESTATED): 1_500_000,
        ("platform:idle", RESTATED): 1_500_000,
    }
    for part in (REVERSAL, RESTATED):
        line = posted["cc-a", part]
        assert (line.corrects, line.corrects_month, line.day) == (charge.line_id, OCTOBER, "2026-11-01")
    idle = posted["platform:idle", RESTATED]
    assert (idle.corrects, idle.corrects_month) == ("lab/n1/2026-10-03T10Z", OCTOBER)
