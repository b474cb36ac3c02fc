"""States of months: open, draft, approved, closed. An open one may have no row.

Whoever writes lines shares the ledger first; whoever drafts or closes a month holds it alone. So no line of a month
changes while it is looked at, and afterwards its state says that it must not.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Row, select, text

from chargeback.core.hours import HOUR_MS, month_after, month_span_ms
from chargeback.store.database import insert_or
from chargeback.store.tables import months

OPEN, DRAFT, APPROVED, CLOSED = "open", "draft", "approved", "closed"
# While a month is one of these, nothing of it changes: its node-hours wait.
FROZEN = (DRAFT, APPROVED)

# Any number will do, as long as every replica takes the same, and no other lock of ours does.
_LOCK = 0x6C656467


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthState:
    """draft: the number of its newest draft. first_hour, last_hour: UTC hours that it has a part of."""

    month: str
    state: str
    draft: int
    first_hour: int
    last_hour: int
    changed_ms: int


def share_ledger(connection: Connection, *, wait: bool = True) -> bool:
    """To be called before lines are written, or before it is asked which months are frozen or closed.

    The states stay as they are until the transaction ends. False: a month is being drafted or closed, and `wait` is
    not wanted.
    """
    if connection.dialect.name == "sqlite":
        return True  # has one writer anyway
    if wait:
        connection.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _LOCK})
        return True
    return bool(
        connection.execute(text("SELECT pg_try_advisory_xact_lock_shared(:lock)"), {"lock": _LOCK}).scalar_one()
    )


def hold_ledger(connection: Connection) -> None:
    """Let nobody else write lines or change a month's state until the transaction ends. To be its first statement."""
    if connection.dialect.name != "sqlite":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def month_states(connection: Connection) -> list[MonthState]:
    """Of all months that were ever drafted, oldest first."""
    return [_state(row) for row in connection.execute(select(months).order_by(months.c.month))]


def month_state(connection: Connection, month: str) -> MonthState | None:
    """None: it was never drafted, and is open."""
    row = connection.execute(select(months).where(months.c.month == month)).first()
    return None if row is None else _state(row)


def state_of(connection: Connection, month: str) -> str:
    found = month_state(connection, month)
    return OPEN if found is None else found.state


def closed_months(connection: Connection) -> frozenset[str]:
    return frozenset(each.month for each in month_states(connection) if each.state == CLOSED)


def posting_month(connection: Connection, month: str) -> str:
    """Where what comes late for a month is posted: the first month after it that is open."""
    taken = {each.month for each in month_states(connection) if each.state != OPEN}
    after = month_after(month)
    while after in taken:
        after = month_after(after)
    return after


def frozen(connection: Connection) -> list[tuple[int, int]]:
    """First and last UTC hour of each month whose hours wait, both included."""
    return [(each.first_hour, each.last_hour) for each in month_states(connection) if each.state in FROZEN]


def hours_of(month: str, timezone: str) -> tuple[int, int]:
    """First and last UTC hour that a local month has a part of, both included."""
    start_ms, end_ms = month_span_ms(month, timezone)
    return start_ms // HOUR_MS, (end_ms - 1) // HOUR_MS


def put_state(connection: Connection, state: MonthState) -> None:
    values = {
        "state": state.state,
        "draft": state.draft,
        "first_hour": state.first_hour,
        "last_hour": state.last_hour,
        "changed_ms": state.changed_ms,
    }
    upsert = insert_or(connection, months).values(month=state.month, **values)
    connection.execute(upsert.on_conflict_do_update(index_elements=["month"], set_=values))


def _state(row: Row[tuple[object, ...]]) -> MonthState:
    return MonthState(**row._mapping)
