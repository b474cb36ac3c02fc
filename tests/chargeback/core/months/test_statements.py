"""The monthly CSV's rows: what they count, in which unit."""

from __future__ import annotations

import csv
from dataclasses import replace
from fractions import Fraction

import pytest

from chargeback.core.hours import month_span_ms
from chargeback.core.months.statements import Month, csv_chunks, unpriced_hours
from chargeback.core.totals import Total

FEBRUARY_MS = month_span_ms("2026-02", "UTC")[1] - month_span_ms("2026-02", "UTC")[0]


def row(total: Total, month: str) -> dict[str, str]:
    (found,) = csv.DictReader(csv_chunks(Month(month=month, timezone="UTC", currency="USD"), [total]))
    return found


def total(unit: str, unit_price: str, units: Fraction, micros: int, corrects_month: str = "") -> Total:
    """A card's February. units: of the price in an hour of the card."""
    return Total(
        account="rd-001", team="", cluster="lab", namespace="a", kind="held", sku="gpu.h100", model="H100", unit=unit,
        unit_price=unit_price, ms_den=units.denominator, gpu_ms_num=FEBRUARY_MS * units.denominator,
        quantity_ms_num=FEBRUARY_MS * units.numerator, list_micros=micros, amount_micros=micros,
        corrects_month=corrects_month,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "units", "name", "price", "amount"),
    [
        ("gpu-hour", Fraction(1), "GPU-Hours", 2, 1344),
        ("node-hour", Fraction(1, 8), "Node-Hours", 80, 6720),
        ("gpu-month", Fraction(1), "GPU-Months", 700, 700),
    ],
)
def test_quantity_times_unit_price_is_the_amount(
    unit: str, units: Fraction, name: str, price: int, amount: int
) -> None:
    """In the unit that the row names: of a node's price a card of eight has an eighth."""
    found = row(total(unit, f"{price}.000000", units, amount * 1_000_000), "2026-02")
    assert (found["unit"], Fraction(found["amount"])) == (name, amount)
    assert Fraction(found["quantity"]) * Fraction(found["unit_price"]) == amount


def test_a_correction_counts_months_as_long_as_the_one_it_corrects() -> None:
    """All of February, restated in March, is still one month."""
    found = row(total("gpu-month", "700.000000", Fraction(1), 700_000_000, "2026-02"), "2026-03")
    assert found["quantity"] == "1.000000"


def test_a_price_that_came_after_the_close_hides_no_time_without_one() -> None:
    """What the correction takes back had no price in another month; what it adds has none now."""
    own = replace(total("", "", Fraction(1), 0), account="platform:unpriced", list_micros=None, amount_micros=None)
    back = replace(own, gpu_ms_num=-2 * own.gpu_ms_num, corrects_month="2026-01")
    hours = FEBRUARY_MS / Fraction(3_600_000)
    assert unpriced_hours([own]) == {"H100": hours}
    assert unpriced_hours([back]) == {}
    assert unpriced_hours([own, back]) == {"H100": hours}
    assert unpriced_hours([own, replace(back, gpu_ms_num=-back.gpu_ms_num)]) == {"H100": 3 * hours}
