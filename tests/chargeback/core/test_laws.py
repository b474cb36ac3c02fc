"""The laws of the ledger, for arbitrary cards, holders, faults and terms. Each docstring is the law."""

from __future__ import annotations

import ast
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import chargeback.core
from chargeback.core.existence import exist
from chargeback.core.hours import HOUR_MS, rating_intervals
from chargeback.core.lines import DISCOUNT_KIND, Line
from chargeback.core.merge import merge
from chargeback.core.money import whole_micros
from chargeback.core.node_hour import NodeHour
from chargeback.core.owners.owners import Owner, OwnerBook
from chargeback.core.policy import Policy
from chargeback.core.prices.book import Asked, PriceBook
from chargeback.core.prices.entries import GPU_HOUR, Discount, Place
from chargeback.core.rating.waivers import Waiver
from chargeback.core.spans import intersect, length
from tests.chargeback.core.drawn import (
    HOUR,
    MODEL,
    NAMESPACES,
    but_of,
    instants,
    node_hours,
    owner_books,
    policies,
    price_books,
    quick,
    rated,
    some_waivers,
    waivers,
)


@quick
@given(node_hours(), owner_books(), price_books(), policies, some_waivers)
def test_conservation(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy, waived: list[Waiver]
) -> None:
    """Law 1: per card and rating interval, all lines' time is the time the card existed, Σ list is ⌊price × it⌋, and
    Σ amount is Σ list, to the micro; so whatever the policy, and whoever is let off, the total is the same."""
    lines, existence = rated(body, owners, prices, policy, waived)
    start_ms = HOUR * HOUR_MS
    for interval in rating_intervals(HOUR, policy.timezone):
        span = (interval.start, interval.end)
        cards = tuple(sorted(each.uuid for each in existence.gpus if intersect(existence.spans[each.uuid], (span,))))
        for card in cards:
            mine = [
                line
                for line in lines
                if line.parent == card and interval.start <= line.start_ms - start_ms < interval.end
            ]
            existed = length(intersect(existence.spans[card], (span,)))
            place = Place(cluster="lab", pool="pool-1", cards=cards)
            during = {"start_ms": start_ms + interval.start, "end_ms": start_ms + interval.end}
            rate = prices.list_rate(Asked(model=MODEL, place=place, card=card, **during))
            assert rate is not None
            assert sum(Fraction(line.gpu_ms_num, line.ms_den) for line in mine) == existed
            assert sum(line.list_micros or 0 for line in mine) == whole_micros(rate.hourly * existed / HOUR_MS)
            assert sum(line.amount_micros or 0 for line in mine) == sum(line.list_micros or 0 for line in mine)


@quick
@given(node_hours(), owner_books(), price_books(), policies, some_waivers)
def test_no_usage_is_lost(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy, waived: list[Waiver]
) -> None:
    """What a holding was busy is, to the millisecond, what its lines were busy, however it was cut; so is memory."""
    lines, _ = rated(body, owners, prices, policy, waived)
    assert sum(line.busy_ms or 0 for line in lines) == sum(holding.busy_ms or 0 for holding in body.holdings)
    assert sum(line.memory_byte_seconds or 0 for line in lines) == sum(
        holding.memory_byte_seconds or 0 for holding in body.holdings
    )


@quick
@given(node_hours(), owner_books(), price_books(), policies, some_waivers)
def test_no_stranger_pays(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy, waived: list[Waiver]
) -> None:
    """Law 9: whoever owns a namespace, and however often that changes, no line of anybody else moves."""
    waived = [each for each in waived if each.cost_center is None]  # one moves with its cost center
    lines, _ = rated(body, owners, prices, policy, waived)
    relabelled = OwnerBook(
        [
            Owner(namespace=namespace, from_ms=0, cost_center="cc-9", tier="spot", version=9)
            if namespace == "a"
            else owner
            for namespace in NAMESPACES[:3]
            for owner in owners._of[namespace]
        ]
    )
    after, _ = rated(body, relabelled, prices, policy, waived)
    assert but_of("a", after) == but_of("a", lines)


@quick
@given(node_hours(), owner_books(), price_books(), policies, waivers(namespace="a"))
def test_letting_a_holder_off_moves_nobody_elses_line(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy, waived: Waiver
) -> None:
    """Law 9: and what that holder's list amounts are in all stays, too."""
    before, _ = rated(body, owners, prices, policy)
    after, _ = rated(body, owners, prices, policy, [waived])
    assert but_of("a", after) == but_of("a", before)
    assert sum(line.list_micros or 0 for line in after) == sum(line.list_micros or 0 for line in before)
    for line in after:
        if line.kind == waived.kind:
            assert (line.amount_micros, line.allocation_micros, line.usage_micros) == (0, 0, 0)
            assert waived.from_ms <= line.start_ms < line.end_ms <= waived.until_ms


@quick
@given(node_hours(), owner_books(), price_books(), policies)
def test_a_discount_of_one_cost_center_moves_nobody_elses_line(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy
) -> None:
    """Law 9: nor any list amount."""
    before, _ = rated(body, owners, prices, policy)
    others = [each for each in prices.discounts if each.cost_center != "cc-1"]
    cheaper = PriceBook(
        prices.prices,
        prices.factors,
        discounts=[*others, Discount(cost_center="cc-1", factor=Fraction(1, 3))],
        classes=prices.classes,
    )
    after, _ = rated(body, owners, cheaper, policy)

    def not_theirs(found: list[Line]) -> list[Line]:
        return [line for line in found if line.cost_center != "cc-1"]

    assert not_theirs(after) == not_theirs(before)
    assert sum(line.list_micros or 0 for line in after) == sum(line.list_micros or 0 for line in before)


