"""What users of other systems complain of (§4 of the cost model cases), and defects found in their source: not here.

E: OpenCost's sources of error. The cases with numbers to reproduce are in test_published_cases.py, which also says
where those are shown that are missing here.
"""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.costs import Part, grouped
from chargeback.core.hours import HOUR_MS, local_day, month_span_ms, rating_intervals
from chargeback.core.months.idle_sharing import Held, share_out, weights
from chargeback.core.node_hour import Holding
from chargeback.core.owners.owners import Owner
from chargeback.core.policy import Policy
from chargeback.core.prices.book import GPU_HOUR, GPU_MONTH, Price, PriceBook, TierFactor
from chargeback.core.totals import total_of
from chargeback.files.prices import PriceFileError, parse_prices
from tests.chargeback.core.published_cards import (
    HOUR,
    MICROS,
    MODEL,
    book,
    by_account,
    card,
    gpu_hours,
    held,
    rate,
    slice_of,
)


def test_four_quarters_are_a_whole_card() -> None:
    """§4.1, opencost#3828, HAMi#3073, E1: 4 × 25 % × 1 h = 1 GPU-h; a 1g slice never pays a whole card."""
    lines = rate([card(shares=4)], [held(share=n) for n in range(4)])
    assert gpu_hours(lines) == 1
    assert {gpu_hours([line]) for line in lines} == {Fraction(1, 4)}
    slice_ = slice_of(1)
    [mine, _] = rate([card(mig=True)], [held(slice_.uuid)], instances=[slice_], prices=book("7"))
    assert (mine.amount_micros, gpu_hours([mine])) == (1_000_000, Fraction(1, 7))


@given(
    st.lists(st.integers(0, 3), max_size=4, unique=True), st.integers(1, 5), st.sampled_from(["1", "2.5", "0.000007"])
)
def test_a_nodes_charges_are_its_cards_price_every_hour(shares: list[int], cards: int, price: str) -> None:
    """§4.3, opencost#2901; §4.8, kubecost#1978: capacity is the cards that were seen, and all is accounted for."""
    lines = rate(
        [card(f"GPU-{n}", shares=4) for n in range(cards)],
        [held("GPU-0", share=n) for n in shares],
        prices=book(price),
    )
    assert sum(by_account(lines).values()) == Fraction(price) * MICROS * cards
    assert gpu_hours(lines) == cards


def test_a_stated_price_is_never_normalised() -> None:
    """§4.5, §4.6, opencost#2029, #3160: the price on a line is the book's, alike on all cards, and it says which."""
    lines = rate([card(f"GPU-{n}") for n in range(8)], [held(f"GPU-{n}") for n in range(8)], prices=book("2.0300001"))
    assert {line.unit_price for line in lines} == {Fraction("2.0300001") * MICROS}
    assert {line.amount_micros for line in lines} == {2_030_000}
    assert {(line.unit, line.price_version) for line in lines} == {("gpu-hour", 0)}


def test_no_card_no_charge() -> None:
    """§4.9, kubecost#1389: GPU cost on a cluster without GPUs."""
    assert rate([], []) == []


def test_more_than_there_is_is_shown_and_not_clamped() -> None:
    """§4.11, E9, opencost#3359, PR#3393, kubecost#1965, koku defect 4: the impossible stands in the open."""
    sums = by_account(rate([card()], [held(), held(namespace="b")]))
    assert sums == {"cc-a": MICROS, "cc-b": MICROS, "platform:difference": -MICROS}


def test_a_pod_made_again_does_not_pay_for_the_gap() -> None:
    """§4.13, E5, opencost#991: the same name from 0 to 10 and from 40 to 60 minutes is half an hour."""
    minute = HOUR_MS // 60
    lines = rate([card()], [held(end=10 * minute, pod="p"), held(start=40 * minute, pod="p")])
    assert by_account(lines) == {"cc-a": 500_000, "platform:idle": 500_000}


