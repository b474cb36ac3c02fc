"""The dashboard "Chargeback service", for who runs it: whether the numbers of the other dashboards can be trusted."""

from collections.abc import Iterator
from typing import Any

from dashboards import queries as q
from dashboards import variables
from dashboards.agents import agents
from dashboards.links import SERVICE_UID, month_link
from dashboards.page import Page, Placed
from dashboards.panels import (
    COUNT,
    PLAIN,
    SECONDS,
    Column,
    Limits,
    Query,
    bar_panel,
    line_panel,
    stat_panel,
    table_panel,
)

# Agents push every half minute; five minutes are what the alert on silent ones waits for.
SILENT_S = 300
# It is silent itself after three days: then a node is taken for gone, also where no API says so.
GONE_S = 3 * 86400
ANY = Limits(warn=0.001, bad=0.001)
MINUTES = Limits(warn=300, bad=900)
BEHIND = Limits(warn=100, bad=1000)


def page_variables() -> Iterator[Any]:
    yield variables.datasource()
    yield variables.cluster()


def summary() -> Iterator[Placed]:
    """Green everywhere: the account is complete."""
    stats = (
        (
            "Silent agents",
            "Nodes whose agent last pushed five minutes to three days ago. Their time becomes gap when it is rated.",
            COUNT,
            f"sum(({q.push_age_s()} < {GONE_S}) > bool {SILENT_S})",
            Limits(warn=1, bad=1),
        ),
        (
            "Node-hours to rate",
            "Node-hours that are due and not rated yet.",
            COUNT,
            f"sum({q.health('chargeback_rating_backlog')})",
            BEHIND,
        ),
        (
            "Plan-hours to settle",
            "Hours whose plans are due and not settled yet.",
            COUNT,
            f"sum({q.health('chargeback_plan_backlog')})",
            BEHIND,
        ),
        (
            "Conservation error now",
            "Card-time that the ledger has too much or too little. Anything but zero is a fault of ours: report it.",
            SECONDS,
            f"sum(abs({q.health('chargeback_conservation_error_seconds')}))",
            ANY,
        ),
        (
            "Oldest unclosed month",
            "Time since the end of the oldest month that is over and not closed.",
            SECONDS,
            f"max({q.once('chargeback_month_unclosed_seconds')})",
            Limits(warn=5 * 86400, bad=10 * 86400),
        ),
        (
            "Age of the metrics",
            "How old the page is that Prometheus scrapes. It is made anew a few times a minute.",
            SECONDS,
            q.page_age_s(),
            MINUTES,
        ),
    )
    for title, description, unit, expr, limits in stats:
        query = Query(expr=expr, legend=title)
        panel = stat_panel(title, description, unit, query, decimals=0, limits=limits)
        yield Placed(panel=panel, width=4, height=4)


def ledger() -> Iterator[Placed]:
    """What waits to be rated, settled, priced and closed."""
    description = (
        "Node-hours that wait to be rated, and hours whose plans wait to be settled. Both should return to zero a "
        "few minutes after each hour."
    )
    waiting = (
        Query(expr=q.health("chargeback_rating_backlog"), legend="{{cluster}}"),
        Query(expr=q.health("chargeback_plan_backlog"), legend="{{cluster}} plans"),
    )
    yield Placed(panel=line_panel("Rating and plan backlog", description, COUNT, waiting), width=8, height=8)
    description = (
        "Card-time that the ledger has too much or too little. Anything but zero is a fault of ours: report it."
    )
    lines = (Query(expr=q.health("chargeback_conservation_error_seconds"), legend="{{cluster}}"),)
    yield Placed(panel=line_panel("Conservation error", description, SECONDS, lines), width=8, height=8)
    description = (
        "Card-time without a price, of this month and of the last until it is closed. It blocks the closing: import "
        "a price, and the hours are rated again."
    )
    unpriced = q.health("chargeback_unpriced_gpu_seconds", by=("cluster", "model"))
    query = Query(expr=f"{unpriced} / {q.SECONDS_PER_HOUR}", legend="{{cluster}} {{model}}")
    panel = bar_panel("Unpriced GPU-hours", description, PLAIN, query, decimals=1)
    yield Placed(panel=panel, width=8, height=8)
    table = table_panel(
        "Months",
        "In which state the newest months are: open, draft, approved, closed. A month that is over waits for its "
        "close; `chargeback close` says for what.",
        COUNT,
        {"month": "Month", "state": "State"},
        (Column(title="Is so", expr=q.month_states(), unit=COUNT, decimals=0),),
        links={"month": month_link()},
    )
    yield Placed(panel=table, width=8, height=8)
    description = (
        "Names of owners that differ from another only by case, - and _: most often one owner written in two ways. "
        "`chargeback owners` names them."
    )
    names = f"max by (field) ({q.once('chargeback_owner_lookalikes')})"
    query = Query(expr=names, legend="{{field}}")
    panel = bar_panel("Names of owners that look alike", description, COUNT, query, decimals=0)
    yield Placed(panel=panel, width=8, height=8)
    description = "Seconds since owners and quotas were read. While it grows, their last known state is billed."
    ages = (Query(expr=q.table_age_s(), legend="{{cluster}} {{table}}"),)
    yield Placed(panel=line_panel("Age of the cluster's tables", description, SECONDS, ages), width=8, height=8)


