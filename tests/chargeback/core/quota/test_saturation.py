"""Time to a full quota, from samples."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.quota.saturation import EVERY_MS, KEPT_MS, Samples, slope

START = 1_800_000_000_000


def sampled(*used: float, every_ms: int = EVERY_MS) -> Samples[str]:
    samples: Samples[str] = Samples()
    for number, value in enumerate(used):
        samples.add({"key": Decimal(str(value))}, START + number * every_ms)
    return samples


def test_a_straight_line() -> None:
    """A device more each minute: four of sixteen are left after twelve minutes, so four minutes."""
    samples = sampled(*range(13))
    assert samples.saturation_s("key", Decimal(18), Decimal(12)) == 360
    assert samples.saturation_s("key", Decimal(16), Decimal(12)) == 240


def test_a_full_quota_is_full() -> None:
    """Now, whatever the trend, even without samples; above a lowered quota as well."""
    assert Samples[str]().saturation_s("key", Decimal(8), Decimal(8)) == 0
    assert sampled(9, 8).saturation_s("key", Decimal(8), Decimal(9)) == 0


@pytest.mark.parametrize("used", [[4.0] * 60, [8.0 - n / 10 for n in range(60)], [4.0, 5.0], [1.0], []])
def test_no_answer_without_a_rise(used: list[float]) -> None:
    """Flat, falling, or not ten minutes of it: None, never infinity."""
    assert sampled(*used).saturation_s("key", Decimal(16), Decimal(4)) is None


def test_ten_minutes_are_enough() -> None:
    """Nine are not."""
    assert sampled(*range(10)).saturation_s("key", Decimal(16), Decimal(9)) is None
    assert sampled(*range(11)).saturation_s("key", Decimal(16), Decimal(10)) == 360


def test_one_sample_a_minute() -> None:
    """The metrics page is made more often; what is younger than a minute is passed over."""
    samples = sampled(*range(60), every_ms=15_000)  # 15 minutes: 4 devices a minute
    assert samples.saturation_s("key", Decimal(100), Decimal(60)) == 600
    assert samples.kept("key") == 15


def test_six_hours_are_kept() -> None:
    """What was before does not bend the line."""
    samples = sampled(*[0.0] * 400, *[n / 10 for n in range(KEPT_MS // EVERY_MS)])
    assert samples.kept("key") == KEPT_MS // EVERY_MS
    assert samples.saturation_s("key", Decimal(46), Decimal(36)) == 6000


def test_keys_come_and_go() -> None:
    """A quota that was deleted and made anew begins anew."""
    samples = sampled(*range(30))
    samples.add({"other": Decimal(1)}, START + 31 * EVERY_MS)
    assert (samples.kept("key"), samples.kept("other")) == (0, 1)


def test_a_clock_that_was_set_back() -> None:
    """What is known is of another time."""
    samples = sampled(*range(30))
    samples.add({"key": Decimal(3)}, START - 1)
    assert samples.kept("key") == 1


def test_a_slope_needs_two_instants() -> None:
    """None, not a division by zero."""
    assert slope([]) is None
    assert slope([(5, 1), (5, 2)]) is None


@given(
    st.lists(st.integers(min_value=0, max_value=10**9), min_size=2, max_size=50, unique=True),
    st.integers(min_value=-(10**6), max_value=10**6),
    st.integers(min_value=-(10**9), max_value=10**9),
)
def test_the_slope_of_a_line_is_its_slope(times: list[int], rise: int, offset: int) -> None:
    """Exactly, wherever the points lie."""
    assert slope([(at, rise * at + offset) for at in times]) == Fraction(rise)
