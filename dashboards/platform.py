"""The row of the dashboard "Chargeback" about what no cost center pays: idle, gaps, unowned time, discounts."""

from collections.abc import Iterator

from dashboards import queries as q
from dashboards.ledger_panels import CHOSEN, PROVISIONAL
from dashboards.page import Placed
from dashboards.panels import PLAIN, RATIO, Column, Query, bar_panel, line_panel, stat_panel, table_panel

PLATFORM_WHERE = (q.PICKED_CLUSTER, q.PLATFORM)

ACCOUNTS = {
    "Idle": "platform:idle",
    "Gap": "platform:gap",
    "Unowned": "unowned",
    "Discount": "platform:discount",
}
MEANINGS = {
    "Idle": "Observed, healthy and held by nobody: free cards, unsold shares, capacity that no MIG instance covers; "
    "less what cost centers pay for guarantees that they did not use.",
    "Gap": "The card existed, but nobody observed it and nothing says who held it. The page Chargeback service shows "
    "whose agent was silent.",
    "Unowned": "Held by namespaces without a cost center. Label the namespace, and the time has an owner.",
    "Discount": "What tiers, commitments and discounts took off the list amount; negative where a premium was paid.",
}


def platform() -> Iterator[Placed]:
    """Only the cluster is picked here: nobody's time belongs to no team."""
    for title, account in ACCOUNTS.items():
        where = (q.PICKED_CLUSTER, f'cost_center="{account}"')
        query = Query(expr=q.cost(q.PICKED_PERIOD, where=where), legend="{{currency}}")
        yield Placed(panel=stat_panel(f"{title}, {CHOSEN}", MEANINGS[title], PLAIN, query), width=5, height=4)
    description = (
        "The part of all card-time of the period that is on no cost center's account: held by nobody, unowned, or "
        "without a price."
    )
    share = Query(expr=q.platform_share(q.PICKED_PERIOD), legend="share")
    panel = stat_panel(f"Nobody's share, {CHOSEN}", description, RATIO, share, decimals=1)
    yield Placed(panel=panel, width=4, height=4)

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
    yield Placed(panel=table, width=14, height=12)
    description = "Whole-card hours since local midnight, by account: idle that grows at night is capacity to offer."
    lines = (Query(expr=q.gpu_hours("today", ("cost_center",), where=PLATFORM_WHERE), legend="{{cost_center}}"),)
    yield Placed(panel=line_panel("Platform GPU-hours today", description, PLAIN, lines), width=10, height=12)
    where = (q.PICKED_CLUSTER, 'cost_center="platform:idle"')
    description = f"Idle card-time of the period in money, by what was idle. {PROVISIONAL}"
    expr = f"sort_desc({q.cost(q.PICKED_PERIOD, ('sku', 'kind'), where=where)})"
    query = Query(expr=expr, legend="{{sku}} {{kind}} ({{currency}})")
    yield Placed(panel=bar_panel(f"Idle cost by SKU, {CHOSEN}", description, PLAIN, query), width=12, height=8)
    where = (q.PICKED_CLUSTER, 'cost_center="unowned"')
    description = f"Who holds cards and has no cost center, in the period. {PROVISIONAL}"
    expr = f"sort_desc({q.cost(q.PICKED_PERIOD, ('cluster', 'namespace'), where=where)})"
    query = Query(expr=expr, legend="{{cluster}} {{namespace}} ({{currency}})")
    panel = bar_panel(f"Unowned cost by namespace, {CHOSEN}", description, PLAIN, query)
    yield Placed(panel=panel, width=12, height=8)
