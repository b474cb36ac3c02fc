"""The history of nodes: states are added and ended, never rewritten, and what they touch is rated again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select

from chargeback.core.hours import HOUR_MS
from chargeback.core.nodes import Node
from chargeback.core.pods import Ask, Pod
from chargeback.core.spans import Spans
from chargeback.store.claims import Settled, claim, settle
from chargeback.store.database import Database, open_database
from chargeback.store.ledger import lines_of_month
from chargeback.store.node_states import node_place, node_spans, note_nodes, unmetered_nodes
from chargeback.store.pods import note_pods
from chargeback.store.tables import node_states
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, MINUTE_MS, body, gpu, holding, put, start_ms

LATER_MS = start_ms(HOUR + 100)
GPUS = {"nvidia.com/gpu": 8}


def at(minutes: float) -> int:
    return start_ms(HOUR) + round(minutes * MINUTE_MS)


def node(name: str = "n1", created: float = -600, **changes: Any) -> Node:
    """Made so many minutes before the hour's start, with eight cards."""
    cordoned_at = changes.pop("cordoned_at", None)
    fields: dict[str, Any] = {"uid": f"uid-{name}", "gpus": GPUS}
    if cordoned_at is not None:
        fields |= {"cordoned": True, "cordoned_ms": at(cordoned_at)}
    return Node(name=name, created_ms=at(created), **(fields | changes))


def note(database: Database, now: float, *seen: Node) -> int:
    """Tell the ledger all nodes that are there, so many minutes into the hour."""
    with database.write() as connection:
        return note_nodes(connection, CLUSTER, seen, at(now))


def spans(database: Database, hour: int = 0, name: str = "n1") -> tuple[list[Any] | None, list[Any]]:
    """When the node was there, and when it was cordoned, in minutes of an hour counted from the first."""
    with database.read() as connection:
        present, cordoned = node_spans(connection, CLUSTER, name, HOUR + hour)

    def minutes(found: Spans) -> list[Any]:
        return [(start / MINUTE_MS, end / MINUTE_MS) for start, end in found]

    return None if present is None else minutes(present), minutes(cordoned)


def rated_hours(database: Database, *hours: int, name: str = "n1") -> None:
    """Some hours, counted from the first, that are there and were rated."""
    for hour in hours:
        put(database, body(name, HOUR + hour))
    with database.write() as connection:
        for key, revision, known in claim(connection, LATER_MS, 1000):
            settle(connection, [Settled(key=key, revision=revision + 1, known=known)])


def due(database: Database) -> list[tuple[str, int]]:
    with database.write() as connection:
        return [(key.node, key.hour - HOUR) for key, _, _ in claim(connection, LATER_MS, 1000)]


def test_a_node_that_the_api_never_had(database: Database) -> None:
    """Its silence means nothing, which is not the same as that it was gone."""
    note(database, 10, node("other"))
    assert spans(database) == (None, [])


def test_a_node_is_there_from_its_creation(database: Database) -> None:
    """Not before, and until it is said to be gone."""
    note(database, 30, node(created=10))
    assert spans(database, -1) == ([], [])
    assert spans(database) == ([(10, 60)], [])
    assert spans(database, 50) == ([(0, 60)], [])


def test_seeing_the_same_again_changes_nothing(database: Database) -> None:
    """And makes no hour due."""
    rated_hours(database, 0, 1)
    assert note(database, 10, node()) == 1
    rated_hours(database)
    assert note(database, 20, node()) == 0
    assert due(database) == []


def test_a_cordon_holds_from_when_it_was_written(database: Database) -> None:
    """Else from when it was seen; and until it is taken back."""
    note(database, 10, node())
    note(database, 30, node(cordoned_at=25))
    note(database, 50, node(cordoned=False))
    assert spans(database) == ([(0, 60)], [(25, 50)])
    note(database, 55, node(cordoned=True))
    assert spans(database)[1] == [(25, 50), (55, 60)]
    assert spans(database, 1) == ([(0, 60)], [(0, 60)])


def test_a_node_that_was_cordoned_before_it_was_first_seen(database: Database) -> None:
    """From when that was written, not from its creation: what lay idle until then was free."""
    note(database, 30, node(cordoned_at=20))
    assert spans(database) == ([(0, 60)], [(20, 60)])
    assert spans(database, -1) == ([(0, 60)], [])


def test_a_node_that_was_always_cordoned(database: Database) -> None:
    """Where the API does not say since when."""
    note(database, 30, node(cordoned=True))
    assert spans(database, -1) == ([(0, 60)], [(0, 60)])


def test_a_node_that_is_gone_was_there_as_long_as_is_known(database: Database) -> None:
    """The API was last followed at minute 20; how long it lived on, nobody knows."""
    note(database, 10, node())
    note(database, 20, node())
    note(database, 50)
    assert spans(database) == ([(0, 20)], [])
    assert spans(database, 1) == ([], [])


