"""Ledger lines: deleted and put anew with their node-hour, never edited."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, select, tuple_

from chargeback.core.corrections import POSTED_BY_HAND
from chargeback.core.lines import CHARGE, Line
from chargeback.core.money import MICROS, format_decimal
from chargeback.core.rating.dimensions import read_dimensions, write_dimensions
from chargeback.store.bulk import bulk_insert
from chargeback.store.months import OPEN
from chargeback.store.node_hours import NodeHourKey
from chargeback.store.partitions import want_months
from chargeback.store.tables import lines as table
from chargeback.store.tables import months as month_table

# Rows fetched at a time: a month's lines must not be in memory at once.
PAGE_ROWS = 2000

_FIELDS = (
    "cluster", "node", "hour", "day", "month", "start_ms", "end_ms", "account", "kind", "device", "parent", "shares",
    "model", "profile", "sku", "unit", "namespace", "pod", "container", "claim", "cost_center", "team", "tier",
    "owner_version", "price_version", "policy_version", "evidence", "gpu_ms_num", "quantity_ms_num", "ms_den",
    "busy_ms", "memory_byte_seconds", "energy_mj", "list_micros", "amount_micros", "part", "resource",
    "used_num", "gpu_before_num", "quantity_before_num", "used_before_num", "allocation_micros", "usage_micros",
    "plan_version", "base", "base_unit", "base_quantity_num", "of_kind", "corrects", "corrects_month",
)  # fmt: skip
_COLUMNS = (
    *_FIELDS, "line_id", "revision", "unit_price", "base_unit_price", "list_hourly", "hourly", "dimensions",
)  # fmt: skip
_values_of = attrgetter(*_FIELDS)


class SettledMonth(RuntimeError):
    """Lines were to be put into a month that is drafted, approved or closed: a defect of ours, so nothing is put."""


def replace_lines(connection: Connection, key: NodeHourKey, lines: Sequence[Line], revision: int) -> set[str]:
    """Delete a node-hour's charges and put these; the local days of both, which the caller marks before it commits.

    Lines of settled months, and what corrects them, are not touched: `store/corrections.py` is for those.
    """
    return replace_each(connection, [(key, revision, lines)])[key]


def replace_each(
    connection: Connection, rated: Sequence[tuple[NodeHourKey, int, Sequence[Line]]]
) -> dict[NodeHourKey, set[str]]:
    """As `replace_lines`, of many node-hours, each with its revision: all lines are put at once."""
    days = {key: {line.day for line in lines} for key, _, lines in rated}
    for key, revision, _ in rated:
        if revision > 1:
            days[key] |= delete_lines(connection, *is_node_hour(key), table.c.part == CHARGE)
    put_lines(connection, [(line, revision) for _, revision, lines in rated for line in lines])
    return days


def delete_lines(connection: Connection, *where: ColumnElement[bool]) -> set[str]:
    """Delete lines, but none of a settled month; their local days."""
    mine = (*where, table.c.month.not_in(_settled()))
    days = {row.day for row in connection.execute(select(table.c.day).where(*mine).distinct())}
    if days:
        connection.execute(delete(table).where(*mine))
    return days


def delete_corrections(connection: Connection, key: NodeHourKey) -> set[str]:
    """Delete what corrects lines of a node-hour and is not settled itself; its local days."""
    return delete_lines(
        connection, *is_node_hour(key), table.c.part != CHARGE, table.c.kind.not_in(sorted(POSTED_BY_HAND))
    )


def put_lines(connection: Connection, lines: Sequence[tuple[Line, int]]) -> None:
    """Put lines, each with the revision of its node-hour: one COPY for all of them. Raises SettledMonth."""
    if not lines:
        return
    months = {line.month for line, _ in lines}
    settled = [row.month for row in connection.execute(_settled().where(month_table.c.month.in_(months)))]
    if settled:
        raise SettledMonth(f"{', '.join(sorted(settled))}: its lines are settled, and {len(lines)} are to be put")
    want_months(connection, table, months)
    bulk_insert(connection, table, _COLUMNS, (_row(line, revision) for line, revision in lines))


def _settled() -> Select[tuple[str]]:
    return select(month_table.c.month).where(month_table.c.state != OPEN)


def is_node_hour(key: NodeHourKey) -> tuple[ColumnElement[bool], ...]:
    return (table.c.cluster == key.cluster, table.c.node == key.node, table.c.hour == key.hour)


def lines_of_month(connection: Connection, month: str) -> Iterator[Line]:
    """All lines of a month in a fixed order, page by page."""
    query = (
        select(table)
        .where(table.c.month == month)
        .order_by(table.c.cluster, table.c.hour, table.c.node, table.c.parent, table.c.start_ms, table.c.line_id)
    )
    result = connection.execute(query.execution_options(yield_per=PAGE_ROWS))
    for page in result.partitions(PAGE_ROWS):
        for row in page:
            yield read_line(row)


def lines_of(connection: Connection, keys: Iterable[NodeHourKey]) -> list[Line]:
    """The lines of some node-hours."""
    wanted = [(key.cluster, key.node, key.hour) for key in keys]
    query = (
        select(table)
        .where(tuple_(table.c.cluster, table.c.node, table.c.hour).in_(wanted))
        .order_by(table.c.hour, table.c.node, table.c.parent, table.c.start_ms, table.c.line_id)
    )
    return [read_line(row) for row in connection.execute(query)]


def lines_of_hour(connection: Connection, cluster: str, hour: int) -> list[Line]:
    """All lines that are about an hour of a cluster, wherever they are posted."""
    query = (
        select(table)
        .where(table.c.cluster == cluster, table.c.hour == hour)
        .order_by(table.c.node, table.c.parent, table.c.start_ms, table.c.line_id)
    )
    return [read_line(row) for row in connection.execute(query)]


def _row(line: Line, revision: int) -> tuple[Any, ...]:
    """As `_COLUMNS` names it."""
    return (
        *_values_of(line),
        line.line_id,
        revision,
        _write_price(line.unit_price),
        _write_price(line.base_unit_price),
        None if line.list_hourly is None else str(line.list_hourly),
        None if line.hourly is None else str(line.hourly),
        write_dimensions(line.dimensions),
    )


def read_line(row: Row[Any]) -> Line:
    """A line, of a row of its table."""
    values = {name: getattr(row, name) for name in _FIELDS}
    return Line(
        **values,
        unit_price=_read_price(row.unit_price),
        base_unit_price=_read_price(row.base_unit_price),
        list_hourly=None if row.list_hourly is None else Fraction(row.list_hourly),
        hourly=None if row.hourly is None else Fraction(row.hourly),
        dimensions=read_dimensions(row.dimensions),
    )


@lru_cache(maxsize=1024)
def _write_price(micros: Fraction | None) -> str | None:
    """A ledger has few prices, and many lines."""
    return None if micros is None else format_decimal(micros / MICROS)


def _read_price(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text) * MICROS
