"""Sums of each (cluster, local day), made anew from its lines; months are read from here.

A day that is marked, but not made anew yet, is summed straight from its lines: a report is never behind the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Table,
    case,
    delete,
    exists,
    func,
    insert,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite

from chargeback.core.budgets import ONCE
from chargeback.core.costs import Part
from chargeback.core.rating.dimensions import read_dimensions
from chargeback.core.totals import Total
from chargeback.store.months import OPEN, month_states
from chargeback.store.tables import day_totals, lines, marked_days

PAGE_ROWS = 2000

_KEYS = (
    "month", "cluster", "day", "account", "team", "namespace", "kind", "sku", "unit", "unit_price", "ms_den",
    "dimensions", "corrects_month",
)  # fmt: skip
_TIMES = ("gpu_ms_num", "quantity_ms_num")
_MONEY = ("list_micros", "amount_micros", "allocation_micros", "usage_micros", "unknown_usage_micros")
_SUMS = (*_TIMES, *_MONEY)
_COLUMNS = (*_KEYS, "model", *_SUMS)


def mark_days(connection: Connection, days: Iterable[tuple[str, str]]) -> None:
    """Have the totals of these (cluster, day) made anew. To be the last thing before a commit: others wait for it.

    A mark that is there already is written again, and so locked: else a rebuild could take it before it can see what
    this transaction has put.
    """
    rows = [{"cluster": cluster, "day": day} for cluster, day in sorted(days)]
    if rows:
        mark = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(marked_days)
        keys = ["cluster", "day"]
        connection.execute(mark.on_conflict_do_update(index_elements=keys, set_={"day": mark.excluded.day}), rows)


def rebuild_marked_day(connection: Connection) -> bool:
    """Make one marked day's totals anew. False: none is marked, or another replica has them all in hand."""
    query = select(marked_days).order_by(marked_days.c.day).limit(1).with_for_update(skip_locked=True)
    row = connection.execute(query).first()
    if row is None:
        return False
    # The mark goes first: whoever marks the day again meanwhile waits, and the day is made anew once more.
    connection.execute(delete(marked_days).where(marked_days.c.cluster == row.cluster, marked_days.c.day == row.day))
    connection.execute(delete(day_totals).where(day_totals.c.cluster == row.cluster, day_totals.c.day == row.day))
    of_the_day = _sums_of_lines().where(lines.c.cluster == row.cluster, lines.c.day == row.day)
    of_the_day = of_the_day.where(lines.c.month == row.day[:7])  # the partition that it lies in
    connection.execute(insert(day_totals).from_select(_COLUMNS, of_the_day))
    return True


def _sums_of_lines() -> Select[Any]:
    empty = {"team", "unit", "unit_price"}  # NULL in a line, part of the key here
    keys = [(func.coalesce(lines.c[name], "") if name in empty else lines.c[name]).label(name) for name in _KEYS]
    summed: dict[str, ColumnElement[Any]] = {name: lines.c[name] for name in _SUMS[:-1]}
    summed["unknown_usage_micros"] = case((lines.c.usage_micros.is_(None), lines.c.allocation_micros))
    sums = [func.sum(column).label(name) for name, column in summed.items()]
    return select(*keys, func.min(lines.c.model).label("model"), *sums).group_by(*(key.element for key in keys))


def _totals() -> Subquery:
    """All totals: of marked days from their lines, of all others as they were made."""
    made = select(*(day_totals.c[name] for name in _COLUMNS)).where(~_is_marked(day_totals))
    # SQLite finds its index by the day alone.
    unmade = _sums_of_lines().where(lines.c.day.in_(select(marked_days.c.day)), _is_marked(lines))
    return union_all(made, unmade).subquery("totals")


def _is_marked(table: Table) -> Any:
    return exists().where(marked_days.c.cluster == table.c.cluster, marked_days.c.day == table.c.day)


