"""`chargeback plans used`: what became of guarantees in a month or an hour, as the ledger has settled them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from chargeback.cli.listing import OUTPUT, Row, now_ms, print_rows, reading
from chargeback.cli.options import STORE, Failure, settings_options, take_database
from chargeback.cli.values import MONTH, reading_by
from chargeback.core.hours import HOUR_MS, format_instant, local_day, month_span_ms, parse_hour
from chargeback.core.lines import BURST, RESERVED, UNUSED
from chargeback.core.money import format_micros, round_six
from chargeback.core.plans.uses import KINDS, PlanUse, plan_uses
from chargeback.core.totals import Total, total_of
from chargeback.store.database import Connection
from chargeback.store.ledger import lines_of_hour
from chargeback.store.plans import plan_book, plan_clusters
from chargeback.store.policies import policy_book
from chargeback.store.rollup import totals_of_month

COLUMNS = (
    "cluster", "namespace", "resource", "price_key", "guaranteed", "cap", "held", "reserved", "burst", "unused",
    "reserved_amount", "burst_amount", "unused_amount", "unbacked_amount", "source", "from",
)  # fmt: skip
NUMBERS = COLUMNS[4:14]
# For people's eyes; a program has all of it.
HIDDEN = ("resource", "burst_amount", "from")


@click.command()
@settings_options(*STORE)
@click.option("--cluster", envvar="CHARGEBACK_CLUSTER", help="only this one; default: all")
@click.option(
    "--month", type=MONTH, metavar="MONTH", help="whose plans, and what became of them; default: this month so far"
)
@click.option("--hour", type=reading_by(parse_hour), metavar="HOUR", help="one hour instead, such as 2026-10-03T14Z")
@OUTPUT
def used(cluster: str | None, month: str | None, hour: int | None, output: str, **options: Any) -> None:
    """Show the ledger's plans as they hold at the end of a month (or an hour, or now), and what became of them.

    Hours are of the price's unit, of rated hours only: reserved is what was held within the guarantee, burst what was
    held beyond, unused what was not held. What no idle card backed of the unused is oversold: `unbacked`.

    \b
    Examples: chargeback plans used --month 2026-10 --data /var/lib/chargeback
              chargeback plans used --hour 2026-10-03T14Z --output json
    """
    if month is not None and hour is not None:
        raise Failure("--hour: want it, or --month, not both")
    database = take_database(options)
    with reading(database) as connection:
        policies = policy_book(connection)
        if policies is None:
            raise Failure("no ledger here yet: start `chargeback serve` first")
        timezone, currency = policies.first.timezone, policies.first.currency
        found = _uses(connection, cluster, month, hour, timezone)
    print_rows(COLUMNS, list(map(_row, found)), output, hidden=HIDDEN, numbers=NUMBERS)
    if output == "table":
        for line in _sums(found, currency):
            click.echo(line)
    if not found:
        click.echo("no plan holds then", err=True)


def _uses(
    connection: Connection, cluster: str | None, month: str | None, hour: int | None, timezone: str
) -> list[PlanUse]:
    at_ms = now_ms()
    if hour is not None:
        at_ms = (hour + 1) * HOUR_MS - 1
    elif month is not None:
        at_ms = min(at_ms, month_span_ms(month, timezone)[1] - 1)
    else:
        month = local_day(at_ms, timezone).isoformat()[:7]
    of_month: list[Total] = []
    if hour is None:
        assert month is not None
        of_month = list(totals_of_month(connection, month))
    found: list[PlanUse] = []
    for name in plan_clusters(connection) if cluster is None else [cluster]:
        book = plan_book(connection, name)
        plans = [plan for namespace in book.namespaces(at_ms, at_ms + 1) for plan in book.at(namespace, at_ms)]
        totals = of_month if hour is None else map(total_of, lines_of_hour(connection, name, hour))
        found += plan_uses(name, plans, totals)
    return found


def _row(use: PlanUse) -> Row:
    plan = use.plan
    return {
        "cluster": use.cluster,
        "namespace": plan.namespace,
        "resource": plan.resource,
        "price_key": plan.price_key,
        "guaranteed": plan.guaranteed,
        "cap": plan.cap,
        "held": round_six(use.held_hours),
        "reserved": round_six(use.hours[RESERVED]),
        "burst": round_six(use.hours[BURST]),
        "unused": round_six(use.hours[UNUSED]),
        **{f"{kind}_amount": format_micros(use.micros[kind]) for kind in KINDS},
        "unbacked_amount": format_micros(use.unbacked_micros),
        "source": plan.source,
        "from": format_instant(plan.from_ms) if plan.from_ms else "",
    }


def _sums(uses: Sequence[PlanUse], currency: str) -> list[str]:
    """A cluster a line: all that is guaranteed, and what of its price stands against no card."""
    lines = []
    for cluster in sorted({use.cluster for use in uses}):
        mine = [use for use in uses if use.cluster == cluster]
        guaranteed = sum(use.plan.guaranteed or 0 for use in mine)
        unused = sum(use.micros[UNUSED] for use in mine)
        unbacked = sum(use.unbacked_micros for use in mine)
        lines.append(
            f"{cluster}: {guaranteed} guaranteed; unused for {format_micros(unused)} {currency}, "
            f"of which {format_micros(unbacked)} oversold"
        )
    return lines
