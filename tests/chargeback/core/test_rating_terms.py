"""Rating by hand, where terms say who pays what: faults, waivers, tiers, places, labels. Amounts are micros."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from chargeback.core.existence import exist
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import NONBILLABLE, OUTAGE, Problem
from chargeback.core.merge import merge
from chargeback.core.node_hour import Gpu, Instance, Layout, NodeHour
from chargeback.core.nodes import NodePlaces
from chargeback.core.owners.owners import Owner, OwnerBook
from chargeback.core.pods import OwnerLabels
from chargeback.core.policy import Policy, PolicyBook, PolicyChange
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.entries import GPU_HOUR, NODE_HOUR, ClassTier, Discount, Price, TierFactor
from chargeback.core.rating.rating import rate_node_hour
from chargeback.core.rating.waivers import Waiver
from tests.chargeback.core.rating.test_rating import HALF, HOUR, MODEL, OWNERS, amounts, book, card, held, rate

QUARTER = HOUR_MS // 4
START_MS = HOUR * HOUR_MS


def test_faulted_time_is_paid_or_not_as_policy_says() -> None:
    """Unhealthy in the second quarter: billed as ever, or a line of its own that costs nothing."""
    gpu = card(unhealthy=((QUARTER, HALF),))
    assert amounts(rate(gpu, held())) == [("cc-a", "held", 1_000_000, 1_000_000)]
    assert amounts(rate(gpu, held(), policy=Policy(faulted="credit"))) == [
        ("cc-a", "faulted", 250_000, 0),
        ("cc-a", "held", 250_000, 250_000),
        ("cc-a", "held", 500_000, 500_000),
        ("platform:discount", "discount", 0, 250_000),
    ]


def test_a_waiver_takes_its_time_off_one_holders_bill() -> None:
    """Two shares of a card, one let off from 10:15 to 10:30: the other pays as ever."""
    gpu = card(layouts=(Layout(start=0, end=HOUR_MS, mig=False, shares=2),))
    waiver = Waiver(
        kind=NONBILLABLE, from_ms=START_MS + QUARTER, until_ms=START_MS + HALF, namespace="a", cost_center="cc-a"
    )
    lines = rate(gpu, held(), held(namespace="b", share=1), waivers=[waiver])
    assert amounts(lines) == [
        ("cc-a", "held", 125_000, 125_000),
        ("cc-a", "held", 250_000, 250_000),
        ("cc-a", "nonbillable", 125_000, 0),
        ("cc-b", "held", 500_000, 500_000),
        ("platform:discount", "discount", 0, 125_000),
    ]
    waived = next(line for line in lines if line.kind == NONBILLABLE)
    assert (waived.start_ms, waived.end_ms) == (waiver.from_ms, waiver.until_ms)


def test_a_waiver_is_only_of_whom_it_names() -> None:
    """By each of its fields; of several that hold the first gives the line its kind, before a fault."""
    always = {"kind": OUTAGE, "from_ms": START_MS, "until_ms": START_MS + HOUR_MS}
    theirs = {"cluster": "lab", "node": "n1", "gpu": "GPU-1", "namespace": "a", "cost_center": "cc-a"}
    for name in theirs:
        others = Waiver(**always | {name: "other"})  # type: ignore[arg-type]
        assert amounts(rate(card(), held(), waivers=[others])) == [("cc-a", "held", 1_000_000, 1_000_000)]
    gpu = card(unhealthy=((0, HOUR_MS),))
    both = [Waiver(**always | theirs), Waiver(**always | {"kind": NONBILLABLE})]  # type: ignore[arg-type]
    lines = rate(gpu, held(), waivers=both, policy=Policy(faulted="credit"))
    assert amounts(lines)[0] == ("cc-a", "outage", 1_000_000, 0)


def test_the_tier_of_a_priority_class_stands_between_pod_and_namespace() -> None:
    """A class's tier wins over the namespace's and loses to the pod's own label; one without a tier says nothing."""
    prices = PriceBook(
        book().prices,
        [TierFactor(tier=tier, factor=Fraction(factor)) for tier, factor in (("spot", "0.5"), ("critical", "2"))],
        classes=[ClassTier(priority_class="urgent", tier="critical")],
    )

    def paid(**changes: object) -> tuple[str | None, int | None]:
        line = rate(card(), held(namespace="b", **changes), prices=prices)[0]  # type: ignore[arg-type]
        return line.tier, line.amount_micros

    assert paid() == ("spot", 500_000)
    assert paid(priority_class="urgent") == ("critical", 2_000_000)
    assert paid(priority_class="unknown") == ("spot", 500_000)
    assert paid(priority_class="urgent", labels=OwnerLabels(tier="spot")) == ("spot", 500_000)


