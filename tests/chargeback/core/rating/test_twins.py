"""A card's lines are the same, whether they are worked out or learnt of a twin's, whatever the terms."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargeback.core.existence import exist
from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Line
from chargeback.core.node_hour import WHOLE, Gpu, Holding, Layout, NodeHour
from chargeback.core.nodes import NodePlaces
from chargeback.core.owners.owners import Owner, OwnerBook
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.entries import GPU_HOUR, NODE_HOUR, ClassTier, Price, TierFactor
from chargeback.core.rating.context import Context
from chargeback.core.rating.rating import rate_node_hour
from chargeback.core.rating.twins import Key, Twins
from chargeback.core.rating.waivers import Waiver
from tests.chargeback.core.drawn import (
    HOUR,
    LABELS,
    MODEL,
    NAMESPACES,
    owner_books,
    policies,
    price_books,
    some_waivers,
)

STEADY = OwnerBook([Owner(namespace=name, from_ms=0, cost_center=f"cc-{name}", version=1) for name in NAMESPACES[:3]])
PLACES = (NodePlaces(since=((0, "pool-1", ()),)), NodePlaces(since=((0, "pool-2", (("zone", "a"),)),)))


class Forgetful(Twins):
    """Learns nothing: all is worked out."""

    def learn(self, key: Key, context: Context, gpu: Gpu, lines: Sequence[Line]) -> None:
        pass


def mostly(usual: object, *others: object) -> st.SearchStrategy[Any]:
    """One of few values, and nearly always the first: else no two cards would be alike."""
    return st.integers(0, 9).flatmap(lambda n: st.sampled_from(others) if n == 0 else st.just(usual))


@st.composite
def nodes(draw: st.DrawFn) -> NodeHour:
    """Three whole cards; most are held by one pod all the time, and measured."""
    cards, held = [], []
    for number in range(3):
        uuid = f"GPU-{number}"
        layouts = (Layout(start=0, end=HOUR_MS, mig=False, shares=draw(mostly(1, 2))),)
        cards.append(
            Gpu(
                uuid=uuid,
                model=MODEL,
                memory_mib=1,
                slices_max=7,
                observed=((0, HOUR_MS),),
                layouts=layouts,
                unhealthy=draw(mostly((), ((5, 10),))),
                idle_energy_mj=draw(st.sampled_from((None, 1000))),
            )
        )
        if draw(st.integers(0, 4)):
            held.append(
                Holding(
                    device=uuid,
                    shares=(0,),
                    start=draw(mostly(0, 7)),
                    end=HOUR_MS,
                    namespace=draw(mostly("a", *NAMESPACES[1:])),
                    pod=draw(st.sampled_from(("x", "y"))),
                    container=draw(st.sampled_from(("main", "side"))),
                    claim=draw(mostly(None, "a/claim")),
                    resource=draw(mostly("nvidia.com/gpu", "nvidia.com/gpu.shared")),
                    evidence=draw(mostly("exclusive", "api")),
                    busy_ms=draw(st.sampled_from((None, 0, 1234, HOUR_MS, HOUR_MS + 9))),
                    memory_byte_seconds=draw(st.sampled_from((None, 10**14))),
                    energy_mj=draw(st.sampled_from((None, 0, 10**9))),
                    labels=draw(mostly(*LABELS[1:])),
                    priority_class=draw(mostly(None, "urgent")),
                    portion=draw(mostly(WHOLE, Fraction(1, 2))),
                )
            )
    return NodeHour(cluster="lab", node="n", hour=HOUR, gpus=tuple(cards), holdings=tuple(held))


def rated(
    node: str,
    body: NodeHour,
    places: NodePlaces,
    owners: OwnerBook,
    prices: PriceBook,
    policy: Policy,
    waived: Sequence[Waiver],
    twins: Twins,
) -> tuple[list[Line], object]:
    existence = exist(HOUR, [body], body, [])
    return rate_node_hour(
        "lab", node, HOUR, body.holdings, existence, owners, prices, PolicyBook([policy]),
        places=places, waivers=waived, twins=twins,
    )  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    fleet=st.lists(st.tuples(nodes(), mostly(*PLACES)), min_size=3, max_size=4),
    owners=st.just(STEADY) | owner_books(),
    prices=price_books(),
    policy=policies,
    waived=st.just([]) | some_waivers,
)
def test_twins_are_as_if_all_were_worked_out(
    fleet: list[tuple[NodeHour, NodePlaces]],
    owners: OwnerBook,
    prices: PriceBook,
    policy: Policy,
    waived: list[Waiver],
) -> None:
    """Every field of every line, and every problem, of several nodes that are rated by the same terms."""
    twins, forgetful = Twins(), Forgetful()
    for number, (body, places) in enumerate(fleet):
        terms = (f"n{number}", body, places, owners, prices, policy, waived)
        assert rated(*terms, twins) == rated(*terms, forgetful)


@pytest.mark.parametrize(("unit", "learns"), [(GPU_HOUR, True), (NODE_HOUR, False)])
def test_cards_that_share_the_price_of_their_node_have_no_twins(unit: str, learns: bool) -> None:
    """Of eight millionths among three cards one gets a third less."""
    cards = tuple(
        Gpu(
            uuid=f"GPU-{n}", model=MODEL, memory_mib=1, observed=((0, HOUR_MS),),
            layouts=(Layout(start=0, end=HOUR_MS, mig=False),),
        )
        for n in range(3)
    )  # fmt: skip
    body = NodeHour(cluster="lab", node="n", hour=HOUR, gpus=cards)
    prices = PriceBook([Price(model=MODEL, unit=unit, amount=Fraction(8))], [])
    twins = Twins()
    lines, _ = rated("n", body, PLACES[0], STEADY, prices, Policy(), [], twins)
    assert bool(twins._lines) is learns
    want = [8, 8, 8] if unit == GPU_HOUR else [2, 3, 3]
    assert sorted(line.list_micros or 0 for line in lines) == want


@pytest.mark.parametrize("places", PLACES)
def test_cards_of_another_pool_or_class_are_no_twins(places: NodePlaces) -> None:
    """Each has a price of its own."""
    prices = PriceBook(
        [
            Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(8)),
            Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(16), pool="pool-2"),
        ],
        [TierFactor(tier="critical", factor=Fraction(1, 2))],
        classes=[ClassTier(priority_class="urgent", tier="critical")],
    )
    gpu = Gpu(
        uuid="GPU-0",
        model=MODEL,
        memory_mib=1,
        observed=((0, HOUR_MS),),
        layouts=(Layout(start=0, end=HOUR_MS, mig=False),),
    )
    twins, found = Twins(), []
    for where, priority_class in itertools.product((PLACES[0], PLACES[1], places), (None, "urgent", None)):
        held = Holding(
            device="GPU-0", shares=(0,), start=0, end=HOUR_MS, namespace="a", pod="x", container="main",
            priority_class=priority_class,
        )  # fmt: skip
        body = NodeHour(cluster="lab", node="n", hour=HOUR, gpus=(gpu,), holdings=(held,))
        lines, _ = rated("n", body, where, STEADY, prices, Policy(), [], twins)
        found.append((lines[0].list_micros, lines[0].amount_micros))
    first, second = [(8, 8), (8, 4), (8, 8)], [(16, 16), (16, 8), (16, 16)]
    assert found == [*first, *second, *(first if places == PLACES[0] else second)]
