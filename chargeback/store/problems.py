"""What is wrong with rated node-hours, kept beside their lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from sqlalchemy import Connection, delete, func, select

from chargeback.core.lines import Problem
from chargeback.store.bulk import among, bulk_insert
from chargeback.store.node_hours import NodeHourKey, grouped
from chargeback.store.tables import problems as table


def replace_problems(connection: Connection, found: Mapping[NodeHourKey, Iterable[Problem]]) -> None:
    """Delete node-hours' problems and put these. The same problem of several cards is one, with its time summed."""
    for cluster, nodes, hours in grouped(found):
        mine = (table.c.cluster == cluster, among(connection, table.c.node, nodes), table.c.hour.in_(hours))
        connection.execute(delete(table).where(*mine))
    rows = []
    for key, problems in found.items():
        sums: dict[tuple[str, str], Fraction] = {}
        for problem in problems:
            what = (problem.kind, problem.subject)
            sums[what] = sums.get(what, Fraction(0)) + problem.ms
        rows += [(key.cluster, key.node, key.hour, *what, round(ms)) for what, ms in sums.items()]
    bulk_insert(connection, table, ("cluster", "node", "hour", "kind", "subject", "ms"), rows)


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