def test_a_cost_centers_discount_is_its_own() -> None:
    prices = PriceBook(book().prices, discounts=[Discount(cost_center="cc-a", factor=Fraction(9, 10))])
    gpu = card(layouts=(Layout(start=0, end=HOUR_MS, mig=False, shares=2),))
    assert amounts(rate(gpu, held(), held(namespace="b", share=1), prices=prices)) == [
        ("cc-a", "held", 500_000, 450_000),
        ("cc-b", "held", 500_000, 500_000),
        ("platform:discount", "discount", 0, 50_000),
    ]


def test_prices_and_policy_are_those_of_the_place() -> None:
    """The pool and labels that the node had when the rating interval began."""
    prices = PriceBook(
        [
            *book("2").prices,
            Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(3_000_000), pool="fast"),
            Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(4_000_000), node_labels=(("zone", "x"),)),
        ]
    )

    def listed(pool: str, *labels: tuple[str, str]) -> int | None:
        places = NodePlaces(since=((0, "old", ()), (START_MS, pool, labels), (START_MS + 1, "next", ())))
        return rate(card(), held(), prices=prices, places=places)[0].list_micros

    assert [listed("slow"), listed("fast"), listed("slow", ("zone", "x"))] == [2_000_000, 3_000_000, 4_000_000]
    body = NodeHour(cluster="lab", node="n1", hour=HOUR, gpus=(card(),))
    scoped = PolicyChange(version=2, from_ms=0, cluster="lab", pool="fast", values={"basis": "usage"})
    lines, _ = rate_node_hour(
        "lab", "n1", HOUR, [held(busy_ms=0)], exist(HOUR, [body], body, []), OwnerBook(OWNERS), book(),
        PolicyBook([Policy(), scoped]), places=NodePlaces(since=((0, "fast", ()),)),
    )  # fmt: skip
    assert [(line.kind, line.policy_version) for line in lines] == [("idle-held", 2), ("discount", 2)]


def test_a_nodes_price_is_shared_by_the_cards_that_exist() -> None:
    """1.000000 among three: 0.333333, 0.333333, 0.333334; its quantity is a third of a node's hour."""
    gpus = tuple(Gpu(uuid=f"GPU-{n}", model=MODEL, memory_mib=81_920, observed=((0, HOUR_MS),)) for n in range(3))
    body = NodeHour(cluster="lab", node="n1", hour=HOUR, gpus=gpus)
    prices = PriceBook([Price(model=None, unit=NODE_HOUR, amount=Fraction(1_000_000))])
    lines, problems = rate_node_hour(
        "lab", "n1", HOUR, [held("GPU-0"), held("GPU-2")], exist(HOUR, [body], body, []), OwnerBook(OWNERS), prices,
        PolicyBook([Policy()]),
    )  # fmt: skip
    assert not problems
    assert [(line.account, line.list_micros) for line in lines] == [
        ("cc-a", 333_333),
        ("platform:idle", 333_333),
        ("cc-a", 333_334),
    ]
    for line in lines:
        assert Fraction(line.quantity_ms_num, line.ms_den) * 3 == Fraction(line.gpu_ms_num, line.ms_den) == HOUR_MS
        assert (line.unit, line.unit_price) == (NODE_HOUR, 1_000_000)


