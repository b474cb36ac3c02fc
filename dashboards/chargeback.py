"""The dashboard "Chargeback", for finance and for who pays: cost centers, budgets, namespaces, and what nobody pays.
Amounts are those of the basis that is billed; the program's page shows the other beside it."""

from collections.abc import Iterator
from typing import Any

from dashboards import queries as q
from dashboards import variables
from dashboards.ledger_panels import BILL, CHOSEN, PROVISIONAL, cost_of, hours_of
from dashboards.links import CHARGEBACK_UID, NAMESPACE_UID, cell_link
from dashboards.page import Page, Placed
from dashboards.panels import PLAIN, RATIO, SATURATION, Column, Query, bar_panel, line_panel, table_panel
from dashboards.platform import platform

NAMESPACE_LINK = cell_link("Open the namespace", NAMESPACE_UID, "namespace")
COST_CENTER_LINK = cell_link("Show only this cost center", CHARGEBACK_UID, "cost_center")


def page_variables() -> Iterator[Any]:
    yield variables.datasource()
    yield from variables.owners()
    yield variables.period()


def cost_centers() -> Iterator[Placed]:
    """What each cost center pays: now, this month, last month."""
    stats = (
        cost_of("Cost, " + CHOSEN, q.PICKED_PERIOD),
        cost_of("Cost today", "today"),
        cost_of("Cost this month", "month"),
        cost_of("Cost last month", "last_month"),
        hours_of("GPU-hours, " + CHOSEN, q.PICKED_PERIOD),
    )
    for stat, width in zip(stats, (5, 5, 5, 5, 4), strict=True):
        yield Placed(panel=stat, width=width, height=4)

    by = ("cost_center",)
    table = table_panel(
        "Cost centers",
        f"One row a cost center and currency. An empty cell means that the ledger has no line there. {PROVISIONAL}",
        PLAIN,
        {"cost_center": "Cost center", "currency": "Currency"},
        (
            Column(title="Today", expr=q.cost("today", by)),
            Column(title="Yesterday", expr=q.cost("yesterday", by)),
            Column(title="This month", expr=q.cost("month", by)),
            Column(title="Last month", expr=q.cost("last_month", by)),
            Column(title="GPU-hours this month", expr=q.gpu_hours("month", by), decimals=1),
        ),
        links={"cost_center": COST_CENTER_LINK},
    )
    yield Placed(panel=table, width=14, height=9)
    description = f"The largest payers of the period. {PROVISIONAL}"
    query = Query(expr=f"sort_desc({q.cost(q.PICKED_PERIOD, by)})", legend="{{cost_center}} ({{currency}})")
    yield Placed(panel=bar_panel(f"Cost by cost center, {CHOSEN}", description, PLAIN, query), width=10, height=9)
    description = "How the month's cost grew. It falls back to nothing at the first local midnight of the month."
    lines = (Query(expr=q.cost("month", by), legend="{{cost_center}} ({{currency}})"),)
    panel = line_panel("Month to date by cost center", description, PLAIN, lines, stacked=True)
    yield Placed(panel=panel, width=12, height=8)
    description = (
        "What each month had cost when it was over: one step a month, as far back as your Prometheus keeps samples "
        f"and the time range goes. Later corrections move the last step only. {BILL}"
    )
    lines = (Query(expr=q.cost("last_month", by), legend="{{cost_center}} ({{currency}})"),)
    yield Placed(panel=line_panel("Past months by cost center", description, PLAIN, lines), width=12, height=8)


