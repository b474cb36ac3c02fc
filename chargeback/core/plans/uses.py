"""What became of guarantees in some time: how much of each was used, what was beyond it, and what that cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from chargeback.core.lines import BURST, RESERVED, UNBACKED, UNUSED
from chargeback.core.plans.book import PlanVersion
from chargeback.core.plans.key import read_price_key
from chargeback.core.totals import Total

KINDS = (RESERVED, BURST, UNUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanUse:
    """One plan, as it holds at an instant, and its lines' sums.

    hours            by kind, of the price's unit; micros: by kind, without what has no price
    unbacked_micros  of what is unused, what no idle card backed
    """

    cluster: str
    plan: PlanVersion
    hours: Mapping[str, Fraction] = field(default_factory=dict)
    micros: Mapping[str, int] = field(default_factory=dict)
    unbacked_micros: int = 0

    @property
    def held_hours(self) -> Fraction:
        return self.hours.get(RESERVED, Fraction(0)) + self.hours.get(BURST, Fraction(0))


def plan_uses(cluster: str, plans: Sequence[PlanVersion], totals: Iterable[Total]) -> list[PlanUse]:
    """totals: of all clusters. Of a namespace with several plans each has the lines of its own price
    key, and one without what is left."""
    by_namespace: dict[str, list[Total]] = {}
    for total in totals:
        if total.cluster == cluster and total.kind in (*KINDS, UNBACKED):
            by_namespace.setdefault(total.namespace, []).append(total)
    models = {total.model for mine in by_namespace.values() for total in mine}
    alone = {plan.namespace for plan in plans if sum(each.namespace == plan.namespace for each in plans) == 1}
    keys = [(plan.namespace, read_price_key(plan.price_key, models)) for plan in plans if plan.price_key]
    taken = {(namespace, key.sku) for namespace, key in keys if key is not None}
    uses = []
    for plan in plans:
        mine = by_namespace.get(plan.namespace, [])
        if plan.namespace not in alone and plan.price_key:
            key = read_price_key(plan.price_key, models)
            mine = [total for total in mine if key is not None and total.sku == key.sku]
        elif plan.namespace not in alone:
            mine = [total for total in mine if (plan.namespace, total.sku) not in taken]
        uses.append(
            PlanUse(
                cluster=cluster,
                plan=plan,
                hours={kind: _hours(total for total in mine if total.kind == kind) for kind in KINDS},
                micros={kind: _micros(total for total in mine if total.kind == kind) for kind in KINDS},
                unbacked_micros=-_micros(total for total in mine if total.kind == UNBACKED),
            )
        )
    return uses


def _hours(totals: Iterable[Total]) -> Fraction:
    return sum((total.quantity_ms for total in totals), Fraction(0)) / 3_600_000


def _micros(totals: Iterable[Total]) -> int:
    return sum(total.amount_micros or 0 for total in totals)
