"""Budgets: what a cost center may spend a month, how much of it is used, and where the month will end.

The forecast is linear: what is spent, and for the time that is left the mean of the month's full days so far. Its
range is two standard deviations of that sum, as the daily amounts are spread. Adjustments, credits and transfers are
spent once and foretell nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from math import ceil, isqrt

from chargeback.core.hours import local_day, midnight_ms, month_after
from chargeback.core.lines import CREDIT, DEBIT, TRANSFER
from chargeback.core.money import whole_micros

THRESHOLDS = (50, 75, 90, 100)
# Each threshold is a label value of a metric; more than ten times the budget is a slip.
THRESHOLDS_MAX, PERCENT_MAX = 10, 1000
# Of fewer full days nobody can tell the spread.
DAYS_LEAST = 3
DEVIATIONS = 2

# Kinds of lines that are of no day's use.
ONCE = frozenset((TRANSFER, CREDIT, DEBIT))

# Why there is no forecast.
TOO_EARLY, OVER, NOT_BEGUN = "too early", "over", "not begun"

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One version: of every month from from_month until before until_month (None: until a newer version).

    amount_micros  for a month; None: from then on there is no budget
    thresholds     percent of it, ascending
    """

    cost_center: str
    version: int
    from_month: str
    until_month: str | None = None
    amount_micros: int | None
    thresholds: tuple[int, ...] = THRESHOLDS

    def holds(self, month: str) -> bool:
        return self.from_month <= month and (self.until_month is None or month < self.until_month)


class BudgetBook:
    """All versions of all budgets: in the months that it holds for, a newer version wins."""

    def __init__(self, budgets: Iterable[Budget]) -> None:
        self._of: dict[str, list[Budget]] = {}
        for budget in sorted(budgets, key=lambda budget: budget.version, reverse=True):
            self._of.setdefault(budget.cost_center, []).append(budget)

    @property
    def cost_centers(self) -> list[str]:
        """Those that ever had a budget, in bytewise order."""
        return sorted(self._of)

    def of(self, cost_center: str, month: str) -> Budget | None:
        """The version that holds in a month; None: there is no budget."""
        held = next((each for each in self._of.get(cost_center, ()) if each.holds(month)), None)
        return None if held is None or held.amount_micros is None else held

    def in_month(self, month: str) -> list[Budget]:
        """The budgets that hold in a month, by cost center."""
        found = (self.of(cost_center, month) for cost_center in self.cost_centers)
        return [budget for budget in found if budget is not None]

    def between(self, cost_center: str, first: date, after: date) -> Fraction | None:
        """Exact micros for the days from first until before after; None where no day of them has a budget.

        A month's budget is spread evenly over its days: the parts of a range add up to the whole, however it is cut.
        """
        parts = []
        day = first
        while day < after:
            month = month_of(day)
            start, end = days_of(month)
            stop = min(end, after)
            if (budget := self.of(cost_center, month)) is not None and budget.amount_micros is not None:
                parts.append(per_day(budget.amount_micros, start, end) * (stop - day).days)
            day = stop
        return sum(parts, Fraction(0)) if parts else None


def per_day(amount_micros: int, first: date, after: date) -> Fraction:
    """Exact micros a day of an amount for the days from first until before after."""
    assert first < after
    return Fraction(amount_micros, (after - first).days)


def month_of(day: date) -> str:
    return day.isoformat()[:7]


def days_of(month: str) -> tuple[date, date]:
    """The first day of a month, and of the next."""
    return date.fromisoformat(f"{month}-01"), date.fromisoformat(f"{month_after(month)}-01")


