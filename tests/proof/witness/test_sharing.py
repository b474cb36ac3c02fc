"""Who pays for a device of four shares under `active`, worked out by hand: a card at a micro a millisecond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tests.proof.witness.lives import Owner
from tests.proof.witness.reckoning import accounts
from tests.proof.witness.sharing import divided, is_active
from tests.proof.witness.tariff import HOUR_MS
from tests.proof.witness.testimony import Hold, Load, Policy, Power, Price, Prices, Told

GPU, MODEL = "GPU-1", "NVIDIA H100 80GB HBM3"
NOON = 500_000 * HOUR_MS
QUARTER = Fraction(1, 4)


def hold(pod: str, share: int, begin_s: int, end_s: int, **fields: Any) -> Hold:
    plain: dict[str, Any] = {
        "account": f"cc-{pod}", "namespace": "red", "pod": pod, "container": "main", "gpu": GPU, "model": MODEL,
        "device": GPU, "share": share, "part": QUARTER,
        "from_ms": NOON + begin_s * 1000, "until_ms": NOON + end_s * 1000,
    }  # fmt: skip
    return Hold(**(plain | fields))


def told(found: list[Hold]) -> list[tuple[str, int, int, Fraction]]:
    """Pod, seconds, part of the card."""
    return [(each.pod, (each.from_ms - NOON) // 1000, (each.until_ms - NOON) // 1000, each.part) for each in found]


def nobody(*_: object) -> Iterator[tuple[int, int, Owner]]:
    return iter(())


def test_who_is_alone_pays_for_all_of_it_and_two_for_half_each() -> None:
    """`a` from 0 to 10, `b` from 4 to 6: a has the card, a half, the card again; from 10 on nobody does."""
    assert told(divided([hold("a", 0, 0, 10), hold("b", 3, 4, 6)])) == [
        ("a", 0, 4, Fraction(1)),
        ("a", 4, 6, Fraction(1, 2)),
        ("b", 4, 6, Fraction(1, 2)),
        ("a", 6, 10, Fraction(1)),
    ]


def test_it_goes_by_shares_and_not_by_holders() -> None:
    """`a` holds two of three, and another device is no matter of theirs."""
    other = hold("c", 0, 0, 10, device="GPU-2", gpu="GPU-2")
    found = divided([hold("a", 0, 0, 10), hold("a", 1, 0, 10), hold("b", 2, 0, 10), other])
    assert {(each.pod, each.part) for each in found} == {("a", Fraction(1, 3)), ("b", Fraction(1, 3)), ("c", 1)}


def test_one_who_comes_as_another_goes_cuts_nothing() -> None:
    """Two are there all along; and in the second that both held one slot it is one share."""
    holds = [hold("a", 0, 0, 10), hold("b", 1, 0, 5), hold("c", 2, 5, 10), hold("d", 0, 9, 10)]
    assert told(divided(holds)) == [
        ("a", 0, 10, Fraction(1, 2)), ("b", 0, 5, Fraction(1, 2)), ("c", 5, 10, Fraction(1, 2)),
        ("d", 9, 10, Fraction(1, 2)),
    ]  # fmt: skip


def test_shares_of_a_slice_carry_the_slice() -> None:
    sevenths = Fraction(3, 7)
    (found,) = divided([hold("a", 0, 0, 10, whole=sevenths, part=sevenths / 4, profile="3g.40gb")])
    assert (found.part, found.drawn) == (sevenths, sevenths / 4)


def test_money_of_those_who_pay_for_each_other() -> None:
    """a: 4 s alone, 2 s halved; b: 2 s halved, 4 s alone. What nobody held is nobody's."""
    prices = Prices(at_ms=NOON, prices=(Price(model=MODEL, micros=HOUR_MS),))
    found = accounts(divided([hold("a", 0, 0, 6), hold("b", 1, 4, 10)]), [prices], nobody, NOON, NOON + 20_000)
    assert {name: (each.amount_micros, each.gpu_s) for name, each in found.items()} == {
        "cc-a": (5_000, 5), "cc-b": (5_000, 5),
    }  # fmt: skip


def test_what_a_card_draws_goes_by_what_is_offered() -> None:
    """The node knows nothing of a policy: `a` is alone, works half of the card, and draws a quarter of the rest."""
    works = Load(at_ms=NOON, device=GPU, pid=1, namespace="red", pod="a", container="main", sm_percent=50)
    happened: list[Told] = [Power(at_ms=NOON, gpu=GPU, watts=80), works]
    (found,) = accounts(divided([hold("a", 0, 0, 10)]), happened, nobody, NOON, NOON + 10_000).values()
    assert (found.gpu_s, found.joules) == (10, 80 * 10 * (Fraction(1, 2) + Fraction(1, 2) / 4))


def test_the_policy_that_was_told_last() -> None:
    active = Policy(at_ms=NOON, sharing="active")
    assert [is_active(each) for each in ([], [active], [active, replace(active, sharing="configured")])] == [
        False, True, False,
    ]  # fmt: skip
