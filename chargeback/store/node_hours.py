"""Bodies as they came, and which node-hours are to be rated when."""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, exists, func, literal_column, or_, select, update

from chargeback.core.hours import HOUR_MS
from chargeback.core.node_hour import NodeHour
from chargeback.store.bulk import among, upsert
from chargeback.store.database import insert_or, lock, take
from chargeback.store.known import NOTHING, write_known
from chargeback.store.partitions import first_kept_hour, utc_month, want_months
from chargeback.store.tables import node_hour_bodies, node_hours, node_states, nodes

# The ledger keeps bodies for long; the fastest level already makes them four times smaller.
_GZIP_LEVEL = 1
# Everybody locks node-hours in this order.
_ORDER = ("hour", "cluster", "node")


class NodeHourKey(NamedTuple):
    cluster: str
    node: str
    hour: int


def after_of(key: NodeHourKey) -> NodeHourKey:
    """The node's next hour."""
    return NodeHourKey(cluster=key.cluster, node=key.node, hour=key.hour + 1)


def row_of(key: NodeHourKey) -> dict[str, object]:
    """A key as columns of its table."""
    return {"cluster": key.cluster, "node": key.node, "hour": key.hour}


def grouped(keys: Iterable[NodeHourKey]) -> Iterator[tuple[str, list[str], list[int]]]:
    """(cluster, nodes, hours) so that each group's nodes times its hours, and no others, are the keys."""
    hours: dict[tuple[str, str], list[int]] = {}
    for key in keys:
        hours.setdefault((key.cluster, key.node), []).append(key.hour)
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (cluster, node), those in hours.items():
        groups.setdefault((cluster, tuple(sorted(those))), []).append(node)
    for (cluster, those_hours), names in groups.items():
        yield cluster, names, list(those_hours)


def put_body(connection: Connection, body: NodeHour, data: bytes, *, now_ms: int, grace_ms: int) -> bool:
    """Keep a body if it is its instance's newest for that hour, and make its node-hour due. False: it was not newer.

    data: the JSON as it came. Putting the same body again changes nothing. Raises TooOld.
    """
    want_months(connection, node_hour_bodies, [utc_month(body.hour)])
    values = {
        "started_ms": body.started,
        "seq": body.seq,
        "through": body.through,
        "final": body.final,
        "received_ms": now_ms,
        "body": gzip.compress(data, _GZIP_LEVEL, mtime=0),
    }
    key = {"cluster": body.cluster, "node": body.node, "hour": body.hour, "instance": body.instance}
    upsert = insert_or(connection, node_hour_bodies).values(**key, **values)
    stored = connection.execute(
        upsert.on_conflict_do_update(
            index_elements=list(key),
            set_=values,
            where=node_hour_bodies.c.seq < body.seq,
        ).returning(node_hour_bodies.c.seq)
    ).first()
    _note_push(connection, body, now_ms)
    if stored is None:
        return False
    make_due(connection, NodeHourKey(cluster=body.cluster, node=body.node, hour=body.hour), now_ms, grace_ms)
    return True


def make_due(connection: Connection, key: NodeHourKey, now_ms: int, grace_ms: int, *, create: bool = True) -> None:
    """To be rated: a new hour when it is over and the grace has passed, one that was rated before at once.

    create: whether to begin a node-hour that is not there yet.
    """
    make_each_due(connection, [(key, create)], now_ms, grace_ms)


def make_each_due(
    connection: Connection, keys: Iterable[tuple[NodeHourKey, bool]], now_ms: int, grace_ms: int
) -> None:
    """As `make_due`, of many: (key, create).

    Unconditional: on PostgreSQL it waits for a claim of a row, which may not have seen what makes it due.
    """
    begun: list[dict[str, object]] = []
    there: list[dict[str, object]] = []
    unrated = {"revision": 0, "known": write_known(NOTHING), "error_ms": 0}
    for key, create in sorted(keys, key=lambda each: attrgetter(*_ORDER)(each[0])):
        if create:
            first_due = max(now_ms, (key.hour + 1) * HOUR_MS + grace_ms)
            begun.append(row_of(key) | {"due_ms": first_due} | unrated)
        else:
            there.append({"its_cluster": key.cluster, "its_node": key.node, "its_hour": key.hour})
    # What is due already is not written again.
    upsert(connection, node_hours, begun, lambda _: {"due_ms": now_ms}, where=node_hours.c.due_ms.is_(None))
    if there:
        due_ms = func.coalesce(node_hours.c.due_ms, now_ms)
        connection.execute(update(node_hours).where(*IS_IT).values(due_ms=due_ms), there)


