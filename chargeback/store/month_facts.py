"""What the ledger knows of a month that is to be closed: the queries behind `core/closing.Facts`."""

from __future__ import annotations

import json
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select

from chargeback.core.corrections import POSTED_BY_HAND
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import CHARGE
from chargeback.core.metered import API
from chargeback.core.months.closing import FINAL_AFTER_MS, DayCost, FoundProblem, Unfinished
from chargeback.core.months.sums import LineSum
from chargeback.core.nodes import UnmeteredNode
from chargeback.store.node_states import GPU_PODS
from chargeback.store.tables import (
    lines,
    node_hour_bodies,
    node_hours,
    node_states,
    plan_hours,
    pods,
    problems,
)

Hours = tuple[int, int]
"""First and last UTC hour that a month has a part of, both included."""


def line_sums(connection: Connection, month: str) -> list[LineSum]:
    """The month's lines, summed, in a fixed order."""
    is_api = lines.c.evidence.startswith(API, autoescape=True).label("is_api")
    keys = (
        *(lines.c[name] for name in ("cluster", "node", "account", "kind", "model", "namespace", "part")),
        is_api,
    )
    numbers = ("gpu_ms_num", "quantity_ms_num", "list_micros", "amount_micros")
    query = (
        select(*keys, lines.c.ms_den, func.count().label("lines"), *(func.sum(lines.c[n]).label(n) for n in numbers))
        .where(*_of_month(month))
        .group_by(*keys, lines.c.ms_den)
        .order_by(*keys, lines.c.ms_den)
    )
    return [
        LineSum(
            cluster=row.cluster,
            node=row.node,
            account=row.account,
            kind=row.kind,
            model=row.model,
            namespace=row.namespace,
            part=row.part,
            is_api=bool(row.is_api),
            lines=row.lines,
            # PostgreSQL sums BIGINT into NUMERIC.
            gpu_ms=Fraction(int(row.gpu_ms_num), row.ms_den),
            unit_ms=Fraction(int(row.quantity_ms_num), row.ms_den),
            list_micros=None if row.list_micros is None else int(row.list_micros),
            amount_micros=None if row.amount_micros is None else int(row.amount_micros),
        )
        for row in connection.execute(query)
    ]


def day_costs(connection: Connection, month: str) -> list[DayCost]:
    """By cluster and day, from the day before the month on: list amount of what was rated, and its hours."""
    before = date(int(month[:4]), int(month[5:]), 1) - timedelta(days=1)
    is_rated = (lines.c.part == CHARGE, lines.c.kind.not_in(sorted(POSTED_BY_HAND)))
    charged = (*is_rated, lines.c.day.between(before.isoformat(), f"{month}-31"))
    hourly = (
        select(lines.c.cluster, lines.c.day, lines.c.hour, func.sum(lines.c.list_micros).label("micros"))
        .where(*charged, lines.c.month.in_((month, before.isoformat()[:7])))
        .group_by(lines.c.cluster, lines.c.day, lines.c.hour)
        .subquery()
    )
    query = (
        select(hourly.c.cluster, hourly.c.day, func.sum(hourly.c.micros).label("micros"), func.count().label("hours"))
        .group_by(hourly.c.cluster, hourly.c.day)
        .order_by(hourly.c.cluster, hourly.c.day)
    )
    return [
        DayCost(
            cluster=row.cluster,
            day=row.day,
            micros=None if row.micros is None else int(row.micros),
            hours=row.hours,
        )
        for row in connection.execute(query)
    ]


def existed_ms(connection: Connection, month: str, hours: Hours) -> dict[str, int]:
    """By cluster, how long its cards existed in the month, as its rated node-hours say."""
    query = (
        select(node_hours.c.cluster, node_hours.c.existed, func.count())
        .where(_within(node_hours.c.hour, hours))
        .group_by(node_hours.c.cluster, node_hours.c.existed)
    )
    found: dict[str, int] = {}
    for cluster, existed, count in connection.execute(query):
        found[cluster] = found.get(cluster, 0) + json.loads(existed).get(month, 0) * count
    return found


def error_ms(connection: Connection, hours: Hours) -> dict[str, int]:
    """By cluster, what was found at rating that lines and time differ by."""
    query = (
        select(node_hours.c.cluster, func.sum(node_hours.c.error_ms))
        .where(_within(node_hours.c.hour, hours))
        .group_by(node_hours.c.cluster)
    )
    return {cluster: int(ms) for cluster, ms in connection.execute(query)}


