"""What other systems publish, or get wrong, with its numbers: here it comes out right.

What this product does not have, and so cannot get wrong:
- CPUs and memory beside GPUs (R1, R17 as they stand: a node's price here is its cards', see below);
- graduated and volume tariffs (R10): a price is a number, by place, profile, tier and date;
- taxes and cents (R11): amounts are micros; a target that wants two decimals gets a rounding row.

Cases shown elsewhere: R8 and prices by place, pool and contract in prices/test_book.py; idle sharing to its end in
test_idle_sharing.py; R9 in test_corrections.py; R15 and §4.36 in test_budgets.py; R16 in quota/ and in the tests of
the alert rules; §4.4 in tests/nvml; §4.15 and E7 (bound, not yet running) in test_second_meter.py; §4.18 (an hour at
many times yesterday's cost) in months/test_checks.py; §4.19 and E10 in test_lookalikes.py and test_owners.py; §4.21
(rows and hashes of exports) and §4.26, §4.27 in the tests of the store and in tests/load; §4.29 in
tests/chargeback/test_exactly_once.py; §4.32, §4.33 in quota/. Complaints and defects without numbers of their own:
test_published_defects.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import pytest

from chargeback.core.hours import HOUR_MS, parse_hour
from chargeback.core.lines import Line
from chargeback.core.months.idle_sharing import Held, share_out, weights
from chargeback.core.owners.owners import Owner
from chargeback.core.policy import Policy
from chargeback.core.prices.book import GPU_HOUR, GPU_MONTH, INSTANCE_HOUR, Price, PriceBook, TierFactor
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

FEBRUARY_FIRST = parse_hour("2026-02-01T00Z")
# Who holds which slice in the hours of a day, as Koku's document has it: (hours, compute slices, namespace).
KOKU = ((2, 4, "a"), (6, 1, "b"), (2, 2, "c"))


def koku_day(month_price: int, tenants: Sequence[tuple[int, int, str]], first_hour: int) -> list[Line]:
    """A day of one card in MIG mode at a price for the month."""
    prices = PriceBook([Price(model=MODEL, unit=GPU_MONTH, amount=Fraction(month_price * MICROS))])
    lines: list[Line] = []
    for number in range(24):
        slices = [(slice_of(size, n), name) for n, (hours, size, name) in enumerate(tenants) if number < hours]
        lines += rate(
            [card(mig=True)],
            [held(each.uuid, name) for each, name in slices],
            instances=[each for each, _ in slices],
            prices=prices,
            hour=first_hour + number,
        )
    return lines


def near(micros: int, exact: str, parts: int) -> bool:
    """What slots cost is rounded down, once a part: the rest is the platform's."""
    return 0 <= Fraction(exact) * MICROS - micros < parts + 1


def test_r1_a_nodes_price_is_its_cards_to_the_micro() -> None:
    """opencost `spec/opencost-specv01.md` App. A: the parts of a node's price sum to it exactly (35 there)."""
    prices = PriceBook([Price(model=None, unit="node-hour", amount=Fraction(35 * MICROS))])
    for count in (1, 2, 3, 7, 8):
        lines = rate([card(f"GPU-{n}") for n in range(count)], [held("GPU-0")], prices=prices)
        assert sum(by_account(lines).values()) == 35 * MICROS


def test_r2_slices_of_a_month_price_and_what_is_left() -> None:
    """koku `mig-gpu-support.md`: 2016 a month of 28 days; 3.428571, 2.571429, 1.714286, idle 64.285714, sum 72."""
    sums = by_account(koku_day(2016, KOKU, FEBRUARY_FIRST))
    assert near(sums["cc-a"], "3.428571", 2)
    assert near(sums["cc-b"], "2.571429", 6)
    assert near(sums["cc-c"], "1.714286", 2)
    assert sum(sums.values()) == 72 * MICROS
    assert sums["platform:idle"] - Fraction("64.285714") * MICROS < 12


def test_r3_one_slice_of_four_for_a_day() -> None:
    """koku, scenario 1: 70 a day, one 4g for 24 h: 40.00 and 30.00 idle."""
    sums = by_account(koku_day(70 * 30, [(24, 4, "a")], parse_hour("2026-04-05T00Z")))
    assert near(sums["cc-a"], "40", 24)
    assert sum(sums.values()) == 70 * MICROS


