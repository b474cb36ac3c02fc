"""The lines of plans themselves: what is guaranteed and not used, and what stands against it.

An unused guarantee is paid by the namespace's owner. As far as idle cards of its price key could have been given, it
is the platform's idle time that is paid (`backed`); beyond that more was sold than there is (`unbacked`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from chargeback.core import lines as ledger
from chargeback.core.hours import RatingInterval
from chargeback.core.lines import Line
from chargeback.core.money import micros_until, whole_micros
from chargeback.core.plans.book import PlanVersion
from chargeback.core.plans.fill import Unused
from chargeback.core.plans.key import PriceKey
from chargeback.core.plans.units import Unit
from chargeback.core.quota.specs import GPU

EVIDENCE = "plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """Where the lines of an interval's plans are posted. since_ms: its begin, from which units telescope."""

    cluster: str
    hour: int
    interval: RatingInterval
    since_ms: int
    price_version: int
    policy_version: int


def plan_lines(posting: Posting, unused: Iterable[Unused], lines: Iterable[Line]) -> list[Line]:
    """unused: of all namespaces, in the order in which idle cards back them. lines: of the interval."""
    idle_ms: dict[PriceKey, Fraction] = {}
    for line in lines:
        if line.account == ledger.IDLE and line.kind in (ledger.FREE, ledger.UNSOLD):
            key = PriceKey(line.model, line.profile or "")
            idle_ms[key] = idle_ms.get(key, Fraction(0)) + Fraction(line.gpu_ms_num, line.ms_den)
    made: list[Line] = []
    for each in unused:
        line = _unused_line(posting, each)
        made.append(line)
        if each.stretch.unit is not None:
            made += _against(line, each, each.stretch.unit, idle_ms)
    return made


def _unused_line(posting: Posting, unused: Unused) -> Line:
    plan, owner, key, unit = unused.stretch.plan, unused.stretch.owner, unused.stretch.key, unused.stretch.unit
    account = (owner.cost_center if owner else None) or ledger.UNOWNED
    length = unused.end_ms - unused.start_ms
    quantity = unused.count * length * (Fraction(1) if unit is None else unit.quantity)
    return Line(
        cluster=posting.cluster,
        node="",
        hour=posting.hour,
        day=posting.interval.day,
        month=posting.interval.month,
        start_ms=unused.start_ms,
        end_ms=unused.end_ms,
        account=ledger.UNPRICED if unit is None else account,
        kind=ledger.UNUSED,
        device=_entry(plan),
        parent="",
        model=key.model if key else "",
        profile=key.profile or None if key else None,
        sku=key.sku if key else plan.resource,
        unit=unit.rate.unit if unit else None,
        unit_price=unit.rate.unit_amount if unit else None,
        price_version=posting.price_version,
        policy_version=posting.policy_version,
        gpu_ms_num=0,
        quantity_ms_num=quantity.numerator,
        ms_den=quantity.denominator,
        list_micros=0 if unit else None,
        amount_micros=_amount(unused, unit, posting.since_ms) if unit else None,
        namespace=plan.namespace,
        cost_center=owner.cost_center if owner else None,
        team=owner.team if owner else None,
        tier=owner.tier if owner else None,
        owner_version=owner.version if owner else None,
        evidence=EVIDENCE,
        resource=plan.resource,
        dimensions=owner.dimensions if owner else (),
        hourly=unit.hourly if unit else None,
        plan_version=plan.version,
    )


def _entry(plan: PlanVersion) -> str:
    """What stands in place of a device: a namespace may have plans of several resources and price keys."""
    return " ".join(["plan", *([plan.resource] if plan.resource != GPU else []), *filter(None, [plan.price_key])])


def _amount(unused: Unused, unit: Unit, since_ms: int) -> int:
    start, end = unused.start_ms - since_ms, unused.end_ms - since_ms
    return unused.count * (micros_until(unit.hourly, end, 1) - micros_until(unit.hourly, start, 1))


def _against(line: Line, unused: Unused, unit: Unit, idle_ms: dict[PriceKey, Fraction]) -> Iterator[Line]:
    """What idle cards back of it, which they then do not back of another's; and the rest."""
    assert line.amount_micros is not None
    wanted = unused.count * (unused.end_ms - unused.start_ms) * (unit.slot.weight or Fraction(0))
    taken = min(wanted, idle_ms.get(unit.key, Fraction(0)))
    idle_ms[unit.key] = idle_ms.get(unit.key, Fraction(0)) - taken
    backed = whole_micros(line.amount_micros * taken / wanted) if taken else 0
    for account, kind, micros in (
        (ledger.IDLE, ledger.BACKED, backed),
        (ledger.OVERSOLD, ledger.UNBACKED, line.amount_micros - backed),
    ):
        if micros:
            yield replace(
                line,
                account=account,
                kind=kind,
                unit=None,
                unit_price=None,
                quantity_ms_num=0,
                ms_den=1,
                amount_micros=-micros,
                cost_center=None,
                team=None,
                tier=None,
                owner_version=None,
                hourly=None,
                dimensions=(),
            )
