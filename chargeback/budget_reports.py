"""What people and programs read of budgets: one read transaction, one pure function of the core each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from chargeback.core.budgets import ONCE, OVER, BudgetUse, Spending, budget_use, day_left
from chargeback.core.hours import local_day
from chargeback.core.lines import Line
from chargeback.core.money import format_micros, round_six
from chargeback.rater import provisional
from chargeback.reports import BY_COST_CENTER, costs
from chargeback.store.budgets import budget_book
from chargeback.store.database import Connection, Database
from chargeback.store.policies import policy_book
from chargeback.store.rollup import amounts_by_day, first_charged_day


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReport:
    """What became of the budgets of a month, by cost center; the running hours are in it."""

    month: str
    currency: str
    uses: Sequence[BudgetUse]

    def of(self, cost_center: str) -> BudgetUse | None:
        return next((use for use in self.uses if use.budget.cost_center == cost_center), None)


NO_BUDGETS = BudgetReport(month="", currency="", uses=())
# What stands beside a cost center's costs.
BESIDE = ("budget", "used_percent", "forecast_low", "forecast", "forecast_high")


def budget_columns(group: Sequence[str], budgets: BudgetReport) -> dict[str, str | None]:
    """BESIDE, of the cost center that a group is; none of them where nobody has a budget."""
    if not budgets.uses:
        return {}
    use = budgets.of(group[0]) if group else None
    row = {} if use is None else budget_row(use, budgets.currency)
    return {name: row.get(name) for name in BESIDE}


def budget_report(database: Database, month: str | None, now_ms: int) -> BudgetReport:
    """Of a month; None: the current one. A ledger that has not begun has none."""
    with database.read() as connection:
        policies = policy_book(connection)
        if policies is None:
            return BudgetReport(month=month or "", currency="", uses=())
        timezone = policies.first.timezone
        chosen = month or local_day(now_ms, timezone).isoformat()[:7]
        return BudgetReport(
            month=chosen, currency=policies.first.currency, uses=budget_uses(connection, chosen, now_ms, timezone)
        )


def budget_uses(
    connection: Connection, month: str, now_ms: int, timezone: str, running: Sequence[Line] | None = None
) -> list[BudgetUse]:
    """What became of each budget that holds in a month. running: the provisional lines, if they are at hand."""
    held = budget_book(connection).in_month(month)
    if not held:
        return []
    lines = [
        line for line in (provisional(connection, now_ms) if running is None else running) if line.month == month
    ]
    spent = _spending(connection, month, [budget.cost_center for budget in held], lines)
    since = _since(connection, month, lines)
    today, left = local_day(now_ms, timezone), day_left(now_ms, timezone)
    return [budget_use(budget, month, spent[budget.cost_center], since, today, left) for budget in held]


@dataclass(frozen=True, slots=True, kw_only=True)
class DaysReport:
    """A budget's part for some days, and what they cost. budget: exact micros; None: no day of them has one."""

    cost_center: str
    budget: Fraction | None
    spent_micros: int

    @property
    def share(self) -> Fraction | None:
        return self.spent_micros / self.budget if self.budget else None


def days_report(database: Database, first: date, after: date, now_ms: int) -> list[DaysReport]:
    """Of every cost center that ever had a budget, from the first local day until before the other."""
    with database.read() as connection:
        book = budget_book(connection)
    last = date.fromordinal(after.toordinal() - 1).isoformat()
    spent: dict[str, int] = {}
    for row in costs(database, first.isoformat(), last, BY_COST_CENTER, {}, now_ms):
        spent[row.group[0]] = spent.get(row.group[0], 0) + (row.amount_micros or 0)
    return [
        DaysReport(cost_center=name, budget=book.between(name, first, after), spent_micros=spent.get(name, 0))
        for name in book.cost_centers
    ]


def _spending(
    connection: Connection, month: str, cost_centers: Sequence[str], running: Sequence[Line]
) -> Mapping[str, Spending]:
    charged: dict[str, dict[date, int]] = {name: {} for name in cost_centers}
    once: dict[str, dict[date, int]] = {name: {} for name in cost_centers}
    for each in amounts_by_day(connection, month, cost_centers):
        of = once if each.corrects_month or each.kind in ONCE else charged
        _add(of[each.account], each.day, each.amount_micros)
    for line in running:
        if line.account in charged and line.amount_micros is not None:
            _add(charged[line.account], line.day, line.amount_micros)
    return {name: Spending(charged=charged[name], once=once[name]) for name in cost_centers}


def _add(days: dict[date, int], day: str, micros: int) -> None:
    at = date.fromisoformat(day)
    days[at] = days.get(at, 0) + micros


def _since(connection: Connection, month: str, running: Sequence[Line]) -> date | None:
    days = [line.day for line in running]
    if (first := first_charged_day(connection, month)) is not None:
        days.append(first)
    return date.fromisoformat(min(days)) if days else None


def budget_row(use: BudgetUse, currency: str) -> dict[str, str | None]:
    """A budget and its use as texts, for lists and programs. Amounts have six decimals; shares are percent."""
    forecast = use.forecast
    amounts = (
        [None] * 3 if forecast is None else [forecast.low_micros, forecast.expected_micros, forecast.high_micros]
    )
    low, expected, high = (None if micros is None else format_micros(micros) for micros in amounts)
    reached = [f"{each.percent}% {each.reached}" for each in use.thresholds if each.reached is not None]
    return {
        "month": use.month,
        "cost_center": use.budget.cost_center,
        "budget": format_micros(use.amount_micros),
        "spent": format_micros(use.spent_micros),
        "used_percent": None if use.share is None else round_six(use.share * 100),
        "reached": ", ".join(reached),
        "forecast_low": low,
        "forecast": expected,
        "forecast_high": high,
        "no_forecast": use.no_forecast,
        "used_up": None if use.used_up is None else use.used_up.isoformat(),
        "currency": currency,
        "version": str(use.budget.version),
    }


def budget_json(use: BudgetUse) -> dict[str, object]:
    """As `budget_row`, with thresholds as a list; dates are local days."""
    row = {name: text for name, text in budget_row(use, "").items() if name not in ("month", "currency", "reached")}
    reached = [(each.percent, each.reached) for each in use.thresholds]
    return {
        **row,
        "version": use.budget.version,
        "no_forecast": use.no_forecast or None,
        "thresholds": [
            {"percent": percent, "reached": None if day is None else day.isoformat()} for percent, day in reached
        ],
    }


def show_no_forecast(use: BudgetUse) -> str:
    """For people's eyes only; beside a budget `over` alone would be misread."""
    return "month is over" if use.no_forecast == OVER else use.no_forecast


def show_percent(share: Fraction | None) -> str:
    """For people's eyes only: one decimal, `87.5`; empty where the budget is 0."""
    if share is None:
        return ""
    tenths = round(share * 1000)
    return f"{'-' if tenths < 0 else ''}{abs(tenths) // 10}.{abs(tenths) % 10}"
