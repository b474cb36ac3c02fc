"""The row of the dashboard "GPU fleet" about the health of cards: lost ones, XIDs, memory, heat and throttling."""

from collections.abc import Iterator

from dashboards import device_queries as dq
from dashboards.page import Placed
from dashboards.panels import CELSIUS, COUNT, INSTANT, NONE_WANTED, Column, Query, bar_panel, line_panel, table_panel

CARD = "{{node}} {{gpu}} {{model}}"


def health() -> Iterator[Placed]:
    """A card that is ill costs more than one that is idle."""
    keys = {"cluster": "Cluster", "node": "Node", "gpu": "GPU", "uuid": "UUID", "model": "Model", "xid": "XID"}
    by = tuple(keys)
    table = table_panel(
        "XIDs",
        "Errors that the driver raised since the agent began, by XID. 13, 31, 43, 45, 68 and 109 are the running "
        "application's own fault; what the others mean says NVIDIA's catalogue.",
        COUNT,
        keys,
        (
            Column(title="Last", expr=f"{dq.once('gpu_xid_last_timestamp_seconds', by=by)} * 1000", unit=INSTANT),
            Column(title="Errors", expr=dq.once("gpu_xid_errors_total", by=by), unit=COUNT, decimals=0),
        ),
    )
    yield Placed(panel=table, width=16, height=8)
    description = "Cards that should answer and do not, by node: drain it, then reset the card or restart the node."
    query = Query(expr=f"sort_desc({dq.missing_cards(('cluster', 'node'))})", legend="{{cluster}} {{node}}")
    panel = bar_panel("Missing cards by node", description, COUNT, query, decimals=0, limits=NONE_WANTED)
    yield Placed(panel=panel, width=8, height=8)
    description = "Cards with memory rows that wait for a reset to be replaced, or that could not be replaced."
    lines = tuple(
        Query(
            expr=dq.total(dq.once(f"gpu_row_remap_{name}", dq.CARDS), ("cluster", "node")),
            legend=f"{{{{cluster}}}} {{{{node}}}} {name}",
        )
        for name in ("pending", "failed")
    )
    yield Placed(panel=line_panel("Row remapping", description, COUNT, lines), width=8, height=8)
    description = (
        "Uncorrected memory errors of the last hour: what was computed there is wrong, and its job has failed."
    )
    errors = dq.in_last_hour("gpu_ecc_errors_total", 'kind="uncorrected"')
    lines = (Query(expr=errors, legend=CARD),)
    yield Placed(panel=line_panel("Uncorrected memory errors", description, COUNT, lines), width=8, height=8)
    description = "Cards whose clocks are slowed now, by reason: heat, power, or what the board and the driver allow."
    slowed = dq.once("gpu_throttled", by=(*dq.DEVICE, "reason"))
    lines = (Query(expr=f"sum by (reason) ({slowed})", legend="{{reason}}"),)
    yield Placed(panel=line_panel("Throttled cards", description, COUNT, lines), width=8, height=8)
    description = "The hottest cards."
    lines = (Query(expr=f"topk(10, {dq.once('gpu_temperature_celsius')})", legend=CARD),)
    yield Placed(panel=line_panel("Temperature", description, CELSIUS, lines), width=12, height=8)
    description = "Cards whose driver tells us no XIDs: none is counted, which does not mean that none was raised."
    unwatched = dq.total(f"1 - {dq.once('gpu_exporter_xids_watched', dq.CARDS)}", ("cluster", "node"))
    lines = (Query(expr=unwatched, legend="{{cluster}} {{node}}"),)
    yield Placed(panel=line_panel("Cards whose XIDs nobody tells", description, COUNT, lines), width=12, height=8)
