"""The price books in the ledger: versions are only ever added; what has priced hours changes only by force.

The policy, the other half of the terms of billing, lies in `policies.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Connection, func, insert, select

from chargeback.core.hours import HOUR_MS, format_instant
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.changes import Change, backdated, changes
from chargeback.files.prices import PriceFile, parse_prices
from chargeback.store.audit import Entry, note
from chargeback.store.database import lock
from chargeback.store.months import share_ledger
from chargeback.store.node_hours import make_all_due
from chargeback.store.policies import TermsConflict, policy_book, settled_until
from chargeback.store.tables import node_hours, price_books


class PricesRefused(TermsConflict):
    """Prices that contradict what hours were rated by: one problem a line. They can be had by force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """What importing a file comes to.

    book      as it would be, or is; of the version it has
    changes   from the current one
    backdated what rated hours would then cost otherwise: only with force, and a reason
    problems  the same in words
    due       rated node-hours from the first change on, to be rated again
    is_new    whether it is a version of its own: not where the text is the current one's
    """

    book: PriceBook
    changes: Sequence[Change]
    backdated: Sequence[Change]
    problems: Sequence[str]
    due: int
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBook:
    """A version, who recorded it and why (None: not said), and what it changed of the one before."""

    book: PriceBook
    currency: str
    source: str
    recorded_ms: int
    who: str | None
    why: str | None
    changes: Sequence[Change]


def import_prices(
    connection: Connection,
    file: PriceFile,
    source: str,
    timezone: str,
    now_ms: int,
    *,
    force: bool = False,
    who: str = "serve",
    why: str = "",
) -> PriceBook:
    """Make this the current price book, if it differs; hours from the first difference on become due.

    force: also where it changes what rated hours cost; those of closed months get adjustments. Raises PricesRefused,
    TermsConflict.
    """
    share_ledger(connection)  # which months are closed stays so until this is done
    lock(connection, price_books)
    look = look_at_import(connection, file, timezone)
    if not look.is_new:
        return look.book
    if look.problems and not force:
        raise PricesRefused("\n".join(look.problems))
    connection.execute(
        insert(price_books).values(
            version=look.book.version, content=file.text, source=source, recorded_ms=now_ms, who=who, why=why or None
        )
    )
    detail = {
        "source": source,
        "changes": [change.text for change in look.changes],
        "backdated": [change.text for change in look.backdated],
    }
    subject = f"price book {look.book.version}"
    note(
        connection,
        Entry(recorded_ms=now_ms, who=who, action="prices import", subject=subject, why=why, detail=detail),
    )
    if look.changes:
        make_all_due(connection, None, min(change.from_ms for change in look.changes) // HOUR_MS, now_ms)
    return look.book


def look_at_import(connection: Connection, file: PriceFile, timezone: str) -> Import:
    """What importing a file would come to. Raises TermsConflict where it never can be: in another currency."""
    policies = policy_book(connection)
    if policies is not None and policies.first.currency != file.currency:
        currency = policies.first.currency
        raise TermsConflict(f"currency: {file.currency}: want {currency}, the ledger's: currencies are never mixed")
    current = price_book(connection, timezone)
    content = select(price_books.c.content).where(price_books.c.version == current.version)
    if connection.execute(content).scalar() == file.text:
        return Import(book=current, changes=(), backdated=(), problems=(), due=0, is_new=False)
    book = file.book(version=current.version + 1, timezone=timezone)
    found = changes(current, book)
    rated_ms = _rated_until(connection)
    touching = backdated(current, book, rated_ms)
    settled_ms = settled_until(connection, timezone)
    first_ms = min((change.from_ms for change in found), default=None)
    return Import(
        book=book,
        changes=found,
        backdated=touching,
        problems=[_problem(change, rated_ms, settled_ms) for change in touching],
        due=0 if first_ms is None else _count_rated(connection, first_ms // HOUR_MS),
        is_new=True,
    )


def price_book(connection: Connection, timezone: str) -> PriceBook:
    """The current price book; an empty one where none was ever imported."""
    newest = select(func.max(price_books.c.version)).scalar_subquery()
    row = connection.execute(select(price_books).where(price_books.c.version == newest)).first()
    if row is None:
        return PriceBook((), timezone=timezone)
    return _parsed(row.content, row.source, timezone, row.version)


@lru_cache(maxsize=4)
def _parsed(content: str, source: str, timezone: str, version: int) -> PriceBook:
    """Rating asks for it in every transaction."""
    return parse_prices(content, source, timezone).book(version=version, timezone=timezone)


def book_history(connection: Connection, timezone: str) -> list[RecordedBook]:
    """Every version, in the order in which they were recorded."""
    found = []
    before = PriceBook((), timezone=timezone)
    for row in connection.execute(select(price_books).order_by(price_books.c.version)):
        file = parse_prices(row.content, row.source, timezone)
        book = file.book(version=row.version, timezone=timezone)
        found.append(
            RecordedBook(
                book=book,
                currency=file.currency,
                source=row.source,
                recorded_ms=row.recorded_ms,
                who=row.who,
                why=row.why,
                changes=changes(before, book),
            )
        )
        before = book
    return found


def _problem(change: Change, rated_ms: int, settled_ms: int) -> str:
    if change.from_ms < settled_ms:
        until = format_instant(settled_ms)
        wanted = f"months are closed until {until}: what priced them can only end, then or later"
        return f"{change.text}: {wanted}; else want --force --reason, and adjustments follow"
    until = format_instant(rated_ms)
    return f"{change.text}: hours are rated until {until}: want it from then on, or --force --reason"


def _rated_until(connection: Connection) -> int:
    """The end of the last hour that was ever rated; 0: none was."""
    newest = connection.execute(select(func.max(node_hours.c.hour)).where(node_hours.c.revision > 0)).scalar()
    return 0 if newest is None else (int(newest) + 1) * HOUR_MS


def _count_rated(connection: Connection, from_hour: int) -> int:
    rated = select(func.count()).where(node_hours.c.revision > 0, node_hours.c.hour >= from_hour)
    return int(connection.execute(rated).scalar_one())
