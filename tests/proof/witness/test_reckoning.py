"""What a witness makes of what it saw: money, busy time and energy, by the worked examples of docs/."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tests.proof.witness.courses import busy_ms, courses, energy_mj
from tests.proof.witness.lives import Owner
from tests.proof.witness.reckoning import accounts
from tests.proof.witness.tariff import HOUR_MS, Tariff, Tariffs, telescoped
from tests.proof.witness.testimony import Hold, Load, Plan, Power, Price, Prices, Told

GPU, MODEL = "GPU-1", "NVIDIA H100 80GB HBM3"
NOON = 500_000 * HOUR_MS


def hold(**fields: Any) -> Hold:
    plain: dict[str, Any] = {
        "account": "cc-red", "namespace": "red", "pod": "p", "container": "main", "gpu": GPU, "model": MODEL,
        "device": GPU, "from_ms": NOON, "until_ms": NOON + 10_000,
    }  # fmt: skip
    return Hold(**(plain | fields))


def slices(count: int, **fields: Any) -> list[Hold]:
    """So many of seven slices of a card, each held by a pod of its own."""
    seventh = Fraction(1, 7)
    parts: dict[str, Any] = {"part": seventh, "whole": seventh, "profile": "1g.10gb", **fields}
    return [hold(device=f"MIG-{number}", pod=f"p{number}", **parts) for number in range(count)]


def load(device: str, pod: str, percent: int | None, at_ms: int = NOON) -> Load:
    return Load(at_ms=at_ms, device=device, pid=1, namespace="red", pod=pod, container="main", sm_percent=percent)


def test_energy_goes_to_who_works_and_the_rest_by_what_is_held() -> None:
    """Two of seven slices, one busy half of the time: 1/14 is for that work, of 13/14 each has 1/7."""
    told: list[Told] = [Power(at_ms=NOON, gpu=GPU, watts=98), load("MIG-0", "p0", 50)]
    works, idles = (energy_mj(each, NOON, NOON + 1000) for each in courses(slices(2), told))
    assert works == 98_000 * (Fraction(1, 14) + Fraction(13, 14) / 7)
    assert idles == 98_000 * Fraction(13, 14) / 7


def test_energy_goes_by_what_is_held_where_the_driver_cannot_tell() -> None:
    told: list[Told] = [Power(at_ms=NOON, gpu=GPU, watts=98), load("MIG-0", "p0", None)]
    found = [energy_mj(each, NOON, NOON + 1000) for each in courses(slices(2), told)]
    assert found == [14_000, 14_000]


def test_busy_time_of_a_load_that_begins_and_ends() -> None:
    told: list[Told] = [load(GPU, "p", 40, NOON + 2000), replace(load(GPU, "p", 40, NOON + 7000), over=True)]
    (course,) = courses([hold()], told)
    assert busy_ms(course, NOON, NOON + 10_000) == 2000
    assert busy_ms(course, NOON + 6000, NOON + 10_000) == 400


def test_two_pods_on_one_device_are_told_apart_by_nobody() -> None:
    shared = [hold(pod="p", share=0, part=Fraction(1, 2)), hold(pod="q", share=1, part=Fraction(1, 2))]
    assert [each.told for course in courses(shared, [load(GPU, "p", 40)]) for each in course] == [False, False]


def book(*prices: Price, **fields: Any) -> Prices:
    return Prices(at_ms=NOON, prices=prices, **fields)


def test_which_price_applies() -> None:
    """Profile before tier before neither; a tier's factor where the price names none; then the discount."""
    tariff = Tariff(
        book(
            Price(model=MODEL, micros=4_000_000),
            Price(model=MODEL, micros=3_000_000, tier="batch"),
            Price(model=MODEL, micros=400_000, profile="1g.10gb"),
            factors=(("batch", Fraction(1, 2)),),
            discounts=(("cc-blue", Fraction(9, 10)),),
        )
    )
    (slice_,) = slices(1, tier="batch", account="cc-blue")
    for held, listed, amount in (
        (hold(), 4_000_000, 4_000_000),
        (hold(tier="batch"), 4_000_000, 3_000_000),
        (slice_, Fraction(4_000_000, 7), 180_000),
        (hold(model="other"), None, None),
    ):
        found = tariff.of(held)
        assert (found and found.listed, found and found.amount) == (listed, amount)


def test_a_price_holds_from_its_hour() -> None:
    cheap, dear = (
        book(Price(model=MODEL, micros=1)),
        replace(book(Price(model=MODEL, micros=2)), at_ms=NOON + HOUR_MS + 5),
    )
    tariffs = Tariffs([dear, cheap])
    assert [tariffs.at(NOON + ms).card(MODEL) for ms in (-HOUR_MS, 0, HOUR_MS - 1, HOUR_MS)] == [1, 1, 1, 2]


def test_pieces_of_an_hour_are_the_hour() -> None:
    """docs/arithmetic.md, three owners of a card at 1.000000: 333,333 and 333,333 and 333,334."""
    third = HOUR_MS // 3
    assert [telescoped(Fraction(10**6), third * n, third) for n in range(3)] == [333_333, 333_333, 333_334]


def owners_over(namespace: str, from_ms: int, until_ms: int) -> Iterator[tuple[int, int, Owner]]:
    yield from_ms, until_ms, Owner(from_ms=0, account=f"cc-{namespace}", tier=None)


def test_a_guarantee_is_paid_for_used_or_not() -> None:
    """docs/plans.md: eight guaranteed at 2.00, twelve held: eight reserved, four burst at 3.00; four more unused."""
    told: list[Told] = [
        book(Price(model=MODEL, micros=3_000_000), Price(model=MODEL, micros=2_000_000, term="reserved")),
        Plan(at_ms=NOON, namespace="red", guaranteed=8),
        Plan(at_ms=NOON, namespace="blue", guaranteed=4),
    ]
    hour = {"from_ms": NOON, "until_ms": NOON + HOUR_MS}
    holds = [hold(pod=f"p{number}", gpu=f"GPU-{number}", device=f"GPU-{number}", **hour) for number in range(12)]
    found = accounts(holds, told, owners_over, NOON, NOON + HOUR_MS)
    assert found["cc-red"].amount_micros == 8 * 2_000_000 + 4 * 3_000_000
    assert found["cc-blue"].amount_micros == 4 * 2_000_000
    assert found["cc-red"].gpu_s == 12 * 3600