def differences(connection: Connection, hours: Hours) -> dict[str, dict[str, int]]:
    """By cluster and kind, ms of slots in which the two meters differ."""
    query = select(node_hours.c.cluster, node_hours.c.differences).where(
        _within(node_hours.c.hour, hours), node_hours.c.differences != "{}"
    )
    found: dict[str, dict[str, int]] = {}
    for cluster, text in connection.execute(query):
        of = found.setdefault(cluster, {})
        for kind, ms in json.loads(text).items():
            of[kind] = of.get(kind, 0) + ms
    return found


def due_hours(connection: Connection, hours: Hours) -> int:
    """Node-hours and plan-hours that are to be rated, now or in a while."""
    return sum(
        int(
            connection.execute(
                select(func.count()).where(_within(table.c.hour, hours), table.c.due_ms.is_not(None))
            ).scalar_one()
        )
        for table in (node_hours, plan_hours)
    )


def unfinished(connection: Connection, hours: Hours, now_ms: int) -> list[Unfinished]:
    """Node-hours that no agent finished, and that are still young enough for it."""
    young = (now_ms - FINAL_AFTER_MS) // HOUR_MS  # an hour ends one later than it begins
    finished = exists().where(
        node_hour_bodies.c.cluster == node_hours.c.cluster,
        node_hour_bodies.c.node == node_hours.c.node,
        node_hour_bodies.c.hour == node_hours.c.hour,
        node_hour_bodies.c.final,
    )
    query = (
        select(node_hours.c.cluster, func.count(), func.max(node_hours.c.hour))
        .where(_within(node_hours.c.hour, hours), node_hours.c.hour >= young, ~finished)
        .group_by(node_hours.c.cluster)
        .order_by(node_hours.c.cluster)
    )
    return [
        Unfinished(cluster=cluster, node_hours=count, until_ms=(youngest + 1) * HOUR_MS + FINAL_AFTER_MS)
        for cluster, count, youngest in connection.execute(query)
    ]


def month_problems(connection: Connection, hours: Hours) -> list[FoundProblem]:
    query = (
        select(problems.c.cluster, problems.c.kind, problems.c.subject, func.count(), func.sum(problems.c.ms))
        .where(_within(problems.c.hour, hours))
        .group_by(problems.c.cluster, problems.c.kind, problems.c.subject)
        .order_by(problems.c.cluster, problems.c.kind, problems.c.subject)
    )
    return [
        FoundProblem(cluster=row[0], kind=row[1], subject=row[2], node_hours=int(row[3]), ms=int(row[4]))
        for row in connection.execute(query)
    ]


def unmetered(connection: Connection, hours: Hours, span_ms: tuple[int, int]) -> list[UnmeteredNode]:
    """Nodes that offered GPUs in the month, or had pods that used them, and of which it has no node-hour."""
    start_ms, end_ms = span_ms
    devices: dict[tuple[str, str], int] = {}
    offered = and_(node_states.c.from_ms < end_ms, _until(node_states.c.until_ms, start_ms))
    for row in connection.execute(select(node_states).where(offered, ~_metered(node_states, hours))):
        if count := sum(json.loads(row.gpus).values()):
            key = (row.cluster, row.node)
            devices[key] = max(devices.get(key, 0), count)
    alive = and_(pods.c.bound_ms < end_ms, _until(pods.c.ended_ms, start_ms))
    counts = (
        select(pods.c.cluster, pods.c.node, GPU_PODS)
        .where(alive, ~_metered(pods, hours))
        .group_by(pods.c.cluster, pods.c.node)
    )
    used = {(row[0], row[1]): int(row[2]) for row in connection.execute(counts) if row[2]}
    return [
        UnmeteredNode(cluster=key[0], node=key[1], devices=devices.get(key, 0), pods=used.get(key, 0))
        for key in sorted(devices.keys() | used.keys())
    ]


def _of_month(month: str) -> tuple[ColumnElement[bool], ...]:
    # Both databases find a month's lines by its days.
    return (lines.c.month == month, lines.c.day.between(f"{month}-01", f"{month}-31"))


def _within(hour: ColumnElement[int], hours: Hours) -> ColumnElement[bool]:
    return hour.between(*hours)


def _until(column: ColumnElement[Any], start_ms: int) -> ColumnElement[bool]:
    return or_(column.is_(None), column > start_ms)


def _metered(table: Any, hours: Hours) -> ColumnElement[bool]:
    return exists().where(
        node_hours.c.cluster == table.c.cluster, node_hours.c.node == table.c.node, _within(node_hours.c.hour, hours)
    )
