"""Closed is closed: what comes late is posted in an open month, cites what it corrects, and adds up to the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select

from chargeback.core.hours import parse_hour
from chargeback.core.lines import RESTATED, REVERSAL, Line
from chargeback.core.owners.owners import Namespace
from chargeback.core.policy import Policy
from chargeback.files.prices import parse_prices
from chargeback.store.database import Database
from chargeback.store.ledger import SettledMonth, lines_of_month, put_lines, replace_lines
from chargeback.store.months import DRAFT
from chargeback.store.node_hours import NodeHourKey, make_all_due
from chargeback.store.owners import note_namespaces
from chargeback.store.policies import begin_policy
from chargeback.store.rollup import totals_of_month
from chargeback.store.tables import lines as table
from chargeback.store.terms import import_prices
from chargeback.tasks.close_hours import close_all
from exporter import wire
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, PRICES, body, gpu, holding, put, start_ms
from tests.chargeback.store.closing import put_month

OCTOBER, NOVEMBER, DECEMBER = "2026-10", "2026-11", "2026-12"
LATER_MS = start_ms(HOUR + 1) + GRACE_MS


def rate_all(database: Database) -> None:
    close_all(database, LATER_MS, GRACE_MS)


def lines(database: Database, month: str) -> list[Line]:
    with database.read() as connection:
        return list(lines_of_month(connection, month))


def rows(database: Database, month: str) -> list[Any]:
    """Everything that is stored of a month's lines, revisions included."""
    query = select(table).where(table.c.month == month).order_by(table.c.line_id)
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(query)]


def amounts(found: Sequence[Line]) -> dict[str, int]:
    """Micros by account."""
    totals: dict[str, int] = {}
    for line in found:
        totals[line.account] = totals.get(line.account, 0) + (line.amount_micros or 0)
    return {account: micros for account, micros in totals.items() if micros}


def ledger_of(database: Database, *sent: wire.NodeHour, closed: Sequence[str] = ()) -> None:
    """Put bodies and rate them, and close months."""
    for each in sent:
        put(database, each)
    rate_all(database)
    for month in closed:
        put_month(database, month)


FULL = body(holdings=[holding()])


@pytest.fixture
def closed(ledger: Database) -> Database:
    """October is closed: n1's card was held for a whole hour, as far as was known."""
    ledger_of(ledger, FULL, closed=[OCTOBER])
    return ledger


HALF = body(seq=2, gpus=[gpu()], holdings=[holding(end=1_800_000)])


def test_a_late_body_is_answered_in_the_open_month(closed: Database) -> None:
    """One reversal and one restated line for what changed, one line for what is new; all cite what they are about."""
    before = rows(closed, OCTOBER)
    ledger_of(closed, HALF)
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


def test_the_same_late_body_twice_is_once(closed: Database) -> None:
    """Neither pushed again nor rated again does it post anything more; not even a revision changes."""
    ledger_of(closed, HALF)
    before = rows(closed, NOVEMBER)
    ledger_of(closed, HALF)
    with closed.write() as connection:
        make_all_due(connection, None, 0, LATER_MS)
    rate_all(closed)
    assert rows(closed, NOVEMBER) == before


def test_back_to_what_was_closed_leaves_no_line(closed: Database) -> None:
    ledger_of(closed, HALF)
    ledger_of(closed, body(seq=3, holdings=[holding()]))
    assert rows(closed, NOVEMBER) == []


def test_later_news_replace_earlier_ones_while_their_month_is_open(closed: Database) -> None:
    """The difference is always to what was closed."""
    ledger_of(closed, HALF)
    ledger_of(closed, body(seq=3, holdings=[holding(end=900_000)]))
    assert amounts(lines(closed, NOVEMBER)) == {"cc-a": -2_250_000, "platform:idle": 2_250_000}
    assert len(lines(closed, NOVEMBER)) == 3


def test_when_their_month_is_closed_it_is_corrected_in_turn(closed: Database) -> None:
    """What was restated there is what is taken back; neither closed month changes."""
    ledger_of(closed, HALF, closed=[NOVEMBER])
    before = rows(closed, OCTOBER), rows(closed, NOVEMBER)
    ledger_of(closed, body(seq=3, holdings=[holding(end=900_000)]))
    assert (rows(closed, OCTOBER), rows(closed, NOVEMBER)) == before
    restated = {line.line_id for line in lines(closed, NOVEMBER) if line.part == RESTATED}
    posted = lines(closed, DECEMBER)
    assert {(line.corrects, line.corrects_month) for line in posted if line.part == REVERSAL} == {
        (line_id, NOVEMBER) for line_id in restated
    }
    # What is idle now begins earlier, so it is another line, and none was there to be replaced.
    assert {(line.account, line.corrects_month) for line in posted if line.part == RESTATED} == {
        ("cc-a", NOVEMBER),
        ("platform:idle", OCTOBER),
    }
    assert amounts(posted) == {"cc-a": -750_000, "platform:idle": 750_000}


