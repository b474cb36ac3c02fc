"""Builders of an hour with plans: base lines, idle lines, plans, owners and prices; a test names what it is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from chargeback.core.hours import HOUR_MS, parse_hour, rating_intervals
from chargeback.core.lines import FREE, HELD, IDLE, UNOWNED, Line, Problem, sku_of
from chargeback.core.owners.owners import Owner, OwnerBook
from chargeback.core.plans.book import PlanBook, PlanVersion
from chargeback.core.plans.hour import settle_hour
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import GPU_HOUR, Price, PriceBook
from chargeback.core.prices.entries import RESERVED
from chargeback.core.rating.basis import with_amounts

CLUSTER = "lab"
HOUR = parse_hour("2026-10-03T10Z")
START_MS = HOUR * HOUR_MS
HALF = HOUR_MS // 2
H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"
GPU = "nvidia.com/gpu"
# On demand 3.00 and 2.10 an hour; reserved 2.00 and 1.50.
PRICES = PriceBook(
    [
        Price(model=H100, unit=GPU_HOUR, amount=Fraction(3_000_000)),
        Price(model=A100, unit=GPU_HOUR, amount=Fraction(2_100_000)),
        Price(model=H100, unit=GPU_HOUR, amount=Fraction(2_000_000), term=RESERVED),
        Price(model=A100, unit=GPU_HOUR, amount=Fraction(1_500_000), term=RESERVED),
    ],
    version=1,
)
OWNERS = OwnerBook(
    Owner(namespace=name, from_ms=0, cost_center=f"cc-{name}", team=f"team-{name}", version=1) for name in "abc"
)


def line(device: str = "GPU-1", start: int = 0, end: int = HOUR_MS, **changes: Any) -> Line:
    """A base line of a whole card of namespace `a`; start, end: ms from the hour's start.

    weight: of each share; hourly: what the holder pays; before: ms of the slot before `start`.
    """
    namespace: str = changes.pop("namespace", "a")
    hour: int = changes.pop("hour", HOUR)
    timezone: str = changes.pop("timezone", "UTC")
    weight: Fraction = changes.pop("weight", Fraction(1))
    model: str = changes.pop("model", H100)
    profile: str | None = changes.pop("profile", None)
    shares: str = changes.pop("shares", "0")
    listed = Fraction({H100: 3_000_000, A100: 2_100_000}.get(model, 0)) or None
    hourly: Fraction | None = changes.pop("hourly", listed)
    interval = next(each for each in rating_intervals(hour, timezone) if each.start <= start < each.end)
    before: int = changes.pop("before", start - interval.start)
    count = len(shares.split(","))
    num, den = weight.numerator, weight.denominator
    made = Line(
        cluster=CLUSTER,
        node="n1",
        hour=hour,
        day=interval.day,
        month=interval.month,
        start_ms=hour * HOUR_MS + start,
        end_ms=hour * HOUR_MS + end,
        account=f"cc-{namespace}" if namespace in "abc" else UNOWNED,
        kind=HELD,
        device=device,
        parent=device,
        model=model,
        profile=profile,
        sku=sku_of(model, profile),
        unit=GPU_HOUR,
        unit_price=hourly,
        price_version=1,
        policy_version=1,
        gpu_ms_num=num * count * (end - start),
        quantity_ms_num=num * count * (end - start),
        ms_den=den,
        list_micros=None,
        amount_micros=None,
        shares=shares,
        namespace=namespace,
        pod=f"{namespace}-{device}",
        container="main",
        cost_center=f"cc-{namespace}",
        evidence="exclusive",
        resource=GPU,
        list_hourly=listed,
        hourly=hourly,
        gpu_before_num=num * before,
        quantity_before_num=num * before,
    )
    return with_amounts(replace(made, **changes))


def idle(device: str = "GPU-9", start: int = 0, end: int = HOUR_MS, kind: str = FREE, **changes: Any) -> Line:
    """What nobody holds of a card."""
    held = line(device, start, end, namespace="", **{"shares": ""} | changes)
    bare = {"pod": "", "container": "", "cost_center": None, "evidence": "", "resource": "", "hourly": None}
    return replace(
        held, account=IDLE, kind=kind, **bare, allocation_micros=None, usage_micros=None, gpu_before_num=0,
        quantity_before_num=0, amount_micros=held.list_micros, list_hourly=None,
    )  # fmt: skip


def plan(guaranteed: int | None = 1, namespace: str = "a", **changes: Any) -> PlanVersion:
    values: dict[str, Any] = {"resource": GPU, "version": 1}
    return PlanVersion(namespace=namespace, guaranteed=guaranteed, **(values | changes))


def settled(
    lines: Iterable[Line],
    *plans: PlanVersion,
    hour: int = HOUR,
    owners: OwnerBook = OWNERS,
    prices: PriceBook = PRICES,
    policy: Policy | None = None,
    until: int = HOUR_MS,
) -> tuple[list[Line], list[Problem]]:
    policies = PolicyBook([policy or Policy()])
    return settle_hour(CLUSTER, hour, lines, PlanBook(plans), owners, prices, policies, until=until)


def sums(lines: Iterable[Line]) -> dict[tuple[str, str], tuple[Fraction, int | None, int | None]]:
    """By account and kind: units of quantity in hours, list and amount."""
    found: dict[tuple[str, str], list[Line]] = {}
    for each in lines:
        found.setdefault((each.account, each.kind), []).append(each)
    return {
        key: (
            sum((Fraction(each.quantity_ms_num, each.ms_den * HOUR_MS) for each in of), Fraction(0)),
            _total(each.list_micros for each in of),
            _total(each.amount_micros for each in of),
        )
        for key, of in sorted(found.items())
    }


def _total(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
