"""Exact money: whole micros of the ledger's currency, one rounding place, splits that lose nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import lcm

MICROS = 1_000_000
MS_PER_HOUR = 3_600_000

_DECIMAL = re.compile(r"-?\d{1,12}(\.\d{1,12})?")


def whole_micros(exact: Fraction) -> int:
    """Round down to whole micros: the one place where money is rounded. What is left is the platform's."""
    return exact.numerator // exact.denominator


def micros_until(hourly: Fraction, ms_num: int, ms_den: int) -> int:
    """What ms_num / ms_den milliseconds from a start on cost, in whole micros: `whole_micros` of an hourly price."""
    return hourly.numerator * ms_num // (hourly.denominator * ms_den * MS_PER_HOUR)


def split(total: int, weights: Sequence[Fraction | int]) -> list[int]:
    """Split a whole number by weight, largest remainder first, earlier wins a tie: the parts add up to it.

    The weights need not be positive, but their sum must not be zero.
    """
    assert weights
    den = lcm(*(weight.denominator for weight in weights))
    numbers = [weight.numerator * (den // weight.denominator) for weight in weights]
    whole = sum(numbers)
    parts = [total * number // whole for number in numbers]
    sign = 1 if whole > 0 else -1
    by_remainder = sorted(range(len(parts)), key=lambda i: (sign * (parts[i] * whole - total * numbers[i]), i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    return parts


def settle(total: int, exact: Sequence[Fraction]) -> list[int]:
    """Whole numbers near `exact` that add up to `total`, largest remainder first, earlier wins a tie.

    `exact` need not add up to `total`: what is missing beyond one a part is spread evenly.
    """
    floors = [whole_micros(part) for part in exact]
    every, some = divmod(total - sum(floors), len(exact))
    by_remainder = sorted(range(len(exact)), key=lambda i: (floors[i] - exact[i], i))
    parts = [floor + every for floor in floors]
    for i in by_remainder[:some]:
        parts[i] += 1
    return parts


def parse_decimal(text: str) -> Fraction:
    """The exact value of a plain decimal (`2.50`). Raises ValueError for anything else, exponents included."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r}: want a plain decimal such as 2.50, at most 12 digits on each side")
    return Fraction(Decimal(text))


def format_micros(micros: int) -> str:
    """Six decimals, always: `-12.500000`."""
    sign = "-" if micros < 0 else ""
    whole, rest = divmod(abs(micros), MICROS)
    return f"{sign}{whole}.{rest:06d}"


def show_micros(micros: int) -> str:
    """Two decimals and thousands apart, for people's eyes only: `-1,234.57`."""
    hundredths = round(Fraction(micros, MICROS // 100))
    whole, rest = divmod(abs(hundredths), 100)
    return f"{'-' if hundredths < 0 else ''}{whole:,}.{rest:02d}"


def format_decimal(exact: Fraction) -> str:
    """An exact decimal with at least six decimals. The value must have a finite decimal form."""
    digits = 6
    while (scaled := exact * 10**digits).denominator != 1:
        digits += 1
        assert digits <= 30, exact
    sign = "-" if scaled < 0 else ""
    whole, rest = divmod(abs(scaled.numerator), 10**digits)
    return f"{sign}{whole}.{rest:0{digits}d}"


def round_six(exact: Fraction) -> str:
    """A quantity to six decimals, half to even: for showing hours, never for money."""
    return format_micros(round(exact * MICROS))
