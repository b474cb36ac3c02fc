"""What people and programs read of the ledger: one read transaction, one pure function of the core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core.hours import month_span_ms
from chargeback.core.policy import Policy
from chargeback.core.statements import CostCenterRow, Month, by_account, csv_chunks, unpriced_hours
from chargeback.core.totals import Total, total_of
from chargeback.rater import provisional
from chargeback.store.database import Database
from chargeback.store.rollup import totals_by_day, totals_of_month
from chargeback.store.terms import policy_book

# Text is handed on in pieces of about this size.
CHUNK_BYTES = 2**16


class NoLedger(RuntimeError):
    """The database has no ledger yet."""


def policy_of(database: Database) -> Policy:
    """The policy that the ledger began with. Raises NoLedger."""
    with database.read() as connection:
        book = policy_book(connection)
    if book is None:
        raise NoLedger("no ledger here yet: start `chargeback serve` first")
    return book.first


def month_csv(database: Database, month: str) -> Iterator[bytes]:
    """The monthly CSV in pieces: rated hours only, the same bytes for the same ledger. Raises NoLedger."""
    policy = policy_of(database)
    with database.read() as connection:
        about = Month(month=month, timezone=policy.timezone, currency=policy.currency)
        piece = bytearray()
        for row in csv_chunks(about, totals_of_month(connection, month)):
            piece += row.encode()
            if len(piece) >= CHUNK_BYTES:
                yield bytes(piece)
                piece.clear()
        yield bytes(piece)


def unpriced_of_month(database: Database, month: str) -> dict[str, Fraction]:
    """Card hours of the month without a price, by model."""
    with database.read() as connection:
        return unpriced_hours(totals_of_month(connection, month))


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthReport:
    """A month by account. provisional_hours: card hours in it that are not closed yet."""

    month: str
    currency: str
    rows: Sequence[CostCenterRow]
    provisional_hours: Fraction

    @property
    def amount_micros(self) -> int:
        return sum(row.amount_micros for row in self.rows)

    @property
    def list_micros(self) -> int:
        return sum(row.list_micros for row in self.rows)

    @property
    def gpu_hours(self) -> Fraction:
        return sum((row.gpu_hours for row in self.rows), Fraction(0))


def month_report(database: Database, month: str, now_ms: int) -> MonthReport:
    """A month by account, the running hours included. Raises NoLedger."""
    policy = policy_of(database)
    start_ms, end_ms = month_span_ms(month, policy.timezone)
    with database.read() as connection:
        running = [line for line in provisional(connection, now_ms) if start_ms <= line.start_ms < end_ms]
        totals = list(totals_of_month(connection, month))
    extra = [total_of(line) for line in running]
    return MonthReport(
        month=month,
        currency=policy.currency,
        rows=by_account([*totals, *extra]),
        provisional_hours=sum((total.gpu_ms for total in extra), Fraction(0)) / 3_600_000,
    )


DIMENSIONS = ("day", "month", "account", "cluster", "team", "namespace", "kind", "sku")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """A group of costs. amount_micros: None where nothing in it has a price."""

    group: tuple[str, ...]
    gpu_hours: Fraction
    list_micros: int | None
    amount_micros: int | None
    provisional: bool


def costs(
    database: Database, first: str, last: str, group_by: Sequence[str], where: dict[str, str], now_ms: int
) -> list[CostRow]:
    """Costs of the local days first to last, grouped; rows of running hours are apart and marked provisional."""
    with database.read() as connection:
        running = provisional(connection, now_ms)
        rated = totals_by_day(connection, first, last)
    parts = [(day, total, False) for day, total in rated]
    parts += [(line.day, total_of(line), True) for line in running if first <= line.day <= last]
    groups: dict[tuple[tuple[str, ...], bool], list[Total]] = {}
    for day, total, is_running in parts:
        fields = {"day": day, "month": day[:7]} | {name: getattr(total, name) for name in DIMENSIONS[2:]}
        if all(fields[name] == wanted for name, wanted in where.items()):
            groups.setdefault((tuple(fields[name] for name in group_by), is_running), []).append(total)
    return [
        CostRow(
            group=group,
            gpu_hours=sum((total.gpu_ms for total in totals), Fraction(0)) / 3_600_000,
            list_micros=_known([total.list_micros for total in totals]),
            amount_micros=_known([total.amount_micros for total in totals]),
            provisional=is_running,
        )
        for (group, is_running), totals in sorted(groups.items())
    ]


def _known(parts: list[int | None]) -> int | None:
    known = [part for part in parts if part is not None]
    return sum(known) if known else None
