"""The dashboard "GPU quotas": guarantee, cap, hard and used; what is held and idle; when a quota will be full; and
which pods wait."""

from collections.abc import Iterator
from typing import Any

from dashboards import queries as q
from dashboards import variables
from dashboards.ledger_panels import CHOSEN, IDLE_PART, PROVISIONAL
from dashboards.links import NAMESPACE_UID, QUOTAS_UID, cell_link
from dashboards.page import Page, Placed
from dashboards.panels import (
    COUNT,
    NONE_WANTED,
    PLAIN,
    RATIO,
    SATURATION,
    SECONDS,
    Column,
    Query,
    bar_panel,
    line_panel,
    stat_panel,
    table_panel,
)

QUOTA_KEYS = {
    "cluster": "Cluster",
    "namespace": "Namespace",
    "cost_center": "Cost center",
    "team": "Team",
    "resourcequota": "Quota",
    "resource": "Resource",
    "enforced": "Enforced",
}
KEY = "{{cluster}} {{namespace}} {{resourcequota}} {{resource}}"
NAMESPACE_LINK = cell_link("Open the namespace", NAMESPACE_UID, "namespace")
WHO_ENFORCES = "Kubernetes enforces `requests.` only: where Enforced is false, we count the use and nothing stops it."


def page_variables() -> Iterator[Any]:
    yield variables.datasource()
    yield from variables.owners()
    yield variables.period()


def summary() -> Iterator[Placed]:
    """How many quotas are in trouble, and how much waits for them."""
    saturation = q.quota_saturation()
    stats = (
        ("GPU quotas", "Keys of quotas that limit GPUs.", f"count({q.quota('hard')})", None),
        (
            "Almost full",
            "Quotas of which more than nine tenths are used, or of at most ten all but one, and which are not full.",
            q.quotas_almost_full(),
            NONE_WANTED,
        ),
        (
            "Full",
            "Quotas of which nothing is left. One that is over is full too.",
            f"sum({saturation} >= bool {SATURATION.bad})",
            NONE_WANTED,
        ),
        (
            "Refused workloads",
            "Workloads that a quota refuses now; one that two keys refuse counts twice. Only a cluster's API tells.",
            f"sum({q.quota('refusals')})",
            NONE_WANTED,
        ),
        (
            "Waiting pods",
            "GPU pods that a quota admitted and no node has room for. Only a cluster's API tells.",
            f"sum({q.quota('waiting_pods')})",
            NONE_WANTED,
        ),
    )
    for (title, description, expr, limits), width in zip(stats, (4, 5, 5, 5, 5), strict=True):
        query = Query(expr=expr, legend=title)
        panel = stat_panel(title, description, COUNT, query, decimals=0, limits=limits)
        yield Placed(panel=panel, width=width, height=4)


def use() -> Iterator[Placed]:
    """How full each quota is, and what the plan beside it guarantees and caps."""
    by = tuple(QUOTA_KEYS)
    table = table_panel(
        "Quota use",
        "Hard and used as the quota says; guaranteed and cap as the plan says; own count: devices of the pods that "
        f"match, pending ones included. {WHO_ENFORCES}",
        COUNT,
        QUOTA_KEYS,
        (
            Column(title="Used", expr=q.quota("used", by=by), unit=COUNT, decimals=0),
            Column(title="Own count", expr=q.quota("counted", by=by), unit=COUNT, decimals=0),
            Column(title="Hard", expr=q.quota("hard", by=by), unit=COUNT, decimals=0),
            Column(title="Left", expr=q.quota_left(by), unit=COUNT, decimals=0),
            Column(title="Saturation", expr=q.quota_saturation(by), unit=RATIO, decimals=0),
            Column(title="Guaranteed", expr=q.quota("guaranteed", by=by), unit=COUNT, decimals=0),
            Column(title="Cap", expr=q.quota("cap", by=by), unit=COUNT, decimals=0),
            Column(title="Full in", expr=q.quota("saturation_seconds", by=by), unit=SECONDS, decimals=0),
        ),
        links={"namespace": NAMESPACE_LINK},
    )
    yield Placed(panel=table, width=24, height=9)
    description = "Used over hard. The lines of the alerts lie at 0.9 (almost full) and 1 (fully used)."
    saturation = (Query(expr=q.quota_saturation(), legend=KEY),)
    panel = line_panel("Quota saturation", description, RATIO, saturation, limits=SATURATION)
    yield Placed(panel=panel, width=12, height=9)
    description = "GPUs in use against the hard limit, the guarantee and the cap. Pick a namespace to read it well."
    figures = [
        Query(expr=q.quota(figure), legend=f"{figure} {KEY}") for figure in ("used", "hard", "guaranteed", "cap")
    ]
    yield Placed(panel=line_panel("Quota, guarantee and cap", description, COUNT, figures), width=12, height=9)


def demand() -> Iterator[Placed]:
    """When a quota will be full, and what waits already."""
    description = "Time until a quota is full, by the trend of its use; 0: it is full. Absent where nothing rises."
    query = Query(expr=f"sort({q.quota('saturation_seconds')})", legend=KEY)
    panel = bar_panel("Time to saturation", description, SECONDS, query, decimals=0)
    yield Placed(panel=panel, width=8, height=8)
    description = (
        "Workloads whose pods a quota's key refuses: `chargeback quota show` names them. Only a cluster's API tells."
    )
    lines = (Query(expr=q.quota("refusals"), legend=KEY),)
    yield Placed(panel=line_panel("Refused by a quota", description, COUNT, lines), width=8, height=8)
    description = "GPU pods that a quota admitted and no node has room for. Only a cluster's API tells."
    lines = (Query(expr=q.quota("waiting_pods"), legend="{{cluster}} {{namespace}}"),)
    yield Placed(panel=line_panel("Waiting for a node", description, COUNT, lines), width=8, height=8)


def waste() -> Iterator[Placed]:
    """What takes room in a quota, or is paid for, and does nothing."""
    of_namespace = ("cluster", "namespace")
    lines = (Query(expr=q.quota("idle_ratio"), legend="{{cluster}} {{namespace}}"),)
    yield Placed(panel=line_panel("Held and idle", IDLE_PART, RATIO, lines), width=8, height=8)
    description = (
        "What the plan guarantees less what the quota's key has in use now, of any model; below zero, what is used "
        "beyond it. Where others fill the key, a guarantee of one model may be unused all the same: what was paid "
        "for it stands beside."
    )
    left = f"{q.quota('guaranteed')} - ({q.quota('used')} or {q.quota('counted')})"
    lines = (Query(expr=left, legend=KEY),)
    yield Placed(panel=line_panel("Guaranteed and not used", description, COUNT, lines), width=8, height=8)
    description = f"Cost of guarantees that were paid for and not used, in the period. {PROVISIONAL}"
    unused = (q.PICKED, q.TENANTS, 'kind="unused"')
    query = Query(
        expr=f"sort_desc({q.cost(q.PICKED_PERIOD, of_namespace, where=unused)})",
        legend="{{cluster}} {{namespace}} ({{currency}})",
    )
    panel = bar_panel(f"Unused guarantee, {CHOSEN}", description, PLAIN, query)
    yield Placed(panel=panel, width=8, height=8)


PAGE = Page(
    uid=QUOTAS_UID,
    title="GPU quotas",
    description="How full GPU quotas are, what plans guarantee and cap, what waits, and what is held and idle.",
    time_from="now-24h",
    variables=page_variables,
    sections={"Now": summary, "Use": use, "Demand": demand, "Waste": waste},
)
