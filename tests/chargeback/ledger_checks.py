"""What must be true of any ledger at any time, asked of its tables and of what it shows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sqlalchemy import select

from chargeback.core.corrections import POSTED_BY_HAND, as_charge, net
from chargeback.core.lines import HOLDERS, UNPRICED, WAIVED, Line
from chargeback.core.money import MICROS
from chargeback.exports import HOUR, Wish, export
from chargeback.months.close import verified
from chargeback.reports import month_csv
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.months import closed_months
from chargeback.store.rollup import months
from chargeback.store.tables import lines as line_table
from chargeback.store.tables import node_hours, problems


def all_lines(database: Database) -> list[Line]:
    with database.read() as connection:
        return [line for month in months(connection) for line in lines_of_month(connection, month)]


def truth(lines: Iterable[Line], timezone: str) -> list[Line]:
    """What counts now, as charges of the months that they are about; sums that people posted are not in it."""
    return sorted((as_charge(line, timezone) for line in net(lines)), key=lambda line: ascii(line.key))


def facts(lines: Iterable[Line]) -> list[tuple[Any, ...]]:
    """What a bill says of lines: who, when, what, how much; not by which version of what."""
    return [
        (
            line.key, line.end_ms, line.day, line.account, line.cost_center, line.tier, line.sku, line.unit,
            line.unit_price, line.list_micros, line.amount_micros, line.allocation_micros, line.usage_micros,
            Fraction(line.gpu_ms_num, line.ms_den), Fraction(line.quantity_ms_num, line.ms_den), line.busy_ms,
        )
        for line in lines
    ]  # fmt: skip


def billed(lines: Iterable[Line]) -> list[tuple[Any, ...]]:
    """Money, time and account: where they differ, what was closed is corrected, and nowhere else."""
    return [
        (
            line.key, line.day, line.account, line.list_micros, line.amount_micros,
            Fraction(line.gpu_ms_num, line.ms_den), Fraction(line.quantity_ms_num, line.ms_den),
        )
        for line in lines
    ]  # fmt: skip


def by_hand(lines: Iterable[Line]) -> dict[str, int]:
    """Sums that people posted and what was shared out, by account."""
    sums: dict[str, int] = {}
    for line in lines:
        if line.kind in POSTED_BY_HAND:
            sums[line.account] = sums.get(line.account, 0) + (line.amount_micros or 0)
    return sums


def exports(database: Database) -> dict[str, bytes]:
    """Every month's CSV and every line of it, as bytes."""
    with database.read() as connection:
        found = months(connection)
    return {
        **{month: b"".join(month_csv(database, month)) for month in found},
        **{f"{month} {HOUR}": b"".join(export(database, Wish(month=month, detail=HOUR))) for month in found},
    }


@dataclass(slots=True)
class Watch:
    """Holds a ledger to the laws, from step to step. closed: what each closed month was when it was first seen so."""

    database: Database
    closed: dict[str, tuple[Any, ...]]

    def check(self) -> None:
        lines = all_lines(self.database)
        self._balances(lines)
        self._time_is_whole(lines)
        _is_exact(lines)
        _unknown_is_not_zero(lines)
        self._closed_is_closed()
        self._reports_add_up(lines)

    def _balances(self, lines: list[Line]) -> None:
        """Law 1: Σ amount = Σ list, over all accounts, in every cluster and hour, and in every month."""
        for group in (lambda line: (line.cluster, line.hour, line.month), lambda line: line.month):
            sums: dict[object, list[int]] = {}
            for line in lines:
                assert (line.list_micros is None) == (line.amount_micros is None), line
                assert (line.amount_micros is None) == (line.account == UNPRICED), line
                both = sums.setdefault(group(line), [0, 0])
                both[0] += line.list_micros or 0
                both[1] += line.amount_micros or 0
            assert all(listed == amount for listed, amount in sums.values()), sums

    def _time_is_whole(self, lines: list[Line]) -> None:
        """Law 1: the card time of all lines about a node-hour, of whatever month, is what its cards existed."""
        sums: dict[tuple[str, str, int], Fraction] = {}
        for line in lines:
            key = (line.cluster, line.node, line.hour)
            sums[key] = sums.get(key, Fraction(0)) + Fraction(line.gpu_ms_num, line.ms_den)
        with self.database.read() as connection:
            rated = connection.execute(select(node_hours).where(node_hours.c.revision > 0)).all()
            wrong = connection.execute(select(problems.c.kind, problems.c.subject)).all()
        for row in rated:
            existed = sum(json.loads(row.existed).values())
            assert row.error_ms == 0
            assert sums.pop((row.cluster, row.node, row.hour), Fraction(0)) == existed, row
        assert not any(sums.values()), sums
        assert not [row for row in wrong if row.kind in ("conservation", "unrated", "unsettled")], wrong

    def _closed_is_closed(self) -> None:
        """Law 4: not a byte of a closed month changes: its rows, its CSV, its lines; and the chain holds."""
        with self.database.read() as connection:
            for month in sorted(closed_months(connection)):
                rows = connection.execute(
                    select(line_table).where(line_table.c.month == month).order_by(line_table.c.line_id)
                ).all()
                now = (
                    [tuple(row) for row in rows],
                    b"".join(month_csv(self.database, month)),
                    b"".join(export(self.database, Wish(month=month, detail=HOUR))),
                )
                assert self.closed.setdefault(month, now) == now, month
        assert list(verified(self.database)) == []

    def _reports_add_up(self, lines: list[Line]) -> None:
        """Law 5: the monthly CSV adds up to the lines, to the micro."""
        for month in {line.month for line in lines}:
            text = b"".join(month_csv(self.database, month)).decode("utf-8-sig")
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            for column, name in (("list_amount", "list_micros"), ("amount", "amount_micros")):
                said = sum(Fraction(row[column]) for row in rows if row[column]) * MICROS
                assert said == sum(getattr(line, name) or 0 for line in lines if line.month == month), (month, column)


def _is_exact(lines: list[Line]) -> None:
    """Law 5: whole numbers; and a line has an id of its own."""
    for line in lines:
        for name in ("list_micros", "amount_micros", "allocation_micros", "usage_micros", "gpu_ms_num", "ms_den"):
            assert type(getattr(line, name)) in (int, type(None)), (name, line)
    assert len({line.line_id for line in lines}) == len(lines)


def _unknown_is_not_zero(lines: list[Line]) -> None:
    """Law 3: where nobody knows how busy a holder was, nobody knows what that costs; he may not pay at all."""
    for line in lines:
        if line.kind in HOLDERS - WAIVED and line.used_num is None:
            assert line.usage_micros is None, line
