"""Replicas that rate and settle at once: nothing is lost, and nobody waits for ever."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chargeback.core.lines import Line
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.plan_hours import claim_plan_hour, lock_node_hours, plan_hours_due
from chargeback.store.plans import note_plans
from chargeback.store.tables import node_hours
from chargeback.tasks.close_hours import close_due, rebuild_days
from chargeback.tasks.settle_plans import NOT_YET_MS, settle_all, settle_due
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, gpu, holding, put, start_ms
from tests.chargeback.store.conftest import begin
from tests.chargeback.store.test_plans import imported, seen

NODES, HOURS = 6, 3
LATER_MS = start_ms(HOUR + 40)


def fill(database: Database) -> None:
    for hour in range(HOUR, HOUR + HOURS):
        for number in range(NODES):
            cards = [f"GPU-{number}-{n}" for n in range(2)]
            holdings = [holding(cards[0], pod=f"p{number}", start=number * 1000)]
            put(database, body(f"n{number}", hour, gpus=[gpu(card) for card in cards], holdings=holdings))


def lines(database: Database) -> list[Line]:
    with database.read() as connection:
        found = [line for line in lines_of_month(connection, "2026-10") if line.hour < HOUR + HOURS]
    return sorted(found, key=lambda line: line.line_id)


def work(database: Database, stop: threading.Event) -> None:
    while not stop.is_set():
        worked = close_due(database, LATER_MS, GRACE_MS, limit=2)
        worked += settle_due(database, LATER_MS + NOT_YET_MS)
        rebuild_days(database)
        if not worked:
            stop.wait(0.01)


def finish(database: Database) -> None:
    """What others had in hand when they stopped."""
    while close_due(database, LATER_MS, GRACE_MS):
        pass
    settle_all(database, LATER_MS + 2 * NOT_YET_MS)


def test_replicas_make_the_ledger_of_one(database: Database) -> None:
    """While they rate and settle, a plan is seen, and a file changes it: it reaches every hour all the same."""
    begin(database)
    fill(database)
    stop = threading.Event()

    def change() -> None:
        with database.write() as connection:
            note_plans(connection, CLUSTER, seen(2), 0)
        imported(database, "namespace: alpha, guaranteed: 4", now_ms=LATER_MS)
        stop.wait(2)
        imported(database, "namespace: alpha, guaranteed: 8", now_ms=LATER_MS)
        stop.wait(2)
        stop.set()

    with ThreadPoolExecutor(4) as replicas:
        ended = [replicas.submit(change), *(replicas.submit(work, database, stop) for _ in range(3))]
        for each in ended:
            each.result(timeout=120)
    finish(database)
    with database.read() as connection:
        assert plan_hours_due(connection, LATER_MS + 3 * NOT_YET_MS) == {}
    together = lines(database)
    for line in together:
        assert line.plan_version in (None, 3)
    per_hour = {hour: [line for line in together if line.hour == hour] for hour in range(HOUR, HOUR + HOURS)}
    for mine in per_hour.values():
        reserved = sum(line.amount_micros or 0 for line in mine if line.kind in ("reserved", "unused"))
        assert reserved == 8 * 3_000_000
        assert sum(line.amount_micros or 0 for line in mine) == sum(line.list_micros or 0 for line in mine)
        assert not [line for line in mine if line.kind in ("held", "burst")]


# SQLite has one writer: nobody else can have a node-hour in hand.
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_an_hour_with_a_node_in_another_hand_is_settled_later(ledger: Database) -> None:
    """It neither waits for the other replica nor settles a part of the hour."""
    fill(ledger)
    with ledger.write() as connection:
        note_plans(connection, CLUSTER, seen(2), 0)
    while close_due(ledger, LATER_MS, GRACE_MS):
        pass
    with ledger.write() as other:
        other.execute(node_hours.select().where(node_hours.c.node == "n1").with_for_update())
        with ledger.write() as connection:
            plan_hour = claim_plan_hour(connection, LATER_MS)
            assert plan_hour is not None
            assert not lock_node_hours(connection, plan_hour)
        assert settle_due(ledger, LATER_MS)
    with ledger.read() as connection:
        assert plan_hour.hour == HOUR
        assert plan_hours_due(connection, LATER_MS + NOT_YET_MS)[CLUSTER] >= HOURS
    assert not [line for line in lines(ledger) if line.kind == "reserved"]
    settle_all(ledger, LATER_MS + NOT_YET_MS)
    assert len([line for line in lines(ledger) if line.kind == "reserved"]) == 2 * HOURS
