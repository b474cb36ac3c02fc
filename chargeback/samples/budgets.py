"""Samples of the metrics about budgets of the current month: by cost center, so as many as people set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chargeback.core.budgets import BudgetUse
from chargeback.core.money import MICROS

Sample = tuple[tuple[str, ...], float]
Uses = Sequence[BudgetUse]


def amounts(uses: Uses, currency: str) -> Iterator[Sample]:
    """What may be spent, in units of the currency."""
    return (((use.budget.cost_center, currency), use.amount_micros / MICROS) for use in uses)


def spent(uses: Uses, currency: str) -> Iterator[Sample]:
    return (((use.budget.cost_center, currency), use.spent_micros / MICROS) for use in uses)


def forecasts(uses: Uses, currency: str) -> Iterator[Sample]:
    """Where each month will end; none where nobody can say yet."""
    for use in uses:
        if use.forecast is not None:
            bounds = {
                "low": use.forecast.low_micros,
                "expected": use.forecast.expected_micros,
                "high": use.forecast.high_micros,
            }
            for bound, micros in bounds.items():
                yield (use.budget.cost_center, currency, bound), micros / MICROS


def thresholds(uses: Uses) -> Iterator[Sample]:
    """1: reached; 0: not yet."""
    for use in uses:
        for each in use.thresholds:
            yield (use.budget.cost_center, str(each.percent)), float(each.reached is not None)
