"""The life of a month, a transaction a step: look at it, draft it, approve or discard the draft, close it, verify it.

Steps that change something hold the ledger: no line of the month changes under them, and of two that come at once the
later one finds the month as the earlier one left it. One that fails leaves it as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from chargeback.core.hours import month_span_ms
from chargeback.core.lines import Line
from chargeback.core.months.chain import Statement, verify
from chargeback.core.months.closing import Limits, stopping, waive
from chargeback.core.months.idle_sharing import NONE, Transfer, share_out, transfer_lines, weights
from chargeback.core.months.statements import Month, account_rows
from chargeback.core.months.sums import LineSum, held_there, net_idle
from chargeback.core.policy import PolicyBook
from chargeback.months.look import Look, look_in, read_policies
from chargeback.store.audit import Entry, note
from chargeback.store.database import Connection, Database
from chargeback.store.drafts import (
    DISCARDED,
    Draft,
    change_draft,
    delete_transfers,
    digest_of,
    draft_of,
    put_draft,
    put_transfers,
)
from chargeback.store.months import (
    APPROVED,
    CLOSED,
    DRAFT,
    FROZEN,
    OPEN,
    MonthState,
    hold_ledger,
    month_state,
    month_states,
    put_state,
)
from chargeback.store.partitions import keeps_lines
from chargeback.store.rollup import mark_days, totals_of_month
from chargeback.store.statements import chain, last_link, put_statements, statements_of

# Who prepares a draft where no person does.
SERVER = "chargeback serve"


class MonthRefused(RuntimeError):
    """What is asked for cannot be done with the month as it is: says why, and what to do."""


class MonthBlocked(MonthRefused):
    """Checks stop a draft."""

    def __init__(self, month: str, look: Look) -> None:
        stops = "\n".join(f"{each.name}: {each.found}" for each in stopping(look.findings))
        super().__init__(f"{month} cannot be drafted:\n{stops}")
        self.look = look


def prepare(
    database: Database,
    month: str,
    who: str,
    now_ms: int,
    grace_ms: int,
    limits: Limits,
    waivers: Sequence[str] = (),
    reason: str = "",
) -> Draft:
    """Make the next draft of an open month: from here on its lines stay as they are.

    waivers: names of findings that `reason` lets pass. Raises MonthBlocked, MonthRefused, NotWaivable, NoLedger.
    """
    with database.write() as connection:
        hold_ledger(connection)
        found, sums = look_in(connection, month, now_ms, grace_ms, limits)
        if found.state.state != OPEN:
            wanted = (
                "it never changes again"
                if found.state.state == CLOSED
                else "discard its draft before you make another"
            )
            raise MonthRefused(f"{month} is {_described(found.state)}: {wanted}")
        findings = waive(found.findings, waivers, reason)
        if stopping(findings):
            raise MonthBlocked(month, replace(found, findings=findings))
        transfers = _transfers(read_policies(connection), month, sums)
        days = put_transfers(connection, transfers)
        state = replace(found.state, state=DRAFT, draft=found.state.draft + 1, changed_ms=now_ms)
        put_state(connection, state)
        draft = Draft(
            month=month,
            draft=state.draft,
            state=DRAFT,
            cutoff_ms=now_ms,
            prepared_ms=now_ms,
            prepared_by=who,
            digest=digest_of(connection, month),
            findings=findings,
            coverage=found.coverage,
        )
        put_draft(connection, draft)
        waived = {each.name: each.waived for each in draft.waived}
        _note(connection, draft, "draft-month", who, now_ms, reason, {"waived": waived})
        mark_days(connection, days)
    return draft


def discard(database: Database, month: str, who: str, now_ms: int, reason: str) -> Draft:
    """Open a drafted or approved month again; its transfers go, and what waited is rated. Raises MonthRefused."""
    with database.write() as connection:
        hold_ledger(connection)
        state, draft = _drafted(connection, month, FROZEN)
        put_state(connection, replace(state, state=OPEN, changed_ms=now_ms))
        dropped = replace(draft, state=DISCARDED)
        change_draft(connection, dropped)
        _note(connection, dropped, "discard-month", who, now_ms, reason)
        mark_days(connection, delete_transfers(connection, month))
    return dropped


def approve(
    database: Database, month: str, who: str, now_ms: int, *, number: int | None = None, sha256: str | None = None
) -> Draft:
    """Approve a draft as this person. number, sha256: of the draft that was looked at. Raises MonthRefused."""
    with database.write() as connection:
        hold_ledger(connection)
        state, draft = _drafted(connection, month, (DRAFT,))
        if number is not None and number != draft.draft:
            raise MonthRefused(f"{month} is at draft {draft.draft}, not {number}: look at that one")
        if sha256 is not None and sha256 != draft.digest.sha256:
            raise MonthRefused(f"draft {draft.draft} of {month} has {draft.digest.sha256}, not {sha256}: look again")
        if read_policies(connection).at(now_ms).approver == "other" and who == draft.prepared_by:
            raise MonthRefused(f"{who} has prepared draft {draft.draft} of {month}: somebody else must approve it")
        _check_lines(connection, draft)
        put_state(connection, replace(state, state=APPROVED, changed_ms=now_ms))
        approved = replace(draft, state=APPROVED, approved_ms=now_ms, approved_by=who)
        change_draft(connection, approved)
        _note(connection, approved, "approve-month", who, now_ms)
    return approved


def close(database: Database, month: str, who: str, now_ms: int) -> Draft:
    """Close an approved month: its statements are written, and it never changes again. Raises MonthRefused."""
    with database.write() as connection:
        hold_ledger(connection)
        state, draft = _drafted(connection, month, (APPROVED,))
        _check_lines(connection, draft)
        policy = read_policies(connection).first
        about = Month(month=month, timezone=policy.timezone, currency=policy.currency, revision=draft.draft)
        number, previous = last_link(connection)
        statements = list(_statements(connection, about, draft, number))
        newest = put_statements(connection, statements, previous, now_ms)
        put_state(connection, replace(state, state=CLOSED, changed_ms=now_ms))
        closed = replace(draft, state=CLOSED, closed_ms=now_ms, closed_by=who)
        change_draft(connection, closed)
        _note(connection, closed, "close-month", who, now_ms, detail={"statements": len(statements), "chain": newest})
    return closed


def verified(database: Database, month: str | None = None) -> Iterator[str]:
    """What differs from what was closed: in the chain of statements, and in a month's (None: every month's) lines.

    Of lines that were let go nothing can be said any more. Raises MonthRefused where the month is not closed.
    """
    with database.read() as connection:
        if month is not None:
            _check_closed(connection, month)
        yield from verify(chain(connection))
        for state in month_states(connection):
            if state.state == CLOSED and month in (None, state.month):
                yield from _differences(connection, state)


def _check_closed(connection: Connection, month: str) -> None:
    """Raises MonthRefused: that nothing differs would be no answer."""
    state = month_state(connection, month)
    if state is None or state.state != CLOSED:
        described = "open" if state is None or state.state == OPEN else _described(state)
        raise MonthRefused(f"{month} is {described}: nothing of it was closed")


def _differences(connection: Connection, state: MonthState) -> Iterator[str]:
    draft = draft_of(connection, state.month, state.draft)
    if draft is None:
        yield f"{state.month}: draft {state.draft}, which was closed, is missing"
        return
    if keeps_lines(connection, state.month):
        for difference in draft.digest.differences(digest_of(connection, state.month)):
            yield f"{state.month}: its lines are not those that were closed: {difference}"
    stated = [link.statement for link in statements_of(connection, state.month)]
    for name in ("list_micros", "amount_micros"):
        found, closed = sum(getattr(each, name) for each in stated), getattr(draft.digest, name)
        if found != closed:
            yield f"{state.month}: its statements have {name} {found}, and {closed} was closed"


def _transfers(policies: PolicyBook, month: str, sums: Sequence[LineSum]) -> list[Line]:
    """Idle shared out by the policy that holds at the month's end, cluster by cluster."""
    timezone = policies.first.timezone
    at_ms = month_span_ms(month, timezone)[1] - 1
    transfers: list[Transfer] = []
    shared: dict[str, tuple[str, int]] = {}
    for (cluster, model), net_micros in net_idle(sums).items():
        policy = policies.at(at_ms, cluster)
        if policy.idle != NONE:
            shared[cluster] = (policy.idle, policy.version)
            weighed = weights(policy.idle, held_there(sums, cluster, model))
            transfers += share_out(cluster, model, net_micros, weighed)
    return transfer_lines(transfers, month, timezone, shared)


