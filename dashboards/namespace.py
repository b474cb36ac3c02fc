"""The dashboard "GPU namespace", for a team lead: which GPUs are mine, how busy they are, what they cost, and what of
it is wasted."""

from collections.abc import Iterator
from typing import Any

from dashboards import device_queries as dq
from dashboards import queries as q
from dashboards import variables
from dashboards.ledger_panels import CHOSEN, IDLE_PART, PROVISIONAL, cost_of, hours_of
from dashboards.links import NAMESPACE_UID
from dashboards.page import Page, Placed
from dashboards.panels import (
    BYTES,
    COUNT,
    INSTANT,
    PLAIN,
    RATIO,
    SATURATION,
    WATTS,
    Column,
    Query,
    bar_panel,
    line_panel,
    stat_panel,
    table_panel,
)

MINE = dq.PICKED_HOLDERS
POD = ("namespace", "pod")
DEVICES = (
    "A device is a card, a MIG instance or a share of either; a share counts for its part. Agents know namespaces, "
    "not owners: what they say is of the namespaces picked above."
)
KNOWN = "Where busy time cannot be known (several pods on a device, MIG on A100) there is no number, and no zero."


def page_variables() -> Iterator[Any]:
    yield variables.datasource()
    yield from variables.owners(only_theirs=True)
    yield variables.period()


def summary() -> Iterator[Placed]:
    """The namespace in six numbers."""
    yield Placed(panel=cost_of(f"Cost, {CHOSEN}", q.PICKED_PERIOD, what="What is paid"), width=4, height=4)
    yield Placed(panel=hours_of(f"GPU-hours, {CHOSEN}", q.PICKED_PERIOD), width=4, height=4)
    stats = (
        ("Devices held", f"Devices held now. {DEVICES}", COUNT, dq.held(where=MINE), 1),
        ("Busy", f"How much of what is held now is busy. {KNOWN}", RATIO, dq.busy_ratio(where=MINE), 0),
        (
            "Held and idle",
            f"Devices held now while no process keeps them busy. {KNOWN}",
            COUNT,
            dq.held_and_idle(where=MINE),
            1,
        ),
        (
            "Power",
            "Power drawn for these pods now, by the rule that docs/metrics.md tells.",
            WATTS,
            dq.power_of_holders(where=MINE),
            0,
        ),
    )
    for title, description, unit, expr, decimals in stats:
        query = Query(expr=expr, legend=title)
        yield Placed(panel=stat_panel(title, description, unit, query, decimals=decimals), width=4, height=4)


def pods() -> Iterator[Placed]:
    """Who holds what, and how busy it is."""
    keys = {
        "namespace": "Namespace",
        "pod": "Pod",
        "container": "Container",
        "node": "Node",
        "model": "Model",
        "mig_profile": "Profile",
    }
    by = tuple(keys)
    held_memory = dq.total(dq.device_memory_of_holders(), ("namespace", "pod", "container", "node"))
    table = table_panel(
        "Pods now",
        f"A row a container and kind of device. {DEVICES} {KNOWN}",
        COUNT,
        keys,
        (
            Column(title="Held", expr=f"{dq.held(by=by, where=MINE)} > 0", unit=COUNT, decimals=2),
            Column(title="Busy", expr=dq.busy_ratio(by=by, where=MINE), unit=RATIO, decimals=0),
            Column(title="Idle", expr=dq.held_and_idle(by=by, where=MINE), unit=COUNT, decimals=2),
            Column(
                title="Power",
                expr=dq.power_of_holders(by=by, where=MINE),
                unit=WATTS,
                decimals=0,
            ),
        ),
    )
    yield Placed(panel=table, width=24, height=9)
    description = f"Devices held, by pod. {DEVICES}"
    lines = (Query(expr=f"{dq.held(by=POD, where=MINE)} > 0", legend="{{namespace}} {{pod}}"),)
    panel = line_panel("Devices held by pod", description, COUNT, lines, stacked=True)
    yield Placed(panel=panel, width=12, height=8)
    description = f"How much of what a pod holds it keeps busy. {KNOWN}"
    lines = (Query(expr=dq.busy_ratio(by=POD, where=MINE), legend="{{namespace}} {{pod}}"),)
    yield Placed(panel=line_panel("Busy by pod", description, RATIO, lines), width=12, height=8)
    description = "Memory in use on the devices of a container. Who shares a device sees all of it."
    lines = (Query(expr=held_memory, legend="{{namespace}} {{pod}} {{container}}"),)
    yield Placed(panel=line_panel("Device memory", description, BYTES, lines), width=12, height=8)
    description = (
        "The last error of each device that a pod holds now, for all pods that share it. 13, 31, 43, 45, 68 and 109 "
        "are the application's own fault. Errors of a card that MIG cuts are on the page GPU fleet."
    )
    on = ("cluster", "node", "uuid")
    holders = dq.once("gpu_held_info", by=(*on, *POD), where=MINE)
    last = dq.once("gpu_xid_last_timestamp_seconds", by=(*on, "xid"), where=dq.PICKED_CLUSTER)
    table = table_panel(
        "XIDs of devices held",
        description,
        INSTANT,
        {"namespace": "Namespace", "pod": "Pod", "node": "Node", "xid": "XID"},
        (
            Column(
                title="Last",
                expr=f"max by (namespace, pod, node, xid) ({holders} * on ({', '.join(on)}) group_left (xid) "
                f"topk by ({', '.join(on)}) (1, {last})) * 1000",
                unit=INSTANT,
            ),
        ),
    )
    yield Placed(panel=table, width=12, height=8)