def test_r4_what_is_idle_is_shared_by_slice_time() -> None:
    """koku, scenario 2: 1000 in 30 days; 1.587302, 1.190476, 0.793651; idle 29.761905, of which the tenants get
    13.227513, 9.920635, 6.613757; in all 33.333333."""
    lines = koku_day(1000, KOKU, parse_hour("2026-04-05T00Z"))
    sums = by_account(lines)
    assert near(sums["cc-a"], "1.587302", 2)
    assert near(sums["cc-b"], "1.190476", 6)
    assert near(sums["cc-c"], "0.793651", 2)
    whole = sum(sums.values())
    assert near(whole, "33.333334", 1)
    own = [
        Held(
            cost_center=f"cc-{name}",
            gpu_ms=gpu_hours([line for line in lines if line.namespace == name]) * HOUR_MS,
            list_micros=Fraction(hours * size),
        )
        for hours, size, name in KOKU
    ]
    shared = {each.account: each.micros for each in share_out("lab", MODEL, 29_761_905, weights("list", own))}
    assert shared == {
        "cc-a": 13_227_513, "cc-b": 9_920_635, "cc-c": 6_613_757, "platform:idle": -29_761_905,
    }  # fmt: skip


def test_r5_a_model_nobody_has_heard_of() -> None:
    """koku `GPU_MAX_SLICES_BY_MODEL`: B300, a 1g slice of seven at 7: 1.00 by what NVML says; unpriced without a
    price; never 7.00. Their defect 3."""
    gpu, slice_ = card(model="NVIDIA B300", mig=True), slice_of(1)
    prices = book("3", Price(model="NVIDIA B300", unit=GPU_HOUR, amount=Fraction(7 * MICROS)))
    priced = rate([gpu], [held(slice_.uuid)], instances=[slice_], prices=prices)
    assert by_account(priced) == {"cc-a": 1 * MICROS, "platform:idle": 6 * MICROS}
    unpriced = rate([gpu], [held(slice_.uuid)], instances=[slice_], prices=book("3"))
    assert {line.account for line in unpriced} == {"platform:unpriced"}
    assert {(line.list_micros, line.amount_micros) for line in unpriced} == {(None, None)}
    assert gpu_hours(unpriced) == 1


def test_r6_decimals_are_exact() -> None:
    """cloudkitty `test_hashmap.py::test_process_services`: 1.337 + 1.42, once and twice: 2.757 and 5.514 exactly."""
    prices = book("1.337", Price(model="other", unit=GPU_HOUR, amount=Fraction("1.42") * MICROS))
    cards = [card("GPU-1"), card("GPU-2", model="other")]
    once = rate(cards, [held("GPU-1"), held("GPU-2")], prices=prices)
    again = rate(cards, [held("GPU-1"), held("GPU-2")], prices=prices, hour=HOUR + 1)
    assert by_account(once) == {"cc-a": 2_757_000}
    assert by_account([*once, *again]) == {"cc-a": 5_514_000}


def test_r7_fields_factors_and_what_matches_nothing() -> None:
    """cloudkitty `test_process_fields`: 1.337; two at 1.42 are 2.84; 1.337 at a rate of 1.10 is 1.4707; what no price
    matches is zero there, and unpriced here."""
    prices = book(
        "1.337",
        Price(model="tiny", unit=GPU_HOUR, amount=Fraction("1.42") * MICROS),
        factors=[TierFactor(tier="gold", factor=Fraction("1.10"))],
    )
    golden = [Owner(namespace="a", from_ms=0, cost_center="cc-a", tier="gold", version=1)]
    assert by_account(rate([card()], [held()], prices=prices)) == {"cc-a": 1_337_000}
    tiny = [card(f"GPU-{n}", model="tiny") for n in range(2)]
    assert by_account(rate(tiny, [held("GPU-0"), held("GPU-1")], prices=prices)) == {"cc-a": 2_840_000}
    dearer = by_account(rate([card()], [held()], prices=prices, owners=golden))
    assert dearer == {"cc-a": 1_470_700, "platform:discount": 1_337_000 - 1_470_700}
    unknown = rate([card(model="else")], [held()], prices=prices)
    assert [(line.account, line.amount_micros) for line in unknown] == [("platform:unpriced", None)]


