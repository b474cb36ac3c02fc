"""What is wrong with rated node-hours, kept beside their lines."""

from __future__ import annotations

from collections.abc import Iterable
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


def problems_since(connection: Connection, from_hour: int) -> list[tuple[str, str, str, int, int]]:
    """Cluster, kind, subject, how many node-hours and ms in all, of hours from one on; in that order."""
    query = (
        select(table.c.cluster, table.c.kind, table.c.subject, func.count(), func.sum(table.c.ms))
        .where(table.c.hour >= from_hour)
        .group_by(table.c.cluster, table.c.kind, table.c.subject)
        .order_by(table.c.cluster, table.c.kind, table.c.subject)
    )
    return [(row[0], row[1], row[2], int(row[3]), int(row[4])) for row in connection.execute(query)]
