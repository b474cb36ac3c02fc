"""`chargeback status`: what is due, who is silent, what is known of a month, which months wait."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from chargeback.cli.console import cell, console, table, text_of
from chargeback.cli.listing import now_ms, reading
from chargeback.cli.options import EXIT_INCOMPLETE, STORE, settings_options, take_database
from chargeback.cli.values import MONTH
from chargeback.core.hours import HOUR_MS
from chargeback.core.metered import EARLY, FREED, LATE, MISSED, UNOBSERVED, UNPLACED, UNSEEN
from chargeback.core.reservations import OVERCOMMITTED
from chargeback.ledger_status import Status, is_well, ledger_status

# What a kind of difference is (`chargeback.core.second_meter`), and a kind of problem, in words.
DIFFERENCES = {
    LATE: "the agents saw held after its pod had ended: not billed",
    EARLY: "held before the agents saw its pod: billed",
    MISSED: "held between two sights of the same pod: billed",
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


@click.command()
@settings_options(*STORE)
@click.option("--month", type=MONTH, metavar="MONTH", help="whose coverage is shown; default: the current one")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(month: str | None, output: str, **options: Any) -> None:
    """Show what is due, what is known of a month, which months wait, and the last push of every node.

    Differences and problems are those of the last 24 hours that are rated; the running one is not. Coverage is of
    card time: observed by agents, filled from the API, or a gap. What waits for a draft is held, not due.

    Exit 0: all is well; 1: something is due, a node is silent or not metered, or time does not balance.

    \b
    Example: chargeback status --data /var/lib/chargeback
    """
    with reading(take_database(options)) as connection:
        found = ledger_status(connection, month, now_ms())
    if output == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        _show(found)
    if not is_well(found):
        sys.exit(EXIT_INCOMPLETE)


def _show(found: Status) -> None:
    out = console()
    due = (f"{found['due_node_hours']} node-hours", f"{found['due_plan_hours']} plan-hours")
    out.print(f"due: {', '.join(due)}, {found['days_to_sum']} days to sum up")
    for each in found["backlog"]:
        if each["due"] or each["held"]:
            oldest = "" if each["oldest"] is None else f", the oldest of {each['oldest']}"
            held = f"; {each['held']} wait for a draft" if each["held"] else ""
            click.echo(f"due in {each['cluster']}: {each['due']} {each['work']}{oldest}{held}")
    out.print(f"conservation error: {found['conservation_error_ms']} ms")
    out.print(f"schema: {found['schema']}")
    for name, groups in found["lookalikes"].items():
        for group in groups:
            alike = escape(", ".join(group))
            out.print(f"look alike: {name.replace('_', ' ')} {alike}: each is billed by itself", highlight=False)
    _show_data(found)
    if found["detached"]:
        click.echo(f"detached, to be archived or dropped: {', '.join(found['detached'])}")
    for shown in (_coverage(found), _months(found), _nodes(found)):
        if shown.row_count:
            click.echo(text_of(out, shown))


def _show_data(found: Status) -> None:
    """What is wrong with what was measured."""
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


def _coverage(found: Status) -> Table:
    shown = table("=month", "cluster", ">observed h", ">from the API h", ">gap h", ">covered %")
    for each in found["coverage"]:
        hours = (each["observed_gpu_hours"], each["api_gpu_hours"], each["gap_gpu_hours"])
        shown.add_row(*map(cell, (each["month"], each["cluster"], *hours, each["covered_percent"])))
    return shown


def _months(found: Status) -> Table:
    shown = table("=month", "state", ">draft", "=since", "prepared by", "approved by", "closed by", "")
    for each in found["months"]:
        people = (each["prepared_by"], each["approved_by"], each["closed_by"])
        waits = {"draft": "waits for an approval", "approved": "waits to be closed"}.get(each["state"], "")
        shown.add_row(*map(cell, (each["month"], each["state"], each["draft"], each["since"], *people, waits)))
    return shown


def _nodes(found: Status) -> Table:
    shown = table("cluster", "node", "=last push", "")
    for node in found["nodes"]:
        silent = "silent" if node["silent"] else ""
        shown.add_row(*map(cell, (node["cluster"], node["node"], node["last_push"], silent)))
    return shown
