"""Rating by hand: small cases whose amounts are worked out beside them. Amounts are micros."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import pytest

from chargeback.core.existence import KnownGpu, exist
from chargeback.core.hours import HOUR_MS, month_span_ms, parse_hour
from chargeback.core.lines import Line
from chargeback.core.merge import merge
from chargeback.core.node_hour import Gpu, Holding, Instance, Layout, NodeHour
from chargeback.core.owners.owners import Owner, OwnerBook
from chargeback.core.pods import OwnerLabels
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import (
    GPU_HOUR,
    GPU_MONTH,
    INSTANCE_HOUR,
    Price,
    PriceBook,
    TierFactor,
    hourly_of_month,
)
from chargeback.core.rating.rating import rate_node_hour

HOUR = parse_hour("2026-10-03T10Z")
MODEL = "NVIDIA A100-SXM4-80GB"
HALF = HOUR_MS // 2
OWNERS = (
    Owner(namespace="a", from_ms=0, cost_center="cc-a", version=1),
    Owner(namespace="b", from_ms=0, cost_center="cc-b", tier="spot", version=1),
    Owner(namespace="loose", from_ms=0, version=1),
)


def card(**changes: object) -> Gpu:
    values: dict[str, object] = {"observed": ((0, HOUR_MS),), "slices_max": 7}
    return Gpu(uuid="GPU-1", model=MODEL, memory_mib=81_920, **(values | changes))  # type: ignore[arg-type]


def mig(*instances: tuple[str, int, int]) -> tuple[Gpu, list[Instance]]:
    """A card in MIG mode for the hour: (profile, compute slices, memory slices) of each instance."""
    made = [
        Instance(uuid=f"MIG-{n}", gpu="GPU-1", profile=name, start=0, end=HOUR_MS, gi=n, ci=0, c=c, g=c, m=m)
        for n, (name, c, m) in enumerate(instances)
    ]
    return card(layouts=(Layout(start=0, end=HOUR_MS, mig=True),)), made


def held(
    device: str = "GPU-1", namespace: str = "a", start: int = 0, end: int = HOUR_MS, share: int = 0, **changes: object
) -> Holding:
    pod = f"{namespace}-{device}-{share}" if namespace else ""
    container = "main" if namespace else ""
    values: dict[str, object] = {"shares": (share,), "pod": pod, "container": container}
    return Holding(device=device, namespace=namespace, start=start, end=end, **(values | changes))  # type: ignore[arg-type]


def book(price: str | Fraction = "1", *more: Price, factors: Sequence[TierFactor] = ()) -> PriceBook:
    return PriceBook([Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(price) * 1_000_000), *more], factors)


def rate(
    gpu: Gpu,
    *holdings: Holding,
    instances: Sequence[Instance] = (),
    prices: PriceBook | None = None,
    owners: Sequence[Owner] = OWNERS,
    policy: Policy | None = None,
    before: Sequence[KnownGpu] = (),
    hour: int = HOUR,
    **more: object,
) -> list[Line]:
    body = NodeHour(
        cluster="lab", node="n1", hour=hour, gpus=(gpu,), instances=tuple(instances), holdings=tuple(holdings)
    )
    existence = exist(hour, [body], body, before)
    lines, _ = rate_node_hour(
        "lab",
        "n1",
        hour,
        body.holdings,
        existence,
        OwnerBook(owners),
        prices or book(),
        PolicyBook([policy or Policy()]),
        **more,  # type: ignore[arg-type]
    )
    return lines


def amounts(lines: Sequence[Line]) -> list[tuple[str, str, int | None, int | None]]:
    return sorted((line.account, line.kind, line.list_micros, line.amount_micros) for line in lines)


def test_a_whole_card_costs_its_price() -> None:
    assert amounts(rate(card(), held())) == [("cc-a", "held", 1_000_000, 1_000_000)]


def test_seven_slices_are_seven_equal_lines_and_a_rounding() -> None:
    """The example of the design: 0.142857 each, and 0.000001 that belongs to nobody."""
    gpu, instances = mig(*[("1g.10gb", 1, 1)] * 7)
    lines = rate(gpu, *(held(i.uuid) for i in instances), instances=instances)
    assert amounts(lines) == [("cc-a", "held", 142_857, 142_857)] * 7 + [("platform:idle", "rounding", 1, 1)]


def test_a_3g_slice_is_three_sevenths_by_compute_and_half_by_memory() -> None:
    """The policy's w: 1 by compute slices, 0 by memory slices, 1/2 the mean of both: 13/28."""
    gpu, instances = mig(("3g.40gb", 3, 4))
    for weight, micros in ((Fraction(1), 428_571), (Fraction(0), 500_000), (Fraction(1, 2), 464_285)):
        lines = rate(gpu, held("MIG-0"), instances=instances, policy=Policy(mig_weight=weight))
        assert amounts(lines)[0] == ("cc-a", "held", micros, micros)
        assert amounts(lines)[1:] == [("platform:idle", "unpartitioned", 1_000_000 - micros, 1_000_000 - micros)]


