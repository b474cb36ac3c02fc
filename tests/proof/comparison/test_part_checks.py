"""One minute of a card in four shares under `active`: when two words on it are one, and which lines are wrong.

Red holds share 0 from second 5 to 15 (and went at 14.6), blue share 1 from 10 to 30. An hour costs 5.000001.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.proof.comparison.comparison import Comparison
from tests.proof.comparison.minute import BLUE, MODEL, RED, WHOLE, Row, add, at, compared, held, row
from tests.proof.witness.sharing import divided
from tests.proof.witness.testimony import Blind, Card, Policy, Price, Prices, Told

MICROS = 5_000_001
QUARTER, HALF, ALL = Fraction(1, 4), Fraction(1, 2), Fraction(1)
TOLD: tuple[Told, ...] = (
    Card(at_ms=at(-60), gpu=WHOLE, model=MODEL),
    Prices(at_ms=at(-60), prices=(Price(model=MODEL, micros=MICROS),)),
    Policy(at_ms=at(-60), sharing="active"),
)
HOLDS = (
    replace(RED, part=QUARTER, started_ms=at(5)),
    replace(BLUE, gpu=WHOLE, device=WHOLE, profile=None, share=1, part=QUARTER, whole=ALL, started_ms=at(10)),
)
RED_ALONE, RED_BESIDE, BLUE_BESIDE, BLUE_ALONE = 1, 2, 3, 4


def paid(who: str, begin: float, end: float, part: Fraction, had_s: float = 0) -> Row:
    """had_s: seconds of the card that he has paid for before, in the hour."""
    micros = price_of(had_s, had_s + float(part) * (end - begin))
    made = held(begin, end, who, "equal", shares="0" if who == "red" else "1")
    said = row(begin, end, "held", part=part)
    money = dict.fromkeys(("list_amount", "amount"), f"{micros / 1e6:.6f}")
    kept = {
        key: said[key] for key in ("gpu", "device", "profile", "gpu_ms_num", "quantity_ms_num", "ms_den", "gpu_hours")
    }
    return made | kept | money


def price_of(begin: float, end: float) -> int:
    """What the card costs from one second of the hour to another."""
    until = [Fraction(MICROS * round(second * 1_000_000), 3_600_000_000) // 1 for second in (begin, end)]
    return until[1] - until[0]


def good() -> list[Row]:
    rows = [
        row(0, 5, "unsold"),
        paid("red", 5, 10, ALL),
        paid("red", 10, 14.6, HALF, 5),
        paid("blue", 10, 14.6, HALF),
        paid("blue", 14.6, 30, ALL, 2.3),
        row(30, 60, "unsold"),
    ]
    return balanced(rows)


def balanced(rows: list[Row]) -> list[Row]:
    """What rounding leaves lies on the last line."""
    for each in rows:
        each["unit_price"] = "5.000001"
    add(rows[-1], price_of(0, 60) - sum(round(float(each["amount"]) * 1e6) for each in rows))
    return rows


def compare(rows: list[Row], told: Iterable[Told] = TOLD) -> Comparison:
    return compared(rows, *divided(HOLDS), told=tuple(told))


def test_two_who_agree() -> None:
    """Red went 0.4 s before the end of his last second: blue paid for all of the card so much sooner."""
    comparison = compare(good())
    assert comparison.differences == ()
    assert {account: each.gpu_s for account, each in comparison.witness.items()} == {
        "cc-red": Fraction(15, 2), "cc-blue": Fraction(35, 2),
    }  # fmt: skip
    assert {account: float(each.gpu_s) for account, each in comparison.product.items()} == {
        "cc-red": pytest.approx(7.3), "cc-blue": pytest.approx(17.7),
    }  # fmt: skip


def test_the_same_lines_are_wrong_where_shares_are_billed_as_configured() -> None:
    told = [each for each in TOLD if not isinstance(each, Policy)]
    comparison = compared(good(), *HOLDS, told=tuple(told))
    assert len([each for each in comparison.differences if each.kind == "part"]) == 4


def test_a_pod_that_no_agent_saw_may_be_on_any_card_of_its_model() -> None:
    """Red was alone on another card: the product guesses that he was on this one, and has him and blue share it."""
    blind = (*TOLD, Blind(at_ms=at(4), until_ms=at(16), why="the agent was killed"))
    rows = good()
    for each in rows[RED_ALONE], rows[RED_BESIDE]:
        each["evidence"] = "api"
    for model, kinds in ((MODEL, set()), ("NVIDIA A100-SXM4-80GB", {"device"})):
        elsewhere = replace(HOLDS[0], gpu="GPU-3", device="GPU-3", model=model)
        found = compared(rows, *divided([elsewhere, HOLDS[1]]), told=blind)
        assert {each.kind for each in found.differences} >= kinds
        assert bool(found.differences) == bool(kinds)


def as_configured(rows: list[Row]) -> None:
    """Each pays for a quarter, and the rest is unsold."""
    rows[1:5] = [
        paid("red", 5, 14.6, QUARTER),
        paid("blue", 10, 30, QUARTER),
        row(5, 10, "unsold", part=3 * QUARTER),
        row(10, 14.6, "unsold", part=HALF),
        row(14.6, 30, "unsold", part=3 * QUARTER),
    ]


def one_off(rows: list[Row]) -> None:
    """One of three each, where two are there."""
    third = Fraction(1, 3)
    rows[RED_BESIDE] = paid("red", 10, 14.6, third, 5)
    rows[BLUE_BESIDE] = paid("blue", 10, 14.6, third)
    rows[BLUE_ALONE] = paid("blue", 14.6, 30, ALL, 4.6 / 3)
    rows.insert(5, row(10, 14.6, "unsold", part=third))


def the_first_pays_on_alone(rows: list[Row]) -> None:
    rows[RED_BESIDE] = paid("red", 10, 14.6, 3 * QUARTER, 5)
    rows[BLUE_BESIDE] = paid("blue", 10, 14.6, QUARTER)
    rows[BLUE_ALONE] = paid("blue", 14.6, 30, ALL, 4.6 / 4)


def the_one_who_stays_pays_on_for_half(rows: list[Row]) -> None:
    rows[BLUE_ALONE] = paid("blue", 14.6, 30, HALF, 2.3)
    rows.insert(5, row(14.6, 30, "unsold", part=HALF))


def idle_beside_who_pays_for_all(rows: list[Row]) -> None:
    rows.insert(5, row(14.6, 30, "unsold", part=3 * QUARTER))


def a_micro_more(rows: list[Row]) -> None:
    add(rows[BLUE_ALONE], 1)
    add(rows[RED_ALONE], -1)


def what_another_had_counts(rows: list[Row]) -> None:
    """Blue begins where red, who has paid for 7.3 seconds, ends."""
    rows[BLUE_BESIDE] = paid("blue", 10, 14.6, HALF, 7.3)


def some_micros_beside(rows: list[Row]) -> None:
    """Less than the second of red's end costs."""
    money = {"gpu_ms_num": 0, "list_amount": "0.000000", "amount": "0.000010"}
    rows.insert(5, rows[RED_BESIDE] | money | {"namespace": "green"})


@pytest.mark.parametrize(
    ("spoil", "kinds"),
    [
        (as_configured, {"part", "account"}),
        (one_off, {"part", "account"}),
        (the_first_pays_on_alone, {"part", "account"}),
        (the_one_who_stays_pays_on_for_half, {"part", "account"}),
        (idle_beside_who_pays_for_all, {"conservation"}),
        (a_micro_more, {"money"}),
        (what_another_had_counts, {"money"}),
        (some_micros_beside, {"account"}),
    ],
)
def test_a_line_that_is_wrong_is_found(spoil: Callable[[list[Row]], None], kinds: set[str]) -> None:
    rows = good()
    spoil(rows)
    assert {each.kind for each in compare(balanced(rows)).differences} >= kinds
