"""Bodies are kept once, whatever comes twice or late; and no node-hour that must be rated is ever forgotten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from chargeback.core.existence import KnownGpu
from chargeback.core.hours import HOUR_MS
from chargeback.core.nodes import Node
from chargeback.core.owners.owners import Namespace
from chargeback.store.backlogs import conservation_error_ms, due_of, node_hour_backlog
from chargeback.store.claims import Settled, claim, settle
from chargeback.store.database import Database, open_database
from chargeback.store.evidence import bodies_of, known_before
from chargeback.store.known import NOTHING, Known
from chargeback.store.ledger import lines_of_month
from chargeback.store.node_hours import (
    NodeHourKey,
    count_rated,
    last_pushes,
    make_all_due,
    make_due,
    newest_hour,
    skip_grace,
    unrated,
)
from chargeback.store.node_states import note_nodes
from chargeback.store.owners import note_namespaces
from chargeback.tasks.close_hours import close_all, close_due
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, gpu, holding, key_of, put, start_ms

LATER_MS = start_ms(HOUR + 100)


def due(database: Database, now_ms: int) -> list[NodeHourKey]:
    with database.write() as connection:
        return [key for key, _, _ in claim(connection, now_ms, 1000)]


def settle_all(database: Database, now_ms: int) -> None:
    with database.write() as connection:
        for key, revision, known in claim(connection, now_ms, 1000):
            settle(connection, [Settled(key=key, revision=revision + 1, known=known)])


def test_the_newest_body_of_an_instance_stays(database: Database) -> None:
    """Repeated and reordered pushes change nothing."""
    assert put(database, body(seq=2, through=2000, gpus=[]))
    assert not put(database, body(seq=2, through=2000, gpus=[]))
    assert not put(database, body(seq=1, through=1000, gpus=[]))
    assert put(database, body(seq=3, through=3000, gpus=[]))
    with database.read() as connection:
        assert [kept.through for kept in bodies_of(connection, key_of(body()))] == [3000]


def test_instances_of_one_node_are_kept_apart_and_in_order(database: Database) -> None:
    """A rolling update has two agents speak of the same hour."""
    for name in ("agent-b", "agent-a", "Agent-C"):
        put(database, body(instance=name))
    with database.read() as connection:
        found = [kept.instance for kept in bodies_of(connection, key_of(body()))]
    assert found == ["Agent-C", "agent-a", "agent-b"]


def test_a_body_comes_back_as_it_went_in(database: Database) -> None:
    """Every field that the core knows of."""
    sent = body(gpus=[gpu(unhealthy=[(5, 6)])], holdings=[holding(busy_ms=7, pod_uid="u", claim="c")])
    put(database, sent)
    with database.read() as connection:
        (kept,) = bodies_of(connection, key_of(sent))
    assert kept.gpus[0].unhealthy == ((5, 6),)
    assert (kept.holdings[0].busy_ms, kept.holdings[0].pod_uid, kept.holdings[0].claim) == (7, "u", "c")


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)  # SQLite has one writer anyway
def test_whoever_rates_an_hour_of_a_node_has_all_its_hours(database: Database) -> None:
    """What an hour leaves the next one begins with: another replica takes other nodes, and waits for nobody."""
    for node, hour in (("n1", HOUR), ("n1", HOUR + 1), ("n2", HOUR + 1)):
        put(database, body(node, hour))
    with database.write() as mine, database.write() as others:
        assert [key for key, _, _ in claim(mine, LATER_MS, 1)] == [key_of(body("n1", HOUR))]
        assert [key for key, _, _ in claim(others, LATER_MS, 9)] == [key_of(body("n2", HOUR + 1))]


def test_a_new_hour_is_due_when_it_is_over_and_the_grace_has_passed(database: Database) -> None:
    """Not before: late bodies are still on their way."""
    put(database, body(through=1000, gpus=[]), now_ms=start_ms(HOUR) + 1000)
    put(database, body(seq=2, through=2000, gpus=[]), now_ms=start_ms(HOUR) + 2000)
    end_ms = start_ms(HOUR + 1)
    assert due(database, end_ms + GRACE_MS - 1) == []
    assert due(database, end_ms + GRACE_MS) == [key_of(body())]


def test_a_rated_hour_is_due_at_once_when_a_late_body_comes(database: Database) -> None:
    """And only when it is new."""
    put(database, body())
    settle_all(database, LATER_MS)
    assert due(database, LATER_MS) == []
    put(database, body(), now_ms=LATER_MS)
    assert due(database, LATER_MS) == []
    put(database, body(seq=2), now_ms=LATER_MS)
    assert due(database, LATER_MS - 1) == []
    assert due(database, LATER_MS) == [key_of(body())]


def test_the_oldest_hours_are_claimed_first(database: Database) -> None:
    """For what an hour leaves is what the next begins with."""
    for hour in (HOUR + 2, HOUR, HOUR + 1):
        put(database, body(hour=hour))
    assert [key.hour for key in due(database, LATER_MS)] == [HOUR, HOUR + 1, HOUR + 2]


def test_settling_keeps_revision_known_cards_and_error(database: Database) -> None:
    """The next hour begins with the cards that this one leaves."""
    card = KnownGpu(uuid="GPU-1", model="m", memory_mib=1, slices_max=7, last_observed_ms=5)
    known = Known(gpus=(card,), held=(("GPU-1", 0, "uid"),))
    put(database, body())
    with database.write() as connection:
        kept = Settled(key=key_of(body()), revision=1, known=known, error_ms=12, differences={"late": 5})
        settle(connection, [kept])
    with database.read() as connection:
        assert known_before(connection, key_of(body(hour=HOUR + 1))) == known
        assert known_before(connection, key_of(body())) == NOTHING
        assert conservation_error_ms(connection) == {CLUSTER: 12}
        assert due_of(node_hour_backlog(connection, LATER_MS)) == {CLUSTER: 0}
        assert unrated(connection) == []


def test_only_what_was_rated_is_made_due_again(database: Database) -> None:
    """An hour that still waits for its grace goes on waiting."""
    for hour in (HOUR - 1, HOUR):
        put(database, body(hour=hour))
    settle_all(database, LATER_MS)
    put(database, body(hour=HOUR + 1), now_ms=start_ms(HOUR + 1))
    with database.write() as connection:
        assert make_all_due(connection, "elsewhere", 0, LATER_MS) == 0
        assert make_all_due(connection, CLUSTER, HOUR, start_ms(HOUR + 1)) == 1
    assert [key.hour for key in due(database, start_ms(HOUR + 1))] == [HOUR]


def test_skipping_the_grace_leaves_the_running_hour_alone(database: Database) -> None:
    """`rerate --now` closes what is over."""
    now_ms = start_ms(HOUR + 1) + 1
    put(database, body(), now_ms=now_ms)
    put(database, body(hour=HOUR + 1, through=1, gpus=[]), now_ms=now_ms)
    with database.write() as connection:
        skip_grace(connection, now_ms)
    assert [key.hour for key in due(database, now_ms)] == [HOUR]


def test_an_hour_that_is_not_there_is_only_begun_where_it_shall_be(database: Database) -> None:
    """create=False makes due what exists, and nothing else."""
    with database.write() as connection:
        make_due(connection, key_of(body()), 0, 0, create=False)
        assert unrated(connection) == []
        make_due(connection, key_of(body()), 0, 0)
        assert unrated(connection) == [key_of(body())]


def test_what_the_demo_asks(database: Database) -> None:
    """The newest hour with a final body, how much is rated, and the last push of every node."""
    put(database, body(), now_ms=LATER_MS)
    put(database, body(hour=HOUR + 1, final=False), now_ms=LATER_MS + 1)
    with database.read() as connection:
        assert newest_hour(connection, CLUSTER, "n1") == HOUR
        assert newest_hour(connection, CLUSTER, "n9") is None
        assert count_rated(connection, CLUSTER, HOUR + 1) == 0
        assert last_pushes(connection) == [(CLUSTER, "n1", LATER_MS + 1)]
    settle_all(database, LATER_MS * 2)
    with database.read() as connection:
        assert count_rated(connection, CLUSTER, HOUR + 1) == 1


def test_a_node_that_the_api_has_no_more_is_not_silent_but_gone(database: Database) -> None:
    """One that it never had is there as long as it says; one that came back is there again."""
    for name in ("back", "gone", "stays", "unknown"):
        put(database, body(name), now_ms=LATER_MS)
    seen = [Node(name=name, uid=f"uid-{name}", created_ms=0, gpus={}) for name in ("back", "gone", "stays")]
    for there in (seen, seen[2:], [seen[0], seen[2]]):
        with database.write() as connection:
            note_nodes(connection, CLUSTER, there, LATER_MS)
    with database.read() as connection:
        assert [node for _, node, _ in last_pushes(connection)] == ["back", "stays", "unknown"]


def test_a_push_that_lands_while_its_hour_is_claimed_makes_it_due_again(ledger: Database) -> None:
    """The rating in hand may not have seen it."""
    put(ledger, body())
    late = threading.Thread(target=put, args=(ledger, body(seq=2, holdings=[holding()]), LATER_MS))
    with ledger.write() as connection:
        ((key, revision, known),) = claim(connection, LATER_MS, 10)
        assert len(bodies_of(connection, key)) == 1
        late.start()
        late.join(0.3)  # it waits for the claim
        settle(connection, [Settled(key=key, revision=revision + 1, known=known)])
    late.join()
    assert due(ledger, LATER_MS) == [key]


def test_an_owner_who_changes_while_an_hour_is_claimed_makes_it_due_again(ledger: Database) -> None:
    """The rating in hand asked for the owners before."""

    def relabel() -> None:
        with ledger.write() as connection:
            seen = [Namespace(name="alpha", cost_center="cc-z", labelled_ms=start_ms(HOUR))]
            note_namespaces(connection, CLUSTER, seen, "api", LATER_MS)

    put(ledger, body(holdings=[holding()]))
    change = threading.Thread(target=relabel)
    with ledger.write() as connection:
        ((key, revision, known),) = claim(connection, LATER_MS, 10)
        change.start()
        change.join(0.3)
        settle(connection, [Settled(key=key, revision=revision + 1, known=known)])
    change.join()
    assert due(ledger, LATER_MS) == [key]


def test_replicas_rate_everything_exactly_once(ledger: Database, url: str) -> None:
    """Work is claimed row by row: two replicas share it, and neither waits for the other's rows."""
    hours, nodes = range(HOUR, HOUR + 6), [f"n{number}" for number in range(10)]
    for hour in hours:
        for node in nodes:
            put(ledger, body(node, hour, gpus=[gpu(f"GPU-{node}")], holdings=[holding(f"GPU-{node}")]))
    replicas = [open_database(url) for _ in range(2)]

    def rate(database: Database) -> int:
        return sum(iter(lambda: close_due(database, start_ms(HOUR + 6) + GRACE_MS, GRACE_MS, limit=5), 0))

    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(rate, replicas))
    # A replica that rates an hour before the other has settled the one before rates it once more: the fold needs it.
    counts.append(close_all(ledger, start_ms(HOUR + 6) + GRACE_MS, GRACE_MS).node_hours)
    assert sum(counts) >= len(hours) * len(nodes)
    with ledger.read() as connection:
        lines = list(lines_of_month(connection, "2026-10"))
        held = [(line.node, line.hour) for line in lines if line.kind == "held"]
    assert sorted(held) == sorted((node, hour) for hour in hours for node in nodes)
    assert sum(line.gpu_ms_num for line in lines) == len(held) * HOUR_MS
    for replica in replicas:
        replica.close()


def test_a_claimed_row_is_passed_over_by_others(ledger: Database, url: str) -> None:
    """Nobody waits for what another has in hand."""
    if ledger.is_sqlite:
        return  # one writer at a time: there is nobody to pass over
    for node in ("n1", "n2"):
        put(ledger, body(node))
    other = open_database(url)
    with ledger.write() as ours, other.write() as theirs:
        assert [key.node for key, _, _ in claim(ours, LATER_MS, 1)] == ["n1"]
        assert [key.node for key, _, _ in claim(theirs, LATER_MS, 10)] == ["n2"]
    other.close()