def budgets() -> Iterator[Placed]:
    """What cost centers may spend this month, and what they will have spent at its end."""
    table = table_panel(
        "Budgets this month",
        "What may be spent, what is, and where a straight line leads: low and high are two deviations. Budgets are "
        f"of all clusters. There is no forecast in a month's first three days. {PROVISIONAL}",
        PLAIN,
        {"cost_center": "Cost center", "currency": "Currency"},
        (
            Column(title="Budget", expr=q.budget("budget")),
            Column(title="Spent", expr=q.budget("budget_spent")),
            Column(title="Used", expr=q.budget_used(), unit=RATIO, decimals=0),
            Column(title="Low", expr=q.budget("budget_forecast", 'bound="low"')),
            Column(title="Expected", expr=q.budget("budget_forecast", 'bound="expected"')),
            Column(title="High", expr=q.budget("budget_forecast", 'bound="high"')),
        ),
        links={"cost_center": COST_CENTER_LINK},
    )
    yield Placed(panel=table, width=14, height=8)
    description = f"Which part of its budget each cost center has spent this month. {PROVISIONAL}"
    query = Query(expr=f"sort_desc({q.budget_used()})", legend="{{cost_center}}")
    panel = bar_panel("Budget used", description, RATIO, query, decimals=0, limits=SATURATION)
    yield Placed(panel=panel, width=10, height=8)
    description = (
        "The expected total of the month as it was foreseen from day to day, beside the budget. A forecast that "
        "climbs is a cost center that speeds up."
    )
    lines = (
        Query(expr=q.budget("budget_forecast", 'bound="expected"'), legend="{{cost_center}} expected ({{currency}})"),
        Query(expr=q.budget("budget"), legend="{{cost_center}} budget ({{currency}})"),
    )
    yield Placed(panel=line_panel("Forecast of the month", description, PLAIN, lines), width=24, height=8)


def namespaces() -> Iterator[Placed]:
    """Where in a cost center the money goes: namespace, sku, and kind of line."""
    keys = {"cost_center": "Cost center", "team": "Team", "namespace": "Namespace", "sku": "SKU"}
    by = tuple(keys)
    table = table_panel(
        f"Namespaces and SKUs, {CHOSEN}",
        f"Cost and whole-card hours of the period. {PROVISIONAL}",
        PLAIN,
        {**keys, "currency": "Currency"},
        (
            Column(title="Cost", expr=q.cost(q.PICKED_PERIOD, by)),
            Column(title="GPU-hours", expr=q.gpu_hours(q.PICKED_PERIOD, by), decimals=1),
        ),
        links={"namespace": NAMESPACE_LINK, "cost_center": COST_CENTER_LINK},
    )
    yield Placed(panel=table, width=14, height=10)
    description = f"Cost of the period by what was held: a card, or shares of it, or a MIG profile. {PROVISIONAL}"
    query = Query(expr=f"sort_desc({q.cost(q.PICKED_PERIOD, ('sku',))})", legend="{{sku}} ({{currency}})")
    yield Placed(panel=bar_panel(f"Cost by SKU, {CHOSEN}", description, PLAIN, query), width=10, height=10)
    description = (
        "Cost of the period by kind of line: `held` on demand; under a plan `reserved`, `burst` beyond it and "
        f"`unused` of the guarantee; credits are negative. {PROVISIONAL}"
    )
    query = Query(expr=f"sort_desc({q.cost(q.PICKED_PERIOD, ('kind',))})", legend="{{kind}} ({{currency}})")
    yield Placed(panel=bar_panel(f"Cost by kind, {CHOSEN}", description, PLAIN, query), width=10, height=8)
    description = "Whole-card hours of the period, cost centers only."
    by = ("cost_center", "sku")
    query = Query(expr=f"sort_desc({q.gpu_hours(q.PICKED_PERIOD, by)})", legend="{{cost_center}} {{sku}}")
    panel = bar_panel(f"GPU-hours by cost center and SKU, {CHOSEN}", description, PLAIN, query, decimals=1)
    yield Placed(panel=panel, width=14, height=8)


PAGE = Page(
    uid=CHARGEBACK_UID,
    title="Chargeback",
    description="GPU cost per cost center, budgets, and what nobody pays for. Numbers come from the ledger's gauges.",
    time_from="now-7d",
    variables=page_variables,
    sections={
        "Cost per cost center": cost_centers,
        "Budgets": budgets,
        "Namespaces and SKUs": namespaces,
        "What no cost center pays": platform,
    },
)