def test_what_does_not_add_up_is_said() -> None:
    """A part of a slot of which nobody says who has the rest: two thirds of the card's hour lie nowhere."""
    body = NodeHour(cluster="lab", node="n1", hour=HOUR, gpus=(card(),))
    _, problems = rate_node_hour(
        "lab", "n1", HOUR, [held(portion=Fraction(1, 3))], exist(HOUR, [body], body, []), OwnerBook(OWNERS), book(),
        PolicyBook([Policy()]),
    )  # fmt: skip
    assert problems == [Problem(kind="conservation", subject="GPU-1", ms=Fraction(-2 * HOUR_MS, 3))]


def test_labels_of_namespace_and_pod_are_dimensions_of_the_line() -> None:
    """By key; a pod's wins where both have it, and a namespace's change cuts the line."""
    owners = (
        Owner(namespace="a", from_ms=0, until_ms=START_MS + HALF, dimensions=(("app", "ns"), ("env", "prod"))),
        Owner(namespace="a", from_ms=START_MS + HALF, dimensions=(("app", "ns"),), version=2),
    )
    said = OwnerLabels(dimensions=(("app", "pod"), ("job", "7")))
    assert [line.dimensions for line in rate(card(), held(labels=said), owners=owners)] == [
        (("app", "pod"), ("env", "prod"), ("job", "7")),
        (("app", "pod"), ("job", "7")),
    ]
    assert [line.dimensions for line in rate(card(), held(labels=said), owners=())] == [said.dimensions]
    assert [line.dimensions for line in rate(card())] == [()]


def test_numbers_fit_however_many_share_a_claim() -> None:
    """100 holders come one after the other: each has had a half, a third, … of the card. Their parts still add up."""
    comers = [held(claim="a/c", pod=f"p-{n:03}", start=n * 1001, busy_ms=7) for n in range(100)]
    lines = rate(card(), *comers)
    numbers = ("ms_den", "gpu_ms_num", "quantity_ms_num", "gpu_before_num", "quantity_before_num", "used_before_num")
    assert max(getattr(line, name) for line in lines for name in numbers) < 2**53
    assert sum(Fraction(line.gpu_ms_num, line.ms_den) for line in lines) == HOUR_MS
    assert sum(line.list_micros or 0 for line in lines) == 1_000_000
    (first,) = (line for line in lines if line.pod == "p-000" and line.start_ms == HOUR * HOUR_MS + 99 * 1001)
    exact = sum(Fraction(1001, n) for n in range(1, 100))
    assert exact - Fraction(1, 100) < Fraction(first.gpu_before_num, first.ms_den) <= exact


def test_an_instance_whose_uuid_was_used_on_another_card_before() -> None:
    """An agent that starts anew finds it there: its holder pays a seventh of the one card, and then of the other."""
    bodies = []
    for number, (home, start, end) in enumerate([("GPU-1", 0, HALF), ("GPU-2", HALF, HOUR_MS)]):
        layouts = (Layout(start=start, end=end, mig=True),)
        cards = [replace(card(observed=((start, end),), layouts=layouts), uuid=uuid) for uuid in ("GPU-1", "GPU-2")]
        instance = Instance(uuid="MIG-1", gpu=home, profile="1g", start=start, end=end, gi=1, ci=0, c=1, g=1, m=1)
        body = NodeHour(
            cluster="lab", node="n1", hour=HOUR, instance=str(number), started=number, gpus=tuple(cards),
            instances=(instance,), holdings=(held("MIG-1", start=start, end=end),),
        )  # fmt: skip
        bodies.append(body)
    merged = merge(bodies)
    lines, problems = rate_node_hour(
        "lab", "n1", HOUR, merged.holdings, exist(HOUR, bodies, merged, []), OwnerBook(OWNERS), book(),
        PolicyBook([Policy()]),
    )  # fmt: skip
    assert problems == []
    assert sorted((line.parent, line.list_micros) for line in lines if line.account == "cc-a") == [
        ("GPU-1", 71_428),
        ("GPU-2", 71_428),
    ]
    assert sum(line.list_micros or 0 for line in lines) == 2_000_000
    assert len({line.line_id for line in lines}) == len(lines)
