"""Price files: every problem at once, each with its place."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from chargeback.core.hours import parse_instant
from chargeback.price_file import PriceFileError, parse_prices, read_price_file
from tests.programs import chargeback

HEAD = "currency: USD\nprices:\n"


def problems(text: str) -> str:
    with pytest.raises(PriceFileError) as refused:
        parse_prices(text, "p.yaml")
    return str(refused.value)


def test_a_price_is_exact_whatever_its_digits() -> None:
    """Never through a float."""
    (price,) = parse_prices(f"{HEAD}  - {{model: X, price: 0.1, unit: gpu-hour}}\n", "p").prices
    assert price.amount == Fraction(100_000)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{model: X, price: 1}", "prices[0].unit: ''"),
        (
            "{model: X, price: 1, unit: day}",
            "prices[0].unit: 'day': want one of gpu-hour, instance-hour, node-hour, gpu-month",
        ),
        ("{price: 1, unit: gpu-hour}", "prices[0].model: missing"),
        ("{model: X, price: 1e3, unit: gpu-hour}", "prices[0].price: '1e3'"),
        ("{model: X, price: -1, unit: gpu-hour}", "prices[0].price: '-1': want zero or more"),
        ("{model: X, price: free, unit: gpu-hour}", "prices[0].price: 'free'"),
        ("{model: X, profile: 1g.10gb, price: 1, unit: gpu-hour}", "a MIG profile is priced by instance-hour"),
        ("{model: X, price: 1, unit: instance-hour}", "a MIG profile is priced by instance-hour"),
        ("{model: X, price: 1, unit: gpu-hour, from: 2026-10-01T10:30:00Z}", "want a whole UTC hour or a midnight"),
        ("{model: X, price: 1, unit: gpu-hour, from: 2026-10-02, until: 2026-10-01}", "want an instant after `from`"),
        ("{model: X, price: 1, unit: gpu-hour, from: 2026-10-01T10:00:00}", "want an offset"),
        ("{model: X, price: 1, unit: gpu-hour, tire: spot}", "prices[0].tire: not a key of this file"),
        ("just text", "prices[0]: 'just text': want a mapping"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_named(entry: str, said: str) -> None:
    assert said in problems(f"{HEAD}  - {entry}\n")


def test_two_prices_of_one_thing_must_not_hold_at_once() -> None:
    entries = "  - {model: X, price: 1, unit: gpu-hour}\n  - {model: X, price: 2, unit: gpu-hour, from: 2026-10-01}\n"
    assert "X: two entries hold at 2026-10-01T00:00:00Z" in problems(HEAD + entries)
    ended = entries.replace("gpu-hour}\n", "gpu-hour, until: 2026-10-01}\n", 1)
    first, second = parse_prices(HEAD + ended, "p").prices
    assert first.until_ms == second.from_ms == parse_instant("2026-10-01")


def test_all_problems_come_together() -> None:
    said = problems("currency: euro\nprices:\n  - {model: X}\ntiers:\n  - {tier: spot, factor: half}\n")
    for part in ("currency: 'euro'", "prices[0].unit", "prices[0].price", "tiers[0].factor: 'half'"):
        assert part in said
    assert problems("- 1\n").startswith("p.yaml: want a mapping")
    assert "not YAML" in problems("a: [")


def test_the_built_in_prices_are_valid() -> None:
    assert len(read_price_file("default").prices) > 10


def test_check_says_what_is_in_a_file_or_wrong_with_it(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"{HEAD}  - {{model: X, price: 1, unit: gpu-hour}}\n")
    bad.write_text(f"{HEAD}  - {{model: X, price: 1}}\n")
    assert (
        "1 prices, 0 tier factors, 0 discounts, 0 priority classes, USD"
        in chargeback("prices", "check", str(good)).stdout.decode()
    )
    ended = chargeback("prices", "check", str(bad), check=False)
    assert (ended.returncode, "prices[0].unit" in ended.stderr.decode()) == (2, True)
