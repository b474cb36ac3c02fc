"""The dashboard "GPU fleet", for who runs the cards: which there are, how MIG cuts them, how busy and how well they
are, and whether all of them are observed."""

from collections.abc import Iterator
from typing import Any

from dashboards import device_queries as dq
from dashboards import queries as q
from dashboards import variables
from dashboards.fleet_health import health
from dashboards.links import FLEET_UID, cell_link
from dashboards.page import Page, Placed
from dashboards.panels import (
    BYTES,
    COUNT,
    NONE_WANTED,
    RATIO,
    SECONDS,
    WATTS,
    Column,
    Query,
    bar_panel,
    line_panel,
    stat_panel,
    table_panel,
)

MODEL_LINK = cell_link("Show only this model", FLEET_UID, "model")
NODE_LINK = cell_link("Show only this node", FLEET_UID, "node")
MODEL = ("model",)
DEVICE_TIME = "A device is a card, a MIG instance or a share of either; a share counts for its part."


def page_variables() -> Iterator[Any]:
    yield variables.datasource()
    yield variables.cluster()
    yield from variables.devices()


def summary() -> Iterator[Placed]:
    """The fleet in six numbers."""
    cards = dq.once("gpu_info", dq.CARDS)
    stats = (
        ("Cards", "Physical cards that agents see.", COUNT, f"count({cards})", 0, None),
        (
            "Cards that do not answer",
            "Cards that were seen, or that the driver or the bus lists, and that do not answer.",
            COUNT,
            dq.missing_cards(),
            0,
            NONE_WANTED,
        ),
        (
            "MIG instances",
            "Instances that the cards are cut into; none is zero.",
            COUNT,
            f"count({dq.once('gpu_info', dq.INSTANCES)}) or 0 * count({cards})",
            0,
            None,
        ),
        (
            "Held",
            f"The part of all observed device time that somebody holds now. {DEVICE_TIME}",
            RATIO,
            dq.held_ratio(),
            1,
            None,
        ),
        (
            "Busy while held",
            "The part of the held device time in which a process keeps the device busy, where that is known.",
            RATIO,
            dq.busy_ratio(),
            1,
            None,
        ),
        ("Power", "Power that all cards draw now.", WATTS, dq.total(dq.once("gpu_power_watts")), 0, None),
    )
    for title, description, unit, expr, decimals, limits in stats:
        query = Query(expr=expr, legend=title)
        panel = stat_panel(title, description, unit, query, decimals=decimals, limits=limits)
        yield Placed(panel=panel, width=4, height=4)


def models() -> Iterator[Placed]:
    """Which cards there are, and how MIG cuts them."""
    cards = dq.once("gpu_info", dq.CARDS)
    table = table_panel(
        "Models",
        "Cards by model. Utilisation is the share of time in which a kernel ran, which MIG cards cannot say.",
        COUNT,
        {"model": "Model"},
        (
            Column(title="Cards", expr=f"count by (model) ({cards})", unit=COUNT, decimals=0),
            Column(
                title="MIG instances",
                expr=f"count by (model) ({dq.once('gpu_info', dq.INSTANCES)})",
                unit=COUNT,
                decimals=0,
            ),
            Column(title="Memory", expr=dq.total(dq.once("gpu_memory_total_bytes", dq.CARDS), MODEL), unit=BYTES),
            Column(title="Memory used", expr=dq.total(dq.once("gpu_memory_used_bytes", dq.CARDS), MODEL), unit=BYTES),
            Column(
                title="Utilisation", expr=f"avg by (model) ({dq.once('gpu_utilization_ratio', dq.CARDS)})", unit=RATIO
            ),
            Column(title="Power", expr=dq.total(dq.once("gpu_power_watts"), MODEL), unit=WATTS, decimals=0),
        ),
        links={"model": MODEL_LINK},
    )
    yield Placed(panel=table, width=14, height=8)
    description = "Instances by profile: how many of each size the cards are cut into."
    query = Query(
        expr=f"sort_desc(count by (model, mig_profile) ({dq.once('gpu_info', dq.INSTANCES)}))",
        legend="{{model}} {{mig_profile}}",
    )
    panel = bar_panel("MIG instances by profile", description, COUNT, query, decimals=0)
    yield Placed(panel=panel, width=10, height=8)
    layout = {"cluster": "Cluster", "node": "Node", "parent_uuid": "Card", "model": "Model", "mig_profile": "Profile"}
    by = tuple(layout)
    table = table_panel(
        "MIG layout",
        f"Which instances each card has, and how many of them somebody holds. {DEVICE_TIME}",
        COUNT,
        layout,
        (
            Column(
                title="Instances",
                expr=f"count by ({', '.join(by)}) ({dq.once('gpu_info', dq.INSTANCES)})",
                unit=COUNT,
                decimals=0,
            ),
            Column(title="Held", expr=dq.held(dq.INSTANCES, by=by), unit=COUNT, decimals=1),
        ),
        links={"node": NODE_LINK},
    )
    yield Placed(panel=table, width=24, height=9)


