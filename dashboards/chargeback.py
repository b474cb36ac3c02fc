"""The one dashboard, "Chargeback": who pays what, what nobody pays, how full the quotas are, and whether the
account is complete. Read it top down; each section below is a row of the page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.models.dashboard import Dashboard as DashboardModel
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableRefresh, VariableSort

from dashboards import queries as q
from dashboards.panels import (
    COUNT,
    DATASOURCE,
    PLAIN,
    RATIO,
    SECONDS,
    Column,
    Query,
    bar_panel,
    line_panel,
    stat_panel,
    table_panel,
)

PROVISIONAL = "Today and this month include the running hour, which is provisional; the closed statement is the bill."
PLATFORM_WHERE = (q.PICKED_CLUSTER, q.PLATFORM)

QUOTA_KEYS = {
    "cluster": "Cluster",
    "namespace": "Namespace",
    "cost_center": "Cost center",
    "team": "Team",
    "resourcequota": "Quota",
    "resource": "Resource",
    "enforced": "Enforced",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A panel and its size on a page that is 24 wide. Panels of one line have one height."""

    panel: Any
    width: int
    height: int


def dashboard() -> DashboardModel:
    """Build the page. Ids are places in the reading order, so that they are unique and stay put."""
    page = (
        Dashboard("Chargeback")
        .uid("gpu-chargeback")
        .description(
            "GPU cost per cost center, what nobody pays for, and quota use. Numbers come from the ledger's gauges."
        )
        .tags(["gpu", "chargeback"])
        .readonly()
        .refresh("1m")
        .time("now-7d", "now")
        .timezone("utc")
    )
    for variable in variables():
        page.with_variable(variable)
    number = 0
    for title, section in SECTIONS.items():
        number += 1
        page.with_row(Row(title).id(number))
        for placed in section():
            number += 1
            page.with_panel(placed.panel.id(number).span(placed.width).height(placed.height))
    return page.build()


def variables() -> Iterator[Any]:
    """Each narrows the ones after it; each may hold several values, or All."""
    yield DatasourceVariable("datasource").label("Data source").type("prometheus")
    asked = (
        ("cluster", "Cluster", ()),
        ("cost_center", "Cost center", (q.PICKED_CLUSTER, q.TENANTS)),
        ("team", "Team", (q.PICKED_CLUSTER, 'cost_center=~"$cost_center"')),
        ("namespace", "Namespace", (q.PICKED_CLUSTER, 'cost_center=~"$cost_center"', 'team=~"$team"')),
    )
    for name, label, matchers in asked:
        yield (
            QueryVariable(name)
            .label(label)
            .datasource(DATASOURCE)
            .query(q.values_of(name, *matchers))
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(VariableOption(selected=True, text="All", value="$__all"))
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
        )


def cost_centers() -> Iterator[Placed]:
    """What each cost center pays: today, this month, last month."""
    periods = (("Cost today", "today"), ("Cost this month", "month"), ("Cost last month", "last_month"))
    for title, period in periods:
        description = f"What the selected cost centers pay, platform and unowned left out. {PROVISIONAL}"
        query = Query(expr=q.cost(period), legend="{{currency}}")
        yield Placed(panel=stat_panel(title, description, PLAIN, query), width=6, height=4)
    description = "Whole-card hours of the selected cost centers: half a card held for two hours is one."
    query = Query(expr=q.gpu_hours("month"), legend="GPU-hours")
    yield Placed(panel=stat_panel("GPU-hours this month", description, PLAIN, query, decimals=1), width=6, height=4)

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
        ),
    )
    yield Placed(panel=table, width=14, height=9)
    description = f"The largest payers of the month so far. {PROVISIONAL}"
    query = Query(expr=f"sort_desc({q.cost('month', by)})", legend="{{cost_center}} ({{currency}})")
    yield Placed(panel=bar_panel("Cost this month by cost center", description, PLAIN, query), width=10, height=9)
    description = "How the month's cost grew. It falls back to nothing at the first local midnight of the month."
    lines = (Query(expr=q.cost("month", by), legend="{{cost_center}} ({{currency}})"),)
    yield Placed(
        panel=line_panel("Month to date by cost center", description, PLAIN, lines, stacked=True), width=24, height=8
    )


