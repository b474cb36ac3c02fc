"""What may be changed of the policy, where and from when; what cannot be is a value, with what is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from chargeback.core.hours import format_instant
from chargeback.core.policy import BY_CLUSTER, BY_NOTHING, FIELDS, UNDATED, PolicyChange
from chargeback.core.prices.book import is_border

# What a closed month was closed by: no adjustment follows from these, so that nobody can change them for it.
AT_CLOSE = ("idle", "approver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What of the ledger stands in the way of a change.

    settled_ms   the end of the last month that is closed or about to be; 0: there is none
    priced       whether there is an amount of money: in a price book, a line, a budget or an adjustment
    """

    timezone: str
    settled_ms: int = 0
    priced: bool = False


def flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def problems_of(change: PolicyChange, begun: Begun, *, force: bool) -> list[str]:
    """Everything that is wrong with a change, each with its field; empty: it may be made."""
    if not change.values:
        return [f"want one of {', '.join(map(flag, FIELDS))}"]
    undated = [name for name in change.values if name in UNDATED]
    found = [*_scope(change)]
    if undated:
        found += _undated(change, undated, begun)
    else:
        found += _dates(change, begun, force)
    return found


def _scope(change: PolicyChange) -> Iterator[str]:
    if change.pool and not change.cluster:
        yield f"--pool: {change.pool!r}: want --cluster as well: pools of two clusters may have one name"
    for name, value in change.values.items():
        if change.cluster and name in BY_NOTHING:
            yield f"{flag(name)}: is of the whole ledger: want neither --cluster nor --pool with it"
        elif change.pool and name in BY_CLUSTER:
            yield f"{flag(name)}: is of a whole cluster: want no --pool with it"
        if value is None and not change.cluster:
            yield f"--inherit {name.replace('_', '-')}: want --cluster: nothing is wider than the whole ledger"


def _undated(change: PolicyChange, undated: list[str], begun: Begun) -> Iterator[str]:
    for name in undated:
        if begun.settled_ms:
            until = format_instant(begun.settled_ms)
            yield f"{flag(name)}: months are closed until {until}: it is theirs for ever, want a new ledger"
    if change.from_ms:
        yield f"--from: {flag(undated[0])} is of the whole ledger from its beginning: want no --from with it"
    if len(undated) < len(change.values):
        others = ", ".join(flag(name) for name in change.values if name not in UNDATED)
        yield f"{others}: want a change of its own: {flag(undated[0])} has no date"
    if "currency" in undated and begun.priced:
        yield "--currency: there are amounts of money in the ledger: currencies are never mixed, want a new ledger"


def _dates(change: PolicyChange, begun: Begun, force: bool) -> Iterator[str]:
    at = format_instant(change.from_ms)
    if not is_border(change.from_ms, begun.timezone):
        yield f"--from: {at}: want a whole UTC hour or a midnight of {begun.timezone}"
    if change.from_ms >= begun.settled_ms:
        return
    until = format_instant(begun.settled_ms)
    for name in change.values:
        if name in AT_CLOSE:
            yield f"{flag(name)}: from {at}: months are closed by the old one until {until}: want it then or later"
    if not force:
        yield f"--from: {at}: months are closed until {until}: want --force, and adjustments follow; or a later time"