def day_left(now_ms: int, timezone: str) -> Fraction:
    """What part of the local day is still to come: 1 at its midnight."""
    today = local_day(now_ms, timezone)
    start, end = midnight_ms(today, timezone), midnight_ms(today + _DAY, timezone)
    return Fraction(end - now_ms, end - start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What a cost center spent in a month, in micros by local day; a day that is not named has none.

    charged  by what was held on the day
    once     what was posted on the day and foretells nothing: adjustments of other months, credits, transfers
    """

    charged: Mapping[date, int]
    once: Mapping[date, int]

    @property
    def total_micros(self) -> int:
        return sum(self.charged.values()) + sum(self.once.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """reached: the first day on whose end that much of the budget was spent; None: it never was."""

    percent: int
    reached: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What will be spent when the month ends, in micros. days: how many full ones it is made of."""

    low_micros: int
    expected_micros: int
    high_micros: int
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """A budget in one month, and what became of it.

    share        of the budget that is spent; None where the budget is 0
    no_forecast  why there is none, else ""
    used_up      the day on which the whole budget was or will be spent; None: not in this month, or nobody can say
    """

    budget: Budget
    month: str
    amount_micros: int
    spent_micros: int
    share: Fraction | None
    thresholds: Sequence[Threshold]
    forecast: Forecast | None
    no_forecast: str
    used_up: date | None


def budget_use(
    budget: Budget, month: str, spending: Spending, since: date | None, today: date, left: Fraction
) -> BudgetUse:
    """What became of a budget in a month.

    since  the first day of the month that the ledger knows anything of: what was spent before is unknown, not zero
    today  where the ledger is; left: what part of it is still to come
    """
    assert budget.amount_micros is not None
    assert budget.holds(month)
    amount, spent = budget.amount_micros, spending.total_micros
    first, after = days_of(month)
    full = (
        [] if since is None else [spending.charged.get(day, 0) for day in _days(max(first, since), min(today, after))]
    )
    to_come = left + (after - today).days - 1
    why = NOT_BEGUN if today < first else OVER if today >= after else TOO_EARLY if len(full) < DAYS_LEAST else ""
    whole = _reached(amount, 100, spending)
    if whole is None and not why:
        whole = _used_up(amount - spent, full, today, left, after)
    return BudgetUse(
        budget=budget,
        month=month,
        amount_micros=amount,
        spent_micros=spent,
        share=Fraction(spent, amount) if amount else None,
        thresholds=[Threshold(percent=each, reached=_reached(amount, each, spending)) for each in budget.thresholds],
        forecast=None if why else forecast(spent, full, to_come),
        no_forecast=why,
        used_up=whole,
    )


def forecast(spent_micros: int, full: Sequence[int], to_come: Fraction) -> Forecast:
    """Where a month ends of which so much is spent, whose full days cost so much, with so many days to come.

    A sum of R more days like these n spreads with the variance s²·(R + R²/n), for the mean itself is a guess.
    """
    count = len(full)
    assert count >= DAYS_LEAST
    assert to_come >= 0
    mean = Fraction(sum(full), count)
    variance = sum(((day - mean) ** 2 for day in full), Fraction(0)) / (count - 1)
    spread = isqrt(whole_micros(DEVIATIONS**2 * variance * (to_come + to_come**2 / count)))
    expected = spent_micros + whole_micros(mean * to_come)
    low = expected - spread
    if min(full) >= 0:  # days that never gave anything back will not do so either
        low = max(low, spent_micros)
    return Forecast(low_micros=low, expected_micros=expected, high_micros=expected + spread, days=count)


def _used_up(rest: int, full: Sequence[int], today: date, left: Fraction, after: date) -> date | None:
    """The day on which what is left of the budget will be spent; None: not in this month."""
    mean = Fraction(sum(full), len(full))
    if mean <= 0:
        return None
    days = rest / mean
    if days > left + (after - today).days - 1:
        return None
    return today + max(0, ceil(days - left)) * _DAY


def _reached(amount: int, percent: int, spending: Spending) -> date | None:
    """Nothing spent reaches nothing, also of a budget of 0."""
    spent = 0
    for day in sorted(spending.charged.keys() | spending.once.keys()):
        spent += spending.charged.get(day, 0) + spending.once.get(day, 0)
        if spent > 0 and spent * 100 >= amount * percent:
            return day
    return None


def _days(first: date, after: date) -> Iterable[date]:
    return (first + number * _DAY for number in range((after - first).days))
