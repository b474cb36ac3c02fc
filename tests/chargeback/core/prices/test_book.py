"""Which price applies, and that what is spread over hours and cards sums to the price. Cases of published tools."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.hours import HOUR_MS, month_span_ms, rating_intervals
from chargeback.core.money import MS_PER_HOUR, format_micros, parse_decimal, whole_micros
from chargeback.core.prices.book import (
    GPU_HOUR,
    GPU_MONTH,
    INSTANCE_HOUR,
    NODE_HOUR,
    NOWHERE,
    Asked,
    ClassTier,
    Discount,
    Place,
    Price,
    PriceBook,
    Rate,
    TierFactor,
    hourly_of_card,
    hourly_of_month,
)

MODEL = "NVIDIA H100 80GB HBM3"
SPAN = (0, HOUR_MS)
ZONE, TYPE = ("topology.kubernetes.io/zone", "a"), ("node.kubernetes.io/instance-type", "p5")
HERE = Place(cluster="prod", pool="h100", labels=(TYPE, ZONE), cards=("GPU-1", "GPU-2"))


def micros(text: str) -> Fraction:
    return parse_decimal(text) * 1_000_000


def price(amount: str, **fields: Any) -> Price:
    """Of a card and hour, unless something else is said."""
    return Price(**({"model": MODEL, "unit": GPU_HOUR, "amount": micros(amount)} | fields))


def hourly(rate: Rate | None) -> Fraction | None:
    return None if rate is None else rate.hourly / 1_000_000


def asked(**fields: Any) -> Asked:
    """For a card of the model in the first hour, unless something else is said."""
    return Asked(**({"model": MODEL, "start_ms": SPAN[0], "end_ms": SPAN[1]} | fields))


def pays(book: PriceBook, **who: Any) -> Fraction | None:
    """What a holder pays an hour."""
    return hourly(book.holder_rate(asked(**({"place": HERE, "card": "GPU-1"} | who))))


# Each line goes before all that follow it, whatever the order in the file.
PRECEDENCE = (
    {"profile": "1g.10gb", "tier": "spot"},
    {"profile": "1g.10gb", "term": "on-demand"},
    {"profile": "1g.10gb"},
    {"tier": "spot", "sharing": "shared"},
    {"tier": "spot"},
    {"term": "on-demand"},
    {"sharing": "shared", "cluster": "prod"},
    {"sharing": "shared"},
    {"node_labels": (TYPE, ZONE)},
    {"node_labels": (TYPE,), "pool": "h100", "cluster": "prod"},
    {"node_labels": (TYPE,), "pool": "h100"},
    {"node_labels": (TYPE,)},
    {"node_labels": (ZONE,)},  # bytewise: node… goes before topology…
    {"pool": "h100", "cluster": "prod"},
    {"pool": "h100"},
    {"cluster": "prod"},
    {},
    {"model": None, "unit": NODE_HOUR},
)


@given(order=st.permutations(range(len(PRECEDENCE))), there=st.sets(st.integers(0, len(PRECEDENCE) - 1)))
def test_the_narrowest_price_applies_whatever_the_order_of_the_file(order: list[int], there: set[int]) -> None:
    """R8 (CloudKitty, hashmap.rst): where several match, which one applies is stated and deterministic."""
    entries = {
        number: price(f"{number + 1}", **(fields | ({"unit": INSTANCE_HOUR} if "profile" in fields else {})))
        for number, fields in enumerate(PRECEDENCE)
        if number in there or not fields
    }
    book = PriceBook(entries[number] for number in order if number in entries)
    found = book.why(asked(profile="1g.10gb", tier="spot", place=HERE, card="GPU-1", shared=True))
    assert [each.amount for each in found.chosen] == [entries[number].amount for number in sorted(entries)]
    listed = [number for number in sorted(entries) if entries[number].is_list]
    assert [each.amount for each in found.listed] == [entries[number].amount for number in listed]
    assert pays(book, profile="1g.10gb", tier="spot", shared=True) == min(entries) + 1


@pytest.mark.parametrize(
    "fields",
    [
        {"profile": "2g.20gb"},
        {"tier": "critical"},
        {"sharing": "exclusive"},
        {"term": "reserved"},
        {"node_labels": (TYPE, ("zone", "b"))},
        {"pool": "other"},
        {"cluster": "other"},
        {"model": "NVIDIA H200"},
        {"from_ms": 1},
        {"until_ms": 0},
    ],
)
def test_a_price_for_something_else_does_not_apply(fields: dict[str, Any]) -> None:
    book = PriceBook([price("3"), price("1", **fields)])
    assert pays(book, profile="1g.10gb", tier="spot", shared=True) == 3
    assert hourly(book.list_rate(asked(place=HERE, card="GPU-1"))) == 3


@pytest.mark.parametrize("fields", [{"tier": "spot"}, {"term": "on-demand"}, {"sharing": "exclusive"}])
def test_without_the_cards_own_price_time_is_unpriced(fields: dict[str, Any]) -> None:
    """R5 (Koku's table of models): never a guess from a price that is for somebody."""
    book = PriceBook([price("1", **fields)], [TierFactor(tier="spot", factor=Fraction(1))])
    assert pays(book, tier="spot") is None
    assert book.list_rate(asked()) is None
    found = book.why(asked(tier="spot"))
    assert (found.listed, found.list_rate, found.rate) == ((), None, None)
    assert len(found.chosen) == 1


def test_the_list_price_is_the_places_own() -> None:
    """And nobody's profile, tier, sharing or term changes it."""
    book = PriceBook([price("3"), price("2", pool="h100"), price("1", tier="spot"), price("0.5", term="on-demand")])
    assert hourly(book.list_rate(asked(place=HERE))) == 2
    assert hourly(book.list_rate(asked())) == 3
    assert book.list_rate(asked(model="NVIDIA H200", place=HERE)) is None


def test_a_reserved_price_goes_before_all_others_where_it_is_asked_for() -> None:
    """Without one a guarantee costs what is paid on demand."""
    reserved = price("2", term="reserved")
    book = PriceBook([price("3"), price("1", tier="spot"), reserved])
    for tier, wanted in ((None, 2), ("spot", 2)):
        assert hourly(book.holder_rate(asked(tier=tier, reserved=True))) == wanted
    assert (pays(book), pays(book, tier="spot")) == (3, 1)
    without = PriceBook([price("3"), price("1", tier="spot"), replace(reserved, cluster="other")])
    assert hourly(without.holder_rate(asked(tier="spot", place=HERE, reserved=True))) == 1


# Tiers and discounts.


def test_flat_prices_are_exact() -> None:
    """R6 (CloudKitty, test_process_services): 1.337 + 1.42, once and twice; no tail of a binary float."""
    book = PriceBook([price("2.757")])
    rate = book.holder_rate(asked())
    assert rate is not None
    assert [whole_micros(rate.hourly * count) for count in (1, 2)] == [2_757_000, 5_514_000]


def test_a_factor_on_a_price_is_exact() -> None:
    """R7 (CloudKitty, test_process_fields): 1.337; twice 1.42; 1.337 times 1.10; no match is unpriced, never 0."""
    book = PriceBook([replace(price("1.337"), model="nano"), replace(price("1.42"), model="tiny")])
    nano, tiny = (book.holder_rate(asked(model=model, tier="other")) for model in ("nano", "tiny"))
    assert nano is not None
    assert tiny is not None
    assert (nano.hourly, tiny.hourly * 2) == (1_337_000, 2_840_000)
    spot = PriceBook(book.prices, [TierFactor(tier="image", factor=Fraction("1.10"))])
    rates = {model: spot.holder_rate(asked(model=model, tier="image")) for model in ("nano", "tiny", "other")}
    assert {model: hourly(rate) for model, rate in rates.items()} == {
        "nano": Fraction("1.4707"),
        "tiny": Fraction("1.562"),
        "other": None,
    }


def test_a_tiers_factor_is_not_on_what_the_tier_prices_itself() -> None:
    book = PriceBook(
        [price("4"), price("3", tier="spot"), price("1", profile="1g.10gb", unit=INSTANCE_HOUR)],
        [TierFactor(tier=tier, factor=Fraction(1, 2)) for tier in ("spot", "batch")],
    )
    assert (pays(book, tier="spot"), pays(book, tier="batch"), pays(book)) == (3, 2, 4)
    assert pays(book, tier="batch", profile="1g.10gb") == Fraction(1, 2)


def test_the_narrowest_factor_of_a_tier_applies() -> None:
    """Its pool, then its cluster, then the model; alone, never times another."""
    scopes: list[dict[str, str]] = [{"pool": "h100"}, {"cluster": "prod", "model": MODEL}, {"cluster": "prod"}]
    scopes += [{"model": MODEL}, {}]
    factors = [TierFactor(tier="spot", factor=Fraction(i + 2), **scope) for i, scope in enumerate(scopes)]
    for i in range(len(factors)):
        assert pays(PriceBook([price("1")], reversed(factors[i:])), tier="spot") == i + 2
    assert pays(PriceBook([price("1")], factors), tier="spot", place=NOWHERE) == 5
    assert pays(PriceBook([price("1")], factors), tier="batch") == 1


def test_a_discount_comes_after_the_tier() -> None:
    """Of a cost center; the narrowest alone: its cluster, then the model."""
    scopes: list[dict[str, str]] = [{"cluster": "prod", "model": MODEL}, {"cluster": "prod"}, {"model": MODEL}, {}]
    found = [Discount(cost_center="rd", factor=Fraction(1, i + 2), **scope) for i, scope in enumerate(scopes)]
    factors = [TierFactor(tier="spot", factor=Fraction(1, 2))]
    for i in range(len(found)):
        book = PriceBook([price("12"), price("6", tier="own")], factors, discounts=reversed(found[i:]))
        assert pays(book, tier="spot", cost_center="rd") == Fraction(6, i + 2)
        assert pays(book, tier="own", cost_center="rd") == Fraction(6, i + 2)
        assert pays(book, tier="spot", cost_center="other") == pays(book, tier="spot") == 6
        assert hourly(book.list_rate(asked(place=HERE))) == 12


def test_the_tier_of_a_priority_class_is_dated() -> None:
    classes = [
        ClassTier(priority_class="high", tier="critical", until_ms=HOUR_MS),
        ClassTier(priority_class="high", tier="normal", from_ms=HOUR_MS),
    ]
    book = PriceBook([], classes=classes)
    assert [book.tier_of_class("high", at) for at in (0, HOUR_MS - 1, HOUR_MS)] == ["critical", "critical", "normal"]
    assert book.tier_of_class("low", 0) is None


def test_a_gpu_is_billed_by_what_is_held_of_it() -> None:
    """R12 (opencost#3900), the price's side: 1 GPU for 1 h at 2.50; 11 % of it busy is 0.275."""
    rate = PriceBook([price("2.50")]).holder_rate(asked())
    assert rate is not None
    assert rate.hourly == 2_500_000
    assert whole_micros(rate.hourly * 11 / 100) == 275_000


# Spread over cards and hours.


def node_sum(amount: Fraction, cards: int, start_ms: int, end_ms: int) -> int:
    """What the cards of a node cost in a rating interval, each rounded down by itself."""
    parts = (hourly_of_card(amount, i, cards, start_ms, end_ms) for i in range(cards))
    return sum(whole_micros(part * (end_ms - start_ms) / MS_PER_HOUR) for part in parts)


@pytest.mark.parametrize("cards", range(1, 17))
@given(amount=st.fractions(0, 10**9, max_denominator=10**6), cut=st.sampled_from([0, 15, 30, 45]))
def test_a_nodes_price_is_shared_among_its_cards_to_the_micro(cards: int, amount: Fraction, cut: int) -> None:
    """R1 (OpenCost specification, Appendix A): a node's parts sum to its price; also where midnight cuts the hour."""
    start_ms, cut_ms, end_ms = 7 * HOUR_MS, 7 * HOUR_MS + cut * 60_000, 8 * HOUR_MS
    whole = node_sum(amount, cards, start_ms, end_ms)
    assert whole == whole_micros(amount)
    if cut:
        assert node_sum(amount, cards, start_ms, cut_ms) + node_sum(amount, cards, cut_ms, end_ms) == whole


def test_a_node_of_35_with_three_cards() -> None:
    """R1's figure: 35 a node sums exactly to 35; no card differs from another by more than a micro."""
    cards = ("GPU-a", "GPU-b", "GPU-c")
    book = PriceBook([price("35", model=None, unit=NODE_HOUR)])
    rates = [book.list_rate(asked(place=Place(cards=cards), card=card)) for card in cards]
    assert [rate and int(rate.hourly) for rate in rates] == [11_666_666, 11_666_667, 11_666_667]
    assert {(rate.unit, rate.unit_amount, rate.units) for rate in rates if rate} == {
        (NODE_HOUR, 35_000_000, Fraction(1, 3))
    }


def test_a_nodes_price_is_for_cards_of_a_node_only() -> None:
    """What is not on a known node cannot have its part of one."""
    book = PriceBook([price("35", model=None, unit=NODE_HOUR)])
    assert book.list_rate(asked()) is None
    assert book.list_rate(asked(place=Place(cards=("GPU-a",)), card="GPU-b")) is None


MONTHS = st.builds("{:04d}-{:02d}".format, st.integers(1990, 2060), st.integers(1, 12))
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia")


@given(month=MONTHS, timezone=st.sampled_from(ZONES), amount=st.fractions(0, 10**12, max_denominator=10**6))
def test_a_months_price_sums_exactly_over_its_real_hours(month: str, timezone: str, amount: Fraction) -> None:
    """Months of 28 to 31 days, with days of 23, 24, 25 and other hours, and midnights inside UTC hours."""
    start_ms, end_ms = month_span_ms(month, timezone)
    total = 0
    for hour in range(start_ms // HOUR_MS, -(-end_ms // HOUR_MS)):
        for each in rating_intervals(hour, timezone):
            if each.month == month:
                span = (hour * HOUR_MS + each.start, hour * HOUR_MS + each.end)
                part = hourly_of_month(amount, *span, timezone)
                total += whole_micros(part * (each.end - each.start) / MS_PER_HOUR)
    assert total == whole_micros(amount)


def test_an_hour_of_a_summer_times_month() -> None:
    """October 2026 in Berlin has 745 hours, March 743; a price of one a real hour says one."""
    for month, hours in (("2026-10", 745), ("2026-03", 743), ("2026-11", 720)):
        start_ms, _ = month_span_ms(month, "Europe/Berlin")
        book = PriceBook([price(str(hours), unit=GPU_MONTH)], timezone="Europe/Berlin")
        assert hourly(book.list_rate(asked(start_ms=start_ms, end_ms=start_ms + HOUR_MS))) == 1


KOKU = (("2h of 4g", 2, 4), ("6h of 1g", 6, 1), ("2h of 2g", 2, 2))


@pytest.mark.parametrize(
    ("amount", "month", "hours", "wanted"),
    [
        ("2016", "2026-02", 24, ["3.428571", "2.571428", "1.714285"]),
        ("1000", "2026-06", 24, ["1.587301", "1.190476", "0.793650"]),
    ],
)
def test_mig_slices_of_a_months_price(amount: str, month: str, hours: int, wanted: list[str]) -> None:
    """R2 and R4 (Koku, mig-gpu-support.md), rounded down: what is left of the day's 72 (33.33) is the platform's."""
    start_ms, _ = month_span_ms(month, "UTC")
    book = PriceBook([price(amount, unit=GPU_MONTH)])
    rate = book.list_rate(asked(start_ms=start_ms, end_ms=start_ms + HOUR_MS))
    assert rate is not None
    starts = range(start_ms, start_ms + hours * HOUR_MS, HOUR_MS)
    rates = (book.list_rate(asked(start_ms=at_ms, end_ms=at_ms + HOUR_MS)) for at_ms in starts)
    day = sum(int(found.hourly) for found in rates if found)
    assert day == whole_micros(micros(amount) * hours * HOUR_MS / (month_span_ms(month, "UTC")[1] - start_ms))
    exact = micros(amount) / (month_span_ms(month, "UTC")[1] - start_ms) * HOUR_MS
    assert [format_micros(whole_micros(exact * count * slices / 7)) for _, count, slices in KOKU] == wanted


def test_a_days_price_of_a_slice() -> None:
    """R3 (Koku, scenario 1): 70 a day, 4g of seven for 24 h: 40, and 30 idle."""
    rate = PriceBook([price("2.916666666666")]).list_rate(asked())
    assert rate is not None
    day = round(rate.hourly * 24)
    assert (day, round(rate.hourly * 24 * 4 / 7)) == (70_000_000, 40_000_000)