@quick
@given(node_hours(), owner_books(), price_books(), policies)
def test_removing_a_holder_moves_nobody_elses_line(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy
) -> None:
    """Law 9: with configured shares and without claims, a holder that goes leaves every other line as it was."""
    policy = replace(policy, sharing="configured")
    body = replace(body, holdings=tuple(replace(holding, claim=None) for holding in body.holdings))
    lines, _ = rated(body, owners, prices, policy)
    without, _ = rated(
        replace(body, holdings=tuple(h for h in body.holdings if h.namespace != "a")), owners, prices, policy
    )

    def others(found: list[Line]) -> list[Line]:
        return [line for line in but_of("a", found) if line.namespace]

    assert others(without) == others(lines)


@quick
@given(node_hours(), price_books(), policies, instants)
def test_a_cut_neither_makes_nor_loses_anything(body: NodeHour, prices: PriceBook, policy: Policy, at: int) -> None:
    """A change of owner to the same tier cuts lines in two, and their sums stay what they were, by either basis."""
    whole = OwnerBook([Owner(namespace=n, from_ms=0, cost_center=n, version=1) for n in NAMESPACES[:3]])
    change = HOUR * HOUR_MS + at
    cut = OwnerBook(
        [
            owner
            for n in NAMESPACES[:3]
            for owner in (
                Owner(namespace=n, from_ms=0, until_ms=change, cost_center=n, version=1),
                Owner(namespace=n, from_ms=change, cost_center=n, version=2),
            )
        ]
    )
    before, _ = rated(body, whole, prices, policy)
    after, _ = rated(body, cut, prices, policy)
    assert sums(after) == sums(before)


@quick
@given(node_hours(), price_books(), policies)
def test_midnight_moves_a_micro_at_the_most(body: NodeHour, prices: PriceBook, policy: Policy) -> None:
    """Each part of an hour that local midnight cuts is rated by itself: the same time, and a micro less a share."""
    prices = PriceBook([replace(each, unit=GPU_HOUR) for each in prices.prices if each.is_list], prices.factors)
    owners = OwnerBook([Owner(namespace=n, from_ms=0, cost_center=n, version=1) for n in NAMESPACES[:3]])
    whole, _ = rated(body, owners, prices, replace(policy, timezone="UTC"))
    parts, _ = rated(body, owners, prices, replace(policy, timezone="Asia/Kolkata"))

    def of_holders(found: list[Line]) -> dict[tuple[str, str], tuple[Fraction, int, int]]:
        totals: dict[tuple[str, str], tuple[Fraction, int, int]] = {}
        for line in found:
            if line.namespace and line.kind != DISCOUNT_KIND:
                key = (line.device, line.pod)
                ms, listed, slots = totals.get(key, (Fraction(0), 0, 0))
                ms += Fraction(line.gpu_ms_num, line.ms_den)
                totals[key] = (ms, listed + (line.list_micros or 0), max(slots, line.shares.count(",") + 1))
        return totals

    before, after = of_holders(whole), of_holders(parts)
    assert before.keys() == after.keys()
    for key, (ms, listed, slots) in before.items():
        assert after[key][0] == ms
        assert abs(after[key][1] - listed) <= 2 * slots


def sums(found: list[Line]) -> dict[tuple[str, ...], list[object]]:
    """By account, kind, device and pod: times and amounts, of which None counts as nothing."""
    totals: dict[tuple[str, ...], list[object]] = {}
    for line in found:
        amounts = (line.list_micros, line.amount_micros, line.allocation_micros, line.usage_micros, line.busy_ms)
        times = (Fraction(line.gpu_ms_num, line.ms_den), Fraction(line.quantity_ms_num, line.ms_den))
        key = (line.account, line.kind, line.of_kind, line.device, line.pod, line.evidence)
        before = totals.get(key, [0] * 7)
        totals[key] = [a + (b or 0) for a, b in zip(before, (*times, *amounts), strict=True)]  # type: ignore[operator]
    return {key: total for key, total in totals.items() if any(total)}


@quick
@given(st.lists(node_hours(), min_size=1, max_size=3), st.randoms())
def test_the_order_of_bodies_does_not_matter(bodies: list[NodeHour], random: object) -> None:
    """Law 2: however the bodies of several instances come, and how often, the account is the same."""
    instances = [replace(body, instance=f"i{n}", started=n // 2) for n, body in enumerate(bodies)]
    shuffled = list(instances)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merge(shuffled) == merge(instances)
    assert exist(HOUR, shuffled, merge(shuffled), []) == exist(HOUR, instances, merge(instances), [])


@quick
@given(st.lists(node_hours(), min_size=2, max_size=3))
def test_what_several_saw_counts_once(bodies: list[NodeHour]) -> None:
    """A card's merged observed time is what any instance observed, and its account balances."""
    # As agents of one node see the same cards in the same mode, only the times and the holders differ.
    first = bodies[0]
    instances = [
        replace(first, instance=f"i{n}", started=n, gpus=first.gpus, holdings=first.holdings if n == 0 else ())
        for n in range(len(bodies))
    ]
    merged = merge(instances)
    assert {gpu.uuid: gpu.observed for gpu in merged.gpus} == {
        gpu.uuid: tuple(s for s in gpu.observed) for gpu in sorted(first.gpus, key=lambda gpu: gpu.uuid)
    }
    assert merged.holdings == ()  # the latest instance speaks, and it saw none


def test_floats_never_touch_money() -> None:
    """Law 5: the core has no float literal and never names float."""
    for path in Path(chargeback.core.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), path
            assert not (isinstance(node, ast.Name) and node.id == "float"), path