def test_two_of_four_shares_by_either_sharing() -> None:
    """R13 of the cost model cases (OpenCost `metrics.go`, CEEMS): 0.25 + 0.25 + 0.50 idle, or 0.50 + 0.50."""
    gpu = card(layouts=(Layout(start=0, end=HOUR_MS, mig=False, shares=4),))
    holders = [held(share=0), held(share=3, namespace="loose")]
    assert amounts(rate(gpu, *holders)) == [
        ("cc-a", "held", 250_000, 250_000),
        ("platform:idle", "unsold", 500_000, 500_000),
        ("unowned", "held", 250_000, 250_000),
    ]
    active = Policy(sharing="active")
    assert amounts(rate(gpu, *holders, policy=active)) == [
        ("cc-a", "held", 500_000, 500_000),
        ("unowned", "held", 500_000, 500_000),
    ]


def test_several_shares_in_one_holding_cost_as_many_single_ones() -> None:
    gpu = card(layouts=(Layout(start=0, end=HOUR_MS, mig=False, shares=3),))
    lines = rate(gpu, held(shares=(0, 2)))
    assert amounts(lines) == [("cc-a", "held", 666_666, 666_666), ("platform:idle", "unsold", 333_334, 333_334)]
    assert lines[0].shares == "0,2"


def test_holders_under_one_claim_split_the_slot() -> None:
    """Alone for the first half hour, two for the second: 0.50 and 0.25, and 0.25."""
    both = [held(claim="a/c"), held(claim="a/c", namespace="loose", start=HALF)]
    assert amounts(rate(card(), *both)) == [
        ("cc-a", "held", 250_000, 250_000),
        ("cc-a", "held", 500_000, 500_000),
        ("unowned", "held", 250_000, 250_000),
    ]


def test_two_holders_without_a_claim_are_a_difference() -> None:
    """Impossible, so it is shown and not smoothed: both pay, and the account is corrected in the open."""
    assert amounts(rate(card(), held(), held(namespace="loose"))) == [
        ("cc-a", "held", 1_000_000, 1_000_000),
        ("platform:difference", "excess", -1_000_000, -1_000_000),
        ("unowned", "held", 1_000_000, 1_000_000),
    ]


def test_a_layout_larger_than_the_card_is_a_difference() -> None:
    gpu, instances = mig(("4g.40gb", 4, 4), ("4g.40gb", 4, 4))
    lines = rate(gpu, held("MIG-0"), instances=instances, prices=book("7"))
    assert amounts(lines) == [
        ("cc-a", "held", 4_000_000, 4_000_000),
        ("platform:difference", "excess", -1_000_000, -1_000_000),
        ("platform:idle", "free", 4_000_000, 4_000_000),
    ]


def test_a_tiers_factor_price_and_a_profiles_price() -> None:
    """What is charged differs from list by what lies on platform:discount."""
    gpu, instances = mig(("1g.10gb", 1, 1), ("2g.20gb", 2, 2))
    prices = book(
        "7",
        Price(model=MODEL, unit=INSTANCE_HOUR, profile="1g.10gb", amount=Fraction(1_500_000)),
        factors=[TierFactor(tier="spot", factor=Fraction(1, 2))],
    )
    lines = rate(gpu, held("MIG-0"), held("MIG-1", "b"), instances=instances, prices=prices)
    by_pod = {(line.pod, line.account): (line.list_micros, line.amount_micros) for line in lines if line.pod}
    assert by_pod == {
        ("a-MIG-0-0", "cc-a"): (1_000_000, 1_500_000),
        ("a-MIG-0-0", "platform:discount"): (0, -500_000),
        ("b-MIG-1-0", "cc-b"): (2_000_000, 1_000_000),
        ("b-MIG-1-0", "platform:discount"): (0, 1_000_000),
    }
    slice_line = next(line for line in lines if line.pod == "a-MIG-0-0")
    assert (slice_line.unit, slice_line.unit_price) == (INSTANCE_HOUR, 1_500_000)
    assert Fraction(slice_line.quantity_ms_num, slice_line.ms_den) == HOUR_MS
    own = Price(model=MODEL, unit=GPU_HOUR, tier="spot", amount=Fraction(3_500_000))
    lines = rate(card(), held(namespace="b"), prices=book("7", own, factors=prices.factors))
    assert amounts(lines)[0] == ("cc-b", "held", 7_000_000, 3_500_000)  # a tier's own price has no factor on it


