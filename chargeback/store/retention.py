"""Let old months go: bodies after their time, lines long after, and no month that is not closed.

On PostgreSQL a month's partition is detached and stays as a table for the operator to archive or drop. On SQLite rows
are deleted, few at a time, so that pushes do not wait. Statements, totals of days and audit stay for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, delete, func, select, text, tuple_, update

from chargeback.core.hours import HOUR_MS, local_day, month_after, month_span_ms
from chargeback.store.audit import Entry, note
from chargeback.store.database import Database, insert_or
from chargeback.store.months import closed_months
from chargeback.store.partitions import attached, detach, first_hour, kept_since, name_of, utc_month
from chargeback.store.policies import policy_book
from chargeback.store.tables import kept_from, lines, node_hour_bodies, node_hours, problems

# Rows deleted in one transaction.
BATCH_ROWS = 2_000
# Detaching waits so long for whoever uses the table; then it is tried again another time.
_LOCK_TIMEOUT = "2s"
# Any number will do, as long as every replica takes the same, and no other lock of ours does.
_LOCK = 0x6B656570
WHO = "chargeback serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long what is kept, in ms from the end of its month."""

    bodies_ms: int
    lines_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A month that was let go. now: the table that holds its rows; empty: they were deleted."""

    table: str
    month: str
    now: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A month that is older than it need be kept, and is not closed."""

    table: str
    month: str


def let_go(database: Database, keep: Keep, now_ms: int) -> tuple[list[Gone], list[Waiting]]:
    """Let go of what is old enough, oldest first; what went, and what waits for being closed.

    Safe to stop at any point and to run again; of several replicas one does it, and the others go on.
    """
    gone: list[Gone] = []
    waiting: list[Waiting] = []
    for table, find in ((node_hour_bodies, _old_bodies), (lines, _old_lines)):
        while True:
            with database.write() as connection:
                if not _is_ours(connection):
                    return gone, waiting
                month, is_closed = next(find(connection, keep, now_ms), ("", False))
                if month and is_closed:
                    gone.append(_let_month_go(connection, table, month, now_ms))
            if not is_closed:
                waiting += [Waiting(table=table.name, month=month)] if month else []
                break
    _delete_rest(database)
    return gone, waiting


def _is_ours(connection: Connection) -> bool:
    """Whether no other replica is at it, until the transaction ends."""
    if connection.dialect.name == "sqlite":
        return True
    return bool(connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar_one())


def _old_bodies(connection: Connection, keep: Keep, now_ms: int) -> Iterator[tuple[str, bool]]:
    """UTC months whose bodies are old enough to go, oldest first, and whether what they were rated into is closed."""
    book, closed = policy_book(connection), closed_months(connection)
    for month in _months_there(connection, node_hour_bodies):
        if month_span_ms(month, "UTC")[1] + keep.bodies_ms > now_ms:
            return
        timezone = book.first.timezone if book else "UTC"
        touched = {local_day(at, timezone).isoformat()[:7] for at in _span_of_bodies(connection, month)}
        yield month, touched <= closed


def _span_of_bodies(connection: Connection, month: str) -> tuple[int, int]:
    """The first and the last unix ms that bodies of a UTC month are about: of what has none nobody waits."""
    table = node_hour_bodies.c
    mine = table.hour.between(first_hour(month), first_hour(month_after(month)) - 1)
    first, last = connection.execute(select(func.min(table.hour), func.max(table.hour)).where(mine)).one()
    return first * HOUR_MS, (last + 1) * HOUR_MS - 1


def _old_lines(connection: Connection, keep: Keep, now_ms: int) -> Iterator[tuple[str, bool]]:
    """As `_old_bodies`. Lines go after all bodies that they were rated from: else those would be rated again."""
    book, closed = policy_book(connection), closed_months(connection)
    bodies_from = kept_since(connection, node_hour_bodies)
    for month in _months_there(connection, lines):
        _, end_ms = month_span_ms(month, book.first.timezone if book else "UTC")
        if end_ms + keep.lines_ms > now_ms or bodies_from is None or end_ms > first_hour(bodies_from) * HOUR_MS:
            return
        yield month, month in closed


def _months_there(connection: Connection, table: Table) -> Iterator[str]:
    """The months that have rows, oldest first."""
    kept = kept_since(connection, table) or ""
    if connection.dialect.name != "sqlite":
        for month in attached(connection, table):
            if month >= kept and connection.execute(text(f"SELECT 1 FROM {name_of(table, month)} LIMIT 1")).first():
                yield month
        return
    while True:
        if table is lines:
            found = connection.execute(select(func.min(lines.c.month)).where(lines.c.month >= kept)).scalar()
        else:
            start = first_hour(kept) if kept else 0
            query = select(func.min(node_hour_bodies.c.hour)).where(node_hour_bodies.c.hour >= start)
            hour = connection.execute(query).scalar()
            found = None if hour is None else utc_month(hour)
        if found is None:
            return
        yield found
        kept = month_after(found)


def _let_month_go(connection: Connection, table: Table, month: str, now_ms: int) -> Gone:
    after, now = month_after(month), ""
    if connection.dialect.name != "sqlite":
        connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        # First of all, so that whoever puts a row there is through, or comes after and is refused.
        connection.execute(text(f"LOCK TABLE ONLY {table.name} IN ACCESS EXCLUSIVE MODE"))
        now = detach(connection, table, month)
    upsert = insert_or(connection, kept_from).values(what=table.name, month=after)
    newer = {"index_elements": ["what"], "set_": {"month": after}, "where": kept_from.c.month < after}
    connection.execute(upsert.on_conflict_do_update(**newer))
    detail = {"now": now or "deleted"}
    entry = Entry(recorded_ms=now_ms, who=WHO, action="let-go", subject=f"{table.name} {month}", detail=detail)
    note(connection, entry)
    return Gone(table=table.name, month=month, now=now)


def _delete_rest(database: Database) -> None:
    """What is left of months that were let go: what is due, rows that SQLite still has, what is kept beside lines."""
    with database.read() as connection:
        bodies_from, lines_from = kept_since(connection, node_hour_bodies), kept_since(connection, lines)
    if bodies_from:
        # What can be rated no more would be taken for unobserved. Apart, for whoever rates wants the tables, too.
        with database.write() as connection:
            gone = (node_hours.c.hour < first_hour(bodies_from), node_hours.c.due_ms.is_not(None))
            connection.execute(update(node_hours).where(*gone).values(due_ms=None))
    if database.is_sqlite and bodies_from:
        _delete(database, node_hour_bodies, node_hour_bodies.c.hour < first_hour(bodies_from))
    if lines_from:
        if database.is_sqlite:
            _delete(database, lines, lines.c.month < lines_from)
        for table in (problems, node_hours):
            # Local months end up to a day after UTC's, and the first hour that is kept begins with what one left.
            _delete(database, table, table.c.hour < first_hour(lines_from) - 48)


def _delete(database: Database, table: Table, where: ColumnElement[bool]) -> None:
    key = tuple_(*table.primary_key.columns)
    some = select(*table.primary_key.columns).where(where).limit(BATCH_ROWS)
    while True:
        with database.write() as connection:
            if connection.execute(delete(table).where(key.in_(some))).rowcount == 0:
                return
