"""Replicas that rate at once, on PostgreSQL: none waits with a claim in its hands, for that could be for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chargeback.core.pods import Ask, Pod
from chargeback.store.backlogs import node_hour_backlog
from chargeback.store.claims import claim
from chargeback.store.database import Database, open_database
from chargeback.store.ledger import lines_of
from chargeback.store.node_hours import NodeHourKey
from chargeback.store.pods import note_pods
from chargeback.store.schema import migrate
from chargeback.store.tables import node_hours, pods
from chargeback.tasks.close_hours import close_all, close_due
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, gpu, holding, put, start_ms
from tests.chargeback.store.conftest import begin
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]

LATER_MS = start_ms(HOUR + 2)


@pytest.fixture
def ledger(postgres: Postgres) -> Iterator[Database]:
    """Begun, with two hours of two nodes; a pod was bound in the first of n1's, and an agent saw it in the second."""
    database = open_database(postgres.new_database())
    migrate(database)
    begin(database)
    pod = Pod(
        namespace="alpha",
        name="train",
        uid="u1",
        node="n1",
        bound_ms=start_ms(HOUR + 1) - 1000,
        asks=(Ask(container="main", resource="nvidia.com/gpu", count=1),),
    )
    with database.write() as connection:
        note_pods(connection, CLUSTER, [pod], [], LATER_MS)
    for node in ("n1", "n2"):
        held = [holding(pod_uid="u1")] if node == "n1" else []
        put(database, body(node, HOUR))
        put(database, body(node, HOUR + 1, gpus=[gpu()], holdings=held))
    yield database
    database.close()


def due(database: Database) -> int:
    with database.read() as connection:
        return sum(each.due for each in node_hour_backlog(connection, LATER_MS + GRACE_MS))


def test_a_node_is_rated_by_one_replica_at_a_time(ledger: Database) -> None:
    """What an hour leaves to the next is not read before it is there, and nobody waits for a neighbour's hour."""
    with ledger.write() as one, ledger.write() as other:
        first = claim(one, LATER_MS + GRACE_MS, 1)
        second = claim(other, LATER_MS + GRACE_MS, 10)
        third = claim(one, LATER_MS + GRACE_MS, 10)
    assert {each.key.node for each in first} == {"n1"}
    assert [(each.key.node, each.key.hour) for each in second] == [("n2", HOUR), ("n2", HOUR + 1)]
    assert [(each.key.node, each.key.hour) for each in third] == [("n1", HOUR), ("n1", HOUR + 1)]


def test_an_hour_that_follows_and_is_in_other_hands_is_not_waited_for(ledger: Database) -> None:
    with ledger.write() as other:
        other.execute(node_hours.select().where(node_hours.c.hour == HOUR + 1).with_for_update())
        assert close_due(ledger, LATER_MS + GRACE_MS, GRACE_MS) == 2
        assert due(ledger) == 4
    while close_due(ledger, LATER_MS + GRACE_MS, GRACE_MS):
        pass
    assert due(ledger) == 0


def test_a_pod_that_is_being_noted_is_not_waited_for(ledger: Database) -> None:
    """Whoever notes its end wants the node-hour next; the other node's hours are rated meanwhile."""
    with ledger.write() as other:
        other.execute(pods.select().with_for_update())
        close_due(ledger, LATER_MS + GRACE_MS, GRACE_MS)
        with ledger.read() as connection:
            rated = lines_of(connection, [NodeHourKey(cluster=CLUSTER, node="n2", hour=HOUR + 1)])
        assert rated
        assert due(ledger) > 0
        other.execute(node_hours.update().values(due_ms=LATER_MS))  # nobody holds one: it does not wait
    while close_due(ledger, LATER_MS + GRACE_MS, GRACE_MS):
        pass
    assert due(ledger) == 0


def test_an_hour_that_one_of_its_own_batch_says_more_of_is_due_again(ledger: Database) -> None:
    """The second hour tells with which card the pod was bound in the first, which was rated just before."""
    assert close_due(ledger, LATER_MS + GRACE_MS, GRACE_MS) == 4
    assert due(ledger) == 1
    assert close_due(ledger, LATER_MS + GRACE_MS, GRACE_MS) == 1
    with ledger.read() as connection:
        first = lines_of(connection, [NodeHourKey(cluster=CLUSTER, node="n1", hour=HOUR)])
    assert [(line.account, line.gpu_ms_num) for line in first] == [("platform:idle", 3_599_000), ("cc-a", 1_000)]


def test_an_hour_that_was_rated_is_due_again_where_the_one_before_leaves_another_card(ledger: Database) -> None:
    """A late body tells of one more card, of which the next hour has to know."""
    close_all(ledger, LATER_MS + GRACE_MS, GRACE_MS)
    put(ledger, body("n2", HOUR, seq=2, gpus=[gpu(), gpu("GPU-late")]))
    assert close_due(ledger, LATER_MS + GRACE_MS, GRACE_MS, limit=1) == 1
    with ledger.read() as connection:
        (backlog,) = node_hour_backlog(connection, LATER_MS + GRACE_MS)
    assert (backlog.due, backlog.oldest_hour) == (1, HOUR + 1)