def test_a_month_price_sums_exactly_over_its_real_hours() -> None:
    """R2 of the cost model cases (Koku `mig-gpu-support.md`): 2016.00 a month, February of 28 days: 3.00 an hour."""
    start_ms, end_ms = month_span_ms("2026-02", "UTC")
    price = Fraction(2_016_000_000)
    assert hourly_of_month(price, start_ms, start_ms + HOUR_MS, "UTC") == 3_000_000
    for month, zone in (("2026-10", "Europe/Berlin"), ("2026-03", "Europe/Berlin"), ("2026-10", "Asia/Kolkata")):
        start_ms, end_ms = month_span_ms(month, zone)
        odd = Fraction(1_000_000_007)
        first = -start_ms % HOUR_MS or HOUR_MS
        borders = [start_ms, *range(start_ms + first, end_ms, HOUR_MS), end_ms]
        parts = [hourly_of_month(odd, a, b, zone) * (b - a) / HOUR_MS for a, b in itertools.pairwise(borders)]
        assert sum(parts) == odd
    monthly = PriceBook([Price(model=MODEL, unit=GPU_MONTH, amount=Fraction(744_000_000))])
    assert amounts(rate(card(), held(), prices=monthly)) == [("cc-a", "held", 1_000_000, 1_000_000)]


def test_mig_slices_of_a_month_price() -> None:
    """R2: an hour of 4g, 1g and 2g at 3.00; a slot is rounded down, and the platform has what is left."""
    gpu, instances = mig(("4g.40gb", 4, 4), ("1g.10gb", 1, 1), ("2g.20gb", 2, 2))
    lines = rate(gpu, *(held(i.uuid) for i in instances), instances=instances, prices=book("3"))
    assert [line.list_micros for line in lines] == [1_714_285, 428_571, 857_142, 2]  # and the rounding


def test_an_unknown_model_is_never_a_whole_card_for_a_slice() -> None:
    """R5 of the cost model cases (Koku's model table): unpriced, with no amount at all; never 7.00."""
    gpu, instances = mig(("1g.10gb", 1, 1))
    lines = rate(gpu, held("MIG-0"), instances=instances, prices=PriceBook([]))
    assert {(line.account, line.list_micros, line.amount_micros) for line in lines} == {
        ("platform:unpriced", None, None)
    }
    assert sum(Fraction(line.gpu_ms_num, line.ms_den) for line in lines) == HOUR_MS


def test_an_owner_change_cuts_the_line_and_the_usage() -> None:
    """At 10:20 and 5 ms; busy time is shared out by largest remainder."""
    change = HOUR * HOUR_MS + 1_200_005
    owners = (
        Owner(namespace="a", from_ms=0, until_ms=change, cost_center="old", version=1),
        Owner(namespace="a", from_ms=change, cost_center="new", version=2),
    )
    lines = rate(card(), held(busy_ms=1_000_001), owners=owners, prices=book("3.6"))
    assert [(line.account, line.amount_micros, line.busy_ms) for line in lines] == [
        ("old", 1_200_005, 333_335),
        ("new", 2_399_995, 666_666),
    ]


def test_local_midnight_cuts_an_hour_into_two_days() -> None:
    """R14 of the cost model cases (XDMoD): the parts sum to the whole. Midnight in Kolkata is 18:30 UTC."""
    hour = parse_hour("2026-10-31T18Z")
    lines = rate(card(), held(), hour=hour, policy=Policy(timezone="Asia/Kolkata"), prices=book("1.000001"))
    assert [(line.day, line.month, line.list_micros) for line in lines] == [
        ("2026-10-31", "2026-10", 500_000),
        ("2026-11-01", "2026-11", 500_000),
    ]


