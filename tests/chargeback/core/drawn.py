"""Arbitrary cards, holders, faults, owners and terms, for the laws of the ledger; and their rating."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st

from chargeback.core.existence import Existence, exist
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import NONBILLABLE, OUTAGE, Line
from chargeback.core.node_hour import Gpu, Holding, Instance, Layout, NodeHour, check
from chargeback.core.nodes import NodePlaces
from chargeback.core.owners.owners import Owner, OwnerBook
from chargeback.core.pods import NO_LABELS, OwnerLabels
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.entries import (
    GPU_HOUR,
    GPU_MONTH,
    INSTANCE_HOUR,
    NODE_HOUR,
    ClassTier,
    Discount,
    Price,
    TierFactor,
)
from chargeback.core.rating.rating import rate_node_hour
from chargeback.core.rating.waivers import Waiver

HOUR = 497_010  # some hour of 18 UTC: its middle is midnight in Kolkata
MODEL = "NVIDIA A100-SXM4-80GB"
PROFILES = (("3g.40gb", 3, 4), ("2g.20gb", 2, 2), ("1g.10gb", 1, 1), ("1g.20gb", 1, 2), ("4g.40gb", 4, 4))
NAMESPACES = ("a", "b", "c", "nobody")
PLACES = NodePlaces(since=((0, "pool-1", ()),))
LABELS = (NO_LABELS, NO_LABELS, OwnerLabels(cost_center="cc-pod", dimensions=(("app", "x"),)))

quick = settings(max_examples=100, deadline=None)
instants = st.integers(0, HOUR_MS)


@st.composite
def spans(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """Up to three disjoint intervals of the hour."""
    cuts = sorted(draw(st.sets(instants, min_size=2, max_size=6)))
    return tuple(zip(cuts[::2], cuts[1::2], strict=False))


@st.composite
def cards(draw: st.DrawFn, number: int, *, again: bool = True) -> tuple[Gpu, list[Instance], list[Holding]]:
    """One card: whole, shared or in MIG mode, observed and healthy now and then, held by some."""
    uuid = f"GPU-{number}"
    observed = draw(spans())
    mig = draw(st.booleans())
    shares = 1 if mig else draw(st.integers(1, 4))
    layouts = tuple(Layout(start=a, end=b, mig=mig, shares=shares) for a, b in observed)
    gpu = Gpu(
        uuid=uuid,
        model=MODEL,
        memory_mib=81_920,
        slices_max=7,
        observed=observed,
        unhealthy=draw(spans()),
        layouts=layouts,
    )
    instances: list[Instance] = []
    if mig:
        for i, (profile, slices, memory) in enumerate(draw(st.lists(st.sampled_from(PROFILES), max_size=4))):
            split = draw(st.integers(1, 2))
            for a, b in observed:
                instances.append(
                    Instance(
                        uuid=f"MIG-{number}-{i}", gpu=uuid, profile=profile, start=a, end=b, gi=i, ci=0,
                        c=slices, g=slices, m=memory, shares=split,
                    )
                )  # fmt: skip
    devices = [(uuid, shares)] if not mig else sorted({(i.uuid, i.shares) for i in instances})
    holdings = [h for device, count in devices for h in draw(_holders_of(device, count, observed, again))]
    return gpu, instances, holdings


@st.composite
def _holders_of(
    draw: st.DrawFn, device: str, count: int, observed: tuple[tuple[int, int], ...], again: bool
) -> list[Holding]:
    """Who holds the shares of a device: one by one, or some pods the first two of them."""
    shares = [(share,) for share in range(count)]
    if count > 1 and draw(st.booleans()):
        shares = [(0, 1), *shares[1:]]
    return [holding for each in shares for holding in draw(_holders(device, each, observed, again))]


@st.composite
def _holders(
    draw: st.DrawFn, device: str, shares: tuple[int, ...], observed: tuple[tuple[int, int], ...], again: bool
) -> list[Holding]:
    """Who holds shares, one after the other or together, within observed time; a pod may have two records."""
    found = []
    for a, b in observed:
        claim = draw(st.sampled_from((None, None, "a/claim")))
        for number in range(draw(st.integers(0, 2))):
            start = draw(st.integers(a, b - 1))
            end = draw(st.integers(start + 1, b))
            holding = Holding(
                device=device, shares=shares, start=start, end=end, namespace=draw(st.sampled_from(NAMESPACES)),
                pod=f"{device}-{len(shares)}-{shares[0]}-{a}-{number}", container="main", claim=claim,
                busy_ms=draw(busy_times(end - start)), memory_byte_seconds=draw(st.none() | st.integers(0, 10**12)),
                labels=draw(st.sampled_from(LABELS)), priority_class=draw(st.sampled_from((None, "urgent"))),
            )  # fmt: skip
            found.append(holding)
            if again and end < b and draw(st.booleans()):
                last = draw(st.integers(end + 1, b))
                found.append(replace(holding, start=end, end=last, busy_ms=draw(busy_times(last - end))))
    return found


def busy_times(ms: int) -> st.SearchStrategy[int | None]:
    """Of a holding so long: not known, not at all, all the time, something between, or more than can be."""
    return st.one_of(st.none(), st.sampled_from((0, ms, ms + 1)), st.integers(0, ms))


@st.composite
def node_hours(draw: st.DrawFn, *, again: bool = True) -> NodeHour:
    """again: whether a pod may have two records on one slot, one after the other."""
    drawn = [draw(cards(number, again=again)) for number in range(draw(st.integers(1, 2)))]
    body = NodeHour(
        cluster="lab",
        node="n1",
        hour=HOUR,
        instance="i",
        started=1,
        gpus=tuple(gpu for gpu, _, _ in drawn),
        instances=tuple(each for _, instances, _ in drawn for each in instances),
        holdings=tuple(each for _, _, holdings in drawn for each in holdings),
    )
    check(body)
    return body


@st.composite
def owner_books(draw: st.DrawFn) -> OwnerBook:
    """Owners of a, b and c, each changing hands within the hour."""
    owners = []
    for namespace in NAMESPACES[:3]:
        change = HOUR * HOUR_MS + draw(instants)
        tiers = st.sampled_from((None, "critical", "spot"))
        first = Owner(
            namespace=namespace, from_ms=0, until_ms=change, cost_center="cc-1", tier=draw(tiers), version=1
        )
        centers = st.sampled_from((None, "cc-2"))
        second = Owner(
            namespace=namespace, from_ms=change, cost_center=draw(centers), tier=draw(tiers), version=2,
            dimensions=(("app", "y"), ("env", "prod")),
        )  # fmt: skip
        owners += [first, second]
    return OwnerBook(owners)


@st.composite
def price_books(draw: st.DrawFn) -> PriceBook:
    """The card by the hour, the month or the node; and some of all that can be said of holders."""
    micros = st.integers(1, 5_000_000).map(Fraction)
    unit = draw(st.sampled_from((GPU_HOUR, GPU_HOUR, GPU_MONTH, NODE_HOUR)))
    prices = [Price(model=MODEL, unit=unit, amount=draw(micros) * (700 if unit == GPU_MONTH else 1))]
    if draw(st.booleans()):
        prices.append(Price(model=MODEL, unit=INSTANCE_HOUR, profile="1g.10gb", amount=draw(micros)))
    if draw(st.booleans()):
        prices.append(Price(model=MODEL, unit=GPU_HOUR, tier="spot", amount=draw(micros)))
    return PriceBook(
        prices,
        [TierFactor(tier="critical", factor=Fraction(draw(st.integers(0, 300)), 100))],
        discounts=draw(discounts()),
        classes=[ClassTier(priority_class="urgent", tier="critical")] if draw(st.booleans()) else [],
    )


@st.composite
def discounts(draw: st.DrawFn) -> list[Discount]:
    percent = st.integers(0, 150)
    centers = draw(st.sets(st.sampled_from(("cc-1", "cc-2", "cc-pod"))))
    return [Discount(cost_center=each, factor=Fraction(draw(percent), 100)) for each in sorted(centers)]


policies = st.builds(
    Policy,
    sharing=st.sampled_from(("configured", "active")),
    mig_weight=st.sampled_from((Fraction(0), Fraction(1, 2), Fraction(1))),
    basis=st.sampled_from(("allocation", "usage")),
    faulted=st.sampled_from(("bill", "credit")),
    timezone=st.sampled_from(("UTC", "Asia/Kolkata")),
)


@st.composite
def waivers(draw: st.DrawFn, **scope: str) -> Waiver:
    """Some time of the hour, of whom the scope names."""
    start, end = sorted(draw(st.sets(instants, min_size=2, max_size=2)))
    kind = draw(st.sampled_from((OUTAGE, NONBILLABLE)))
    return Waiver(kind=kind, from_ms=HOUR * HOUR_MS + start, until_ms=HOUR * HOUR_MS + end, **scope)  # type: ignore[arg-type]


some_waivers = st.lists(
    st.one_of(waivers(), waivers(namespace="a"), waivers(cost_center="cc-2"), waivers(gpu="GPU-0")), max_size=2
)


def rated(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy, waived: Sequence[Waiver] = ()
) -> tuple[list[Line], Existence]:
    existence = exist(HOUR, [body], body, [])
    lines, problems = rate_node_hour(
        "lab", "n1", HOUR, body.holdings, existence, owners, prices, PolicyBook([policy]),
        places=PLACES, waivers=waived,
    )  # fmt: skip
    assert not problems
    assert len({line.line_id for line in lines}) == len(lines)
    return lines, existence


def but_of(namespace: str, lines: Iterable[Line]) -> list[Line]:
    """All lines that are not a namespace's: of other holders, with their discounts, and of the platform."""
    return [line for line in lines if line.namespace != namespace]