def test_a_drafted_month_is_passed_over(closed: Database) -> None:
    """And what stands in it counts as if it were closed already, for it may be."""
    ledger_of(closed, HALF)
    put_month(closed, NOVEMBER, DRAFT)
    before = rows(closed, NOVEMBER)
    ledger_of(closed, body(seq=3, holdings=[holding(end=900_000)]))
    assert rows(closed, NOVEMBER) == before
    assert amounts(lines(closed, DECEMBER)) == {"cc-a": -750_000, "platform:idle": 750_000}
    # Discarded, it is open again: all is posted in it.
    put_month(closed, NOVEMBER, "open")
    ledger_of(closed, body(seq=4, holdings=[holding(end=900_000)]))
    assert rows(closed, DECEMBER) == []
    assert amounts(lines(closed, NOVEMBER)) == {"cc-a": -2_250_000, "platform:idle": 2_250_000}


def test_hours_of_a_drafted_month_wait(ledger: Database) -> None:
    """And are corrected once it is closed."""
    ledger_of(ledger, FULL)
    put_month(ledger, OCTOBER, DRAFT)
    before = rows(ledger, OCTOBER)
    ledger_of(ledger, HALF)
    assert rows(ledger, OCTOBER) == before
    assert rows(ledger, NOVEMBER) == []
    ledger_of(ledger, closed=[OCTOBER])
    rate_all(ledger)
    assert rows(ledger, OCTOBER) == before
    assert amounts(lines(ledger, NOVEMBER)) == {"cc-a": -1_500_000, "platform:idle": 1_500_000}


def test_a_node_hour_that_nobody_knew_is_restated_whole(closed: Database) -> None:
    """Every line of it cites the node-hour."""
    ledger_of(closed, body("n2", gpus=[gpu("GPU-2")], holdings=[holding("GPU-2", end=1_800_000)]))
    posted = lines(closed, NOVEMBER)
    assert {(line.part, line.corrects) for line in posted} == {(RESTATED, "lab/n2/2026-10-03T10Z")}
    assert amounts(posted) == {"cc-a": 1_500_000, "platform:idle": 1_500_000}


def test_a_node_hour_that_was_none_is_taken_back_whole(closed: Database) -> None:
    ledger_of(closed, body(seq=2, gpus=[]))
    posted = lines(closed, NOVEMBER)
    assert [line.part for line in posted] == [REVERSAL]
    assert amounts(posted) == {"cc-a": -3_000_000}


def test_corrections_stand_in_the_totals_of_their_month(closed: Database) -> None:
    """Apart from its charges, by the month that they correct."""
    ledger_of(closed, HALF)
    with closed.read() as connection:
        found = {
            (total.account, total.corrects_month): total.amount_micros
            for total in totals_of_month(connection, NOVEMBER)
        }
    assert found == {("cc-a", OCTOBER): -1_500_000, ("platform:idle", OCTOBER): 1_500_000}


def test_no_line_gets_into_a_settled_month(closed: Database) -> None:
    """By no door: the store refuses it, and nothing is put."""
    (charge,) = lines(closed, OCTOBER)
    before = rows(closed, OCTOBER)
    with pytest.raises(SettledMonth, match="2026-10"), closed.write() as connection:
        put_lines(connection, [(charge, 2)])
    with closed.write() as connection:
        key = NodeHourKey(cluster=CLUSTER, node="n1", hour=HOUR)
        assert replace_lines(connection, key, [], 2) == set()
    assert rows(closed, OCTOBER) == before


LAST_HOUR = parse_hour("2026-10-31T18Z")  # In Kolkata its middle is the midnight at which November begins.


@pytest.fixture
def kolkata(database: Database) -> Database:
    with database.write() as connection:
        begin_policy(connection, Policy(timezone="Asia/Kolkata"), 0)
        import_prices(connection, parse_prices(PRICES, "prices.yaml"), "prices.yaml", "Asia/Kolkata", 0)
        note_namespaces(connection, CLUSTER, [Namespace(name="alpha", cost_center="cc-a")], "file", 0)
    return database


def test_an_hour_half_in_a_closed_month(kolkata: Database) -> None:
    """Each half goes its own way: November's charge is put anew, October's is corrected in November."""
    put(kolkata, body(hour=LAST_HOUR, holdings=[holding()]))
    close_all(kolkata, start_ms(LAST_HOUR + 1) + GRACE_MS, GRACE_MS)
    put_month(kolkata, OCTOBER)
    before = rows(kolkata, OCTOBER)
    put(kolkata, body(hour=LAST_HOUR, seq=2, holdings=[holding(start=600_000, end=2_400_000)]))
    close_all(kolkata, start_ms(LAST_HOUR + 1) + GRACE_MS, GRACE_MS)
    assert rows(kolkata, OCTOBER) == before
    held = {line.part: line for line in lines(kolkata, NOVEMBER) if line.kind == "held"}
    assert {part: line.amount_micros for part, line in held.items()} == {
        "charge": 500_000, REVERSAL: -1_500_000, RESTATED: 1_000_000,
    }  # fmt: skip
    assert {part: line.day for part, line in held.items()} == dict.fromkeys(held, "2026-11-01")
    # From ten minutes on it is another line than that of the whole half hour, by its key: it cites the node-hour.
    assert held[RESTATED].corrects == "lab/n1/2026-10-31T18Z"
    assert sum(amounts(lines(kolkata, NOVEMBER)).values()) == 1_500_000
