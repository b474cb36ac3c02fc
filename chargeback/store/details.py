"""Reading the lines of a month for its details: a page at a time, in bytewise order, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, select

from chargeback.core.costs import FIELDS as GROUP_FIELDS
from chargeback.core.costs import Part, Wanted
from chargeback.core.rating.dimensions import read_dimensions
from chargeback.core.totals import Total
from chargeback.store.partitions import want_lines
from chargeback.store.tables import lines

PAGE_ROWS = 2000

_MONEY = ("list_micros", "amount_micros", "allocation_micros", "usage_micros")
# Filters that are columns; others are for who reads the rows.
COLUMNS = GROUP_FIELDS | {name: name for name in ("day", "month", "pod", "container", "node")}


def lines_by_day(connection: Connection, month: str, fields: Sequence[str], where: Wanted) -> Iterator[Sequence[Any]]:
    """The named columns of all lines of a month: by day, then by cluster, hour, node, card, time and id.

    Day by day, so that no database has to sort a whole month. Raises TooOld.
    """
    want_lines(connection, month)
    columns = [lines.c[name] for name in fields]
    order = [lines.c[name] for name in ("cluster", "hour", "node", "parent", "start_ms", "line_id")]
    for day in _days(month):
        query = select(*columns).where(lines.c.day == day, lines.c.month == month, *_filters(where)).order_by(*order)
        yield from _pages(connection, query)


def parts_of_lines(
    connection: Connection, month: str, by: Sequence[str], where: Wanted, *, days: bool, labels: bool
) -> Iterator[Part]:
    """A month's lines summed by owner, namespace, kind and sku, and by `by`, columns of pod, container and node.

    Ordered by cost center, team, cluster, namespace, and then by those. days, labels: keep those apart, too.
    Raises TooOld.
    """
    want_lines(connection, month)
    more = (*by, *(["day"] if days else []), *(["dimensions"] if labels else []))
    names = ("account", "team", "cluster", "namespace", *more, "kind", "sku", "ms_den")
    keys = [_key(name).label(name) for name in names]
    unknown = case((lines.c.usage_micros.is_(None), lines.c.allocation_micros))
    query = (
        select(
            *keys,
            func.sum(lines.c.gpu_ms_num).label("gpu_ms_num"),
            *(func.sum(lines.c[name]).label(name) for name in _MONEY),
            func.sum(unknown).label("unknown_usage_micros"),
        )
        .where(lines.c.month == month, *_filters(where))
        .group_by(*(key.element for key in keys))
        .order_by(*(key.element for key in keys))
    )
    for row in _pages(connection, query):
        yield _part(row, month)


def _part(row: Any, month: str) -> Part:
    # PostgreSQL sums BIGINT into NUMERIC.
    money: dict[str, Any] = {
        name: None if (micros := getattr(row, name)) is None else int(micros)
        for name in (*_MONEY, "unknown_usage_micros")
    }
    total = Total(
        account=row.account,
        team=row.team,
        cluster=row.cluster,
        namespace=row.namespace,
        kind=row.kind,
        sku=row.sku,
        model="",
        unit="",
        unit_price="",
        ms_den=int(row.ms_den),
        gpu_ms_num=int(row.gpu_ms_num),
        quantity_ms_num=0,
        dimensions=read_dimensions(getattr(row, "dimensions", "[]")),
        **money,
    )
    return Part(
        total=total,
        day=getattr(row, "day", month),
        pod=getattr(row, "pod", ""),
        container=getattr(row, "container", ""),
        node=getattr(row, "node", ""),
    )


def _key(name: str) -> ColumnElement[Any]:
    # NULL in a line, part of the key here.
    return func.coalesce(lines.c.team, "") if name == "team" else lines.c[name]


def _filters(where: Wanted) -> list[ColumnElement[bool]]:
    columns = {name: _key(COLUMNS[name]) for name in where if name in COLUMNS}
    return [column.in_(sorted(where[name])) for name, column in columns.items()]


def _pages(connection: Connection, query: Select[Any]) -> Iterator[Any]:
    # Without a size, partitions() would keep the whole result in memory.
    result = connection.execute(query.execution_options(yield_per=PAGE_ROWS))
    for page in result.partitions(PAGE_ROWS):
        yield from page


def _days(month: str) -> Iterator[str]:
    day = date.fromisoformat(f"{month}-01")
    while (text := day.isoformat())[:7] == month:
        yield text
        day += timedelta(days=1)