def _drafted(connection: Connection, month: str, wanted: Sequence[str]) -> tuple[MonthState, Draft]:
    """The month and its draft, if it is in one of these states. Raises MonthRefused, which says what comes first."""
    state = month_state(connection, month)
    if state is None or state.state == OPEN:
        raise MonthRefused(f"{month} is open: `chargeback close {month} --prepare` makes a draft of it")
    if state.state not in wanted:
        todo = "" if state.state == CLOSED or APPROVED not in wanted else ": somebody has to approve it first"
        raise MonthRefused(f"{month} is {_described(state)}{todo}")
    draft = draft_of(connection, month, state.draft)
    assert draft is not None, f"{month} has no draft {state.draft}"
    return state, draft


def _described(state: MonthState) -> str:
    words = {DRAFT: "drafted", APPROVED: "approved", CLOSED: "closed already"}
    return f"{words[state.state]} (draft {state.draft})"


def _check_lines(connection: Connection, draft: Draft) -> None:
    """Raises MonthRefused unless the month has the lines that were drafted."""
    different = draft.digest.differences(digest_of(connection, draft.month))
    if different:
        todo = f"find out who changed them; then `chargeback close {draft.month} --discard`"
        raise MonthRefused(
            f"the lines of {draft.month} are not those of draft {draft.draft}: {'; '.join(different)}: {todo}"
        )


def _statements(connection: Connection, about: Month, draft: Draft, number: int) -> Iterator[Statement]:
    for totals, content in account_rows(about, totals_of_month(connection, about.month)):
        number += 1
        yield Statement(
            number=number,
            month=about.month,
            account=totals[0].account,
            draft=draft.draft,
            lines_sha256=draft.digest.sha256,
            gpu_ms=sum((total.gpu_ms for total in totals), Fraction(0)),
            list_micros=sum(total.list_micros or 0 for total in totals),
            amount_micros=sum(total.amount_micros or 0 for total in totals),
            content=content,
        )


def _note(
    connection: Connection,
    draft: Draft,
    action: str,
    who: str,
    now_ms: int,
    why: str = "",
    detail: dict[str, object] | None = None,
) -> None:
    said = {"draft": draft.draft, "sha256": draft.digest.sha256, **(detail or {})}
    note(connection, Entry(recorded_ms=now_ms, who=who, action=action, subject=draft.month, why=why, detail=said))