def namespaces() -> Iterator[Placed]:
    """Where in a cost center the money goes: namespace and sku."""
    hours_by = ("cost_center", "team", "namespace", "sku")
    table = table_panel(
        "Namespaces and SKUs this month",
        f"Cost and whole-card hours of this month so far. {PROVISIONAL}",
        PLAIN,
        {
            "cost_center": "Cost center",
            "team": "Team",
            "namespace": "Namespace",
            "sku": "SKU",
            "currency": "Currency",
        },
        (
            Column(title="Cost", expr=q.cost("month", hours_by)),
            Column(title="GPU-hours", expr=q.gpu_hours("month", hours_by), decimals=1),
        ),
    )
    yield Placed(panel=table, width=14, height=10)
    description = f"Cost of this month so far by what was held: a card, a MIG profile or a share. {PROVISIONAL}"
    query = Query(expr=f"sort_desc({q.cost('month', ('sku',))})", legend="{{sku}} ({{currency}})")
    yield Placed(panel=bar_panel("Cost this month by SKU", description, PLAIN, query), width=10, height=10)
    description = "Whole-card hours of this month so far, tenants only."
    query = Query(expr=f"sort_desc({q.gpu_hours('month', ('cost_center', 'sku'))})", legend="{{cost_center}} {{sku}}")
    panel = bar_panel("GPU-hours this month by cost center and SKU", description, PLAIN, query, decimals=1)
    yield Placed(panel=panel, width=24, height=8)


def budgets() -> Iterator[Placed]:
    """What cost centers may spend this month, and what they will have spent at its end."""
    spent, planned = q.budget("budget_spent"), q.budget("budget")
    expected = q.budget("budget_forecast", 'bound="expected"')
    table = table_panel(
        "Budgets this month",
        "What may be spent, what is, and where a straight line leads: low and high are two deviations. There is no "
        f"forecast in a month's first three days. {PROVISIONAL}",
        PLAIN,
        {"cost_center": "Cost center", "currency": "Currency"},
        (
            Column(title="Budget", expr=planned),
            Column(title="Spent", expr=spent),
            Column(title="Used", expr=f"{spent} / ({planned} > 0)", unit=RATIO, decimals=0),
            Column(title="Low", expr=q.budget("budget_forecast", 'bound="low"')),
            Column(title="Expected", expr=expected),
            Column(title="High", expr=q.budget("budget_forecast", 'bound="high"')),
        ),
    )
    yield Placed(panel=table, width=24, height=8)


