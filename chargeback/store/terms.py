"""The terms of billing, dated: price books and policy."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from sqlalchemy import Connection, func, insert, select

from chargeback.core.hours import HOUR_MS
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices import Price, PriceBook, TierFactor
from chargeback.price_file import PriceFile, parse_prices
from chargeback.store.database import lock
from chargeback.store.node_hours import make_all_due
from chargeback.store.tables import policies, price_books


class TermsConflict(RuntimeError):
    """Settings that contradict the terms the ledger began with."""


def begin_policy(connection: Connection, policy: Policy, now_ms: int) -> None:
    """Make this the ledger's first policy, or check that it is. Raises TermsConflict naming what differs."""
    lock(connection, policies)  # replicas start together
    book = _read_policies(connection)
    if not book:
        _add_policy(connection, policy, now_ms)
        return
    first = book[0]
    different = [
        f"{name}: this ledger began with {getattr(first, name)}, the settings say {getattr(policy, name)}"
        for name in ("timezone", "currency", "sharing", "mig_weight", "basis", "plans_from")
        if getattr(first, name) != getattr(policy, name)
    ]
    if different:
        todo = "change the settings back: the terms of a ledger that has begun cannot be changed yet"
        raise TermsConflict("\n".join([*different, todo]))


def set_policy(connection: Connection, policy: Policy, now_ms: int) -> Policy:
    """Add a version of the policy from its from_ms on; hours from then on become due."""
    lock(connection, policies)
    book = _read_policies(connection)
    version = replace(policy, version=book[-1].version + 1)
    _add_policy(connection, version, now_ms)
    make_all_due(connection, None, version.from_ms // HOUR_MS, now_ms)
    return version


def policy_book(connection: Connection) -> PolicyBook | None:
    """None: this ledger has no policy yet; `serve` gives it its first."""
    book = _read_policies(connection)
    return PolicyBook(book) if book else None


def import_prices(connection: Connection, file: PriceFile, source: str, timezone: str, now_ms: int) -> PriceBook:
    """Make this the current price book, if it differs; hours from the first difference on become due."""
    lock(connection, price_books)
    current = price_book(connection, timezone)
    row = connection.execute(select(price_books.c.content).where(price_books.c.version == current.version)).first()
    if row is not None and row.content == file.text:
        return current
    book = file.book(version=current.version + 1, timezone=timezone)
    connection.execute(
        insert(price_books).values(version=book.version, content=file.text, source=source, recorded_ms=now_ms)
    )
    first = first_difference(current, book)
    if first is not None:
        make_all_due(connection, None, first // HOUR_MS, now_ms)
    return book


def price_book(connection: Connection, timezone: str) -> PriceBook:
    """The current price book; an empty one where none was ever imported."""
    newest = select(func.max(price_books.c.version)).scalar_subquery()
    row = connection.execute(select(price_books).where(price_books.c.version == newest)).first()
    if row is None:
        return PriceBook(())
    return parse_prices(row.content, row.source, timezone).book(version=row.version, timezone=timezone)


def first_difference(before: PriceBook, after: PriceBook) -> int | None:
    """The first instant (unix ms) at which two books say different things; None: nowhere."""
    borders = sorted({0, *before.borders(), *after.borders()})
    return next((at for at in borders if _in_force(before, at) != _in_force(after, at)), None)


def _in_force(book: PriceBook, at_ms: int) -> set[Price | TierFactor]:
    """What a book says at an instant, however long it has been saying so."""
    dated: tuple[Price | TierFactor, ...] = (*book.prices, *book.factors)
    return {replace(entry, from_ms=0, until_ms=None) for entry in dated if entry.holds(at_ms)}


def _read_policies(connection: Connection) -> list[Policy]:
    return [
        Policy(
            version=row.version,
            from_ms=row.from_ms,
            sharing=row.sharing,
            mig_weight=Fraction(row.mig_weight),
            basis=row.basis,
            plans_from=row.plans_from,
            timezone=row.timezone,
            currency=row.currency,
        )
        for row in connection.execute(select(policies).order_by(policies.c.version))
    ]


def _add_policy(connection: Connection, policy: Policy, now_ms: int) -> None:
    row = _fields(policy) | {"mig_weight": str(policy.mig_weight), "recorded_ms": now_ms}
    connection.execute(insert(policies).values(row))


def _fields(policy: Policy) -> dict[str, object]:
    return {
        "version": policy.version,
        "from_ms": policy.from_ms,
        "sharing": policy.sharing,
        "mig_weight": policy.mig_weight,
        "basis": policy.basis,
        "plans_from": policy.plans_from,
        "timezone": policy.timezone,
        "currency": policy.currency,
    }
