"""The history of owners: versions are added and ended, never rewritten, and what they touch is rated again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from chargeback.core.hours import HOUR_MS
from chargeback.core.owners.history import CLEARED, CORRECTION, Version
from chargeback.core.owners.owners import Namespace, Owner
from chargeback.core.owners.rules import OwnerRule, OwnerRules
from chargeback.store.claims import claim
from chargeback.store.database import Database, open_database
from chargeback.store.owners import (
    correct_owner,
    current_owners,
    is_holder,
    note_namespaces,
    owner_book,
    owner_clusters,
    owner_history,
    owner_names,
)
from chargeback.store.schema import migrate
from chargeback.store.tables import lines
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, gpu, holding, put, start_ms

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


def correct(database: Database, **changes: object) -> tuple[Version, int]:
    made = Version(
        namespace="alpha", from_ms=CREATED_MS, source=CORRECTION, recorded_ms=SEEN_MS + 5, who="jo", why="late"
    )
    with database.write() as connection:
        return correct_owner(connection, CLUSTER, replace(made, **changes))  # type: ignore[arg-type]


def history(database: Database, namespace: str = "alpha") -> list[Version]:
    with database.read() as connection:
        return owner_history(connection, CLUSTER, namespace)


def test_another_uid_begins_at_its_own_creation(database: Database) -> None:
    """Deleted and made anew between two looks, with equal labels."""
    note(database, Namespace(name="alpha", uid="1", created_ms=CREATED_MS, cost_center="cc-1"))
    anew = Namespace(name="alpha", uid="2", created_ms=SEEN_MS + 20, cost_center="cc-1")
    assert [version.version for version in note(database, anew, now_ms=SEEN_MS + 30)] == [2]
    assert [(each.uid, each.from_ms, each.until_ms) for each in history(database)] == [
        ("1", CREATED_MS, SEEN_MS + 20),
        ("2", SEEN_MS + 20, None),
    ]


def test_a_uid_that_is_learnt_late_is_noted(database: Database) -> None:
    """A file need not have it; the API that follows it has."""
    note(database, Namespace(name="alpha", cost_center="cc-1"))
    assert note(database, Namespace(name="alpha", uid="1", cost_center="cc-1"), now_ms=SEEN_MS + 1) == []
    assert [each.uid for each in history(database)] == ["1"]


def test_a_replica_that_comes_late_with_an_older_state_changes_nothing(database: Database) -> None:
    """What another has seen since holds."""
    note(database, Namespace(name="alpha", cost_center="cc-1"))
    note(database, Namespace(name="alpha", cost_center="cc-2"), now_ms=SEEN_MS + 20)
    assert note(database, Namespace(name="alpha", cost_center="cc-1"), now_ms=SEEN_MS + 10) == []
    assert note(database, now_ms=SEEN_MS + 10) == []
    assert centers(database, "alpha", SEEN_MS + 30) == ["cc-2"]


def test_other_label_keys_leave_the_past_alone(database: Database) -> None:
    """A label that was there all along is new to us now, however old its time is."""
    note(database, Namespace(name="alpha", created_ms=CREATED_MS, cost_center="cc-1"))
    note(database, Namespace(name="alpha", cost_center="cc-1"), now_ms=SEEN_MS + 60_000)
    other = Namespace(name="alpha", cost_center="cc-2", labelled_ms=SEEN_MS + 30_000)
    note(database, other, now_ms=SEEN_MS + 90_000)
    assert centers(database, "alpha", SEEN_MS + 89_999, SEEN_MS + 90_000) == ["cc-1", "cc-2"]


def test_rules_name_whom_labels_do_not(database: Database) -> None:
    """Changed ones act from when they are read."""
    rules = [OwnerRules(rules=(OwnerRule(name="all", cost_center=name),)) for name in ("cc-r", "cc-s")]
    seen = [Namespace(name="alpha", created_ms=CREATED_MS), Namespace(name="beta", cost_center="cc-b")]
    for number, each in enumerate(rules):
        with database.write() as connection:
            note_namespaces(connection, CLUSTER, seen, "api", SEEN_MS + number, rules=each)
    assert centers(database, "alpha", CREATED_MS, SEEN_MS, SEEN_MS + 1) == ["cc-r", "cc-r", "cc-s"]
    assert [each.source for each in history(database)] == ["rule:all", "rule:all"]
    assert [(each.source, each.cost_center) for each in history(database, "beta")] == [("api", "cc-b")]


def test_a_correction_is_kept_with_who_and_why_and_outlives_the_next_look(database: Database) -> None:
    """Until other labels are written."""
    note(database, Namespace(name="alpha", created_ms=CREATED_MS, cost_center="cc-1", team="red"))
    recorded, _ = correct(database, cost_center="cc-9", from_ms=CREATED_MS + HOUR_MS)
    assert history(database)[1:] == [recorded]
    assert (recorded.who, recorded.why, recorded.version) == ("jo", "late", 2)
    note(database, Namespace(name="alpha", cost_center="cc-1", team="red"), now_ms=SEEN_MS + 30_000)
    now_ms = SEEN_MS + 60_000
    assert centers(database, "alpha", CREATED_MS, CREATED_MS + HOUR_MS, now_ms) == ["cc-1", "cc-9", "cc-9"]
    with database.read() as connection:
        (owner,) = current_owners(connection, CLUSTER, now_ms).values()
    assert (owner.cost_center, owner.team, owner.source) == ("cc-9", "red", CORRECTION)
    note(database, Namespace(name="alpha", cost_center="cc-2", team="red", labelled_ms=now_ms), now_ms=now_ms + 9)
    assert centers(database, "alpha", now_ms - 1, now_ms) == ["cc-9", "cc-2"]


def test_a_correction_rates_its_hours_again(ledger: Database) -> None:
    """From its first hour on; the lines then name its version, and what it does not touch is as before."""
    for hour in (HOUR, HOUR + 1, HOUR + 2):
        put(ledger, body(hour=hour, gpus=[gpu()], holdings=[holding()]))
    close_all(ledger, SEEN_MS, GRACE_MS)

    def billed() -> list[tuple[int, str, int | None, int | None]]:
        query = select(lines).where(lines.c.namespace == "alpha").order_by(lines.c.hour, lines.c.start_ms)
        with ledger.read() as connection:
            return [(r.hour - HOUR, r.account, r.owner_version, r.amount_micros) for r in connection.execute(query)]

    assert billed() == [(hour, "cc-a", 1, 3_000_000) for hour in (0, 1, 2)]
    until_ms = start_ms(HOUR + 2)
    recorded, due = correct(ledger, cost_center="cc-9", from_ms=start_ms(HOUR + 1) + HOUR_MS // 2, until_ms=until_ms)
    assert due == 1
    with ledger.write() as connection:
        assert [key.hour for key, _, _ in claim(connection, SEEN_MS + 5, 1000)] == [HOUR + 1]
    close_all(ledger, SEEN_MS + 5, GRACE_MS)
    assert billed() == [
        (0, "cc-a", 1, 3_000_000),
        (1, "cc-a", 1, 1_500_000),
        (1, "cc-9", recorded.version, 1_500_000),
        (2, "cc-a", 1, 3_000_000),
    ]
    correct(ledger, source=CLEARED, recorded_ms=SEEN_MS + 6)
    close_all(ledger, SEEN_MS + 6, GRACE_MS)
    assert billed() == [(hour, "cc-a", 1, 3_000_000) for hour in (0, 1, 2)]


def test_what_is_asked_of_owners_beside_the_book(ledger: Database) -> None:
    """Clusters, names in use in all of them, and who held something without being known."""
    put(ledger, body(gpus=[gpu()], holdings=[holding(namespace="ghost")]))
    close_all(ledger, SEEN_MS, GRACE_MS)
    with ledger.write() as connection:
        note_namespaces(connection, "edge", [Namespace(name="z", cost_center="CC_A")], "api", SEEN_MS)
        assert owner_clusters(connection) == ["edge", CLUSTER]
        assert owner_names(connection, SEEN_MS)["cost_center"] == ["CC_A", "cc-a", "cc-b"]
        assert owner_names(connection, SEEN_MS)["tier"] == ["best-effort"]
        assert is_holder(connection, CLUSTER, "ghost")
        assert not is_holder(connection, "edge", "ghost")
        assert not is_holder(connection, CLUSTER, "nobody")


def test_going_back_to_the_schema_before_takes_corrections_along(database: Database) -> None:
    """Older code would take them for owners that it saw; what was seen stays."""
    note(database, Namespace(name="alpha", cost_center="cc-1"))
    correct(database, cost_center="cc-9")
    migrate(database, "0001")
    with database.read() as connection:
        rows = connection.execute(text("SELECT version, cost_center FROM owners")).all()
    assert [tuple(row) for row in rows] == [(1, "cc-1")]
    migrate(database)
    assert [each.cost_center for each in history(database)] == ["cc-1"]
