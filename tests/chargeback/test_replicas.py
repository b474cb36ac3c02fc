"""Replicas in processes of their own rate one ledger: no more than one of them would have made of it, and no less."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import psycopg
import pytest

from chargeback.core.lines import Line
from chargeback.core.nodes import Node
from chargeback.core.totals import Total
from chargeback.store.backlogs import node_hour_backlog
from chargeback.store.database import Database, open_database
from chargeback.store.ledger import lines_of_month
from chargeback.store.node_states import note_nodes
from chargeback.store.rollup import marked, totals_of_month
from chargeback.store.schema import migrate
from tests.chargeback.store.bodies import CLUSTER, HOUR, body, gpu, holding, instance, mig_gpu, put, start_ms
from tests.chargeback.store.conftest import begin
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]

NODES, HOURS = 20, 10
WITHIN_S = 60.0
# Held by a test while a replica waits for it in the middle of its work.
GATE = 43


def fill(database: Database) -> None:
    """200 node-hours of whole and cut cards, of which pods hold some, for some time; then the nodes are gone."""
    nodes = [Node(name=f"n{number:03}", uid=f"{number}", created_ms=start_ms(HOUR)) for number in range(NODES)]
    with database.write() as connection:
        note_nodes(connection, CLUSTER, nodes, start_ms(HOUR))
        note_nodes(connection, CLUSTER, nodes, start_ms(HOUR + HOURS))
        note_nodes(connection, CLUSTER, [], start_ms(HOUR + HOURS) + 1)
    for hour in range(HOUR, HOUR + HOURS):
        for number in range(NODES):
            whole, cut = f"GPU-{number}", f"GPU-M{number}"
            held = [
                holding(whole, pod=f"train-{number}", end=3_600_000 - number * 1000, busy_ms=number),
                holding(f"MIG-{number}", pod="serve", namespace="beta", start=hour % 7 * 1000),
            ]
            slices = [instance(f"MIG-{number}", gpu=cut)]
            put(
                database,
                body(f"n{number:03}", hour, gpus=[gpu(whole), mig_gpu(cut)], instances=slices, holdings=held),
            )


@pytest.fixture
def make(postgres: Postgres) -> Iterator[Callable[[], Database]]:
    """Make ledgers with the same node-hours, none of them rated."""
    made: list[Database] = []

    def new() -> Database:
        database = open_database(postgres.new_database())
        made.append(database)
        migrate(database)
        begin(database)
        fill(database)
        return database

    yield new
    for database in made:
        database.close()


def url_of(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False).replace("+psycopg", "")


def start(database: Database) -> subprocess.Popen[bytes]:
    """A replica that closes all that is due, and ends."""
    command = [sys.executable, "-m", "chargeback.cli.main", "rerate", "--now", "--database", url_of(database)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(replicas: list[subprocess.Popen[bytes]]) -> None:
    for replica in replicas:
        _, said = replica.communicate(timeout=WITHIN_S * 2)
        assert replica.returncode == 0, said.decode()


def ledger(database: Database) -> tuple[list[Line], list[Total]]:
    """All there is of the month; nothing is due, and no day is to be summed."""
    with database.read() as connection:
        assert sum(each.due for each in node_hour_backlog(connection, start_ms(HOUR + HOURS + 1))) == 0
        assert marked(connection) == 0
        return list(lines_of_month(connection, "2026-10")), list(totals_of_month(connection, "2026-10"))


def test_three_replicas_make_the_ledger_of_one(make: Callable[[], Database]) -> None:
    """Line by line and sum by sum: claims are shared, and days that two touch lose nothing."""
    alone, shared = make(), make()
    finish([start(alone)])
    finish([start(shared) for _ in range(3)])
    finish([start(shared)])  # an hour that one rated before another had settled the one before is due once more
    lines, totals = ledger(alone)
    assert ledger(shared) == (lines, totals)
    existed = sum(Fraction(line.gpu_ms_num, line.ms_den) for line in lines)
    assert existed == NODES * HOURS * 2 * 3_600_000
    assert sum(total.amount_micros or 0 for total in totals) == sum(line.amount_micros or 0 for line in lines)


@contextmanager
def gate(url: str) -> Iterator[None]:
    """Have whoever puts a line of n007's third hour wait for a lock that we hold."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN PERFORM pg_advisory_lock_shared({GATE}); RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER stall BEFORE INSERT ON lines FOR EACH ROW "
            f"WHEN (NEW.node = 'n007' AND NEW.hour = {HOUR + 2}) EXECUTE FUNCTION stall()"
        )
        connection.execute(f"SELECT pg_advisory_lock({GATE})")
        yield
        connection.execute(f"SELECT pg_advisory_unlock({GATE})")
        connection.execute("DROP TRIGGER stall ON lines")


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def stalled(url: str) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s"
    with psycopg.connect(url) as connection:
        return connection.execute(query, (GATE,)).fetchone() == (1,)


def test_a_replica_that_is_killed_in_the_middle_loses_and_doubles_nothing(make: Callable[[], Database]) -> None:
    """SIGKILL while it puts lines: its claim is taken by another, and nothing of its own is there."""
    alone, shared = make(), make()
    finish([start(alone)])
    with gate(url_of(shared)):
        doomed = start(shared)
        until(lambda: stalled(url_of(shared)))
        doomed.kill()
        doomed.communicate()
        with shared.read() as connection:
            assert [line for line in lines_of_month(connection, "2026-10") if line.hour == HOUR + 2] == []
    until(lambda: not stalled(url_of(shared)))
    finish([start(shared) for _ in range(2)])
    finish([start(shared)])
    assert ledger(shared) == ledger(alone)


def test_replicas_that_rate_again_what_another_rates(make: Callable[[], Database]) -> None:
    """Late bodies of hours that are being rated: the last word of each instance counts, whoever rates it."""
    alone, shared = make(), make()
    late = [
        body(
            f"n{number:03}",
            HOUR + 1,
            seq=2,
            gpus=[gpu(f"GPU-{number}"), mig_gpu(f"GPU-M{number}")],
            holdings=[holding(f"GPU-{number}", pod="late")],
        )
        for number in range(3, 9)
    ]
    finish([start(alone)])
    for sent in late:
        put(alone, sent)
    finish([start(alone)])
    replicas = [start(shared) for _ in range(2)]
    for sent in late:
        put(shared, sent)
        time.sleep(0.1)
    finish(replicas)
    finish([start(shared)])
    assert ledger(shared) == ledger(alone)
