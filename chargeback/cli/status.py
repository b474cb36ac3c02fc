"""`chargeback status`: what is due, who is silent, which months there are."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import Any

import click
from rich.markup import escape

from chargeback.cli.console import cell, console, table, text_of
from chargeback.cli.options import EXIT_INCOMPLETE, STORE, Failure, settings_options, take_database
from chargeback.core.hours import HOUR_MS, format_instant
from chargeback.core.lookalikes import look_alikes
from chargeback.core.reservations import OVERCOMMITTED
from chargeback.core.second_meter import EARLY, FREED, LATE, UNOBSERVED, UNPLACED, UNSEEN
from chargeback.store.database import DatabaseUnavailable
from chargeback.store.node_hours import backlog, differences_since, last_pushes
from chargeback.store.node_states import unmetered_nodes
from chargeback.store.owners import owner_names
from chargeback.store.problems import problems_since
from chargeback.store.rollup import marked, months

# What a kind of difference is (`chargeback.core.second_meter`), and a kind of problem, in words.
DIFFERENCES = {
    LATE: "the agents saw held after its pod had ended: not billed",
    EARLY: "held before the agents saw its pod: billed",
    UNOBSERVED: "held while nobody observed: billed",
    UNSEEN: "held by pods that no agent saw: billed",
    UNPLACED: "held by pods that no agent saw, on no device that can be named: billed to nobody",
    FREED: "no longer held by pods that the API has alive, as the agents saw: not billed",
}
PROBLEMS = {
    UNPLACED: "it held a device that cannot be named: billed to nobody",
    OVERCOMMITTED: "more is asked of its card than it has",
    "unpriced": "it has no price",
    "conservation": "its lines are not its time: a defect",
}

# An agent pushes its running hour every half minute.
SILENT_AFTER_S = 300
RECENT_HOURS = 24


@click.command()
@settings_options(*STORE)
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(output: str, **options: Any) -> None:
    """Show the backlog of rating, where the two meters differ, what is wrong, and the last push of every node.

    Differences and problems are those of the last 24 hours that are rated; the running one is not.

    Exit 0: all is well; 1: node-hours are due, a node is silent or not metered, or time does not balance.

    \b
    Example: chargeback status --data /var/lib/chargeback
    """
    database = take_database(options)
    now_ms = time.time_ns() // 1_000_000
    since = now_ms // HOUR_MS - RECENT_HOURS
    try:
        with database.read() as connection:
            waiting = backlog(connection, now_ms)
            found: dict[str, Any] = {
                "due_node_hours": sum(waiting.due.values()),
                "days_to_sum": marked(connection),
                "lookalikes": {name: look_alikes(names) for name, names in owner_names(connection, now_ms).items()},
                "conservation_error_ms": sum(waiting.error_ms.values()),
                "meter_difference_ms": differences_since(connection, since),
                "problems": [asdict(problem) for problem in problems_since(connection, since)],
                "unmetered": [asdict(node) for node in unmetered_nodes(connection)],
                "months": [{"month": month, "state": "open"} for month in months(connection)],
                "nodes": [
                    {
                        "cluster": cluster,
                        "node": node,
                        "last_push": format_instant(at_ms),
                        "silent": now_ms - at_ms > SILENT_AFTER_S * 1000,
                    }
                    for cluster, node, at_ms in last_pushes(connection)
                ],
            }
    except DatabaseUnavailable as error:
        raise Failure(str(error)) from error
    if output == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        _show(found)
    silent = any(node["silent"] for node in found["nodes"])
    if found["due_node_hours"] or found["conservation_error_ms"] or found["unmetered"] or silent:
        sys.exit(EXIT_INCOMPLETE)


def _show(found: dict[str, Any]) -> None:
    out = console()
    out.print(f"due: {found['due_node_hours']} node-hours, {found['days_to_sum']} days to sum up")
    out.print(f"conservation error: {found['conservation_error_ms']} ms")
    out.print("months: " + (", ".join(f"{m['month']} ({m['state']})" for m in found["months"]) or "none yet"))
    for name, groups in found["lookalikes"].items():
        for group in groups:
            alike = escape(", ".join(group))
            out.print(f"look alike: {name.replace('_', ' ')} {alike}: each is billed by itself", highlight=False)
    for cluster, kinds in found["meter_difference_ms"].items():
        for kind, ms in kinds.items():
            click.echo(f"meters differ in {cluster}: {ms / 1000:g} s {DIFFERENCES.get(kind, '')} ({kind})")
    for problem in found["problems"]:
        what = f"{problem['kind']} in {problem['cluster']}: {problem['subject']}"
        hours = f"{problem['ms'] / HOUR_MS:.3f} h, node-hours: {problem['node_hours']}"
        click.echo(f"problem: {what}: {PROBLEMS.get(problem['kind'], '')} ({hours})")
    for node in found["unmetered"]:
        what = f"no agent ever pushed; GPU devices: {node['devices']}, pods so far: {node['pods']}"
        click.echo(f"unmetered: {node['cluster']}/{node['node']}: {what}")
    nodes = table("cluster", "node", "=last push", "")
    for node in found["nodes"]:
        silent = "silent" if node["silent"] else ""
        nodes.add_row(*map(cell, (node["cluster"], node["node"], node["last_push"], silent)))
    click.echo(text_of(out, nodes))
