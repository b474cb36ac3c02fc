"""Sums of each (cluster, local day), made anew from its lines; months are read from here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, Select, delete, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from chargeback.core.totals import Total
from chargeback.store.tables import day_totals, lines, marked_days

PAGE_ROWS = 2000

_KEYS = ("month", "cluster", "day", "account", "team", "namespace", "kind", "sku", "unit", "unit_price", "ms_den")
_SUMS = ("gpu_ms_num", "quantity_ms_num", "list_micros", "amount_micros")


def mark_days(connection: Connection, cluster: str, days: Iterable[str]) -> None:
    """Have the totals of these days made anew."""
    rows = [{"cluster": cluster, "day": day} for day in sorted(days)]
    if rows:
        dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
        connection.execute(dialect.insert(marked_days).on_conflict_do_nothing(), rows)


def rebuild_marked_day(connection: Connection) -> bool:
    """Make one marked day's totals anew. False: none is marked, or another replica has them all in hand."""
    query = select(marked_days).order_by(marked_days.c.day).limit(1).with_for_update(skip_locked=True)
    row = connection.execute(query).first()
    if row is None:
        return False
    # The mark goes first: whoever marks the day again meanwhile waits, and the day is made anew once more.
    connection.execute(delete(marked_days).where(marked_days.c.cluster == row.cluster, marked_days.c.day == row.day))
    connection.execute(delete(day_totals).where(day_totals.c.cluster == row.cluster, day_totals.c.day == row.day))
    connection.execute(insert(day_totals).from_select([*_KEYS, "model", *_SUMS], _sums_of_day(row.cluster, row.day)))
    return True


def _sums_of_day(cluster: str, day: str) -> Select[Any]:
    empty = {"team", "unit", "unit_price"}  # NULL in a line, part of the key here
    keys = [func.coalesce(lines.c[name], "") if name in empty else lines.c[name] for name in _KEYS]
    return (
        select(*keys, func.min(lines.c.model), *(func.sum(lines.c[name]) for name in _SUMS))
        .where(lines.c.cluster == cluster, lines.c.day == day)
        .group_by(*keys)
    )


def totals_of_month(connection: Connection, month: str) -> Iterator[Total]:
    """A month's totals in the order of the monthly CSV, one row a denominator, page by page."""
    names = [name for name in _KEYS if name != "day"]
    keys = [day_totals.c[name] for name in names]
    query = (
        select(
            *keys, func.min(day_totals.c.model).label("model"), *(func.sum(day_totals.c[s]).label(s) for s in _SUMS)
        )
        .where(day_totals.c.month == month)
        .group_by(*keys)
        .order_by(*(day_totals.c[name] for name in Total.ORDER), day_totals.c.ms_den)
    )
    result = connection.execution_options(yield_per=PAGE_ROWS).execute(query)
    for page in result.partitions(PAGE_ROWS):
        for row in page:
            yield _total(row)


def totals_of_day(connection: Connection, day: str) -> list[Total]:
    query = select(day_totals).where(day_totals.c.day == day)
    return [_total(row) for row in connection.execute(query)]


def totals_by_day(connection: Connection, first: str, last: str) -> list[tuple[str, Total]]:
    """(day, total) of all days from first to last."""
    query = select(day_totals).where(day_totals.c.day >= first, day_totals.c.day <= last).order_by(day_totals.c.day)
    return [(row.day, _total(row)) for row in connection.execute(query)]


def marked(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(marked_days)).scalar_one())


def months(connection: Connection) -> list[str]:
    """The months that have lines, oldest first."""
    query = select(day_totals.c.month).distinct().order_by(day_totals.c.month)
    return [row.month for row in connection.execute(query)]


def _total(row: Any) -> Total:
    return Total(
        account=row.account,
        team=row.team,
        cluster=row.cluster,
        namespace=row.namespace,
        kind=row.kind,
        sku=row.sku,
        model=row.model,
        unit=row.unit,
        unit_price=row.unit_price,
        # PostgreSQL sums BIGINT into NUMERIC.
        ms_den=int(row.ms_den),
        gpu_ms_num=int(row.gpu_ms_num),
        quantity_ms_num=int(row.quantity_ms_num),
        list_micros=None if row.list_micros is None else int(row.list_micros),
        amount_micros=None if row.amount_micros is None else int(row.amount_micros),
    )
