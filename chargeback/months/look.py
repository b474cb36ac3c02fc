"""A month as it stands: its state, and what the checks find. Nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chargeback.core.hours import month_span_ms
from chargeback.core.months.checks import judge
from chargeback.core.months.closing import Facts, Finding, Limits
from chargeback.core.months.sums import Coverage, LineSum, coverage
from chargeback.core.policy import PolicyBook
from chargeback.reports import NoLedger
from chargeback.store import month_facts
from chargeback.store.database import Connection, Database
from chargeback.store.months import (
    CLOSED,
    FROZEN,
    OPEN,
    MonthState,
    closed_months,
    hours_of,
    month_state,
    month_states,
)
from chargeback.store.policies import policy_book
from chargeback.store.rollup import months


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A month as it is now: its state, what was found, and how its time is known."""

    state: MonthState
    findings: Sequence[Finding]
    coverage: Sequence[Coverage]
    due: int


def look(database: Database, month: str, now_ms: int, grace_ms: int, limits: Limits) -> Look:
    """Judge a month as it stands; nothing is changed. Raises NoLedger."""
    with database.read() as connection:
        found, _ = look_in(connection, month, now_ms, grace_ms, limits)
        return found


def look_in(
    connection: Connection, month: str, now_ms: int, grace_ms: int, limits: Limits
) -> tuple[Look, list[LineSum]]:
    """The same, within a transaction; and the month's lines, summed. Raises NoLedger."""
    timezone = read_policies(connection).first.timezone
    state = month_state(connection, month)
    if state is None or state.state == OPEN:
        state = _open(month, timezone, draft=state.draft if state else 0)
    sums = month_facts.line_sums(connection, month)
    hours, span = (state.first_hour, state.last_hour), month_span_ms(month, timezone)
    closed = closed_months(connection)
    facts = Facts(
        month=month,
        now_ms=now_ms,
        over_ms=span[1] + grace_ms,
        earlier=[each for each in months(connection) if each < month and each not in closed],
        due=month_facts.due_hours(connection, hours),
        drafted=state.state in FROZEN,
        unfinished=month_facts.unfinished(connection, hours, now_ms),
        unmetered=month_facts.unmetered(connection, hours, span),
        problems=month_facts.month_problems(connection, hours),
        sums=sums,
        existed_ms=month_facts.existed_ms(connection, month, hours),
        error_ms=month_facts.error_ms(connection, hours),
        differences=month_facts.differences(connection, hours),
        days=month_facts.day_costs(connection, month),
        limits=limits,
    )
    found = [] if state.state == CLOSED else judge(facts)
    return Look(state=state, findings=found, coverage=coverage(sums), due=facts.due), sums


def read_policies(connection: Connection) -> PolicyBook:
    """Raises NoLedger."""
    book = policy_book(connection)
    if book is None:
        raise NoLedger("no ledger here yet: start `chargeback serve` first")
    return book


def all_months(database: Database) -> list[tuple[MonthState, int]]:
    """Months that have lines or were drafted, oldest first, and how many of its hours wait. Raises NoLedger."""
    with database.read() as connection:
        timezone = read_policies(connection).first.timezone
        known = {state.month: state for state in month_states(connection)}
        states = [known.get(month) or _open(month, timezone) for month in sorted({*known, *months(connection)})]
        return [(state, waiting(connection, state)) for state in states]


def waiting(connection: Connection, state: MonthState) -> int:
    """How many node-hours and plan-hours have changed since the draft."""
    if state.state not in FROZEN:
        return 0
    return month_facts.due_hours(connection, (state.first_hour, state.last_hour))


def _open(month: str, timezone: str, draft: int = 0) -> MonthState:
    """An open month; draft: the last that was discarded. Its timezone may have been another then."""
    first, last = hours_of(month, timezone)
    return MonthState(month=month, state=OPEN, draft=draft, first_hour=first, last_hour=last, changed_ms=0)
