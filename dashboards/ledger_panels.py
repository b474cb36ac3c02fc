"""Panels about money that more than one page shows, and the sentences that stand under all of them."""

from typing import Any

from dashboards import queries as q
from dashboards.panels import PLAIN, Query, stat_panel

PROVISIONAL = "Today and this month include the running hour, which is provisional; the closed statement is the bill."
BILL = "For bills see the CSV."
IDLE_PART = (
    "Part of the GPU time held in this hour, and in the last one until it is rated, in which no process kept the "
    "device busy; absent where usage is unknown."
)
# The period that is picked, as a title says it.
CHOSEN = "${period:text}"


def cost_of(title: str, period: str, *, what: str = "What the selected cost centers pay") -> Any:
    """What is paid in a period, with one number a currency."""
    description = f"{what}, platform and unowned left out. {PROVISIONAL}"
    return stat_panel(title, description, PLAIN, Query(expr=q.cost(period), legend="{{currency}}"))


def hours_of(title: str, period: str) -> Any:
    """Whole-card hours of a period."""
    description = (
        "Whole-card hours of what is selected, platform and unowned left out: half a card held for two hours is one."
    )
    return stat_panel(title, description, PLAIN, Query(expr=q.gpu_hours(period), legend="GPU-hours"), decimals=1)