def make_all_due(connection: Connection, cluster: str | None, from_hour: int, now_ms: int) -> int:
    """Have every rated node-hour from an hour on rated again; how many.

    What changed must be written before, in the same transaction. The lock waits for claims that have not seen it, and
    keeps off new ones until it can be seen.
    """
    lock(connection, node_hours)
    first_hour = max(from_hour, first_kept_hour(connection))
    where = [node_hours.c.hour >= first_hour, node_hours.c.due_ms.is_(None)]
    if cluster is not None:
        where.append(node_hours.c.cluster == cluster)
    return connection.execute(update(node_hours).where(*where).values(due_ms=now_ms)).rowcount


def make_due_between(
    connection: Connection,
    cluster: str,
    nodes: Collection[str] | None,
    first_hour: int,
    last_hour: int,
    now_ms: int,
    *,
    but_not: Collection[int] = (),
    wait: bool = True,
) -> int:
    """Have some nodes' (None: all nodes') rated hours between two, both included, rated again; how many are due.

    Unconditional, as in `make_due`: it waits for claims that may not have seen what changed, or raises Busy.
    """
    first_hour = max(first_hour, first_kept_hour(connection))
    where = [node_hours.c.cluster == cluster, node_hours.c.hour >= first_hour, node_hours.c.hour <= last_hour]
    if nodes is not None:
        where.append(among(connection, node_hours.c.node, nodes))
    if but_not:
        where.append(node_hours.c.hour.not_in(but_not))
    if not wait:
        take(connection, node_hours, *where)
    due_ms = func.coalesce(node_hours.c.due_ms, now_ms)
    return connection.execute(update(node_hours).where(*where).values(due_ms=due_ms)).rowcount


def skip_grace(connection: Connection, now_ms: int) -> None:
    """Have every hour that is over rated now, without waiting for late bodies."""
    lock(connection, node_hours)
    over = node_hours.c.hour < now_ms // HOUR_MS
    connection.execute(update(node_hours).where(node_hours.c.due_ms > now_ms, over).values(due_ms=now_ms))


def differences_since(connection: Connection, from_hour: int) -> dict[str, dict[str, int]]:
    """By cluster and kind, ms of slots in which the meters differ, of rated hours from one on."""
    query = select(node_hours.c.cluster, node_hours.c.differences).where(
        node_hours.c.hour >= from_hour, node_hours.c.differences != literal_column("'{}'")
    )
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(query):
        of = found.setdefault(row.cluster, {})
        for kind, ms in json.loads(row.differences).items():
            of[kind] = of.get(kind, 0) + ms
    return found


def unrated(connection: Connection) -> list[NodeHourKey]:
    """Node-hours that agents have begun and that were never rated, oldest first: what is provisional."""
    query = (
        select(node_hours.c.cluster, node_hours.c.node, node_hours.c.hour)
        .where(node_hours.c.revision == literal_column("0"))
        .order_by(node_hours.c.hour, node_hours.c.cluster, node_hours.c.node)
    )
    return [NodeHourKey(cluster=row.cluster, node=row.node, hour=row.hour) for row in connection.execute(query)]


def last_pushes(connection: Connection) -> list[tuple[str, str, int]]:
    """Cluster, node and unix ms of the last push; of every node but those that the API had and has no more."""
    its = (node_states.c.cluster == nodes.c.cluster, node_states.c.node == nodes.c.node)
    query = (
        select(nodes.c.cluster, nodes.c.node, nodes.c.last_push_ms)
        .where(or_(exists().where(*its, node_states.c.until_ms.is_(None)), ~exists().where(*its)))
        .order_by(nodes.c.cluster, nodes.c.node)
    )
    return [(row.cluster, row.node, row.last_push_ms) for row in connection.execute(query)]


def newest_hour(connection: Connection, cluster: str, node: str) -> int | None:
    """The newest hour for which a final body of this node lies here."""
    query = select(func.max(node_hour_bodies.c.hour)).where(
        node_hour_bodies.c.cluster == cluster, node_hour_bodies.c.node == node, node_hour_bodies.c.final
    )
    newest: int | None = connection.execute(query).scalar()
    return newest


def count_rated(connection: Connection, cluster: str, until_hour: int) -> int:
    """How many node-hours before an hour have been rated."""
    query = select(func.count()).where(
        node_hours.c.cluster == cluster, node_hours.c.hour < until_hour, node_hours.c.due_ms.is_(None)
    )
    return int(connection.execute(query).scalar_one())


def _note_push(connection: Connection, body: NodeHour, now_ms: int) -> None:
    upsert = insert_or(connection, nodes).values(cluster=body.cluster, node=body.node, last_push_ms=now_ms)
    connection.execute(
        upsert.on_conflict_do_update(index_elements=["cluster", "node"], set_={"last_push_ms": now_ms})
    )


# For statements that are run for many rows.
IS_IT = tuple(node_hours.c[name] == bindparam(f"its_{name}") for name in ("cluster", "node", "hour"))