def test_a_node_made_anew_under_its_name(database: Database) -> None:
    """Seen gone in between or not: between what is known of the one and the making of the other there was none."""
    note(database, 10, node("n1"), node("n2"))
    note(database, 20, node("n1"), node("n2"))
    note(database, 30, node("n2"))
    note(database, 35, node("n2"))
    anew = [node(name, created=40, uid=f"new-{name}") for name in ("n1", "n2")]
    note(database, 50, *anew)
    assert spans(database, name="n1") == ([(0, 20), (40, 60)], [])
    assert spans(database, name="n2") == ([(0, 35), (40, 60)], [])


def test_a_cordon_does_not_outlive_its_node(database: Database) -> None:
    note(database, 10, node(cordoned_at=5))
    note(database, 50, node(created=40, uid="new"))
    assert spans(database) == ([(0, 10), (40, 60)], [(5, 10)])


def test_devices_that_change_are_a_state_of_their_own(database: Database) -> None:
    """The node is there throughout; what it offers now is what the last state says."""
    note(database, 10, node(), node("n2", gpus={}), node("n3", gpus={"nvidia.com/gpu": 0}))
    note(database, 20, node(gpus={"nvidia.com/mig-1g.10gb": 7}), node("n2", gpus={}), node("n3", gpus={}))
    assert spans(database) == ([(0, 60)], [])
    with database.read() as connection:
        assert [(each.node, each.devices) for each in unmetered_nodes(connection)] == [("n1", 7)]


def test_a_node_that_went_before_its_agent_came_is_unmetered_while_it_is_there(database: Database) -> None:
    """What its pods held is then the matter of the month; a node that the API never had stays."""
    asks = (Ask(container="main", resource="nvidia.com/gpu", count=1),)
    for name in ("n1", "n2"):
        pod = Pod(namespace="alpha", name=name, uid=name, node=name, bound_ms=at(10), asks=asks)
        with database.write() as connection:
            note_pods(connection, CLUSTER, [pod], [], at(11))
    for now, seen, found in ((12, (node(),), [("n1", 8, 1), ("n2", 0, 1)]), (20, (), [("n2", 0, 1)])):
        note(database, now, *seen)
        with database.read() as connection:
            assert [(each.node, each.devices, each.pods) for each in unmetered_nodes(connection)] == found


def test_what_changes_makes_the_hours_from_then_on_due(database: Database) -> None:
    """Of that node."""
    for name in ("n1", "n2"):
        rated_hours(database, -1, 0, 1, name=name)
    note(database, 70, node(created=10))
    assert due(database) == [("n1", 0), ("n1", 1)]
    rated_hours(database)
    note(database, 80, node(created=10))
    note(database, 90)
    assert due(database) == [("n1", 1)]
    rated_hours(database)
    note(database, 95, node(created=10))
    assert due(database) == [("n1", 1)]


def test_a_cordon_makes_the_hours_since_it_was_written_due(database: Database) -> None:
    rated_hours(database, -1, 0, 1)
    note(database, 10, node())
    rated_hours(database)
    note(database, 70, node(cordoned_at=30))
    assert due(database) == [("n1", 0), ("n1", 1)]


def places(database: Database, *minutes: float) -> list[tuple[str, dict[str, str]]]:
    with database.read() as connection:
        found = node_place(connection, CLUSTER, "n1")
    return [(pool, dict(labels)) for pool, labels in map(found.at, map(at, minutes))]


def test_where_a_node_was(database: Database) -> None:
    """Its pool and the labels that prices may name, from when they were written; before the first known, those.

    Without an API there is no pool.
    """
    assert places(database, 0) == [("", {})]
    note(database, 10, node(created=5, pool="a", labels=(("type", "p5"), ("zone", "z"))))
    note(database, 30, node(created=5, pool="b", labels=(("type", "p5"), ("zone", "z")), labelled_ms=at(25)))
    note(database, 40, node(created=5, pool="b", labels=(("type", "p6"), ("zone", "z"))))
    p5, p6 = ({"type": name, "zone": "z"} for name in ("p5", "p6"))
    assert places(database, -90, 5, 24, 25, 39, 40, 900) == [
        ("a", p5), ("a", p5), ("a", p5), ("b", p5), ("b", p5), ("b", p6), ("b", p6)
    ]  # fmt: skip
    assert spans(database) == ([(5, 60)], [])


def test_a_label_that_is_gone_was_there_until_it_was_missed(database: Database) -> None:
    """When the others were written says nothing of it."""
    note(database, 10, node(pool="a", labels=(("type", "p5"), ("zone", "z")), labelled_ms=at(-600)))
    note(database, 30, node(pool="a", labels=(("zone", "z"),), labelled_ms=at(-600)))
    note(database, 40, node(labels=(("zone", "z"),), labelled_ms=at(-600)))
    both, zone = {"type": "p5", "zone": "z"}, {"zone": "z"}
    assert places(database, 10, 29, 30, 39, 40) == [("a", both), ("a", both), ("a", zone), ("a", zone), ("", zone)]


