"""What each account comes to: holds, courses and prices multiplied out, in plain fractions and without rounding."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from tests.proof.witness.courses import busy_ms, courses, energy_mj
from tests.proof.witness.lives import Owner
from tests.proof.witness.tariff import HOUR_MS, RESERVED, Tariffs, exact, hours
from tests.proof.witness.testimony import Hold, Plan, Told, Totals

SECOND_MS = 1000
# Owners of a namespace, one after the other: from, until, owner.
OwnersOver = Callable[[str, int, int], Iterator[tuple[int, int, Owner]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """What a plan does for a while: the numbers of the holds within it, and how many units nobody fills."""

    from_ms: int
    until_ms: int
    plan: Plan
    within: frozenset[int] = field(default_factory=frozenset)
    unused: int = 0


def accounts(
    holds: Sequence[Hold], told: Iterable[Told], owners_over: OwnersOver, from_ms: int, until_ms: int
) -> dict[str, Totals]:
    """By name, in order."""
    told = tuple(told)
    tariffs = Tariffs(told)
    guarantees = plans_of(holds, told, from_ms, until_ms)
    found: dict[str, Totals] = {}

    def add(account: str, totals: Totals) -> None:
        found[account] = found.get(account, Totals()) + totals

    for number, (hold, course) in enumerate(zip(holds, courses(holds, told), strict=True)):
        listed, amount = _money(number, hold, tariffs, guarantees)
        add(
            hold.account,
            Totals(
                gpu_s=hold.part * (hold.until_ms - hold.from_ms) / SECOND_MS,
                busy_s=busy_ms(course, hold.from_ms, hold.until_ms) / SECOND_MS,
                joules=energy_mj(course, hold.from_ms, hold.until_ms) / SECOND_MS,
                list_micros=listed,
                amount_micros=amount,
            ),
        )
    for each in guarantees:
        for a, b, owner in owners_over(each.plan.namespace, each.from_ms, each.until_ms):
            unit = tariffs.at(a).unit(each.plan, owner.account, owner.tier)
            add(owner.account, Totals(amount_micros=each.unused * exact(unit or Fraction(0), b - a)))
    return dict(sorted(found.items()))


def plans_of(holds: Sequence[Hold], told: Iterable[Told], from_ms: int, until_ms: int) -> list[Guarantee]:
    """What plans do within a span, piece by piece.

    Units are filled by (from, holder, device, share), where a holding begins anew with the hour.
    """
    changes: dict[tuple[str, str], list[Plan]] = {}
    for each in told:
        if isinstance(each, Plan):
            changes.setdefault((each.namespace, each.resource), []).append(each)
    found: list[Guarantee] = []
    for (namespace, resource), plans in changes.items():
        mine = [
            (number, hold)
            for number, hold in enumerate(holds)
            if (hold.namespace, hold.resource) == (namespace, resource)
        ]
        for begin, end, plan in _in_force(plans, from_ms, until_ms):
            found += _pieces(mine, _begins(mine), plan, begin, end)
    return found


def _in_force(plans: Sequence[Plan], from_ms: int, until_ms: int) -> Iterator[tuple[int, int, Plan]]:
    for plan, end_ms in itertools.zip_longest(plans, (each.at_ms for each in plans[1:]), fillvalue=until_ms):
        assert isinstance(plan, Plan)
        begin, end = max(plan.at_ms, from_ms), min(end_ms, until_ms)
        if begin < end and plan.guaranteed:
            yield begin, end, plan


def _begins(mine: Iterable[tuple[int, Hold]]) -> dict[int, int]:
    """When the unbroken holding began, by the number of each of its holds."""
    ends: dict[tuple[object, ...], tuple[int, int]] = {}
    found: dict[int, int] = {}
    for number, hold in mine:
        end_ms, began_ms = ends.get((hold.holder, hold.slot), (-1, -1))
        found[number] = began_ms if end_ms == hold.from_ms else hold.from_ms
        ends[hold.holder, hold.slot] = (hold.until_ms, found[number])
    return found


def _pieces(
    mine: Sequence[tuple[int, Hold]], begins: Mapping[int, int], plan: Plan, from_ms: int, until_ms: int
) -> Iterator[Guarantee]:
    borders = {from_ms, until_ms, *range(-(-from_ms // HOUR_MS) * HOUR_MS, until_ms, HOUR_MS)}
    borders |= {at for _, hold in mine for at in (hold.from_ms, hold.until_ms) if from_ms < at < until_ms}
    for a, b in itertools.pairwise(sorted(borders)):
        hour_ms = a // HOUR_MS * HOUR_MS
        held = [(number, hold) for number, hold in mine if hold.from_ms <= a < hold.until_ms]
        held.sort(key=lambda each: (max(begins[each[0]], hour_ms), each[1].holder, each[1].slot))
        within = frozenset(number for number, _ in held[: plan.guaranteed])
        yield Guarantee(from_ms=a, until_ms=b, plan=plan, within=within, unused=plan.guaranteed - len(within))


def _money(number: int, hold: Hold, tariffs: Tariffs, guarantees: Sequence[Guarantee]) -> tuple[Fraction, Fraction]:
    """At list price and as it is charged; nothing where it has no price."""
    listed = amount = Fraction(0)
    for a, b in hours(hold.from_ms, hold.until_ms):
        hourly, reserved = tariffs.at(a).of(hold), tariffs.at(a).of(hold, RESERVED)
        if hourly is None or reserved is None:
            continue
        within_ms = sum(
            max(0, min(b, each.until_ms) - max(a, each.from_ms)) for each in guarantees if number in each.within
        )
        share = hold.part / hold.whole
        listed += exact(hourly.listed, (b - a) * share)
        amount += exact(hourly.amount, (b - a - within_ms) * share) + exact(reserved.amount, within_ms * share)
    return listed, amount
