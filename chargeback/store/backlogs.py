"""What is due and not done yet, by cluster: node-hours to be rated, hours whose plans are to be settled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Table, and_, case, false, func, literal_column, or_, select

from chargeback.store.months import frozen
from chargeback.store.tables import node_hours, nodes, plan_hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Of one cluster that has had any. due: now; held: due, but of a month that is a draft or approved, so they wait.

    oldest_hour: of those that are due; None: none is.
    """

    cluster: str
    due: int
    held: int
    oldest_hour: int | None


def node_hour_backlog(connection: Connection, now_ms: int) -> list[Backlog]:
    return _backlog(connection, node_hours, now_ms)


def plan_hour_backlog(connection: Connection, now_ms: int) -> list[Backlog]:
    return _backlog(connection, plan_hours, now_ms)


def due_of(backlogs: Iterable[Backlog]) -> dict[str, int]:
    """How many are due, by cluster."""
    return {each.cluster: each.due for each in backlogs}


def conservation_error_ms(connection: Connection) -> dict[str, int]:
    """By cluster, the card time that the lines of rated hours have too much or too little."""
    query = (
        select(node_hours.c.cluster, func.sum(node_hours.c.error_ms))
        .where(node_hours.c.error_ms != literal_column("0"))  # there is an index of those
        .group_by(node_hours.c.cluster)
    )
    found = {row[0]: int(row[1]) for row in connection.execute(query)}
    return {cluster: found.get(cluster, 0) for cluster in sorted({*_clusters(connection, node_hours), *found})}


def _backlog(connection: Connection, table: Table, now_ms: int) -> list[Backlog]:
    is_frozen = or_(false(), *(table.c.hour.between(first, last) for first, last in frozen(connection)))
    is_due = table.c.due_ms <= now_ms  # there is an index of those that will be due at all
    due = and_(is_due, ~is_frozen)
    query = (
        select(
            table.c.cluster,
            func.sum(case((due, 1), else_=0)),
            func.sum(case((and_(is_due, is_frozen), 1), else_=0)),
            func.min(case((due, table.c.hour))),
        )
        .where(is_due)
        .group_by(table.c.cluster)
    )
    found = {
        row[0]: Backlog(cluster=row[0], due=int(row[1]), held=int(row[2]), oldest_hour=row[3])
        for row in connection.execute(query)
    }
    clusters = sorted({*_clusters(connection, table), *found})
    return [found.get(each, Backlog(cluster=each, due=0, held=0, oldest_hour=None)) for each in clusters]


def _clusters(connection: Connection, table: Table) -> Iterable[str]:
    """That have had any. Of node-hours there are many, and each is of a node that pushed."""
    column = nodes.c.cluster if table is node_hours else table.c.cluster
    return connection.execute(select(column).distinct()).scalars()
