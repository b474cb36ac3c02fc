"""Claims of node-hours that are due: taken by one of several replicas, rated, and settled.

Whoever rates node-hours locks them out of turn, so it must not wait for others' (`take`): two that waited for each
other would both be in vain. Those of one node are rated by one replica at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, func, select, update

from chargeback.store.bulk import rows_of, upsert
from chargeback.store.database import Busy
from chargeback.store.known import Known, read_known, write_known
from chargeback.store.months import frozen, share_ledger
from chargeback.store.node_hours import NodeHourKey, grouped, row_of
from chargeback.store.partitions import first_kept_hour
from chargeback.store.tables import node_hours

# Any number will do, as long as every replica takes the same: with a number of the node, a lock of its own.
_LOCK = 0x6E6F6465
# So many times a claim's node-hours are looked at, to find nodes that nobody is at.
_LOOKS = 4
_TRIES = 10


class Claimed(NamedTuple):
    """A node-hour that is due. revision: how often it was rated; left: what it left to the next when it last was."""

    key: NodeHourKey
    revision: int
    left: Known


def claim(connection: Connection, now_ms: int, limit: int) -> list[Claimed]:
    """Node-hours that are due, oldest hour first, locked until the transaction ends.

    Those of a drafted or approved month wait; all wait while a month is being drafted or closed.
    """
    if not share_ledger(connection, wait=False):
        return []
    due = [node_hours.c.due_ms <= now_ms, node_hours.c.hour >= first_kept_hour(connection)]
    due += [~node_hours.c.hour.between(first, last) for first, last in frozen(connection)]
    if connection.dialect.name == "sqlite":
        rows = connection.execute(select(node_hours).where(*due).order_by(*_ORDER).limit(limit)).all()
    else:
        rows = _lock_some(connection, due, limit)
    return [
        Claimed(NodeHourKey(cluster=row.cluster, node=row.node, hour=row.hour), row.revision, read_known(row.known))
        for row in rows
    ]


def _lock_some(connection: Connection, due: Collection[ColumnElement[bool]], limit: int) -> list[Row[Any]]:
    """Rows of node-hours that are due, and nobody else's: none, only where there are none left."""
    for _ in range(_TRIES):
        # By their keys, not by what is due: of a backlog only what is wanted is read.
        keys = _of_free_nodes(connection, due, limit)
        rows = [
            row
            for each in grouped(keys)
            for row in rows_of(connection, node_hours, each, list(node_hours.c), *due, locked=True)
        ]
        if rows or not keys:
            return sorted(rows, key=lambda row: (row.hour, row.cluster.encode(), row.node.encode()))
        # What was due when it was looked for, another has rated until it was locked: there may be more.
    return []


def _of_free_nodes(connection: Connection, due: Collection[ColumnElement[bool]], limit: int) -> list[NodeHourKey]:
    """The first node-hours that are due of nodes which nobody else is rating, nor will until the transaction ends."""
    columns = (node_hours.c.cluster, node_hours.c.node, node_hours.c.hour)
    # Limited within: else the planner might try locks before it knows which are the first.
    first = select(*columns).where(*due).order_by(*_ORDER).limit(limit * _LOOKS).subquery("first")
    name = func.hashtext(first.c.cluster + "/" + first.c.node)
    free = select(first).where(func.pg_try_advisory_xact_lock(_LOCK, name)).limit(limit)
    return [NodeHourKey(cluster=row.cluster, node=row.node, hour=row.hour) for row in connection.execute(free)]


_ORDER = (node_hours.c.hour, node_hours.c.cluster, node_hours.c.node)


def take_hours(connection: Connection, keys: Collection[NodeHourKey]) -> set[NodeHourKey]:
    """Have those node-hours that are there to oneself until the transaction ends; never waits. Raises Busy.

    Returns those of them that are due: on SQLite none, for there `make_each_due` sees to it.
    """
    due: set[NodeHourKey] = set()
    if connection.dialect.name == "sqlite":
        return due  # has one writer anyway
    columns = (node_hours.c.node, node_hours.c.hour, node_hours.c.due_ms)
    for each in grouped(keys):
        taken = rows_of(connection, node_hours, each, columns, locked=True)
        wanted = len(each[1]) * len(each[2])
        if len(taken) < wanted and len(taken) < len(rows_of(connection, node_hours, each, columns)):
            raise Busy("node-hours are in other hands")
        due |= {NodeHourKey(cluster=each[0], node=row.node, hour=row.hour) for row in taken if row.due_ms is not None}
    return due


def _is(key: NodeHourKey) -> tuple[ColumnElement[bool], ...]:
    return (node_hours.c.cluster == key.cluster, node_hours.c.node == key.node, node_hours.c.hour == key.hour)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What is kept of a node-hour that was rated. existed: ms of its cards, by local month."""

    key: NodeHourKey
    revision: int
    known: Known
    error_ms: int = 0
    differences: Mapping[str, int] = field(default_factory=dict)
    existed: Mapping[str, int] = field(default_factory=dict)


def settle(connection: Connection, rated: Iterable[Settled]) -> None:
    """Note that node-hours were rated."""
    rows = [
        row_of(each.key)
        | {
            "due_ms": None,
            "revision": each.revision,
            "known": write_known(each.known),
            "error_ms": each.error_ms,
            "differences": _write_ms(each.differences),
            "existed": _write_ms(each.existed),
        }
        for each in rated
    ]
    news = ("due_ms", "revision", "known", "error_ms", "differences", "existed")
    # They are all there. As an UPDATE the planner would rather read the whole table.
    upsert(connection, node_hours, rows, lambda excluded: {name: excluded[name] for name in news})


def _write_ms(of: Mapping[str, int]) -> str:
    """As JSON, the same for the same."""
    return msgspec.json.encode(of, order="sorted").decode()


def postpone(connection: Connection, key: NodeHourKey, due_ms: int) -> None:
    """Have a node-hour that could not be rated tried again later; its lines stay as they are."""
    connection.execute(update(node_hours).where(*_is(key)).values(due_ms=due_ms))
