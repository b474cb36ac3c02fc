"""What of a scope the ledger knows: a name that it has never seen is a typing error, and would adjust nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from chargeback.core.adjustments import Scope, option_of
from chargeback.store.hour_sums import known_clusters
from chargeback.store.owners import owner_clusters
from chargeback.store.tables import lines, node_hours, owners

# Where a name of each field may have been seen, the quickest to ask first.
_SEEN: dict[str, tuple[Any, ...]] = {
    "node": (node_hours.c.node,),
    "gpu": (lines.c.parent,),
    "namespace": (owners.c.namespace, lines.c.namespace),
    "cost_center": (owners.c.cost_center, lines.c.cost_center),
    "team": (owners.c.team, lines.c.team),
}


def unknown_names(connection: Connection, scope: Scope) -> list[str]:
    """What is wrong with a scope, a problem a name that was never seen (in its cluster, if it names one)."""
    clusters = clusters_of(connection)
    if scope.cluster and scope.cluster not in clusters:
        return [f"cluster={scope.cluster}: want one of {', '.join(clusters) or 'none: nothing was pushed yet'}"]
    where = f" in cluster {scope.cluster}" if scope.cluster else ""
    return [
        f"{option_of(name)}={value}: was never seen{where}"
        for name, value in scope.items()
        if name != "cluster" and not _is_seen(connection, name, value, scope.cluster)
    ]


def with_cluster(connection: Connection, scope: Scope) -> Scope:
    """A scope that names its cluster: the ledger's only one, if it names none. Raises ValueError."""
    clusters = clusters_of(connection)
    if scope.cluster:
        return scope
    if len(clusters) != 1:
        raise ValueError(f"cluster= is missing: want one of {', '.join(clusters) or 'none: nothing was pushed yet'}")
    return replace(scope, cluster=clusters[0])


def clusters_of(connection: Connection) -> list[str]:
    """Those of which the ledger knows anything, in bytewise order."""
    return sorted({*known_clusters(connection), *owner_clusters(connection)})


def _is_seen(connection: Connection, name: str, value: str, cluster: str) -> bool:
    for column in _SEEN[name]:
        query = select(column).where(column == value).limit(1)
        if cluster:
            query = query.where(column.table.c.cluster == cluster)
        if connection.execute(query).first() is not None:
            return True
    return False
