"""Hours of a cluster whose plans are to be settled: which, and when. All of a cluster and hour is settled at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    update,
)

from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Line
from chargeback.store.database import insert_or, lock, share
from chargeback.store.ledger import delete_lines, put_lines
from chargeback.store.months import frozen, share_ledger
from chargeback.store.partitions import first_hour_with_lines
from chargeback.store.tables import lines, node_hours, plan_hours, plans

# As many values as every SQLite takes in one statement.
DELETED_TOGETHER = 500


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PlanHour:
    """revision: how often it was settled."""

    hour: int
    cluster: str
    revision: int = 0


def node_hours_rated(connection: Connection, rated: Iterable[tuple[str, int]], now_ms: int) -> None:
    """Have the plans of each (cluster, hour) settled, where there is a plan, or was.

    After the lines are put, among the last statements of the transaction: others wait for it.
    """
    for cluster, hour in sorted(set(rated), key=lambda each: (each[1], each[0])):
        start_ms = hour * HOUR_MS
        in_force = exists().where(
            plans.c.cluster == cluster,
            plans.c.from_ms < start_ms + HOUR_MS,
            or_(plans.c.until_ms.is_(None), plans.c.until_ms > start_ms),
        )
        planned = select(literal(cluster), cast(hour, Integer), cast(now_ms, BigInteger), cast(0, Integer)).where(
            or_(in_force, exists().where(plan_hours.c.cluster == cluster, plan_hours.c.hour == hour))
        )
        _put_due(connection, planned)


def plans_changed(connection: Connection, cluster: str, from_ms: int, until_ms: int | None, now_ms: int) -> int:
    """Have the plans of all rated hours that a change reaches settled again; how many hours.

    The change must be written before, in the same transaction: the lock waits for ratings that have not seen it, and
    keeps off new ones until it can be seen.
    """
    lock(connection, node_hours)
    hours = [node_hours.c.cluster == cluster, node_hours.c.hour >= from_ms // HOUR_MS, node_hours.c.revision > 0]
    if until_ms is not None:
        hours.append(node_hours.c.hour <= (until_ms - 1) // HOUR_MS)
    reached = (
        select(node_hours.c.cluster, node_hours.c.hour, cast(now_ms, BigInteger), cast(0, Integer))
        .where(*hours)
        .distinct()
    )
    return _put_due(connection, reached)


def _put_due(connection: Connection, rows: Any) -> int:
    """Unconditional: on PostgreSQL it waits for whoever settles the hour, who may not have seen what changed."""
    upsert = insert_or(connection, plan_hours).from_select(["cluster", "hour", "due_ms", "revision"], rows)
    due_ms = upsert.excluded.due_ms
    is_due = and_(plan_hours.c.due_ms.is_not(None), plan_hours.c.due_ms < due_ms)
    result = connection.execute(
        upsert.on_conflict_do_update(
            index_elements=["cluster", "hour"], set_={"due_ms": case((is_due, plan_hours.c.due_ms), else_=due_ms)}
        )
    )
    return result.rowcount


def claim_plan_hour(connection: Connection, now_ms: int) -> PlanHour | None:
    """One that is due, the oldest first, locked until the transaction ends.

    Those of a drafted or approved month wait; all wait while a month is being drafted or closed.
    """
    if not share_ledger(connection, wait=False):
        return None
    # As whoever rates does: node-hours first. Who changes plans has them alone, and then wants these.
    share(connection, node_hours)
    waiting = [plan_hours.c.hour.between(first, last) for first, last in frozen(connection)]
    query = (
        select(plan_hours)
        .where(plan_hours.c.due_ms <= now_ms, plan_hours.c.hour >= first_hour_with_lines(connection))
        .where(*map(not_, waiting))
        .order_by(plan_hours.c.hour, plan_hours.c.cluster)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).first()
    return None if row is None else PlanHour(cluster=row.cluster, hour=row.hour, revision=row.revision)


def lock_node_hours(connection: Connection, plan_hour: PlanHour) -> bool:
    """Have the hour's node-hours stay as they are until the transaction ends. False: not all of them are rated now.

    It never waits: whoever rates one of them makes the plan-hour due again.
    """
    of_hour = (node_hours.c.cluster == plan_hour.cluster, node_hours.c.hour == plan_hour.hour)
    query = select(node_hours.c.due_ms, node_hours.c.revision).where(*of_hour).with_for_update(skip_locked=True)
    rows = connection.execute(query).all()
    count = connection.execute(select(func.count()).select_from(node_hours).where(*of_hour)).scalar_one()
    return len(rows) == count and all(row.due_ms is None and row.revision > 0 for row in rows)


def rated_hours(connection: Connection, hours: Collection[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those of some (cluster, hour)s of which a node-hour was rated."""
    if not hours:
        return set()
    first, last = min(hour for _, hour in hours), max(hour for _, hour in hours)
    query = (
        select(node_hours.c.cluster, node_hours.c.hour)
        # By the index of what is due: what was rated is not, but for moments.
        .where(node_hours.c.due_ms.is_(None), node_hours.c.hour.between(first, last), node_hours.c.revision > 0)
        .distinct()
    )
    return {(row.cluster, row.hour) for row in connection.execute(query)} & set(hours)


def was_settled(connection: Connection, cluster: str, hour: int) -> bool:
    """Whether an hour had plans to settle, or is to be settled."""
    query = select(plan_hours.c.hour).where(plan_hours.c.cluster == cluster, plan_hours.c.hour == hour)
    return connection.execute(query).first() is not None


def replace_some(connection: Connection, gone: Sequence[Line], new: Sequence[Line], revision: int) -> set[str]:
    """Delete charges, and put others; the local days of both."""
    for first in range(0, len(gone), DELETED_TOGETHER):
        some = gone[first : first + DELETED_TOGETHER]
        ids, months = [line.line_id for line in some], {line.month for line in some}
        delete_lines(connection, lines.c.line_id.in_(ids), lines.c.month.in_(sorted(months)))
    put_lines(connection, [(line, revision) for line in new])
    return {line.day for line in (*gone, *new)}


def note_settled(connection: Connection, plan_hour: PlanHour) -> None:
    _update(connection, plan_hour, due_ms=None, revision=plan_hour.revision + 1)


def postpone_plan_hour(connection: Connection, plan_hour: PlanHour, due_ms: int) -> None:
    _update(connection, plan_hour, due_ms=due_ms)


def plan_hours_due(connection: Connection, now_ms: int) -> dict[str, int]:
    """How many are due, by cluster."""
    query = (
        select(plan_hours.c.cluster, func.count())
        .where(plan_hours.c.due_ms <= now_ms)
        .group_by(plan_hours.c.cluster)
        .order_by(plan_hours.c.cluster)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def _update(connection: Connection, plan_hour: PlanHour, **values: object) -> None:
    is_it = (plan_hours.c.cluster == plan_hour.cluster, plan_hours.c.hour == plan_hour.hour)
    connection.execute(update(plan_hours).where(*is_it).values(values))
