"""The cluster's nodes with history: states are added and ended, never rewritten."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from sqlalchemy import Connection, Row, exists, func, insert, or_, select, update

from chargeback.core.hours import HOUR_MS
from chargeback.core.nodes import Node, NodePlaces, UnmeteredNode
from chargeback.core.spans import Spans, union
from chargeback.store.bulk import among
from chargeback.store.database import lock
from chargeback.store.feeds import followed, note_followed
from chargeback.store.node_hours import make_due_between
from chargeback.store.tables import node_states, nodes, pods

FEED = "nodes"
# One node's rows of the table.
StateRows = Sequence[Row[Any]]
# Rated hours that a change of the future cannot reach.
_FOREVER = 2**31 - 1
# How many pods, as `store/pods.py` writes them: all but those that claim nothing but other devices, or only watch.
# Asked of what is counted, not of every pod that there ever was.
_SAYS = pods.c.about.contains
GPU_PODS = func.count().filter(or_(~_SAYS('"watches":'), _SAYS('"asks":'), _SAYS('"groups":')))


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
        count += _note(connection, cluster, node, latest.get(name), before_ms, now_ms)
    for name, row in sorted(latest.items()):
        if name not in present and row.until_ms is None:
            _end(connection, cluster, row, max(before_ms or now_ms, row.from_ms), now_ms)
            count += 1
    note_followed(connection, cluster, FEED, now_ms)
    return count


def _note(
    connection: Connection, cluster: str, node: Node, row: Row[Any] | None, before_ms: int | None, now_ms: int
) -> int:
    state = _state(cluster, node)
    if row is not None and row.uid == node.uid and row.until_ms is None:
        steps = _changes(row, node, state, now_ms)
        if not steps:
            return 0
        _end(connection, cluster, row, steps[0][0], now_ms)
    else:
        from_ms = node.created_ms
        if row is not None:
            until_ms = row.until_ms
            if until_ms is None:  # one of its name was made anew: how long the old one was there is not known
                until_ms = max(min(before_ms or now_ms, node.created_ms), row.from_ms)
                _end(connection, cluster, row, until_ms, now_ms)
            from_ms = max(node.created_ms, until_ms)
        steps = [(from_ms, state)]
        if node.cordoned and node.cordoned_ms is not None and from_ms < node.cordoned_ms:
            # It was cordoned before we first saw it, and open before that.
            steps = [(from_ms, replace(state, cordoned=False)), (node.cordoned_ms, state)]
    version = 1 if row is None else row.version + 1
    for number, (from_ms, step) in enumerate(steps):
        until_ms = steps[number + 1][0] if number + 1 < len(steps) else None
        _begin(connection, step, version + number, from_ms, until_ms)
    make_due_between(connection, cluster, [node.name], steps[0][0] // HOUR_MS, _FOREVER, now_ms)
    return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """What a node is like, whenever. gpus, labels: JSON."""

    cluster: str
    node: str
    uid: str
    gpus: str
    cordoned: bool
    pool: str
    labels: str


def _state(cluster: str, node: Node) -> _State:
    return _State(
        cluster=cluster,
        node=node.name,
        uid=node.uid,
        gpus=json.dumps(dict(sorted(node.gpus.items()))),
        cordoned=node.cordoned,
        pool=node.pool,
        labels=json.dumps(dict(node.labels)),
    )


def _changes(row: Row[Any], node: Node, state: _State, now_ms: int) -> list[tuple[int, _State]]:
    """What became of a state, in steps: (from_ms, state).

    Each change holds from when it was written, else from now: of a label that is gone, nobody says when.
    """
    gone = (row.pool and not node.pool) or json.loads(row.labels).keys() - dict(node.labels).keys()
    labelled_ms = None if gone else node.labelled_ms
    written = {"cordoned": node.cordoned_ms, "pool": labelled_ms, "labels": labelled_ms, "gpus": None}
    step = _State(**{each.name: getattr(row, each.name) for each in fields(_State)})
    at: dict[int, dict[str, Any]] = {}
    for name, written_ms in written.items():
        if getattr(step, name) != getattr(state, name):
            from_ms = max(now_ms if written_ms is None else written_ms, row.from_ms)
            at.setdefault(from_ms, {})[name] = getattr(state, name)
    steps = []
    for from_ms, changed in sorted(at.items()):
        step = replace(step, **changed)
        steps.append((from_ms, step))
    return steps


def _begin(connection: Connection, state: _State, version: int, from_ms: int, until_ms: int | None) -> None:
    row = asdict(state) | {"version": version, "from_ms": from_ms, "until_ms": until_ms}
    connection.execute(insert(node_states).values(row))


def _end(connection: Connection, cluster: str, row: Row[Any], until_ms: int, now_ms: int) -> None:
    is_it = (
        node_states.c.cluster == cluster,
        node_states.c.node == row.node,
        node_states.c.version == row.version,
    )
    connection.execute(update(node_states).where(*is_it).values(until_ms=until_ms))
    make_due_between(connection, cluster, [row.node], until_ms // HOUR_MS, _FOREVER, now_ms)


def node_place(connection: Connection, cluster: str, node: str) -> NodePlaces:
    """What says pool and labels of a node at any instant; of a node that no API ever had, nothing."""
    return places_in(states_of(connection, cluster, [node]).get(node, ()))


def node_spans(connection: Connection, cluster: str, node: str, hour: int) -> tuple[Spans | None, Spans]:
    """When the API had a node, and when that was cordoned, in ms from the hour's start; None: it never knew it."""
    return spans_in(states_of(connection, cluster, [node]).get(node, ()), hour)


def states_of(connection: Connection, cluster: str, names: Collection[str]) -> dict[str, StateRows]:
    """The states of nodes, oldest first, for `places_in` and `spans_in`; nodes that no API ever had are not in it."""
    found: dict[str, list[Row[Any]]] = {}
    for row in _states(connection, cluster, among(connection, node_states.c.node, names)):
        found.setdefault(row.node, []).append(row)
    return dict(found)


def places_in(rows: StateRows) -> NodePlaces:
    return NodePlaces(since=[(row.from_ms, row.pool, tuple(json.loads(row.labels).items())) for row in rows])


def spans_in(rows: StateRows, hour: int) -> tuple[Spans | None, Spans]:
    """As `node_spans`."""
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
    """Nodes that offer GPUs, or had pods that used them, and whose agent never pushed; by cluster and node.

    Without those that the API had and has no more: nobody can bring back their agents.
    """
    pushed = exists().where(nodes.c.cluster == node_states.c.cluster, nodes.c.node == node_states.c.node)
    offering = select(node_states).where(node_states.c.until_ms.is_(None), ~pushed)
    devices = {
        (row.cluster, row.node): sum(json.loads(row.gpus).values())
        for row in connection.execute(offering)
        if any(json.loads(row.gpus).values())
    }
    seen = exists().where(nodes.c.cluster == pods.c.cluster, nodes.c.node == pods.c.node)
    its = (node_states.c.cluster == pods.c.cluster, node_states.c.node == pods.c.node)
    there = or_(exists().where(*its, node_states.c.until_ms.is_(None)), ~exists().where(*its))
    counts = select(pods.c.cluster, pods.c.node, GPU_PODS).where(~seen, there).group_by(pods.c.cluster, pods.c.node)
    used = {(row[0], row[1]): int(row[2]) for row in connection.execute(counts) if row[2]}
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
