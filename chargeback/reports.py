"""What people and programs read of the ledger: one read transaction, one pure function of the core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

from chargeback.core.costs import COST_CENTER, LABEL, NO_COSTS, Costs, Part, Wanted, grouped
from chargeback.core.lines import Line
from chargeback.core.months.statements import COLUMNS, Month, csv_chunks, csv_line, unpriced_hours
from chargeback.core.policy import Policy
from chargeback.core.totals import total_of
from chargeback.rater import provisional
from chargeback.store.database import Database
from chargeback.store.months import CLOSED, state_of
from chargeback.store.policies import policy_book
from chargeback.store.rollup import parts_of_month, totals_by_day, totals_of_month
from chargeback.store.statements import contents_of

# Text is handed on in pieces of about this size.
CHUNK_BYTES = 2**16


class NoLedger(RuntimeError):
    """The database has no ledger yet."""


def policy_of(database: Database, at_ms: int | None = None, cluster: str = "") -> Policy:
    """The policy of a cluster at an instant; at none: the first, for timezone and currency. Raises NoLedger."""
    with database.read() as connection:
        book = policy_book(connection)
    if book is None:
        raise NoLedger("no ledger here yet: start `chargeback serve` first")
    return book.first if at_ms is None else book.at(at_ms, cluster)


def month_csv(database: Database, month: str) -> Iterator[bytes]:
    """The monthly CSV in pieces: rated hours only, the same bytes for the same ledger. Raises NoLedger.

    That of a closed month is what was closed, byte for byte.
    """
    policy = policy_of(database)
    with database.read() as connection:
        if state_of(connection, month) == CLOSED:
            rows: Iterator[bytes] = chain([csv_line(COLUMNS).encode()], contents_of(connection, month))
        else:
            about = Month(month=month, timezone=policy.timezone, currency=policy.currency)
            rows = (row.encode() for row in csv_chunks(about, totals_of_month(connection, month)))
        piece = bytearray()
        for row in rows:
            piece += row
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
    """A month in groups. provisional_hours: card hours in it that are not closed yet; whole: all of it as one."""

    month: str
    currency: str
    group_by: tuple[str, ...]
    rows: Sequence[Costs]
    whole: Costs
    provisional_hours: Fraction


BY_COST_CENTER = (COST_CENTER,)


def month_report(
    database: Database,
    month: str,
    now_ms: int,
    group_by: tuple[str, ...] = BY_COST_CENTER,
    where: Wanted | None = None,
) -> MonthReport:
    """A month by cost center, or by other groups, the running hours included. Raises NoLedger."""
    policy = policy_of(database)
    with database.read() as connection:
        running = [_running(line) for line in provisional(connection, now_ms) if line.month == month]
        rated = list(parts_of_month(connection, month, **apart([*group_by, *(where or {})])))
    rows = grouped([*rated, *running], group_by, where)
    return MonthReport(
        month=month,
        currency=policy.currency,
        group_by=group_by,
        rows=sorted(rows, key=lambda row: any(value.startswith("platform:") for value in row.group)),
        whole=next(iter(grouped([*rated, *running], (), where)), NO_COSTS),
        provisional_hours=sum((row.gpu_hours for row in grouped(running, (), where)), Fraction(0)),
    )


def costs(
    database: Database, first: str, last: str, group_by: Sequence[str], where: Wanted, now_ms: int
) -> list[Costs]:
    """Costs of the local days first to last, grouped; rows of running hours are apart and marked provisional."""
    with database.read() as connection:
        running = [_running(line) for line in provisional(connection, now_ms) if first <= line.day <= last]
        rated = totals_by_day(connection, first, last)
    parts = [Part(total=total, day=day) for day, total in rated]
    return grouped([*parts, *running], group_by, where, running_apart=True)


def _running(line: Line) -> Part:
    return Part(total=total_of(line), day=line.day, is_running=True)


def apart(names: Iterable[str]) -> dict[str, bool]:
    """What totals are to be kept apart for these groups: there are many more of them by day or by label."""
    asked = list(names)
    return {"days": "day" in asked, "labels": any(name.startswith(LABEL) for name in asked)}