def test_faults_gaps_and_nobody() -> None:
    """Unhealthy and unheld: unavailable; unhealthy and held: held; unobserved: gap; nobody named: unattributed."""
    gpu = card(observed=((0, 2 * HALF // 2), (HALF + 360_000, HOUR_MS)), unhealthy=((0, 720_000),))
    known = KnownGpu(uuid="GPU-1", model=MODEL, memory_mib=1, slices_max=7, last_observed_ms=HOUR * HOUR_MS - 1)
    holders = [held(start=360_000, end=1_440_000), held(namespace="", start=2_880_000, end=HOUR_MS)]
    assert amounts(rate(gpu, *holders, before=[known])) == [
        ("cc-a", "held", 300_000, 300_000),
        ("platform:gap", "gap", 100_000, 100_000),
        ("platform:idle", "free", 100_000, 100_000),
        ("platform:idle", "free", 200_000, 200_000),
        ("platform:unattributed", "held", 200_000, 200_000),
        ("platform:unavailable", "unhealthy", 100_000, 100_000),
    ]


def test_a_card_exists_from_its_first_observation_until_it_is_omitted() -> None:
    """Seen from 10:30 on; a later agent that does not list it ends it at that agent's first observation."""
    first = NodeHour(
        cluster="lab", node="n1", hour=HOUR, instance="1", started=1, gpus=(card(observed=((HALF, 2_400_000),)),)
    )
    other = Gpu(uuid="GPU-2", model=MODEL, memory_mib=1, observed=((3_000_000, HOUR_MS),))
    later = NodeHour(cluster="lab", node="n1", hour=HOUR, instance="2", started=2, gpus=(other,))
    found = exist(HOUR, [first, later], merge([first, later]), [])
    assert found.spans == {"GPU-1": ((HALF, 3_000_000),), "GPU-2": ((3_000_000, HOUR_MS),)}
    assert [known.uuid for known in found.known] == ["GPU-2"]


@pytest.mark.parametrize(("hours_ago", "lives"), [(71, HOUR_MS), (71.5, HALF), (72, 0)])
def test_a_silent_card_is_kept_for_72_hours(hours_ago: float, lives: int) -> None:
    last = HOUR * HOUR_MS - int(hours_ago * HOUR_MS)
    known = KnownGpu(uuid="GPU-1", model=MODEL, memory_mib=1, slices_max=None, last_observed_ms=last)
    found = exist(HOUR, [], None, [known])
    assert sum(end - start for spans in found.spans.values() for start, end in spans) == lives
    assert bool(found.known) == (hours_ago < 71)


def test_a_pods_own_labels_name_who_pays_where_they_are_kept() -> None:
    """Field by field over the namespace's; the tier they name is the tier that is paid."""
    labels = OwnerLabels(cost_center="cc-pod", tier="spot")
    (line, *_) = rate(
        card(), held(labels=labels), prices=book(factors=[TierFactor(tier="spot", factor=Fraction(1, 2))])
    )
    assert (line.account, line.cost_center, line.team, line.tier) == ("cc-pod", "cc-pod", None, "spot")
    assert (line.list_micros, line.amount_micros) == (1_000_000, 500_000)


def test_parts_of_a_slot_are_paid_by_their_portions() -> None:
    """A quarter and what is left of a card: to the micro, and nobody pays for the other."""
    users = [
        held(pod="a", portion=Fraction(1, 4), end=HOUR_MS // 2),
        held(namespace="b", pod="b", portion=Fraction(1, 2)),
        held(namespace="", pod="", portion=Fraction(1, 4), end=HOUR_MS // 2),
        held(namespace="", pod="", portion=Fraction(1, 2), start=HOUR_MS // 2),
    ]
    found = amounts(rate(card(), *users))
    assert found == [
        ("cc-a", "held", 125_000, 125_000),
        ("cc-b", "held", 500_000, 500_000),
        ("platform:unattributed", "held", 125_000, 125_000),
        ("platform:unattributed", "held", 250_000, 250_000),
    ]


def test_a_cordoned_card_that_nobody_holds_is_unavailable() -> None:
    """Who holds one pays as before."""
    body = NodeHour(cluster="lab", node="n1", hour=HOUR, gpus=(card(),))
    holdings = [held(end=HOUR_MS // 4)]
    lines, _ = rate_node_hour(
        "lab", "n1", HOUR, holdings, exist(HOUR, [body], body, []), OwnerBook(OWNERS), book(), PolicyBook([Policy()]),
        cordoned=((0, HOUR_MS // 2),),
    )  # fmt: skip
    assert amounts(lines) == [
        ("cc-a", "held", 250_000, 250_000),
        ("platform:idle", "free", 500_000, 500_000),
        ("platform:unavailable", "cordoned", 250_000, 250_000),
    ]