def utilisation() -> Iterator[Placed]:
    """What the cards do: held, busy, idle; by node and by model."""
    description = (
        "Share of time in which a kernel ran, averaged over the cards of a node; cards in MIG mode say nothing."
    )
    ratio = f"avg by (cluster, node) ({dq.once('gpu_utilization_ratio', dq.CARDS)})"
    lines = (Query(expr=ratio, legend="{{cluster}} {{node}}"),)
    yield Placed(panel=line_panel("Utilisation by node", description, RATIO, lines), width=12, height=8)
    kind = ("model", "mig_profile")
    description = f"Devices that somebody holds, by model and MIG profile. {DEVICE_TIME}"
    lines = (Query(expr=dq.held(by=kind), legend="{{model}} {{mig_profile}}"),)
    panel = line_panel("Devices held", description, COUNT, lines, stacked=True)
    yield Placed(panel=panel, width=12, height=8)
    description = f"Devices that are observed, healthy and held by nobody. {DEVICE_TIME}"
    lines = (Query(expr=dq.idle(kind), legend="{{model}} {{mig_profile}}"),)
    panel = line_panel("Devices idle", description, COUNT, lines, stacked=True)
    yield Placed(panel=panel, width=12, height=8)
    description = (
        "Devices that are held while no process keeps them busy, by namespace, where that is known: the cheapest "
        "capacity there is."
    )
    lines = (Query(expr=dq.held_and_idle(("namespace",)), legend="{{namespace}}"),)
    panel = line_panel("Held and idle devices by namespace", description, COUNT, lines, stacked=True)
    yield Placed(panel=panel, width=12, height=8)
    description = "Memory in use over all memory of the cards of a model."
    used, whole = (dq.total(dq.once(f"gpu_memory_{name}_bytes", dq.CARDS), MODEL) for name in ("used", "total"))
    lines = (Query(expr=f"{used} / {whole}", legend="{{model}}"),)
    yield Placed(panel=line_panel("Memory by model", description, RATIO, lines), width=12, height=8)
    description = "Power drawn by the cards of a node."
    lines = (Query(expr=dq.total(dq.once("gpu_power_watts"), ("cluster", "node")), legend="{{cluster}} {{node}}"),)
    yield Placed(panel=line_panel("Power by node", description, WATTS, lines, stacked=True), width=12, height=8)


def coverage() -> Iterator[Placed]:
    """Whether every card is observed, and every holder known."""
    description = (
        "The part of time in which a node's devices and their holders are observed. What is not becomes gap."
    )
    lines = (Query(expr=dq.observed_ratio(("cluster", "node")), legend="{{cluster}} {{node}}"),)
    yield Placed(panel=line_panel("Observed", description, RATIO, lines), width=8, height=8)
    description = (
        "Holders by the evidence that they hold. `none`: more than one could be it, and nobody is named; `kubelet`: "
        "the driver does not show the card now."
    )
    evidence = dq.once("gpu_held_info", by=(*dq.HOLDER, "evidence"))
    query = Query(expr=f"sort_desc(count by (evidence) ({evidence}))", legend="{{evidence}}")
    panel = bar_panel("Holders by evidence", description, COUNT, query, decimals=0)
    yield Placed(panel=panel, width=8, height=8)
    description = "The part of the holders whose busy time is known now. What is unknown is no zero."
    known = f"avg by (model) ({dq.once('gpu_busy_known', by=dq.HOLDER)})"
    lines = (Query(expr=known, legend="{{model}}"),)
    yield Placed(panel=line_panel("Holders whose busy time is known", description, RATIO, lines), width=8, height=8)
    description = "Devices used at this pace by processes that hold no part of them: reported, and not billed."
    using = dq.while_observed(dq.pace("gpu_use_without_allocation_seconds_total"))
    used = dq.total(using, ("cluster", "node"))
    lines = (Query(expr=used, legend="{{cluster}} {{node}}"),)
    yield Placed(panel=line_panel("Use without allocation", description, COUNT, lines), width=8, height=8)
    description = (
        "GPU devices that a node offers and whose agent never pushed, and pods there that nobody is billed for."
    )
    unmetered = (
        Query(expr=q.health("chargeback_unmetered_devices"), legend="{{cluster}} {{node}} devices"),
        Query(expr=q.health("chargeback_unmetered_pods"), legend="{{cluster}} {{node}} pods"),
    )
    yield Placed(panel=line_panel("Nodes without an agent", description, COUNT, unmetered), width=8, height=8)
    description = "Seconds since each node's agent last pushed. A node that stays silent becomes gap."
    query = Query(expr=f"topk(10, {q.push_age_s()})", legend="{{cluster}} {{node}}")
    panel = bar_panel("Stalest nodes", description, SECONDS, query, decimals=0)
    yield Placed(panel=panel, width=8, height=8)


PAGE = Page(
    uid=FLEET_UID,
    title="GPU fleet",
    description="Which GPUs there are, how MIG cuts them, how busy and how healthy they are, and who observes them.",
    time_from="now-6h",
    variables=page_variables,
    sections={
        "Now": summary,
        "Models and MIG": models,
        "Utilisation": utilisation,
        "Health": health,
        "Coverage": coverage,
    },
)
