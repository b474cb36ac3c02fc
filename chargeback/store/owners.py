"""Namespace owners with history: versions are added and ended, never rewritten."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, insert, select, update

from chargeback.core.hours import HOUR_MS
from chargeback.core.owners import Namespace, Owner, OwnerBook, next_version
from chargeback.store.database import lock
from chargeback.store.node_hours import make_all_due
from chargeback.store.tables import owners


def note_namespaces(
    connection: Connection, cluster: str, seen: Iterable[Namespace], source: str, now_ms: int
) -> list[Owner]:
    """Take what a cluster's namespaces look like now into their history; what is new. Affected hours become due.

    A namespace that is no longer there ends now. Seeing the same again changes nothing.
    """
    lock(connection, owners)  # every replica follows the cluster, and two must not add the same version
    present = {namespace.name: namespace for namespace in seen}
    latest = {owner.namespace: owner for owner in _read(connection, cluster)}  # ordered, so the last version stays
    added: list[Owner] = []
    changed_from: list[int] = []
    for name, namespace in sorted(present.items()):
        version = next_version(latest.get(name), namespace, now_ms)
        if version is None:
            continue
        if (before := latest.get(name)) is not None and before.until_ms is None:
            _end(connection, cluster, before, version.from_ms)
        connection.execute(insert(owners).values(_row(cluster, version, namespace.uid, source, now_ms)))
        added.append(version)
        changed_from.append(version.from_ms)
    for name, owner in latest.items():
        if name not in present and owner.until_ms is None:
            _end(connection, cluster, owner, now_ms)
            changed_from.append(now_ms)
    if changed_from:
        make_all_due(connection, cluster, min(changed_from) // HOUR_MS, now_ms)
    return added


def owner_book(connection: Connection, cluster: str) -> OwnerBook:
    return OwnerBook(_read(connection, cluster))


def current_owners(connection: Connection, cluster: str) -> dict[str, Owner]:
    """The owner of every namespace that exists now, by name."""
    return {owner.namespace: owner for owner in _read(connection, cluster) if owner.until_ms is None}


def _read(connection: Connection, cluster: str) -> list[Owner]:
    query = select(owners).where(owners.c.cluster == cluster).order_by(owners.c.namespace, owners.c.version)
    return [
        Owner(
            namespace=row.namespace,
            from_ms=row.from_ms,
            until_ms=row.until_ms,
            cost_center=row.cost_center,
            team=row.team,
            tier=row.tier,
            version=row.version,
        )
        for row in connection.execute(query)
    ]


def _end(connection: Connection, cluster: str, owner: Owner, until_ms: int) -> None:
    connection.execute(
        update(owners)
        .where(owners.c.cluster == cluster, owners.c.namespace == owner.namespace, owners.c.version == owner.version)
        .values(until_ms=until_ms)
    )


def _row(cluster: str, owner: Owner, uid: str | None, source: str, now_ms: int) -> dict[str, object]:
    return {
        "cluster": cluster,
        "namespace": owner.namespace,
        "version": owner.version,
        "uid": uid,
        "from_ms": owner.from_ms,
        "until_ms": owner.until_ms,
        "cost_center": owner.cost_center,
        "team": owner.team,
        "tier": owner.tier,
        "source": source,
        "recorded_ms": now_ms,
    }