def test_a_quarter_of_an_hour_is_one_and_a_day_is_24_hours() -> None:
    """§4.14, helm-chart#232, opencost#3164: 15 minutes came out as 10, 24 h as 23.91667."""
    quarter = rate([card()], [held(start=1, end=1 + HOUR_MS // 4)])
    assert gpu_hours([line for line in quarter if line.namespace]) == Fraction(1, 4)
    day = [line for number in range(24) for line in rate([card()], [held()], hour=HOUR + number)]
    assert (gpu_hours(day), by_account(day)) == (24, {"cc-a": 24 * MICROS})


@given(st.sets(st.integers(1, HOUR_MS - 1), max_size=20))
def test_how_often_it_was_looked_at_changes_no_cost(cuts: set[int]) -> None:
    """§4.16, E14, opencost#2297: a run cut at any instants costs what it costs uncut."""
    borders = [0, *sorted(cuts), HOUR_MS]
    pieces = [held(start=a, end=b) for a, b in itertools.pairwise(borders)]
    assert by_account(rate([card()], pieces, prices=book("3.333333"))) == {"cc-a": 3_333_333}


def test_an_outage_is_a_gap_and_not_a_smaller_cluster() -> None:
    """§4.17, E14, opencost PR#1962: capacity fell from 2.0 to 1.333 with the exporter; here the rest is a gap."""
    lines = rate([card("GPU-1"), card("GPU-2", until=HOUR_MS // 3)])
    assert gpu_hours(lines) == 2
    assert by_account(lines) == {"platform:idle": 1_333_333, "platform:gap": 666_667}


def test_a_discount_is_one_of_the_card() -> None:
    """E4: a node's discount lowered CPU and RAM only. Here a tier's factor lowers what a card's holder pays."""
    spot = [Owner(namespace="a", from_ms=0, cost_center="cc-a", tier="spot", version=1)]
    prices = book("2", factors=[TierFactor(tier="spot", factor=Fraction("0.3"))])
    assert by_account(rate([card()], [held()], prices=prices, owners=spot)) == {
        "cc-a": 600_000, "platform:discount": 1_400_000,
    }  # fmt: skip


def test_names_that_join_to_the_same_text_are_not_one() -> None:
    """E13: aggregators were keyed by label values without a delimiter; §4.28: the cluster is in the key."""
    pods = [("ab", "c"), ("a", "bc")]
    lines = [
        line
        for cluster in ("one", "two")
        for namespace, pod in pods
        for line in rate([card()], [held(namespace=namespace, pod=pod)], cluster=cluster)
    ]
    assert len({line.line_id for line in lines}) == 4


def test_a_price_changes_in_the_middle_of_a_month() -> None:
    """§4.22, kubecost#2071, koku defect 5: there the list of the month's first day held for all of it."""
    change = HOUR * HOUR_MS
    prices = PriceBook(
        [
            Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(1 * MICROS), until_ms=change),
            Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(2 * MICROS), from_ms=change),
        ]
    )
    costs = [by_account(rate([card()], [held()], prices=prices, hour=HOUR + n)) for n in (-1, 0)]
    assert costs == [{"cc-a": 1 * MICROS}, {"cc-a": 2 * MICROS}]


@pytest.mark.parametrize(("month", "hours"), [("2026-10", 745), ("2026-03", 743), ("2026-02", 672)])
def test_months_are_those_of_one_time_zone_and_sum_exactly(month: str, hours: int) -> None:
    """§4.23, kubecost#816, openmeter#3313, killbill#1966: October in Berlin has 745 hours, and a month's price is
    that price, to the micro."""
    start_ms, end_ms = month_span_ms(month, "Europe/Berlin")
    assert (end_ms - start_ms) // HOUR_MS == hours
    amount = Fraction("1234.567891") * MICROS
    prices = PriceBook([Price(model=MODEL, unit=GPU_MONTH, amount=amount)], timezone="Europe/Berlin")
    policy = Policy(timezone="Europe/Berlin")
    lines = [
        line
        for hour in range(start_ms // HOUR_MS, end_ms // HOUR_MS)
        for line in rate([card()], [held()], prices=prices, policy=policy, hour=hour)
    ]
    assert {line.month for line in lines} == {month}
    assert by_account(lines) == {"cc-a": amount}


@given(st.integers(0, 500_000), st.sampled_from(["UTC", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe"]))
def test_an_hour_lies_in_its_local_days(hour: int, timezone: str) -> None:
    """§4.23: whatever the offset, the parts of an hour tile it, each in the local day that it lies in."""
    parts = rating_intervals(hour, timezone)
    assert [parts[0].start, *(part.end for part in parts)] == [*(part.start for part in parts), HOUR_MS]
    for part in parts:
        for at in (part.start, part.end - 1):
            assert part.day == local_day(hour * HOUR_MS + at, timezone).isoformat()


def test_a_price_in_another_currency_is_no_price() -> None:
    """§4.24, kubecost docs PR#923: a price file without a currency, or with floats for prices, is refused whole."""
    with pytest.raises(PriceFileError, match="currency"):
        parse_prices(f'prices:\n  - {{model: {MODEL}, price: "1", unit: gpu-hour}}', "prices.yaml")
    with pytest.raises(PriceFileError, match="1e3"):
        parse_prices(f"currency: USD\nprices:\n  - {{model: {MODEL}, price: 1e3, unit: gpu-hour}}", "prices.yaml")


def test_days_sum_to_the_month_and_labels_to_the_whole() -> None:
    """§4.20, §4.25, opencost#152, koku#498: every total is in one group of any kind, and groups add up exactly."""
    lines = [
        line
        for number in range(72)
        for line in rate(
            [card(shares=3)], [held(share=n, namespace="abc"[n]) for n in range(number % 4)], hour=HOUR + number
        )
    ]
    parts = [Part(total=total_of(line), day=line.day) for line in lines]
    for groups in (
        (),
        ("day",),
        ("namespace",),
        ("team",),
        ("label:project",),
        ("cost-center", "day"),
        ("kind", "sku"),
    ):
        found = grouped(parts, groups)
        assert sum(row.amount_micros or 0 for row in found) == 72 * MICROS
        assert sum(row.gpu_hours for row in found) == 72


def test_a_dedicated_card_weighs_as_much_as_it_is() -> None:
    """koku defect 1: a dedicated user's idle share was weighed as one slice; here both hold a card's worth."""
    own = [
        Held(cost_center="whole", gpu_ms=Fraction(HOUR_MS), list_micros=Fraction(7 * MICROS)),
        Held(cost_center="slice", gpu_ms=Fraction(HOUR_MS, 7), list_micros=Fraction(1 * MICROS)),
    ]
    shared = {each.account: each.micros for each in share_out("lab", MODEL, 8 * MICROS, weights("list", own))}
    assert shared == {"whole": 7 * MICROS, "slice": 1 * MICROS, "platform:idle": -8 * MICROS}


def test_a_node_that_mixes_whole_and_sliced_cards_charges_what_exists() -> None:
    """koku defect 2: more GPU-hours were charged than there were; defect 4: devices were taken from slices."""
    slices = [slice_of(1, n, "GPU-2") for n in range(7)]
    cards = [card("GPU-1"), card("GPU-2", mig=True)]
    lines = rate(
        cards, [held("GPU-1"), *(held(each.uuid, "b") for each in slices)], instances=slices, prices=book("7")
    )
    assert gpu_hours(lines) == 2
    assert by_account(lines) == {"cc-a": 7 * MICROS, "cc-b": 7 * MICROS}


def test_a_slice_may_be_priced_by_its_memory() -> None:
    """koku defect 7: on an A100 a 3g.20gb has 3/7 of the compute and 4/8 of the memory; which counts is policy."""
    slice_ = slice_of(3)
    for weight, exact in (
        (Fraction(1), Fraction(3, 7)),
        (Fraction(0), Fraction(1, 2)),
        (Fraction(1, 2), Fraction(13, 28)),
    ):
        lines = rate([card(mig=True)], [held(slice_.uuid)], instances=[slice_], policy=Policy(mig_weight=weight))
        assert gpu_hours([line for line in lines if line.namespace]) == exact
        assert sum(by_account(lines).values()) == MICROS


def test_missing_use_is_not_zero_use() -> None:
    """E11: NaN became 0 on output. Where nobody can say how busy it was, it is billed by allocation, and marked."""
    unknown: list[Holding] = [held(busy_ms=None)]
    lines = rate([card()], unknown, policy=Policy(basis="usage"))
    assert by_account(lines) == {"cc-a": MICROS}
    [line] = [line for line in lines if line.namespace]
    assert (line.busy_ms, line.usage_micros) == (None, None)
    assert "usage unknown" in line.evidence
