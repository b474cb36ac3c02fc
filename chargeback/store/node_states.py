"""The cluster's nodes with history: states are added and ended, never rewritten."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, exists, func, insert, select, update

from chargeback.core.hours import HOUR_MS
from chargeback.core.nodes import Node, UnmeteredNode
from chargeback.core.spans import Spans, union
from chargeback.store.database import lock
from chargeback.store.feeds import followed, note_followed
from chargeback.store.node_hours import make_due_between
from chargeback.store.tables import node_states, nodes, pods

FEED = "nodes"
# Rated hours that a change of the future cannot reach.
_FOREVER = 2**31 - 1


def note_nodes(connection: Connection, cluster: str, seen: Iterable[Node], now_ms: int) -> int:
    """Take what a cluster's nodes look like now into their history; how many changed. Affected hours become due.

    A node that is no longer there ended when it was last known to be there. now_ms: by the API server's clock.
    """
    lock(connection, node_states)  # every replica follows the cluster, and two must not add the same state
    before_ms = followed(connection, cluster, FEED)
    if before_ms is not None and now_ms < before_ms:
        return 0
    present = {node.name: node for node in seen}
    latest = {row.node: row for row in _states(connection, cluster)}  # ordered, so the last state stays
    count = 0
    for name, node in sorted(present.items()):
        count += _note(connection, cluster, node, latest.get(name), now_ms)
    for name, row in sorted(latest.items()):
        if name not in present and row.until_ms is None:
            _end(connection, cluster, row, max(before_ms or now_ms, row.from_ms), now_ms)
            count += 1
    note_followed(connection, cluster, FEED, now_ms)
    return count


def _note(connection: Connection, cluster: str, node: Node, row: Row[Any] | None, now_ms: int) -> int:
    gpus = json.dumps(dict(sorted(node.gpus.items())))
    if row is not None and row.until_ms is None:
        if (row.uid, row.cordoned, row.gpus) == (node.uid, node.cordoned, gpus):
            return 0
        from_ms = now_ms
        if row.uid != node.uid:
            from_ms = node.created_ms
        elif row.cordoned != node.cordoned and node.cordoned_ms is not None:
            from_ms = node.cordoned_ms
        from_ms = max(from_ms, row.from_ms)
        _end(connection, cluster, row, from_ms, now_ms)
    else:
        from_ms = node.created_ms if row is None else max(node.created_ms, row.until_ms)
    connection.execute(
        insert(node_states).values(
            cluster=cluster,
            node=node.name,
            version=1 if row is None else row.version + 1,
            uid=node.uid,
            from_ms=from_ms,
            until_ms=None,
            cordoned=node.cordoned,
            gpus=gpus,
        )
    )
    make_due_between(connection, cluster, node.name, from_ms // HOUR_MS, _FOREVER, now_ms)
    return 1


def _end(connection: Connection, cluster: str, row: Row[Any], until_ms: int, now_ms: int) -> None:
    is_it = (
        node_states.c.cluster == cluster,
        node_states.c.node == row.node,
        node_states.c.version == row.version,
    )
    connection.execute(update(node_states).where(*is_it).values(until_ms=until_ms))
    make_due_between(connection, cluster, row.node, until_ms // HOUR_MS, _FOREVER, now_ms)


def node_spans(connection: Connection, cluster: str, node: str, hour: int) -> tuple[Spans | None, Spans]:
    """When the API had a node, and when that was cordoned, in ms from the hour's start; None: it never knew it."""
    rows = list(_states(connection, cluster, node_states.c.node == node))
    if not rows:
        return None, ()
    start_ms = hour * HOUR_MS
    spans = [
        (
            max(row.from_ms - start_ms, 0),
            HOUR_MS if row.until_ms is None else min(row.until_ms - start_ms, HOUR_MS),
            row.cordoned,
        )
        for row in rows
    ]
    here = [(start, end, cordoned) for start, end, cordoned in spans if start < end]
    return union((a, b) for a, b, _ in here), union((a, b) for a, b, cordoned in here if cordoned)


def unmetered_nodes(connection: Connection) -> list[UnmeteredNode]:
    """Nodes that offer GPUs, or had pods that used them, and whose agent never pushed; by cluster and node."""
    pushed = exists().where(nodes.c.cluster == node_states.c.cluster, nodes.c.node == node_states.c.node)
    offering = select(node_states).where(node_states.c.until_ms.is_(None), ~pushed)
    devices = {
        (row.cluster, row.node): sum(json.loads(row.gpus).values())
        for row in connection.execute(offering)
        if any(json.loads(row.gpus).values())
    }
    seen = exists().where(nodes.c.cluster == pods.c.cluster, nodes.c.node == pods.c.node)
    counts = select(pods.c.cluster, pods.c.node, func.count()).where(~seen).group_by(pods.c.cluster, pods.c.node)
    used = {(row[0], row[1]): int(row[2]) for row in connection.execute(counts)}
    return [
        UnmeteredNode(cluster=key[0], node=key[1], devices=devices.get(key, 0), pods=used.get(key, 0))
        for key in sorted(devices.keys() | used.keys())
    ]


def _states(connection: Connection, cluster: str, *where: Any) -> Iterable[Row[Any]]:
    query = (
        select(node_states)
        .where(node_states.c.cluster == cluster, *where)
        .order_by(node_states.c.node, node_states.c.version)
    )
    return connection.execute(query)