def test_what_changes_at_different_times_is_told_apart(database: Database) -> None:
    """Though it is seen at once: a cordon is not dated by a label."""
    note(database, 10, node(pool="a"))
    note(database, 50, node(pool="b", labelled_ms=at(40), cordoned_at=20, gpus={}))
    assert places(database, 39, 40, 55) == [("a", {}), ("b", {}), ("b", {})]
    assert spans(database) == ([(0, 60)], [(20, 60)])
    with database.read() as connection:
        states = connection.execute(select(node_states).order_by(node_states.c.version)).all()
    assert [(row.version, row.from_ms, row.until_ms) for row in states] == [
        (1, at(-600), at(20)),
        (2, at(20), at(40)),
        (3, at(40), at(50)),
        (4, at(50), None),
    ]


def test_another_pool_makes_the_hours_since_due(database: Database) -> None:
    """Their price may be another."""
    rated_hours(database, -1, 0, 1)
    note(database, 10, node(pool="a"))
    rated_hours(database)
    note(database, 70, node(pool="b", labelled_ms=at(30)))
    assert due(database) == [("n1", 0), ("n1", 1)]


def test_an_old_look_changes_nothing(database: Database) -> None:
    """Of a replica that lags."""
    note(database, 10, node())
    note(database, 30, node())
    assert note(database, 20) == 0
    assert spans(database) == ([(0, 60)], [])


def test_replicas_that_note_the_same_at_once(database: Database, url: str) -> None:
    """Each state is there once."""
    replicas = [open_database(url) for _ in range(4)]
    with ThreadPoolExecutor(len(replicas)) as pool:
        counts = list(pool.map(lambda replica: note(replica, 10, node(), node("n2")), replicas))
    assert sorted(counts) == [0, 0, 0, 2]
    with database.read() as connection:
        found = [(row.node, row.version) for row in connection.execute(select(node_states))]
    assert sorted(found) == [("n1", 1), ("n2", 1)]
    for replica in replicas:
        replica.close()


# To lines.


def lines(database: Database, now: float) -> list[tuple[str, str, float, float]]:
    """Account, kind, from and to in minutes of the first hour."""
    close_all(database, at(now), GRACE_MS)
    with database.read() as connection:
        found = list(lines_of_month(connection, "2026-10"))
    assert sum(x.list_micros or 0 for x in found) == sum(x.end_ms - x.start_ms for x in found) * 3_000_000 // HOUR_MS
    return sorted(
        (x.account, x.kind, (x.start_ms - at(0)) / MINUTE_MS, (x.end_ms - at(0)) / MINUTE_MS) for x in found
    )


def test_a_cordon_is_seen_in_the_lines(ledger: Database) -> None:
    """Also of an hour that was rated before anybody knew of it; who holds the card pays on."""
    put(ledger, body(holdings=[holding(start=600_000, end=1_800_000)]))
    note(ledger, 5, node())
    free = [("platform:idle", "free", 0, 10), ("platform:idle", "free", 30, 60)]
    assert lines(ledger, 75) == [("cc-a", "held", 10, 30), *free]
    note(ledger, 80, node(cordoned_at=20))
    assert lines(ledger, 85) == [
        ("cc-a", "held", 10, 30),
        ("platform:idle", "free", 0, 10),
        ("platform:unavailable", "cordoned", 30, 60),
    ]


def test_a_silent_node_is_accounted_for_until_the_api_drops_it(ledger: Database) -> None:
    """Beyond 72 hours; and not a minute longer than the API had it."""
    put(ledger, body(gpus=[gpu(observed=[(0, 1_800_000)])]))
    note(ledger, 5, node())
    note(ledger, 80 * 60, node())
    found = lines(ledger, 80 * 60)
    assert found[0] == ("platform:gap", "gap", 30, 60)
    assert len([row for row in found if row[1] == "gap"]) == 79
    note(ledger, 80 * 60 + 5)
    assert len([row for row in lines(ledger, 83 * 60) if row[1] == "gap"]) == 80
    assert max(row[3] for row in lines(ledger, 84 * 60)) == 80 * 60


def test_a_silent_node_that_comes_to_be_known_after_its_72_hours(ledger: Database) -> None:
    """The API has had it all the time: its hours are there after all."""
    put(ledger, body())
    assert max(row[3] for row in lines(ledger, 90 * 60)) == 73 * 60
    note(ledger, 90 * 60, node())
    assert max(row[3] for row in lines(ledger, 90 * 60 + 15)) == 90 * 60


@pytest.mark.parametrize(("known", "minutes"), [(True, 10), (False, 60)])
def test_a_node_that_is_dropped_takes_its_silent_cards_with_it(ledger: Database, known: bool, minutes: float) -> None:
    """Where the API knew it; else nobody can say."""
    put(ledger, body(gpus=[gpu(observed=[(0, 300_000)])]))
    if known:
        note(ledger, 10, node())
    note(ledger, 20)
    found = [row for row in lines(ledger, 75) if row[1] == "gap"]
    assert found == [("platform:gap", "gap", 5, minutes)]