def platform() -> Iterator[Placed]:
    """What no cost center pays. Only the cluster is picked here: nobody's time belongs to no team."""
    accounts = (
        (
            "Idle this month",
            "platform:idle",
            "Observed, healthy and held by nobody: free cards, unsold shares, capacity that no MIG instance covers.",
        ),
        (
            "Gap this month",
            "platform:gap",
            "The card existed, but nobody observed it and nothing says who held it. Look at the push ages below.",
        ),
        (
            "Unowned this month",
            "unowned",
            "Held by namespaces without a cost center. Label the namespace, and the time has an owner.",
        ),
        (
            "Discount this month",
            "platform:discount",
            "What tiers, commitments and discounts took off the list amount; negative where a premium was paid.",
        ),
    )
    for title, account, description in accounts:
        where = (q.PICKED_CLUSTER, f'cost_center="{account}"')
        query = Query(expr=q.cost("month", where=where), legend="{{currency}}")
        yield Placed(panel=stat_panel(title, description, PLAIN, query), width=5, height=4)
    description = "The part of all card-time of this month that no cost center held."
    share = Query(expr=q.platform_share("month"), legend="share")
    yield Placed(panel=stat_panel("Nobody's share", description, RATIO, share, decimals=1), width=4, height=4)

    by = ("cost_center", "kind")
    table = table_panel(
        "Platform accounts",
        f"Every account that is no cost center, by kind; with the cost centers, the whole ledger. {PROVISIONAL}",
        PLAIN,
        {"cost_center": "Account", "kind": "Kind", "currency": "Currency"},
        (
            Column(title="Today", expr=q.cost("today", by, where=PLATFORM_WHERE)),
            Column(title="This month", expr=q.cost("month", by, where=PLATFORM_WHERE)),
            Column(title="Last month", expr=q.cost("last_month", by, where=PLATFORM_WHERE)),
            Column(title="GPU-hours this month", expr=q.gpu_hours("month", by, where=PLATFORM_WHERE), decimals=1),
        ),
    )
    yield Placed(panel=table, width=14, height=9)
    description = "Whole-card hours since local midnight, by account: idle that grows at night is capacity to offer."
    lines = (Query(expr=q.gpu_hours("today", ("cost_center",), where=PLATFORM_WHERE), legend="{{cost_center}}"),)
    yield Placed(panel=line_panel("Platform GPU-hours today", description, PLAIN, lines), width=10, height=9)


def quotas() -> Iterator[Placed]:
    """How full each quota is, and what the plan beside it guarantees and caps."""
    by = tuple(QUOTA_KEYS)
    table = table_panel(
        "Quota use",
        "Hard and used as the quota says; guaranteed and cap as the plan says. Kubernetes enforces `requests.` only: "
        "where Enforced is false, we count the use and nothing stops it.",
        COUNT,
        QUOTA_KEYS,
        (
            Column(title="Used", expr=q.quota("used", by=by), unit=COUNT, decimals=0),
            Column(title="Own count", expr=q.quota("counted", by=by), unit=COUNT, decimals=0),
            Column(title="Hard", expr=q.quota("hard", by=by), unit=COUNT, decimals=0),
            Column(title="Saturation", expr=q.quota_saturation(by), unit=RATIO, decimals=0),
            Column(title="Guaranteed", expr=q.quota("guaranteed", by=by), unit=COUNT, decimals=0),
            Column(title="Cap", expr=q.quota("cap", by=by), unit=COUNT, decimals=0),
            Column(title="Full in", expr=q.quota("saturation_seconds", by=by), unit=SECONDS, decimals=0),
        ),
    )
    yield Placed(panel=table, width=24, height=9)
    name = "{{cluster}} {{namespace}} {{resourcequota}} {{resource}}"
    description = "Used over hard. The lines of the alerts lie at 0.9 (almost full) and 1 (fully used)."
    saturation = (Query(expr=q.quota_saturation(), legend=name),)
    panel = line_panel("Quota saturation", description, RATIO, saturation, saturation=True)
    yield Placed(panel=panel, width=12, height=9)
    description = "GPUs in use against the hard limit, the guarantee and the cap. Pick a namespace to read it well."
    figures = [
        Query(expr=q.quota(figure), legend=f"{figure} {name}") for figure in ("used", "hard", "guaranteed", "cap")
    ]
    yield Placed(panel=line_panel("Quota, guarantee and cap", description, COUNT, figures), width=12, height=9)
    description = "Workloads whose pods a quota's key refuses: `chargeback quota show` names them."
    lines = (Query(expr=q.quota("refusals"), legend=name),)
    yield Placed(panel=line_panel("Refused by a quota", description, COUNT, lines), width=8, height=7)
    description = "GPU pods that a quota admitted and no node has room for."
    lines = (Query(expr=q.quota("waiting_pods"), legend="{{cluster}} {{namespace}}"),)
    yield Placed(panel=line_panel("Waiting for a node", description, COUNT, lines), width=8, height=7)
    description = "Part of the held GPU time in which no process kept the device busy; absent where usage is unknown."
    lines = (Query(expr=q.quota("idle_ratio"), legend="{{cluster}} {{namespace}}"),)
    yield Placed(panel=line_panel("Held and idle", description, RATIO, lines), width=8, height=7)


