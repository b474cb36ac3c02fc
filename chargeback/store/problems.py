"""What is wrong with rated node-hours, kept beside their lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from sqlalchemy import Connection, delete, func, insert, select

from chargeback.core.lines import Problem
from chargeback.store.node_hours import NodeHourKey
from chargeback.store.tables import problems as table


def replace_problems(connection: Connection, key: NodeHourKey, problems: Iterable[Problem]) -> None:
    """Delete a node-hour's problems and put these. The same problem of several cards is one, with its time summed."""
    mine = (table.c.cluster == key.cluster, table.c.node == key.node, table.c.hour == key.hour)
    connection.execute(delete(table).where(*mine))
    sums: dict[tuple[str, str], Fraction] = {}
    for problem in problems:
        what = (problem.kind, problem.subject)
        sums[what] = sums.get(what, Fraction(0)) + problem.ms
    rows = [
        {
            "cluster": key.cluster,
            "node": key.node,
            "hour": key.hour,
            "kind": kind,
            "subject": subject,
            "ms": round(ms),
        }
        for (kind, subject), ms in sums.items()
    ]
    if rows:
        connection.execute(insert(table), rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRow:
    """One problem of some node-hours. ms: of all of them together."""

    cluster: str
    kind: str
    subject: str
    node_hours: int
    ms: int


def problems_since(connection: Connection, from_hour: int) -> list[ProblemRow]:
    """The problems of hours from one on, by cluster, kind and subject."""
    query = (
        select(table.c.cluster, table.c.kind, table.c.subject, func.count(), func.sum(table.c.ms))
        .where(table.c.hour >= from_hour)
        .group_by(table.c.cluster, table.c.kind, table.c.subject)
        .order_by(table.c.cluster, table.c.kind, table.c.subject)
    )
    return [
        ProblemRow(cluster=row[0], kind=row[1], subject=row[2], node_hours=int(row[3]), ms=int(row[4]))
        for row in connection.execute(query)
    ]
