"""What the ledger has of one line and of what stands behind it: found by its id, or by the beginning of that."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from chargeback.bodies import decode, to_node_hour
from chargeback.core.adjustments import WAIVERS, Adjustment, waiver_of
from chargeback.core.lines import REVERSAL, Line
from chargeback.core.node_hour import NodeHour
from chargeback.core.prices.book import PriceBook
from chargeback.files.prices import parse_prices
from chargeback.store.adjustments import adjustments
from chargeback.store.ledger import read_line
from chargeback.store.months import OPEN, month_state
from chargeback.store.node_hours import NodeHourKey
from chargeback.store.tables import lines, node_hour_bodies, node_hours, plan_hours, price_books

# So many are listed where the beginning of an id is that of several.
AMBIGUOUS_MOST = 10
ID_DIGITS = 32


def find_lines(connection: Connection, prefix: str) -> list[tuple[Line, int]]:
    """Lines whose id begins so, each with its revision; not more than one over AMBIGUOUS_MOST. prefix: hex digits."""
    # As a range, which an index knows: in every locale g comes after the digits and letters of an id.
    last = prefix.ljust(ID_DIGITS, "g")
    query = (
        select(lines)
        .where(lines.c.line_id >= prefix, lines.c.line_id <= last)
        .order_by(lines.c.line_id)
        .limit(AMBIGUOUS_MOST + 1)
    )
    return [(read_line(row), row.revision) for row in connection.execute(query)]


def line_by_id(connection: Connection, line_id: str) -> Line | None:
    row = connection.execute(select(lines).where(lines.c.line_id == line_id)).first()
    return None if row is None else read_line(row)


def lines_about(connection: Connection, line: Line) -> list[Line]:
    """All lines of the natural key of one: its charge, and what corrects it."""
    names = (
        "cluster", "node", "hour", "device", "shares", "namespace", "pod", "container", "claim", "kind", "of_kind",
        "start_ms",
    )  # fmt: skip
    query = select(lines).where(*(lines.c[name] == getattr(line, name) for name in names))
    return [read_line(row) for row in connection.execute(query.order_by(lines.c.month, lines.c.part))]


def transfers_of(connection: Connection, line: Line) -> list[Line]:
    """All transfers of a month among those who held a model in a cluster."""
    wanted = ("cluster", "month", "day", "kind", "model", "part")
    query = select(lines).where(*(lines.c[name] == getattr(line, name) for name in wanted))
    return [read_line(row) for row in connection.execute(query.order_by(lines.c.account))]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHourState:
    """How often a node-hour was rated, and whether it is to be again."""

    revision: int
    due: bool


def node_hour_state(connection: Connection, key: NodeHourKey) -> NodeHourState | None:
    query = select(node_hours.c.revision, node_hours.c.due_ms).where(
        node_hours.c.cluster == key.cluster, node_hours.c.node == key.node, node_hours.c.hour == key.hour
    )
    row = connection.execute(query).first()
    return None if row is None else NodeHourState(revision=row.revision, due=row.due_ms is not None)


def is_due(connection: Connection, line: Line) -> bool:
    """Whether something of the line's hour in its cluster is to be rated or settled again."""
    mine = [
        select(table.c.hour).where(
            table.c.cluster == line.cluster, table.c.hour == line.hour, table.c.due_ms.is_not(None)
        )
        for table in (node_hours, plan_hours)
    ]
    if line.node and line.plan_version is None:
        mine[0] = mine[0].where(node_hours.c.node == line.node)
    return any(connection.execute(query.limit(1)).first() is not None for query in mine)


def received_bodies(connection: Connection, key: NodeHourKey) -> list[tuple[NodeHour, int]]:
    """All instances' bodies of a node-hour, each with when it was received (unix ms)."""
    query = (
        select(node_hour_bodies.c.body, node_hour_bodies.c.received_ms)
        .where(
            node_hour_bodies.c.cluster == key.cluster,
            node_hour_bodies.c.node == key.node,
            node_hour_bodies.c.hour == key.hour,
        )
        .order_by(node_hour_bodies.c.instance)
    )
    return [(to_node_hour(decode(gzip.decompress(row.body))), row.received_ms) for row in connection.execute(query)]


def book_of(connection: Connection, version: int, timezone: str) -> tuple[PriceBook, Any] | None:
    """One version of the price book, and its row; None: it was never recorded."""
    row = connection.execute(select(price_books).where(price_books.c.version == version)).first()
    if row is None:
        return None
    return parse_prices(row.content, row.source, timezone).book(version=row.version, timezone=timezone), row


def adjustment_of(connection: Connection, line: Line) -> Adjustment | None:
    """The one that has posted a credit or debit, or for which a holder does not pay."""
    kind = line.of_kind or line.kind
    if kind not in WAIVERS:
        return next((each for each in adjustments(connection) if each.name == line.device), None)
    made = [each for each in adjustments(connection) if each.kind == kind and _waives(each, line)]
    state = month_state(connection, line.corrects_month if line.part == REVERSAL else line.month)
    then_ms = None if state is None or state.state == OPEN else state.changed_ms
    # The first that counts is the one; where none does any more, the hour is still to be rated again.
    return min(made, key=lambda each: (not _counted(each, then_ms), each.number), default=None)


def _counted(made: Adjustment, at_ms: int | None) -> bool:
    """Whether it was in force at an instant, in unix ms; None: now."""
    if at_ms is None:
        return made.withdrawn_ms is None
    return made.recorded_ms <= at_ms and (made.withdrawn_ms is None or made.withdrawn_ms > at_ms)


def _waives(made: Adjustment, line: Line) -> bool:
    return made.from_ms <= line.start_ms < made.until_ms and waiver_of(made).is_of(
        cluster=line.cluster,
        node=line.node,
        gpu=line.parent,
        namespace=line.namespace,
        cost_center=line.cost_center,
        team=line.team,
    )
