"""What the cluster says of plans goes into the ledger, and so does the file of `--plans`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chargeback.core.owners.owners import Namespace
from chargeback.core.policy import Policy
from chargeback.core.quota.resources import GUARANTEED
from chargeback.core.quota.specs import QuotaSpec
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.plans import plan_book, plan_histories
from chargeback.store.policies import begin_policy
from chargeback.store.schema import migrate
from chargeback.tasks.follow_cluster import ClusterTables, Noter
from chargeback.tasks.note_plans import EVERY_S, import_plan_file, keep_importing

PAIR = QuotaSpec(namespace="b", name="gpu", hard={"requests.nvidia.com/gpu": "4", "limits.nvidia.com/gpu": "8"})
ANNOTATED = Namespace(name="a", annotations={GUARANTEED: "2"})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    yield database
    database.close()


class Cluster:
    """Tables that a test fills, and the noter that reads them."""

    def __init__(self, database: Database, plans_from: str = "quota") -> None:
        with database.write() as connection:
            begin_policy(connection, Policy(plans_from=plans_from), 0)
        self.tables = ClusterTables(awaited={"namespaces", "resourcequotas"})
        self.noter = Noter(
            database=database, cluster="lab", tables=self.tables, source="api", now_ms=lambda: self.now_ms
        )
        self.now_ms = 0

    def see(self, now_ms: int, *, namespaces: tuple[Namespace, ...] = (), quotas: tuple[QuotaSpec, ...] = ()) -> None:
        self.now_ms = now_ms
        self.tables.namespaces.replace({each.name: each for each in namespaces}, now_ms)
        self.tables.resourcequotas.replace({each.name: each for each in quotas}, now_ms)
        self.note()

    def note(self) -> None:
        asyncio.run(self.noter.note())


def history(database: Database) -> dict[str, list[tuple[object, ...]]]:
    with database.read() as connection:
        found = plan_histories(connection, "lab")
    return {
        name: [(each.guaranteed, each.cap, each.source, each.from_ms, each.until_ms) for each in versions]
        for name, versions in found.items()
    }


@pytest.mark.parametrize("plans_from", ["quota", "annotations"])
def test_plans_are_followed_as_policy_says(database: Database, plans_from: str) -> None:
    """A quota's pair is a plan only where it says so; what goes ends when that was seen."""
    cluster = Cluster(database, plans_from)
    cluster.see(1000, namespaces=(ANNOTATED,), quotas=(PAIR,))
    cluster.see(2000, namespaces=(ANNOTATED,), quotas=(PAIR,))
    cluster.see(3000, namespaces=(replace(ANNOTATED, annotations={}),))
    pair = {"b": [(4, 8, "quota", 1000, 3000)]} if plans_from == "quota" else {}
    assert history(database) == {"a": [(2, None, "annotation", 1000, 3000)]} | pair


def test_what_was_seen_a_moment_too_early_is_noted_later(database: Database) -> None:
    """The clocks of replicas differ: what one sees just before another's last word is not lost."""
    one, other = Cluster(database), Cluster(database)
    other.see(2000, quotas=(PAIR,))
    one.see(1900, namespaces=(ANNOTATED,), quotas=(PAIR,))
    assert "a" not in history(database)
    one.see(3000, namespaces=(ANNOTATED,), quotas=(PAIR,))
    assert history(database)["a"] == [(2, None, "annotation", 3000, None)]


def test_nothing_is_noted_before_both_were_read(database: Database) -> None:
    """Else a plan by a quota would end with every restart of the server."""
    Cluster(database).see(1000, quotas=(PAIR,))
    restarted = ClusterTables(awaited={"namespaces", "resourcequotas"})
    restarted.namespaces.replace({}, 2000)
    noter = Noter(database=database, cluster="lab", tables=restarted, source="api", now_ms=lambda: 2000)
    asyncio.run(noter.note())
    assert history(database) == {"b": [(4, 8, "quota", 1000, None)]}


def test_what_may_not_be_read_is_not_gone(database: Database) -> None:
    """Without the right to list quotas, plans by namespaces are noted, and those by quotas stay."""
    Cluster(database).see(1000, quotas=(PAIR,))
    tables = ClusterTables(awaited={"namespaces", "resourcequotas"})
    tables.namespaces.replace({"a": ANNOTATED}, 2000)
    tables.resourcequotas.lack = "forbidden"
    noter = Noter(database=database, cluster="lab", tables=tables, source="api", now_ms=lambda: 2000)
    asyncio.run(noter.note())
    assert history(database) == {
        "a": [(2, None, "annotation", 2000, None)],
        "b": [(4, 8, "quota", 1000, None)],
    }


class Turns:
    """A clock that writes what a test wants before each turn of the loop, and then stops it."""

    def __init__(self, *texts: str, file: Path) -> None:
        self._texts = list(texts)
        self._file = file
        self._stamp = 0

    def now_ms(self) -> int:
        return 5000

    async def sleep(self, seconds: float) -> None:
        assert seconds == EVERY_S
        if not self._texts:
            raise asyncio.CancelledError
        self._file.write_text(self._texts.pop(0))
        self._stamp += 1
        os.utime(self._file, (self._stamp, self._stamp))


def test_the_file_is_read_again_when_it_changes(database: Database, tmp_path: Path) -> None:
    """One that cannot be read leaves the last plans in force."""
    Cluster(database)
    file = tmp_path / "plans.yaml"
    file.write_text("plans: [{namespace: a, guaranteed: 1}]")
    with database.write() as connection:
        assert import_plan_file(connection, file, "lab", 0) == 1
    turns = Turns("plans: [{namespace: a, guaranteed: 3}]", "plans: 7", file=file)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(keep_importing(database, file, "lab", turns))  # type: ignore[arg-type]
    with database.read() as connection:
        (plan,) = plan_book(connection, "lab").at("a", 0)
    assert (plan.guaranteed, plan.who, plan.source) == (3, "serve", str(file))
