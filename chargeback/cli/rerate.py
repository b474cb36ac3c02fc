"""`chargeback rerate`: rate hours again, and show what that changes."""

from __future__ import annotations

from typing import Any

import click

from chargeback.cli.changes import print_changes, progress
from chargeback.cli.listing import OUTPUT, now_ms, print_rows, reading, writing
from chargeback.cli.options import EXIT_INCOMPLETE, STORE, Failure, settings_options, take_database
from chargeback.cli.values import reading_by
from chargeback.core.hours import parse_hour
from chargeback.rater import read_terms
from chargeback.reports import policy_of
from chargeback.rerating import Preview, preview
from chargeback.store.database import Connection, Database, DatabaseUnavailable
from chargeback.store.hour_sums import HourSpan, hour_sums, make_span_due, to_rate, unknown_places, waiting
from chargeback.store.node_hours import skip_grace
from chargeback.store.policies import policy_book
from chargeback.tasks.close_hours import Closed, close_all

HOUR = reading_by(parse_hour)
RATED = ("node_hours", "plan_hours")


@click.command()
@settings_options(*STORE)
@click.option("--from", "first", type=HOUR, metavar="HOUR", help="rate hours from here on again: 2026-10-03T14Z")
@click.option("--until", type=HOUR, metavar="HOUR", help="this hour is not included; default: to the end")
@click.option("--cluster", help="only this one; default: all")
@click.option("--node", help="only this one; default: all")
@click.option("--dry-run", is_flag=True, help="show what would change, and store nothing")
@click.option("--now", is_flag=True, help="close what is over at once, without waiting for the grace")
@OUTPUT
def rerate(
    first: int | None,
    until: int | None,
    cluster: str | None,
    node: str | None,
    dry_run: bool,
    now: bool,
    output: str,
    **options: Any,
) -> None:
    """Rate hours again and show what that changes, by account; or close what is due.

    Lines of closed months stay: what differs is posted as adjustments in an open month. Hours of a month that is
    drafted or approved wait; then the exit code is 1.

    \b
    Examples: chargeback rerate --now
              chargeback rerate --from 2026-10-01T00Z --until 2026-10-02T00Z --dry-run
    """
    span = _span(first, until, cluster, node, dry_run, now)
    database = take_database(options)
    try:
        if span is None:
            done = _close(database, None, now)
            plans = f", {done.plan_hours} plan-hours settled" if done.plan_hours else ""
            click.echo(f"{done.node_hours} node-hours rated{plans}", err=output != "table")
            if output != "table":
                print_rows(RATED, [{name: getattr(done, name) for name in RATED}], output, numbers=RATED)
            return
        kept = _would(database, span) if dry_run else _do(database, span, now)
    except DatabaseUnavailable as error:
        raise Failure(str(error)) from error
    click.echo(f"{kept.node_hours} node-hours {'would be ' if dry_run else ''}rated", err=output != "table")
    print_changes(kept.before, kept.after, _currency(database), output)
    with reading(database) as connection:
        count = waiting(connection, span)
    if count:
        click.echo(f"{count} node-hours wait: their month is drafted or approved", err=True)
        raise SystemExit(EXIT_INCOMPLETE)


def _span(
    first: int | None, until: int | None, cluster: str | None, node: str | None, dry_run: bool, now: bool
) -> HourSpan | None:
    """None: no hours were named. Raises Failure for options that contradict one another."""
    if first is None:
        named = {"--until": until, "--cluster": cluster, "--node": node, "--dry-run": dry_run or None}
        alone = [option for option, value in named.items() if value is not None]
        if alone or not now:
            raise Failure("\n".join(f"{option}: want --from HOUR with it" for option in alone) or WANTED)
        return None
    if until is not None and until <= first:
        raise Failure("--until: want an hour after --from")
    if dry_run and now:
        raise Failure("--now: want it without --dry-run")
    return HourSpan(first=first, until=until, cluster=cluster, node=node)


WANTED = "want --from HOUR or --now"


def _would(database: Database, span: HourSpan) -> Preview:
    with reading(database) as connection, progress("rating") as advance:
        _check(connection, span)
        return preview(read_terms(connection), span, now_ms(), advance)


def _do(database: Database, span: HourSpan, now: bool) -> Preview:
    with reading(database) as connection:
        _check(connection, span)
        before = hour_sums(connection, span)
    done = _close(database, span, now)
    with reading(database) as connection:
        return Preview(before=before, after=hour_sums(connection, span), node_hours=done.node_hours)


def _close(database: Database, span: HourSpan | None, now: bool) -> Closed:
    at_ms = now_ms()
    with writing(database) as connection:
        _check(connection, span)
        if span is not None:
            make_span_due(connection, span, at_ms)
        if now:
            skip_grace(connection, at_ms)
        total = len(to_rate(connection, span or HourSpan(first=0), at_ms, due=True))
    with progress("rating") as advance:
        return close_all(database, at_ms, 0, advance=lambda done: advance(done, max(done, total)))


def _check(connection: Connection, span: HourSpan | None) -> None:
    if policy_book(connection) is None:
        raise Failure("no ledger here yet: start `chargeback serve` first")
    problems = () if span is None else unknown_places(connection, span)
    if problems:
        raise Failure("\n".join(f"--{problem}" for problem in problems))


def _currency(database: Database) -> str:
    return policy_of(database).currency
