"""The policy in the ledger: versions are only ever added, each with who wanted it and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select

from chargeback.core.hours import HOUR_MS, format_instant, month_span_ms
from chargeback.core.policy import FIELDS, Policy, PolicyBook, PolicyChange
from chargeback.core.policy_changes import AT_CLOSE, Begun, problems_of
from chargeback.core.prices.book import is_border
from chargeback.files.prices import PriceFileError, parse_prices
from chargeback.store.audit import Entry, note
from chargeback.store.database import lock
from chargeback.store.months import OPEN, month_states, share_ledger
from chargeback.store.node_hours import make_all_due
from chargeback.store.tables import adjustments, budgets, lines, policies, price_books

# How a version says that from then on the wider scope says it.
_INHERIT = "inherit"


class TermsConflict(RuntimeError):
    """Settings that contradict the terms the ledger began with."""


class PolicyRefused(ValueError):
    """What stands in the way of a change: one problem a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A version, and who recorded it when; who, why: None of the first, which is of the settings."""

    change: PolicyChange
    recorded_ms: int
    who: str | None
    why: str | None


def begin_policy(connection: Connection, policy: Policy, now_ms: int) -> None:
    """Make this the ledger's first policy, or check that it is. Raises TermsConflict naming what differs."""
    share_ledger(connection)  # before any other lock, as whoever changes terms does
    lock(connection, policies)  # replicas start together
    began = next(policy_history(connection), None)
    wanted = {name: getattr(policy, name) for name in FIELDS}
    if began is None:
        change = PolicyChange(version=policy.version, from_ms=policy.from_ms, values=wanted)
        _add(connection, Recorded(change=change, recorded_ms=now_ms, who=None, why=None))
        return
    different = [
        f"{name}: this ledger began with {began.change.values[name]}, the settings say {value}"
        for name, value in wanted.items()
        if began.change.values[name] != value
    ]
    if different:
        todo = "change the settings back; what is to hold from a date on: `chargeback policy set --from TIME`"
        raise TermsConflict("\n".join([*different, todo]))


def change_policy(
    connection: Connection, change: PolicyChange, now_ms: int, *, who: str, why: str, force: bool = False
) -> tuple[PolicyChange, int]:
    """Record a change; its hours become due: the version it became, and how many. Raises PolicyRefused.

    force: also where months are closed; adjustments follow.
    """
    share_ledger(connection)  # which months are closed stays so until this is done
    lock(connection, policies)
    book = policy_book(connection)
    if book is None:
        raise PolicyRefused("no ledger here yet: start `chargeback serve` first")
    problems = problems_of(change, begun(connection, book), force=force)
    if "timezone" in change.values:
        problems += _borders_in(connection, book, change.values["timezone"])
    if problems:
        raise PolicyRefused("\n".join(problems))
    made = replace(change, version=book.changes[-1].version + 1)
    _add(connection, Recorded(change=made, recorded_ms=now_ms, who=who, why=why))
    detail = {"from": format_instant(made.from_ms), "cluster": made.cluster, "pool": made.pool, **_texts(made.values)}
    note(
        connection,
        Entry(
            recorded_ms=now_ms,
            who=who,
            action="policy set",
            subject=f"policy {made.version}",
            why=why,
            detail=detail,
        ),
    )
    if all(name in AT_CLOSE for name in made.values):
        return made, 0
    return made, make_all_due(connection, made.cluster or None, made.from_ms // HOUR_MS, now_ms)


def policy_book(connection: Connection) -> PolicyBook | None:
    """None: this ledger has no policy yet; `serve` gives it its first."""
    versions = [each.change for each in policy_history(connection)]
    return PolicyBook(versions) if versions else None


def policy_history(connection: Connection) -> Iterator[Recorded]:
    """Every version, in the order in which they were recorded."""
    for number, row in enumerate(connection.execute(select(policies).order_by(policies.c.version))):
        values = _values(row)
        if not number:
            # A ledger of an earlier release said nothing of what is new since: it was so without being said.
            values = {each.name: each.default for each in fields(Policy) if each.name in FIELDS} | values
        yield Recorded(
            change=PolicyChange(
                version=row.version, from_ms=row.from_ms, cluster=row.cluster, pool=row.pool, values=values
            ),
            recorded_ms=row.recorded_ms,
            who=row.who,
            why=row.why,
        )


def begun(connection: Connection, book: PolicyBook) -> Begun:
    """How far the ledger has come. Share it before, so that it stays so."""
    timezone = book.first.timezone
    return Begun(timezone=timezone, settled_ms=settled_until(connection, timezone), priced=_has_money(connection))


def settled_until(connection: Connection, timezone: str) -> int:
    """The end of the last month that is closed, or that is looked at to be; 0: there is none."""
    ends = [month_span_ms(each.month, timezone)[1] for each in month_states(connection) if each.state != OPEN]
    return max(ends, default=0)


def _has_money(connection: Connection) -> bool:
    priced = or_(lines.c.list_micros.is_not(None), lines.c.amount_micros.is_not(None))
    sums = adjustments.c.amount_micros.is_not(None)
    return any(
        connection.execute(query.limit(1)).first() is not None
        for query in (
            select(price_books.c.version),
            select(lines.c.line_id).where(priced),
            select(budgets.c.cost_center),
            select(adjustments.c.adjustment).where(sums),
        )
    )


def _borders_in(connection: Connection, book: PolicyBook, timezone: str) -> Iterator[str]:
    """What begins where a day of another timezone does not, and may not any more then."""
    for change in book.changes:
        if not is_border(change.from_ms, timezone):
            at = format_instant(change.from_ms)
            yield f"--timezone: {timezone}: version {change.version} of the policy begins at {at}, inside an hour"
    for row in connection.execute(select(price_books).order_by(price_books.c.version)):
        try:
            parse_prices(row.content, row.source, timezone)
        except PriceFileError as error:
            yield f"--timezone: {timezone}: version {row.version} of the price book: {error}"


def _values(row: Row[Any]) -> dict[str, Any]:
    said = {name: getattr(row, name) for name in FIELDS if getattr(row, name) is not None}
    return {name: None if text == _INHERIT else _read(name, text) for name, text in said.items()}


def _read(name: str, text: str) -> Any:
    return Fraction(text) if name == "mig_weight" else text


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: _INHERIT if value is None else str(value) for name, value in values.items()}


def _add(connection: Connection, recorded: Recorded) -> None:
    change = recorded.change
    connection.execute(
        insert(policies).values(
            version=change.version,
            from_ms=change.from_ms,
            cluster=change.cluster,
            pool=change.pool,
            recorded_ms=recorded.recorded_ms,
            who=recorded.who,
            why=recorded.why,
            **_texts(change.values),
        )
    )
