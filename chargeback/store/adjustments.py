"""Adjustments that people make, kept for ever; those that hold over time are taken into account by rating.

A sum is posted with its adjustment in one transaction, and no rating takes it away.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from chargeback.core.adjustments import SUMS, WAIVERS, Adjustment, Scope, lines_of_sum, waiver_of
from chargeback.core.corrections import opposite
from chargeback.core.hours import HOUR_MS, local_day
from chargeback.core.lines import Line
from chargeback.core.rating.waivers import Waiver
from chargeback.store.audit import Entry, note
from chargeback.store.corrections import settled_months
from chargeback.store.database import lock
from chargeback.store.hour_sums import known_clusters
from chargeback.store.ledger import delete_lines, lines_of, put_lines
from chargeback.store.months import OPEN, posting_month, share_ledger, state_of
from chargeback.store.node_hours import NodeHourKey, make_due_between
from chargeback.store.rollup import mark_days
from chargeback.store.tables import adjustments as table
from chargeback.store.tables import lines as line_table
from chargeback.store.tables import node_hours

# Lines of sums are posted once: they have no later revision.
REVISION = 1


def make_adjustment(
    connection: Connection, wanted: Adjustment, timezone: str, policy_version: int
) -> tuple[Adjustment, int]:
    """Record an adjustment under the next number, and do what it says; as recorded, how many node-hours became due.

    A sum is posted in the first month that is open, from that in which it begins on.
    """
    share_ledger(connection)
    lock(connection, table)  # two must not take the same number
    made = numbered(connection, wanted, timezone)
    connection.execute(insert(table).values(_row(made)))
    _note(connection, made, f"adjust {made.kind}", made.who, made.reason, made.recorded_ms)
    if made.kind in SUMS:
        _put(connection, lines_of_sum(made, timezone, policy_version))
        return made, 0
    return made, _make_due(connection, made, made.recorded_ms)


def numbered(connection: Connection, wanted: Adjustment, timezone: str) -> Adjustment:
    """An adjustment as it would be recorded now: its number, and the month in which it is posted."""
    last = connection.execute(select(func.max(table.c.adjustment))).scalar_one() or 0
    begins = local_day(wanted.from_ms, timezone).isoformat()[:7]
    is_late = wanted.kind in SUMS and state_of(connection, begins) != OPEN
    month = posting_month(connection, begins) if is_late else begins
    return replace(wanted, number=int(last) + 1, month=month)


def withdraw_adjustment(
    connection: Connection, number: int, who: str, reason: str, now_ms: int
) -> tuple[Adjustment, int, str | None]:
    """Have it be as if an adjustment had never been made. Raises ValueError.

    Returns it, how many node-hours became due, and the month in which the opposite of a sum is posted, if its own is
    settled.
    """
    share_ledger(connection)
    lock(connection, table)
    made = _adjustment_of(connection, number)
    if made.withdrawn_ms is not None:
        raise ValueError(f"{number}: was withdrawn already")
    connection.execute(update(table).where(table.c.adjustment == number).values(withdrawn_ms=now_ms))
    _note(connection, made, f"withdraw {made.kind}", who, reason, now_ms)
    if made.kind in WAIVERS:
        return made, _make_due(connection, made, now_ms), None
    return made, 0, _take_back(connection, made)


def adjustments(connection: Connection) -> Iterator[Adjustment]:
    """All that were ever made, by number."""
    for row in connection.execute(select(table).order_by(table.c.adjustment)):
        yield _adjustment(row)


def waivers_of(
    connection: Connection, cluster: str, start_ms: int, end_ms: int, planned: Sequence[Waiver] = ()
) -> list[Waiver]:
    """The waivers that hold somewhere in [start_ms, end_ms) in a cluster, in the order in which they were made.

    planned: some that are not recorded yet.
    """
    query = (
        select(table)
        .where(
            table.c.kind.in_(WAIVERS),
            table.c.from_ms < end_ms,
            table.c.until_ms > start_ms,
            table.c.withdrawn_ms.is_(None),
        )
        .order_by(table.c.adjustment)
    )
    made = [waiver_of(_adjustment(row)) for row in connection.execute(query)]
    made += [each for each in planned if each.from_ms < end_ms and each.until_ms > start_ms]
    return [waiver for waiver in made if waiver.cluster in (None, cluster)]


def _make_due(connection: Connection, made: Adjustment, now_ms: int) -> int:
    """The hours that a waiver touches are rated again; where only a holder is named, those of every node."""
    lock(connection, node_hours)  # rows that are waited for one by one could wait for each other
    first_hour, last_hour = made.hour, (made.until_ms - 1) // HOUR_MS
    clusters = [made.scope.cluster] if made.scope.cluster else known_clusters(connection)
    nodes = [made.scope.node] if made.scope.node else None
    return sum(make_due_between(connection, each, nodes, first_hour, last_hour, now_ms) for each in clusters)


def _take_back(connection: Connection, made: Adjustment) -> str | None:
    key = NodeHourKey(cluster=made.scope.cluster, node="", hour=made.hour)
    mine = [line for line in lines_of(connection, [key]) if line.device == made.name]
    if made.month not in settled_months(connection):
        days = delete_lines(
            connection,
            line_table.c.cluster == key.cluster,
            line_table.c.node == key.node,
            line_table.c.hour == key.hour,
            line_table.c.device == made.name,
        )
        mark_days(connection, {(key.cluster, day) for day in days})
        return None
    month = posting_month(connection, made.month)
    _put(connection, [opposite(line, month) for line in mine])
    return month


def _put(connection: Connection, lines: list[Line]) -> None:
    put_lines(connection, [(line, REVISION) for line in lines])
    mark_days(connection, {(line.cluster, line.day) for line in lines})


def _note(connection: Connection, made: Adjustment, action: str, who: str, why: str, now_ms: int) -> None:
    detail = {
        "from_ms": made.from_ms,
        "until_ms": made.until_ms,
        "scope": dict(made.scope.items()),
        "amount_micros": made.amount_micros,
        "month": made.month,
        "ticket": made.ticket,
    }
    entry = Entry(recorded_ms=now_ms, who=who, action=action, subject=made.name, why=why, detail=detail)
    note(connection, entry)


def _adjustment_of(connection: Connection, number: int) -> Adjustment:
    row = connection.execute(select(table).where(table.c.adjustment == number)).first()
    if row is None:
        raise ValueError(f"{number}: there is no such adjustment: see `chargeback adjust list`")
    return _adjustment(row)


def _adjustment(row: Any) -> Adjustment:
    return Adjustment(
        number=row.adjustment,
        kind=row.kind,
        from_ms=row.from_ms,
        until_ms=row.until_ms,
        scope=Scope(**json.loads(row.scope)),
        amount_micros=row.amount_micros,
        month=row.month,
        reason=row.reason,
        ticket=row.ticket,
        who=row.who,
        recorded_ms=row.recorded_ms,
        withdrawn_ms=row.withdrawn_ms,
    )


def _row(made: Adjustment) -> dict[str, object]:
    return {
        "adjustment": made.number,
        "kind": made.kind,
        "from_ms": made.from_ms,
        "until_ms": made.until_ms,
        "scope": json.dumps(dict(made.scope.items()), sort_keys=True),
        "amount_micros": made.amount_micros,
        "month": made.month,
        "reason": made.reason,
        "ticket": made.ticket,
        "who": made.who,
        "recorded_ms": made.recorded_ms,
        "withdrawn_ms": made.withdrawn_ms,
    }
