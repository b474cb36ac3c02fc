"""Budgets: what holds in a month, its days, what is used of it, and where the month will end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.budgets import (
    NOT_BEGUN,
    OVER,
    TOO_EARLY,
    Budget,
    BudgetBook,
    BudgetUse,
    Spending,
    Threshold,
    budget_use,
    day_left,
    days_of,
    forecast,
    per_day,
)
from chargeback.core.hours import parse_instant

MONTH, FIRST = "2026-10", date(2026, 10, 1)
UNIT = 1_000_000


def budget(amount: int | None = 3100 * UNIT, **changes: object) -> Budget:
    fields: dict[str, object] = {"cost_center": "cc-a", "version": 1, "from_month": "2026-01"}
    return Budget(amount_micros=amount, **(fields | changes))  # type: ignore[arg-type]


def spending(*days: int, first: date = FIRST, once: Mapping[date, int] | None = None) -> Spending:
    """So much on each day from the first."""
    return Spending(charged={first + timedelta(n): micros for n, micros in enumerate(days)}, once=once or {})


def used(
    spent: Spending,
    today: date,
    left: Fraction = Fraction(1),
    since: date | None = FIRST,
    of: Budget | None = None,
) -> BudgetUse:
    return budget_use(of or budget(), MONTH, spent, since, today, left)


@pytest.mark.parametrize(("first", "days"), [(date(2013, 12, 1), 31), (date(2016, 2, 1), 29)])
def test_a_day_of_a_months_budget_is_its_part_exactly(first: date, days: int) -> None:
    """R15, fava tests/test_core_budgets.py: of 100 a month, a day of December 100/31, of February 2016 100/29."""
    book = BudgetBook([budget(100 * UNIT, from_month="2000-01")])
    assert book.between("cc-a", first, first + timedelta(1)) == Fraction(100 * UNIT, days)


def test_a_day_of_a_quarters_budget_is_its_part_exactly() -> None:
    """R15, fava tests/test_core_budgets.py: of 123456.7 a quarter of 2015, a day is 123456.7/91."""
    first, after = date(2015, 4, 1), date(2015, 7, 1)
    assert per_day(123_456_700_000, first, after) == Fraction(123_456_700_000, 91)
    assert per_day(123_456_700_000, first, after) * 91 == 123_456_700_000


def test_a_newer_version_wins_in_its_months_only() -> None:
    book = BudgetBook(
        [
            budget(100, version=1),
            budget(200, version=3, from_month="2026-03", until_month="2026-05"),
            budget(150, version=2, from_month="2026-04"),
        ]
    )
    amounts = [(found and found.amount_micros) for m in range(1, 7) if [found := book.of("cc-a", f"2026-{m:02d}")]]
    assert amounts == [100, 100, 200, 200, 150, 150]
    assert book.of("cc-a", "2025-12") is None
    assert book.of("cc-b", "2026-03") is None


def test_a_version_without_an_amount_ends_a_budget() -> None:
    book = BudgetBook([budget(100), budget(None, version=2, from_month="2026-04"), budget(7, cost_center="CC")])
    assert book.of("cc-a", "2026-04") is None
    assert [each.cost_center for each in book.in_month("2026-03")] == ["CC", "cc-a"]
    assert [each.cost_center for each in book.in_month("2026-04")] == ["CC"]
    assert book.between("cc-a", date(2026, 3, 30), date(2026, 4, 9)) == Fraction(200, 31)
    assert book.between("cc-a", date(2026, 4, 1), date(2026, 4, 9)) is None


@given(
    st.dictionaries(st.sampled_from(["2026-01", "2026-02", "2026-04"]), st.integers(0, 10**15), min_size=1),
    st.dates(date(2025, 12, 1), date(2026, 7, 1)),
    st.integers(0, 150),
    st.integers(0, 150),
)
def test_the_days_of_a_range_add_up_however_it_is_cut(
    amounts: dict[str, int], first: date, days: int, more: int
) -> None:
    book = BudgetBook([budget(a, version=n, from_month=m) for n, (m, a) in enumerate(sorted(amounts.items()))])
    cut, after = first + timedelta(days), first + timedelta(days + more)
    parts = [book.between("cc-a", first, cut), book.between("cc-a", cut, after)]
    assert (book.between("cc-a", first, after) or 0) == sum(part or 0 for part in parts)
    held = book.of("cc-a", "2026-02")
    if held is not None:
        assert book.between("cc-a", *days_of("2026-02")) == held.amount_micros


def test_thresholds_are_reached_on_the_first_day_that_ends_over_them() -> None:
    found = used(spending(1550 * UNIT, 0, 774 * UNIT, 1 * UNIT, 465 * UNIT, 310 * UNIT), date(2026, 10, 6))
    assert found.thresholds == [
        Threshold(percent=50, reached=date(2026, 10, 1)),
        Threshold(percent=75, reached=date(2026, 10, 4)),
        Threshold(percent=90, reached=date(2026, 10, 5)),
        Threshold(percent=100, reached=date(2026, 10, 6)),
    ]
    assert found.share == 1
    assert found.used_up == date(2026, 10, 6)


def test_of_a_budget_of_nothing_any_spending_is_too_much_and_none_is_not() -> None:
    nothing = used(spending(0, 0), date(2026, 10, 3), of=budget(0))
    assert {each.reached for each in nothing.thresholds} == {None}
    some = used(spending(0, 1), date(2026, 10, 3), of=budget(0))
    assert {each.reached for each in some.thresholds} == {date(2026, 10, 2)}
    assert some.share is None


def test_the_forecast_goes_on_as_the_full_days_went() -> None:
    """Ten days of 100 a day and half a day of 40: 1040, and 20.5 days of 100 to come."""
    days = [100 * UNIT] * 10
    found = used(spending(*days, 40 * UNIT), date(2026, 10, 11), Fraction(1, 2))
    assert found.forecast is not None
    assert found.forecast.expected_micros == 3090 * UNIT
    assert (found.forecast.low_micros, found.forecast.high_micros) == (3090 * UNIT, 3090 * UNIT)
    assert found.forecast.days == 10
    assert found.used_up is None  # it is used by 3090 of 3100


def test_the_range_is_two_deviations_of_the_days_to_come() -> None:
    """Days of 0, 10, 20: s² is 100; for 2 days more √(100·(2 + 4/3)) = 18.257418, twice that."""
    found = forecast(30 * UNIT, [0, 10 * UNIT, 20 * UNIT], Fraction(2))
    assert found.expected_micros == 50 * UNIT
    assert found.high_micros == 50 * UNIT + 36_514_837
    assert found.low_micros == 30 * UNIT  # less than is spent already it cannot be


def test_days_that_gave_back_may_do_so_again() -> None:
    found = forecast(0, [-10 * UNIT, 0, 10 * UNIT], Fraction(2))
    assert found.low_micros == -found.high_micros < 0


def test_what_is_spent_once_foretells_nothing() -> None:
    spent = spending(*[100 * UNIT] * 4, once={FIRST: 1000 * UNIT})
    found = used(spent, date(2026, 10, 5))
    assert found.spent_micros == 1400 * UNIT
    assert found.forecast is not None
    assert found.forecast.expected_micros == (1400 + 27 * 100) * UNIT


def test_days_before_the_ledger_began_are_unknown_not_zero() -> None:
    spent = spending(*[100 * UNIT] * 4, first=date(2026, 10, 10))
    found = used(spent, date(2026, 10, 14), since=date(2026, 10, 10))
    assert found.forecast is not None
    assert found.forecast.expected_micros == (400 + 18 * 100) * UNIT


@pytest.mark.parametrize(
    ("today", "why"),
    [
        (date(2026, 9, 30), NOT_BEGUN),
        (date(2026, 10, 1), TOO_EARLY),
        (date(2026, 10, 3), TOO_EARLY),
        (date(2026, 10, 4), ""),
        (date(2026, 10, 31), ""),
        (date(2026, 11, 1), OVER),
    ],
)
def test_a_forecast_wants_three_full_days_of_a_month_that_runs(today: date, why: str) -> None:
    found = used(spending(UNIT, UNIT), today)
    assert found.no_forecast == why
    assert (found.forecast is None) == bool(why)


def test_nothing_known_of_the_month_is_too_early() -> None:
    assert used(spending(), date(2026, 10, 20), since=None).no_forecast == TOO_EARLY


@pytest.mark.parametrize(
    ("daily", "left", "day"),
    [
        (310, Fraction(1), 10),  # 930 are spent, 2170 are seven days: the last is the 10th
        (310, Fraction(1, 2), 11),
        (1000, Fraction(1), 4),
        (1000, Fraction(1, 10), 4),
        (100, Fraction(1), 31),
        (99, Fraction(1), None),
        (0, Fraction(1), None),
    ],
)
def test_the_day_on_which_a_budget_is_used_up(daily: int, left: Fraction, day: int | None) -> None:
    found = used(spending(*[daily * UNIT] * 3), date(2026, 10, 4), left)
    assert found.used_up == (None if day is None else date(2026, 10, day))


@given(
    st.lists(st.integers(0, 10**12), min_size=3, max_size=30),
    st.integers(0, 10**14),
    st.fractions(0, 1, max_denominator=1000).filter(lambda left: left > 0),
    st.integers(0, 29),
    st.integers(1, 10**9),
)
def test_the_forecast_is_in_its_range_and_grows_with_what_is_spent(
    days: list[int], amount: int, left: Fraction, which: int, more: int
) -> None:
    """low ≤ expected ≤ high; not less than is spent; used up in the month exactly where it is expected to be; and
    more spent on any day never makes the expectation less nor the day of the end later."""
    today = FIRST + timedelta(len(days))
    found = used(spending(*days), today, left, of=budget(amount))
    if found.forecast is None:
        assert found.no_forecast == OVER
        return
    assert found.spent_micros <= found.forecast.low_micros <= found.forecast.expected_micros
    assert found.forecast.expected_micros <= found.forecast.high_micros
    if found.spent_micros:
        assert (found.used_up is not None) == (found.forecast.expected_micros >= amount)
    dearer = list(days)
    dearer[which % len(days)] += more
    after = used(spending(*dearer), today, left, of=budget(amount))
    assert after.forecast is not None
    assert after.forecast.expected_micros >= found.forecast.expected_micros + more
    assert after.used_up is None or found.used_up is None or after.used_up <= found.used_up


def test_a_day_may_be_longer_than_others() -> None:
    """In Berlin 25 October 2026 has 25 hours."""
    assert day_left(parse_instant("2026-10-24T22:00:00Z"), "Europe/Berlin") == 1
    assert day_left(parse_instant("2026-10-25T22:00:00Z"), "Europe/Berlin") == Fraction(1, 25)