def cost() -> Iterator[Placed]:
    """What it costs, and for what."""
    by = ("namespace", "sku", "kind")
    table = table_panel(
        f"Cost by SKU and kind, {CHOSEN}",
        "`held` on demand; under a plan `reserved`, `burst` beyond it and `unused` of the guarantee; credits are "
        f"negative. {PROVISIONAL}",
        PLAIN,
        {"namespace": "Namespace", "sku": "SKU", "kind": "Kind", "currency": "Currency"},
        (
            Column(title="Cost", expr=q.cost(q.PICKED_PERIOD, by)),
            Column(title="GPU-hours", expr=q.gpu_hours(q.PICKED_PERIOD, by), decimals=1),
        ),
    )
    yield Placed(panel=table, width=12, height=9)
    description = f"How the cost of a day grows from local midnight on. {PROVISIONAL}"
    lines = (Query(expr=q.cost("today", ("namespace",)), legend="{{namespace}} ({{currency}})"),)
    panel = line_panel("Cost today", description, PLAIN, lines, stacked=True)
    yield Placed(panel=panel, width=12, height=9)


def waste() -> Iterator[Placed]:
    """What is paid for and does nothing, and how much room is left."""
    description = (
        "Devices held while no process keeps them busy, by pod: end these, or make them smaller, and the money "
        f"stays with you. {KNOWN}"
    )
    query = Query(expr=f"topk(10, {dq.held_and_idle(by=POD, where=MINE)} > 0)", legend="{{namespace}} {{pod}}")
    panel = bar_panel("Idlest pods", description, COUNT, query)
    yield Placed(panel=panel, width=8, height=8)
    lines = (Query(expr=q.quota("idle_ratio"), legend="{{cluster}} {{namespace}}"),)
    yield Placed(panel=line_panel("Idle part of what is held", IDLE_PART, RATIO, lines), width=8, height=8)
    description = f"Cost of guarantees that were paid for and not used, in the period. {PROVISIONAL}"
    unused = q.cost(q.PICKED_PERIOD, ("namespace",), where=(q.PICKED, q.TENANTS, 'kind="unused"'))
    query = Query(expr=f"sort_desc({unused})", legend="{{namespace}} ({{currency}})")
    panel = bar_panel(f"Unused guarantee, {CHOSEN}", description, PLAIN, query)
    yield Placed(panel=panel, width=8, height=8)
    description = "Used over hard of each of the namespace's quotas; the lines of the alerts lie at 0.9 and 1."
    lines = (Query(expr=q.quota_saturation(), legend="{{namespace}} {{resourcequota}} {{resource}}"),)
    panel = line_panel("Quota saturation", description, RATIO, lines, limits=SATURATION)
    yield Placed(panel=panel, width=24, height=8)


PAGE = Page(
    uid=NAMESPACE_UID,
    title="GPU namespace",
    description="A namespace's GPUs: who holds them, how busy they are, what they cost, and what of it is wasted.",
    time_from="now-6h",
    variables=page_variables,
    sections={"Now": summary, "Pods": pods, "Cost": cost, "Waste": waste},
)