def totals_of_month(connection: Connection, month: str) -> Iterator[Total]:
    """A month's totals in the order of the monthly CSV, one row a denominator, over all dimensions; page by page."""
    return (part.total for part in parts_of_month(connection, month))


def parts_of_month(connection: Connection, month: str, *, days: bool = False, labels: bool = False) -> Iterator[Part]:
    """The same, with local days and dimensions apart where they are asked for. Else the day is that of the month."""
    totals = _totals()
    left = {"day"} if not days else set()
    left |= {"dimensions"} if not labels else set()
    keys = [totals.c[name] for name in _KEYS if name not in left]
    order = (*Total.ORDER, "ms_den", *(name for name in ("day", "dimensions") if name not in left))
    query = (
        select(*keys, func.min(totals.c.model).label("model"), *(func.sum(totals.c[s]).label(s) for s in _SUMS))
        .where(totals.c.month == month)
        .group_by(*keys)
        .order_by(*(totals.c[name] for name in order))
    )
    result = connection.execute(query.execution_options(yield_per=PAGE_ROWS))
    for page in result.partitions(PAGE_ROWS):
        for row in page:
            yield Part(total=_total(row), day=row.day if days else month)


def totals_of_day(connection: Connection, day: str) -> list[Total]:
    return [total for _, total in totals_by_day(connection, day, day)]


def totals_by_day(connection: Connection, first: str, last: str) -> list[tuple[str, Total]]:
    """(day, total) of all days from first to last, dimensions kept apart."""
    totals = _totals()
    query = select(totals).where(totals.c.day >= first, totals.c.day <= last).order_by(totals.c.day)
    return [(row.day, _total(row)) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAmount:
    """What lines of an account, a local day and a kind come to. corrects_month: that of an adjustment, else ""."""

    account: str
    day: str
    kind: str
    corrects_month: str
    amount_micros: int


def amounts_by_day(connection: Connection, month: str, accounts: Sequence[str]) -> list[DayAmount]:
    """What some accounts spent in a month; what has no price is not in it."""
    totals = _totals()
    keys = [totals.c[name] for name in ("account", "day", "kind", "corrects_month")]
    query = (
        select(*keys, func.sum(totals.c.amount_micros).label("amount_micros"))
        .where(totals.c.month == month, totals.c.account.in_(accounts), totals.c.amount_micros.is_not(None))
        .group_by(*keys)
        .order_by(*keys)
    )
    return [
        DayAmount(
            account=row.account,
            day=row.day,
            kind=row.kind,
            corrects_month=row.corrects_month,
            amount_micros=int(row.amount_micros),
        )
        for row in connection.execute(query)
    ]


def first_charged_day(connection: Connection, month: str) -> str | None:
    """The first day of a month that anything at all is known of; None: nothing is."""
    totals = _totals()
    query = select(func.min(totals.c.day)).where(
        totals.c.month == month, totals.c.corrects_month == "", totals.c.kind.not_in(ONCE)
    )
    day: str | None = connection.execute(query).scalar()
    return day


def marked(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(marked_days)).scalar_one())


def months(connection: Connection) -> list[str]:
    """The months that have lines, oldest first."""
    totals = _totals()
    query = select(totals.c.month).distinct().order_by(totals.c.month)
    return [row.month for row in connection.execute(query)]


def all_month_states(connection: Connection) -> dict[str, str]:
    """The state of each month that has lines or was ever drafted, oldest first."""
    states = dict.fromkeys(months(connection), OPEN) | {each.month: each.state for each in month_states(connection)}
    return dict(sorted(states.items()))


def _total(row: Any) -> Total:
    # PostgreSQL sums BIGINT into NUMERIC.
    money = {name: None if (micros := getattr(row, name)) is None else int(micros) for name in _MONEY}
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
        ms_den=int(row.ms_den),
        gpu_ms_num=int(row.gpu_ms_num),
        quantity_ms_num=int(row.quantity_ms_num),
        dimensions=read_dimensions(getattr(row, "dimensions", "[]")),
        corrects_month=row.corrects_month,
        **money,
    )