def meters() -> Iterator[Placed]:
    """What came in, what was refused, and where the two meters differ."""
    description = (
        "Slot time of the last day in which the API and the agents differ, by kind. Not billed: `late`, held after "
        "its pod had ended; `freed`. Billed: `early`, before the agents saw the pod; `missed`, between two sights of "
        "it; `unobserved` and `unseen`. Billed to nobody: `unplaced`."
    )
    lines = (Query(expr=q.health("chargeback_meter_difference_seconds"), legend="{{cluster}} {{kind}}"),)
    yield Placed(panel=line_panel("Difference of the two meters", description, SECONDS, lines), width=8, height=8)
    description = "What is wrong with the data of the last day, by kind. `chargeback status` names each."
    lines = (Query(expr=q.health("chargeback_problems"), legend="{{cluster}} {{kind}}"),)
    yield Placed(panel=line_panel("Problems", description, COUNT, lines), width=8, height=8)
    description = "GPU nodes of the cluster whose agent never pushed: devices, and pods that nobody is billed for."
    unmetered = (
        Query(expr=q.health("chargeback_unmetered_devices"), legend="{{cluster}} {{node}} devices"),
        Query(expr=q.health("chargeback_unmetered_pods"), legend="{{cluster}} {{node}} pods"),
    )
    yield Placed(panel=line_panel("Nodes without an agent", description, COUNT, unmetered), width=8, height=8)
    description = (
        "Pushes taken in an hour at the present pace: stored, or older than what was there. An agent pushes the hour "
        "so far twice a minute."
    )
    lines = (Query(expr=q.accepted_per_hour(), legend="{{outcome}}"),)
    yield Placed(panel=line_panel("Accepted pushes an hour", description, COUNT, lines), width=8, height=8)
    description = (
        "Pushes refused in an hour at the present pace, by status and the field at fault. The agent keeps what was "
        "refused on disk."
    )
    lines = (Query(expr=q.refused_per_hour(), legend="{{status}} {{field}}"),)
    yield Placed(panel=line_panel("Refused pushes an hour", description, COUNT, lines), width=8, height=8)
    description = "The versions that run, of the aggregator and of the agents."
    versions = tuple(
        Query(
            expr=f"count by (version) (max by (cluster, instance, version) ({program}_build_info{{}}))", legend=legend
        )
        for program, legend in (
            ("chargeback", "chargeback {{version}}"),
            ("gpu_exporter", "gpu-exporter {{version}}"),
        )
    )
    yield Placed(panel=line_panel("Versions", description, COUNT, versions), width=8, height=8)


PAGE = Page(
    uid=SERVICE_UID,
    title="Chargeback service",
    description="Whether the account is complete: silent agents, backlogs, conservation, meters, refusals, months.",
    time_from="now-24h",
    variables=page_variables,
    sections={"Now": summary, "Ledger": ledger, "Meters and pushes": meters, "Agents": agents},
)
