"""What differs between two books, and what of it may not change once hours were rated by it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.hours import HOUR_MS
from chargeback.core.prices.book import GPU_HOUR, INSTANCE_HOUR, Asked, PriceBook
from chargeback.core.prices.changes import backdated, changes, first_difference
from chargeback.core.prices.entries import ClassTier, Discount, Place, Price, TierFactor
from chargeback.core.prices.warnings import warnings
from chargeback.files.prices import parse_prices

H = HOUR_MS


def price(amount: int = 3, **fields: Any) -> Price:
    return Price(**({"model": "X", "unit": GPU_HOUR, "amount": Fraction(amount * 10**6)} | fields))


def texts(before: PriceBook, after: PriceBook) -> list[str]:
    return [change.text for change in changes(before, after)]


def test_what_changed_is_said_field_by_field() -> None:
    before = PriceBook(
        [price(), price(2, tier="spot", node_labels=(("zone", "a"),))],
        [TierFactor(tier="t", factor=Fraction(1, 2))],
        discounts=[Discount(cost_center="rd", factor=Fraction(1))],
    )
    after = PriceBook(
        [price(4, from_ms=H), price(until_ms=H)],
        [TierFactor(tier="t", factor=Fraction(1, 4), until_ms=2 * H)],
        discounts=[Discount(cost_center="rd", factor=Fraction(1), contract="C-1")],
        classes=[ClassTier(priority_class="high", tier="t")],
    )
    assert texts(before, after) == [
        "prices: model X: price: 3.000000 becomes 4.000000, from 1970-01-01T01:00:00Z",
        "prices: model X, tier spot, zone=a: taken away: price 2.000000, unit gpu-hour, from ever",
        "tiers: tier t: factor: 0.500000 becomes 0.250000, from ever until 1970-01-01T02:00:00Z",
        "tiers: tier t: taken away: factor 0.500000, from 1970-01-01T02:00:00Z",
        "discounts: cost_center rd: contract: - becomes C-1, from ever",
        "priority_classes: priority_class high: added: tier t, from ever",
    ]
    assert first_difference(before, after) == 0
    assert texts(after, after) == []


AMOUNTS = st.one_of(st.none(), st.integers(1, 2))


@given(old=st.lists(AMOUNTS, min_size=4, max_size=4), new=st.lists(AMOUNTS, min_size=4, max_size=4))
def test_books_differ_exactly_where_they_say_different_things(old: list[int | None], new: list[int | None]) -> None:
    """However entries are cut; and neighbouring times with the same difference are one change."""

    def book(amounts: Sequence[int | None]) -> PriceBook:
        return PriceBook(price(a, from_ms=i * H, until_ms=(i + 1) * H) for i, a in enumerate(amounts) if a)

    found = changes(book(old), book(new))
    covered = [
        i for change in found for i in range(change.from_ms // H, (change.until_ms or 0) // H)
    ]  # every entry of these books ends
    assert covered == [i for i in range(4) if old[i] != new[i]]
    for one, other in itertools.pairwise(found):
        assert one.until_ms != other.from_ms or one.fields != other.fields


# Hours before RATED were rated.
RATED = 10 * H


def touched(before: list[Any], after: list[Any]) -> int:
    def book(entries: list[Any]) -> PriceBook:
        def of(kind: type) -> list[Any]:
            return [each for each in entries if isinstance(each, kind)]

        return PriceBook(of(Price), of(TierFactor), discounts=of(Discount), classes=of(ClassTier))

    return len(backdated(book(before), book(after), RATED))


FACTOR, DISCOUNT = TierFactor(tier="t", factor=Fraction(2)), Discount(cost_center="rd", factor=Fraction(2))
CLASS = ClassTier(priority_class="high", tier="t")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [price()]),
        ([], [price(), price(1, tier="t"), FACTOR, DISCOUNT, CLASS]),
        ([price()], [price(until_ms=RATED)]),
        ([price()], [price(until_ms=RATED), price(4, from_ms=RATED)]),
        ([price()], [price(until_ms=5 * H), price(from_ms=5 * H)]),
        ([price()], [price(), price(model="Y")]),
        ([price(from_ms=5 * H)], [price(from_ms=5 * H), price(9, until_ms=5 * H)]),
        ([price(from_ms=RATED)], [price(9, from_ms=RATED)]),
        ([price(1, tier="t")], [price(2, tier="t"), FACTOR]),
        ([price(cluster="a")], [price(cluster="a"), price(cluster="b"), replace(FACTOR, cluster="b")]),
        ([price(cluster="a")], [price(cluster="a"), price(9)]),
        ([price(pool="p")], [price(pool="p"), price(9, cluster="a")]),
        ([price(node_labels=(("zone", "a"),))], [price(node_labels=(("zone", z),)) for z in "ab"]),
        ([price(), price(1, tier="t", from_ms=RATED)], [price()]),
        ([price(until_ms=5 * H)], [price(until_ms=5 * H), replace(DISCOUNT, from_ms=5 * H)]),
    ],
)
def test_what_fills_time_without_a_price_or_comes_later_touches_nothing(before: list[Any], after: list[Any]) -> None:
    assert touched(before, after) == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([price()], [price(4)]),
        ([price()], []),
        ([price()], [price(until_ms=RATED - H)]),
        ([price()], [price(unit="gpu-month")]),
        ([price()], [price(), price(1, tier="t")]),
        ([price()], [price(), price(1, cluster="a")]),
        ([price()], [price(), price(1, term="reserved")]),
        ([price()], [price(), price(1, profile="1g", unit=INSTANCE_HOUR)]),
        ([price(), price(1, tier="t")], [price()]),
        ([price()], [price(), FACTOR]),
        ([price()], [price(), replace(DISCOUNT, model="X")]),
        ([price()], [price(), CLASS]),
        ([price(), CLASS], [price()]),
        ([price(), FACTOR], [price(), replace(FACTOR, until_ms=5 * H)]),
        ([price(until_ms=5 * H)], [price(until_ms=5 * H), DISCOUNT]),
        (
            [price(node_labels=(("zone", "a"),))],
            [price(node_labels=(("zone", "a"),)), price(1, node_labels=(("r", "b"),))],
        ),
        ([price()], [price(), price(1, model=None, unit="node-hour", pool="p")]),
    ],
)
def test_what_changes_rated_hours_is_found(before: list[Any], after: list[Any]) -> None:
    assert touched(before, after) == 1


WHO = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["X", "Y", None]),
        "tier": st.sampled_from([None, "t"]),
        "cluster": st.sampled_from([None, "a"]),
        "pool": st.sampled_from([None, "p"]),
    }
)


@st.composite
def entries(draw: st.DrawFn) -> list[Any]:
    """A few, of whole hours from 0 to 3, no two of one key."""
    found: dict[Any, Any] = {}
    for fields in draw(st.lists(WHO, max_size=5)):
        start = draw(st.integers(0, 2))
        dated = {"from_ms": start * H, "until_ms": draw(st.sampled_from([None, (start + 1) * H]))}
        amount = draw(st.integers(1, 3))
        if draw(st.booleans()) and fields["tier"]:
            entry: Any = TierFactor(factor=Fraction(amount), **fields, **dated)
        else:
            unit = "node-hour" if fields["model"] is None else GPU_HOUR
            entry = price(amount, **fields, unit=unit, **dated)
        found[type(entry), entry.key] = entry
    return list(found.values())


@given(before=entries(), after=entries(), rated=st.integers(0, 3))
def test_what_is_not_found_costs_what_it_cost(before: list[Any], after: list[Any], rated: int) -> None:
    """No rated hour that had a price has another, unless it is said."""

    def book(found: list[Any]) -> PriceBook:
        return PriceBook([e for e in found if isinstance(e, Price)], [e for e in found if isinstance(e, TierFactor)])

    old, new = book(before), book(after)
    if backdated(old, new, rated * H):
        return
    for hour, model, tier, cluster, pool in itertools.product(range(rated), "XY", (None, "t"), ("", "a"), ("", "p")):
        place = Place(cluster=cluster, pool=pool, cards=("c",))
        asked = Asked(model=model, start_ms=hour * H, end_ms=(hour + 1) * H, place=place, card="c", tier=tier)
        if (listed := old.list_rate(asked)) is not None:
            assert new.list_rate(asked) == listed
            assert new.holder_rate(asked) == old.holder_rate(asked)


# Entries that can never apply.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prices: [{model: X, tier: t, price: 1, unit: gpu-hour}]", ["prices[0]: model X, tier t: never applies"]),
        (
            (
                "prices: [{model: X, price: 1, unit: gpu-hour, until: 2026-10-02}, "
                "{model: X, profile: 1g, price: 1, unit: instance-hour, from: 2026-10-02}]"
            ),
            ["prices[1]: model X, profile 1g: never applies"],
        ),
        (
            "prices: [{model: X, price: 1, unit: gpu-hour, node_labels: {rack: r1}}]",
            ["prices[0]: model X, rack=r1: node_labels.rack: is not read from nodes"],
        ),
        ("tiers: [{tier: t, factor: 1}]", ["tiers[0]: tier t: never applies"]),
        (
            (
                "prices: [{model: X, cluster: a, price: 1, unit: gpu-hour}]\n"
                "discounts: [{cost_center: c, factor: 1, cluster: b}, {cost_center: c, factor: 1, model: Y}]"
            ),
            ["discounts[0]: cost_center c, cluster b: never applies", "discounts[1]: cost_center c, model Y: never"],
        ),
        (
            (
                "prices: [{model: X, price: 1, unit: gpu-hour}, {model: X, tier: t, price: 1, unit: gpu-hour}]\n"
                "tiers: [{tier: u, factor: 1}]\n"
                "priority_classes: [{priority_class: p, tier: t}, {priority_class: q, tier: u}, "
                "{priority_class: r, tier: v}]"
            ),
            ["priority_classes[2]: priority_class r: tier v: has neither a price nor a factor"],
        ),
        (
            "prices: [{price: 8, unit: node-hour, pool: p}, {model: X, tier: t, price: 1, unit: gpu-hour}]",
            [],
        ),
    ],
)
def test_entries_that_can_never_apply_are_named(text: str, said: list[str]) -> None:
    file = parse_prices(f"currency: USD\n{text}\n", "p.yaml")
    found = list(warnings(file.book(version=0, timezone="UTC"), ("zone",)))
    assert len(found) == len(said)
    for line, wanted in zip(found, said, strict=True):
        assert line.startswith(wanted)
