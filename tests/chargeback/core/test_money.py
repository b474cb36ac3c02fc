"""Splits lose nothing, and what costs what from when on."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.money import micros_until, settle, split, whole_micros

weights = st.lists(st.integers(-5, 100) | st.fractions(0, 10, max_denominator=50), min_size=1, max_size=6).filter(sum)


@given(st.integers(-(10**9), 10**15), weights)
def test_a_split_is_by_largest_remainder_and_loses_nothing(total: int, by: list[Fraction | int]) -> None:
    whole = sum(by, Fraction(0))
    parts = split(total, by)
    assert sum(parts) == total
    assert parts == settle(total, [total * weight / whole for weight in by])


def test_of_equal_remainders_the_first_wins() -> None:
    assert split(10, [1, 1, 1, 1]) == [3, 3, 2, 2]
    assert split(1, [Fraction(1, 2), Fraction(1, 2)]) == [1, 0]


@given(st.fractions(0, 10**9), st.integers(0, 3_600_000), st.integers(1, 50))
def test_what_a_time_costs_is_rounded_down_once(hourly: Fraction, ms: int, den: int) -> None:
    assert micros_until(hourly, ms, den) == whole_micros(hourly * ms / den / 3_600_000)


def test_nothing_can_be_split_by_nothing() -> None:
    with pytest.raises(ZeroDivisionError):
        split(1, [0, 0])