def test_r8_which_price_applies_is_no_matter_of_order() -> None:
    """cloudkitty `hashmap.rst`: where several match, precedence is stated: the narrower one, not the dearer one."""
    entries = [
        Price(model=MODEL, unit=GPU_HOUR, amount=Fraction(7 * MICROS)),
        Price(model=MODEL, unit=GPU_HOUR, tier="gold", amount=Fraction(9 * MICROS)),
        Price(model=MODEL, unit=INSTANCE_HOUR, profile="1g.10gb", amount=Fraction(2 * MICROS)),
        Price(model=MODEL, unit=INSTANCE_HOUR, profile="1g.10gb", tier="gold", amount=Fraction(3 * MICROS)),
    ]
    golden = [Owner(namespace="a", from_ms=0, cost_center="cc-a", tier="gold", version=1)]
    slices = [slice_of(1)]
    for order in itertools.permutations(entries):
        lines = rate(
            [card(mig=True)], [held(slices[0].uuid)], instances=slices, prices=PriceBook(order), owners=golden
        )
        assert by_account(lines)["cc-a"] == 3 * MICROS


def test_r12_both_bases_are_told_and_one_is_billed() -> None:
    """opencost#3900: 1 GPU, 1 h, 2.50, busy 11 %: 2.50 by allocation, 0.275 by usage, 2.225 held and unused; §4.2,
    E6."""
    busy = held(busy_ms=HOUR_MS * 11 // 100)
    by_allocation = rate([card()], [busy], prices=book("2.50"))
    by_usage = rate([card()], [busy], prices=book("2.50"), policy=Policy(basis="usage"))
    assert by_account(by_allocation) == {"cc-a": 2_500_000}
    assert by_account(by_usage) == {"cc-a": 275_000, "platform:discount": 2_225_000}
    for lines in (by_allocation, by_usage):
        mine = [line for line in lines if line.account == "cc-a"]
        assert sum(line.allocation_micros or 0 for line in mine) == 2_500_000
        assert sum(line.usage_micros or 0 for line in mine) == 275_000
        assert sum(line.list_micros or 0 for line in lines) == 2_500_000
    assert {(line.kind, line.list_micros, line.amount_micros) for line in by_usage} == {
        ("held", 275_000, 275_000), ("idle-held", 2_225_000, 0), ("discount", 0, 2_225_000),
    }  # fmt: skip


@pytest.mark.parametrize(("sharing", "each", "idle"), [("configured", 250_000, 500_000), ("active", 500_000, 0)])
def test_r13_two_of_four_shares(sharing: str, each: int, idle: int) -> None:
    """opencost `metrics.go:635`, ceems `k8s.go:387`: 0.25 + 0.25 + 0.50, or 0.50 + 0.50; never 1 + 1 nor 0 + 0;
    E2, E3."""
    holders = [held(share=0), held(namespace="b", share=3)]
    sums = by_account(rate([card(shares=4)], holders, policy=Policy(sharing=sharing)))
    assert {name: micros for name, micros in sums.items() if micros} == {
        "cc-a": each, "cc-b": each, **({"platform:idle": idle} if idle else {}),
    }  # fmt: skip


def test_r14_parts_of_a_run_over_midnight_sum_to_it() -> None:
    """xdmod `classes/DB/Aggregator.php:60`: 2 GPUs from 22 to 2: 4 + 4 GPU-h."""
    first = parse_hour("2026-02-03T22Z")
    cards = [card("GPU-1"), card("GPU-2")]
    lines = [
        line
        for hour in range(first, first + 4)
        for line in rate(cards, [held("GPU-1"), held("GPU-2", pod="other")], hour=hour)
    ]
    days = {day: gpu_hours([line for line in lines if line.day == day]) for day in ("2026-02-03", "2026-02-04")}
    assert days == {"2026-02-03": 4, "2026-02-04": 4}


def test_r18_idle_that_nobody_can_bear_stays() -> None:
    """opencost PR#883, §4.12: idle 27, no tenant cost: 27 stays on the platform's account, the total is the same."""
    nobody: list[Held] = []
    weightless = [Held(cost_center="cc-a", gpu_ms=Fraction(1), list_micros=Fraction(0))]
    for holders in (nobody, weightless):
        assert share_out("lab", MODEL, 27 * MICROS, weights("list", holders)) == []