def account_health() -> Iterator[Placed]:
    """Whether the numbers above can be trusted yet."""
    description = "Seconds since each node's agent last pushed. A node that stays silent becomes gap."
    ages = (Query(expr=f"topk(20, {q.push_age_s()})", legend="{{cluster}} {{node}}"),)
    yield Placed(panel=line_panel("Push age of the 20 stalest nodes", description, SECONDS, ages), width=8, height=8)
    description = "Seconds since owners and quotas were read. While it grows, their last known state is billed."
    ages = (Query(expr=q.table_age_s(), legend="{{cluster}} {{table}}"),)
    yield Placed(panel=line_panel("Age of the cluster's tables", description, SECONDS, ages), width=8, height=8)
    description = (
        "GPU-seconds without a price, as hours. They block the closing of the month: import a price and rate again."
    )
    unpriced = q.health("chargeback_unpriced_gpu_seconds")
    query = Query(expr=f"sum by (cluster, model) ({unpriced}) / {q.SECONDS_PER_HOUR}", legend="{{cluster}} {{model}}")
    yield Placed(panel=bar_panel("Unpriced GPU-hours", description, PLAIN, query, decimals=1), width=8, height=8)
    description = (
        "Node-hours that wait to be rated, and hours whose plans wait to be settled. Both should return to zero a "
        "few minutes after each hour."
    )
    waiting = (
        Query(expr=q.health("chargeback_rating_backlog"), legend="{{cluster}}"),
        Query(expr=q.health("chargeback_plan_backlog"), legend="{{cluster}} plans"),
    )
    yield Placed(panel=line_panel("Rating backlog", description, COUNT, waiting), width=8, height=7)
    description = (
        "Card-time that the ledger has too much or too little. Anything but zero is a fault of ours: report it."
    )
    lines = (Query(expr=q.health("chargeback_conservation_error_seconds"), legend="{{cluster}}"),)
    yield Placed(panel=line_panel("Conservation error", description, SECONDS, lines), width=8, height=7)
    description = (
        "Node-hours refused in an hour at the present pace, by the field at fault. The agent keeps each on disk."
    )
    lines = (Query(expr=q.refused_per_hour(), legend="{{field}}"),)
    yield Placed(panel=line_panel("Refused node-hours per hour", description, COUNT, lines), width=8, height=7)
    description = (
        "Where the API and the agents differ over the last day: a pod's end that the kubelet told late, time from "
        "bind to first sight, time that nobody observed, pods too short to be seen, pods without a known slot."
    )
    lines = (Query(expr=q.health("chargeback_meter_difference_seconds"), legend="{{cluster}} {{kind}}"),)
    yield Placed(panel=line_panel("Difference of the two meters", description, SECONDS, lines), width=8, height=7)
    description = "What is wrong with the data of the last day, by kind. `chargeback status` names each."
    lines = (Query(expr=q.health("chargeback_problems"), legend="{{cluster}} {{kind}}"),)
    yield Placed(panel=line_panel("Problems", description, COUNT, lines), width=8, height=7)
    description = "GPU nodes of the cluster whose agent never pushed: devices, and pods that nobody is billed for."
    unmetered = (
        Query(expr=q.health("chargeback_unmetered_devices"), legend="{{cluster}} {{node}} devices"),
        Query(expr=q.health("chargeback_unmetered_pods"), legend="{{cluster}} {{node}} pods"),
    )
    yield Placed(panel=line_panel("Nodes without an agent", description, COUNT, unmetered), width=8, height=7)


# The order of the page.
SECTIONS = {
    "Cost per cost center": cost_centers,
    "Namespaces and SKUs": namespaces,
    "Budgets": budgets,
    "What no cost center pays": platform,
    "Quotas": quotas,
    "Is the account complete?": account_health,
}
