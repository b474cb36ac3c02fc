"""The history of owners: versions are added and ended, never rewritten, and what they touch is rated again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from chargeback.core.hours import HOUR_MS
from chargeback.core.owners import Namespace, Owner
from chargeback.store.database import Database, open_database
from chargeback.store.node_hours import claim
from chargeback.store.owners import current_owners, note_namespaces, owner_book
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, put, start_ms

CREATED_MS, SEEN_MS = start_ms(HOUR), start_ms(HOUR + 10)


def note(database: Database, *seen: Namespace, now_ms: int = SEEN_MS) -> list[Owner]:
    with database.write() as connection:
        return note_namespaces(connection, CLUSTER, seen, "api", now_ms)


def centers(database: Database, namespace: str, *instants_ms: int) -> list[str | None]:
    """The cost center at some instants; `gone` where there was no such namespace."""
    with database.read() as connection:
        book = owner_book(connection, CLUSTER)
    owners = [book.at(namespace, at_ms) for at_ms in instants_ms]
    return [owner.cost_center if owner else "gone" for owner in owners]


def test_the_first_version_holds_from_the_creation(database: Database) -> None:
    """The past of a new installation has owners."""
    note(database, Namespace(name="alpha", created_ms=CREATED_MS, labelled_ms=SEEN_MS - 5, cost_center="cc-1"))
    assert centers(database, "alpha", CREATED_MS - 1, CREATED_MS, SEEN_MS) == ["gone", "cc-1", "cc-1"]


def test_without_a_creation_time_it_holds_from_ever(database: Database) -> None:
    """A file need not say when."""
    note(database, Namespace(name="alpha", cost_center="cc-1"))
    assert centers(database, "alpha", 0) == ["cc-1"]


def test_seeing_the_same_again_changes_nothing(database: Database) -> None:
    """Most turns of the follower."""
    assert len(note(database, Namespace(name="alpha", cost_center="cc-1"))) == 1
    assert note(database, Namespace(name="alpha", cost_center="cc-1"), now_ms=SEEN_MS + 1) == []


def test_a_label_changes_when_it_was_written_not_when_we_saw_it(database: Database) -> None:
    """The API says when; we look every half minute."""
    note(database, Namespace(name="alpha", created_ms=CREATED_MS, cost_center="cc-1"))
    written_ms = SEEN_MS + 5_000
    note(database, Namespace(name="alpha", cost_center="cc-2", labelled_ms=written_ms), now_ms=SEEN_MS + 30_000)
    assert centers(database, "alpha", written_ms - 1, written_ms) == ["cc-1", "cc-2"]


@pytest.mark.parametrize("labelled_ms", [None, CREATED_MS - 1, SEEN_MS + HOUR_MS])
def test_a_change_that_nobody_dates_holds_from_when_it_was_seen(database: Database, labelled_ms: int | None) -> None:
    """So does one that is dated before the version it ends, or in the future."""
    note(database, Namespace(name="alpha", created_ms=CREATED_MS, cost_center="cc-1"))
    note(database, Namespace(name="alpha", cost_center=None, labelled_ms=labelled_ms), now_ms=SEEN_MS + 9)
    assert centers(database, "alpha", SEEN_MS + 8, SEEN_MS + 9) == ["cc-1", None]


def test_a_deleted_namespace_ends_and_a_new_one_of_its_name_begins(database: Database) -> None:
    """In between nobody owns it."""
    note(database, Namespace(name="alpha", uid="1", created_ms=CREATED_MS, cost_center="cc-1"))
    note(database, now_ms=SEEN_MS + 10)
    with database.read() as connection:
        assert current_owners(connection, CLUSTER, SEEN_MS + 10) == {}
    assert note(database, now_ms=SEEN_MS + 15) == []
    note(
        database, Namespace(name="alpha", uid="2", cost_center="cc-2", labelled_ms=SEEN_MS + 20), now_ms=SEEN_MS + 30
    )
    seen = centers(database, "alpha", SEEN_MS + 9, SEEN_MS + 10, SEEN_MS + 19, SEEN_MS + 20)
    assert seen == ["cc-1", "gone", "gone", "cc-2"]
    with database.read() as connection:
        assert current_owners(connection, CLUSTER, SEEN_MS + 30)["alpha"].version == 2


def test_the_same_owner_begins_again_after_a_deletion(database: Database) -> None:
    """Equal labels, another namespace."""
    note(database, Namespace(name="alpha", cost_center="cc-1"))
    note(database, now_ms=SEEN_MS + 10)
    note(database, Namespace(name="alpha", cost_center="cc-1"), now_ms=SEEN_MS + 20)
    assert centers(database, "alpha", SEEN_MS + 9, SEEN_MS + 15, SEEN_MS + 20) == ["cc-1", "gone", "cc-1"]


def test_clusters_have_owners_of_their_own(database: Database) -> None:
    """`default` is in every cluster."""
    note(database, Namespace(name="default", cost_center="cc-1"))
    with database.write() as connection:
        note_namespaces(connection, "other", [Namespace(name="default", cost_center="cc-2")], "api", SEEN_MS)
        assert current_owners(connection, "other", SEEN_MS)["default"].cost_center == "cc-2"
    assert centers(database, "default", SEEN_MS) == ["cc-1"]


def test_only_hours_from_the_change_on_are_rated_again(ledger: Database) -> None:
    """What was before it stays as it is."""
    for hour in (HOUR, HOUR + 1, HOUR + 2):
        put(ledger, body(hour=hour))
    close_all(ledger, SEEN_MS, GRACE_MS)
    seen = [Namespace(name="alpha", cost_center="cc-9", labelled_ms=start_ms(HOUR + 1) + 1), Namespace(name="beta")]
    note(ledger, *seen)
    with ledger.write() as connection:
        hours = [key.hour for key, _, _ in claim(connection, SEEN_MS, 100)]
    assert hours[:2] == [HOUR + 1, HOUR + 2]


def test_replicas_that_see_a_change_at_once_note_it_once(database: Database, url: str) -> None:
    """Every replica follows the cluster."""
    note(database, Namespace(name="alpha", cost_center="cc-1"))
    replicas = [open_database(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda replica: note(replica, Namespace(name="alpha", cost_center="cc-2")), replicas))
    assert sorted(map(len, added)) == [0, 0, 0, 1]
    for replica in replicas:
        replica.close()
