"""Hours of the ledger as a whole: which node-hours there are to rate, and what the lines of those hours add up to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from sqlalchemy import ColumnElement, Connection, Table, func, or_, select

from chargeback.core.differences import Posting, Sum, Sums, add_sum
from chargeback.store.database import lock
from chargeback.store.months import frozen
from chargeback.store.node_hours import NodeHourKey, make_due_between
from chargeback.store.partitions import first_kept_hour
from chargeback.store.tables import lines, node_hours

# Later than any hour that a body may be about.
_LAST_HOUR = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HourSpan:
    """Hours from `first` on, `until` not included; of one cluster or node, or all (None)."""

    first: int
    until: int | None = None
    cluster: str | None = None
    node: str | None = None


def unknown_places(connection: Connection, span: HourSpan) -> list[str]:
    """What a span names and the ledger does not know: `cluster: 'x': want one of …`."""
    clusters = known_clusters(connection)
    if span.cluster is not None and span.cluster not in clusters:
        return [f"cluster: {span.cluster!r}: want one of {', '.join(clusters) or 'none: nothing was pushed yet'}"]
    if span.node is None:
        return []
    query = select(node_hours.c.hour).where(*_of(node_hours, replace(span, first=0, until=None))).limit(1)
    if connection.execute(query).first() is None:
        return [f"node: {span.node!r}: no node of this name has ever pushed"]
    return []


def known_clusters(connection: Connection) -> list[str]:
    """Those that have node-hours, in bytewise order."""
    query = select(node_hours.c.cluster).distinct().order_by(node_hours.c.cluster)
    return list(connection.execute(query).scalars())


def make_span_due(connection: Connection, span: HourSpan, now_ms: int) -> int:
    """Have a span's rated hours rated again; how many are due."""
    lock(connection, node_hours)  # rows that are waited for one by one could wait for each other
    last = _LAST_HOUR if span.until is None else span.until - 1
    clusters = known_clusters(connection) if span.cluster is None else [span.cluster]
    nodes = None if span.node is None else [span.node]
    return sum(make_due_between(connection, each, nodes, span.first, last, now_ms) for each in clusters)


def to_rate(connection: Connection, span: HourSpan, now_ms: int, *, due: bool = False) -> list[NodeHourKey]:
    """The node-hours that rating a span again rates, oldest hour first: rated ones, and those due. Others wait.

    due: only the latter.
    """
    waiting = [~node_hours.c.hour.between(first, last) for first, last in frozen(connection)]
    kept = node_hours.c.hour >= first_kept_hour(connection)
    is_due = node_hours.c.due_ms <= now_ms
    query = (
        select(node_hours.c.cluster, node_hours.c.node, node_hours.c.hour)
        .where(*_of(node_hours, span), kept, *waiting, is_due if due else or_(node_hours.c.due_ms.is_(None), is_due))
        .order_by(node_hours.c.hour, node_hours.c.cluster, node_hours.c.node)
    )
    return [NodeHourKey(cluster=row.cluster, node=row.node, hour=row.hour) for row in connection.execute(query)]


def waiting(connection: Connection, span: HourSpan) -> int:
    """How many node-hours of a span wait, because their month is drafted or approved."""
    months = [node_hours.c.hour.between(first, last) for first, last in frozen(connection)]
    if not months:
        return 0
    query = select(func.count()).select_from(node_hours)
    return int(connection.execute(query.where(*_of(node_hours, span), or_(*months))).scalar_one())


def hour_sums(connection: Connection, span: HourSpan) -> Sums:
    """What all lines about the hours of a span add up to, of all nodes: a plan of one moves lines of others."""
    keys = (lines.c.account, lines.c.month, lines.c.corrects_month)
    query = (
        select(
            *keys,
            lines.c.ms_den,
            func.sum(lines.c.gpu_ms_num).label("gpu_ms_num"),
            func.sum(lines.c.list_micros).label("list_micros"),
            func.sum(lines.c.amount_micros).label("amount_micros"),
        )
        .where(*_of(lines, replace(span, node=None)))
        .group_by(*keys, lines.c.ms_den)
    )
    sums: Sums = {}
    for row in connection.execute(query):
        posting = Posting(account=row.account, month=row.month, corrects_month=row.corrects_month)
        # PostgreSQL sums BIGINT into NUMERIC.
        mine = Sum(
            gpu_ms=Fraction(int(row.gpu_ms_num), int(row.ms_den)),
            list_micros=int(row.list_micros or 0),
            amount_micros=int(row.amount_micros or 0),
        )
        add_sum(sums, posting, mine)
    return sums


def _of(table: Table, span: HourSpan) -> list[ColumnElement[bool]]:
    where = [table.c.hour >= span.first]
    if span.until is not None:
        where.append(table.c.hour < span.until)
    if span.cluster is not None:
        where.append(table.c.cluster == span.cluster)
    if span.node is not None:
        where.append(table.c.node == span.node)
    return where
