"""`chargeback adjust`: what people take off the bill or put on it, each with a reason and a ticket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from chargeback.cli.changes import print_changes, progress, to_be_rated
from chargeback.cli.listing import OUTPUT, Row, now_ms, print_rows, reading, writing
from chargeback.cli.options import STORE, Failure, settings_options, take_database
from chargeback.cli.people import given, people_options, taken
from chargeback.cli.values import INSTANT, reading_by
from chargeback.core.adjustments import (
    SUMS,
    Adjustment,
    Scope,
    lines_of_sum,
    read_scope,
    sum_problems,
    waiver_of,
)
from chargeback.core.hours import HOUR_MS, format_instant, parse_instant
from chargeback.core.lines import CREDIT, DEBIT, NONBILLABLE, OUTAGE
from chargeback.core.money import MICROS, format_micros, parse_decimal
from chargeback.core.policy import Policy
from chargeback.rater import read_terms
from chargeback.rerating import preview
from chargeback.store.adjustments import adjustments, make_adjustment, numbered, withdraw_adjustment
from chargeback.store.database import Connection, Database
from chargeback.store.hour_sums import HourSpan
from chargeback.store.policies import policy_book
from chargeback.store.scopes import unknown_names, with_cluster

POSTED = ("posted_in", "account", "kind", "amount")
LISTED = (
    "number", "kind", "from", "until", "scope", "amount", "posted_in", "ticket", "reason", "who", "recorded",
    "withdrawn",
)  # fmt: skip

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def adjust() -> None:
    """Take something off the bill, or put it on it: with a reason, and balanced."""


def _micros(text: str) -> int:
    micros = parse_decimal(text) * MICROS
    if micros <= 0 or micros.denominator != 1:
        raise ValueError("want more than 0, with at most six decimals, such as 250.00")
    return micros.numerator


AMOUNT = click.option("--amount", type=reading_by(_micros), required=True, metavar="NUMBER", help="such as 250.00")


def _options(command: Command) -> Command:
    """What every adjustment is made of."""
    for option in (
        OUTPUT,
        click.option("--dry-run", is_flag=True, help="show what it would move, and store nothing"),
        people_options(),
        click.option("--ticket", required=True, help="where it was asked for"),
        click.option(
            "--scope", "texts", metavar="KEY=NAME,…", multiple=True, required=True,
            help="of cluster, node, gpu, namespace, cost-center, team; may be given again",
        ),
        click.option("--until", "end", type=INSTANT, metavar="TIME", required=True, help="up to which it is about"),
        click.option(
            "--from", "start", type=INSTANT, metavar="TIME", required=True,
            help="such as 2026-10-03T14:00:00Z; a date alone is its midnight in the ledger's timezone",
        ),
        settings_options(*STORE),
    ):  # fmt: skip
        command = option(command)
    return command


@adjust.command()
@_options
@AMOUNT
def credit(**options: Any) -> None:
    """Give a cost center a sum back.

    It is posted in the month in which the span begins, or where that is settled in the next open one.

    \b
    Example: chargeback adjust credit --from 2026-10-03 --until 2026-10-05 --amount 250.00 \\
               --scope cluster=lab,cost-center=rd-001 --reason "storage was down" --ticket OPS-17
    """
    _make(CREDIT, **options)


@adjust.command()
@_options
@AMOUNT
def debit(**options: Any) -> None:
    """Have a cost center pay a sum more.

    It is posted in the month in which the span begins, or where that is settled in the next open one.

    \b
    Example: chargeback adjust debit --from 2026-10-03 --until 2026-10-05 --amount 99.50 \\
               --scope cluster=lab,cost-center=rd-001 --reason "support hours" --ticket OPS-18
    """
    _make(DEBIT, **options)


@adjust.command()
@_options
def nonbillable(**options: Any) -> None:
    """Have nobody pay for what is held in a span and scope: the time stays on the bill, its amount is 0.

    What it touches is rated again; of closed months the difference is posted in an open one.

    \b
    Example: chargeback adjust nonbillable --from 2026-10-03 --until 2026-10-05 --scope namespace=ml-test \\
               --reason "acceptance tests" --ticket OPS-19
    """
    _make(NONBILLABLE, **options)


@adjust.command()
@_options
def outage(**options: Any) -> None:
    """Have nobody pay for what was held while something of ours was down: as nonbillable, by another name.

    \b
    Example: chargeback adjust outage --from 2026-10-03T14:10:00Z --until 2026-10-03T16:00:00Z \\
               --scope node=gpu-07 --reason "fabric manager" --ticket OPS-20
    """
    _make(OUTAGE, **options)


@adjust.command("list")
@settings_options(*STORE)
@OUTPUT
def list_adjustments(output: str, **options: Any) -> None:
    """List all adjustments that were ever made, the withdrawn ones too.

    \b
    Example: chargeback adjust list --data /var/lib/chargeback --output csv
    """
    with reading(take_database(options)) as connection:
        rows = [_listed(each) for each in adjustments(connection)]
    hidden = () if any(row["withdrawn"] for row in rows) else ("withdrawn",)
    print_rows(LISTED, rows, output, hidden=hidden, whole=("from", "until", "recorded"), numbers=("number", "amount"))


@adjust.command()
@click.argument("number", type=int)
@settings_options(*STORE)
@people_options()
def withdraw(number: int, reason: str, who: str | None, **options: Any) -> None:
    """Withdraw an adjustment: it is as if it had never been made, and stays on record.

    A sum whose month is settled is answered by its opposite in the next open one.

    \b
    Example: chargeback adjust withdraw 3 --reason "wrong node" --data /var/lib/chargeback
    """
    reason, who = taken(reason, who)
    try:
        with writing(take_database(options)) as connection:
            made, due, month = withdraw_adjustment(connection, number, who, reason, now_ms())
    except ValueError as error:
        raise Failure(f"NUMBER: {error}") from error
    if made.kind not in SUMS:
        done = to_be_rated(due)
    else:
        done = f"its lines of {made.month} are gone" if month is None else f"its opposite is posted in {month}"
    click.echo(f"{made.name}: {made.kind} withdrawn; {done}")


def _make(
    kind: str,
    *,
    start: str,
    end: str,
    texts: Sequence[str],
    ticket: str,
    reason: str,
    who: str | None,
    dry_run: bool,
    output: str,
    amount: int | None = None,
    **options: Any,
) -> None:
    reason, who = taken(reason, who)
    ticket = given("ticket", ticket)
    database = take_database(options)
    with reading(database) as connection:
        policy = _policy(connection)
        from_ms, until_ms = parse_instant(start, policy.timezone), parse_instant(end, policy.timezone)
        problems = [] if from_ms < until_ms else [f"--until: {end!r}: want an instant after --from"]
        scope, wrong = _scope(connection, kind, texts)
    if problems or scope is None:
        raise Failure("\n".join([*problems, *(f"--scope: {each}" for each in wrong)]))
    wanted = Adjustment(
        number=0,
        kind=kind,
        from_ms=from_ms,
        until_ms=until_ms,
        scope=scope,
        amount_micros=amount,
        month="",
        reason=reason,
        ticket=ticket,
        who=who,
        recorded_ms=now_ms(),
    )
    if kind in SUMS:
        _sum(database, wanted, policy, dry_run, output)
    else:
        _waiver(database, wanted, policy, dry_run, output)


def _sum(database: Database, wanted: Adjustment, policy: Policy, dry_run: bool, output: str) -> None:
    """Post it, or only say what would be."""
    if dry_run:
        with reading(database) as connection:
            made = numbered(connection, wanted, policy.timezone)
    else:
        with writing(database) as connection:
            made, _ = make_adjustment(connection, wanted, policy.timezone, policy.version)
    done = "would be posted" if dry_run else f"is posted as {made.name}"
    click.echo(f"{made.kind} of {made.scope}: {done} in {made.month}, in {policy.currency}", err=output != "table")
    rows = [
        {"posted_in": line.month, "account": line.account, "kind": line.kind, "amount": format_micros(micros)}
        for line in lines_of_sum(made, policy.timezone, policy.version)
        if (micros := line.amount_micros) is not None
    ]
    print_rows(POSTED, rows, output, whole=POSTED[:1], numbers=("amount",))


def _waiver(database: Database, wanted: Adjustment, policy: Policy, dry_run: bool, output: str) -> None:
    """Record it, and have the hours rated again; or show what rating them with it would move."""
    if not dry_run:
        with writing(database) as connection:
            made, due = make_adjustment(connection, wanted, policy.timezone, policy.version)
        click.echo(f"{made.name}: {made.kind} of {made.scope}; {to_be_rated(due)}", err=output != "table")
        if output != "table":
            print_rows(LISTED, [_listed(made)], output, numbers=("number", "amount"))
        return
    scope = wanted.scope
    span = HourSpan(
        first=wanted.hour,
        until=-(-wanted.until_ms // HOUR_MS),
        cluster=scope.cluster or None,
        node=scope.node or None,
    )
    with reading(database) as connection, progress("rating") as advance:
        terms, at_ms = read_terms(connection), now_ms()
        without = preview(terms, span, at_ms, advance)
        with_it = preview(terms, span, at_ms, advance, planned=[waiver_of(wanted)])
    click.echo(f"{with_it.node_hours} node-hours would be rated", err=output != "table")
    print_changes(without.after, with_it.after, policy.currency, output)


def _scope(connection: Connection, kind: str, texts: Sequence[str]) -> tuple[Scope | None, list[str]]:
    """The scope, or what is wrong with it."""
    try:
        scope = read_scope(texts)
        problems = sum_problems(scope) if kind in SUMS else []
        if not problems and kind in SUMS:
            scope = with_cluster(connection, scope)
    except ValueError as error:
        return None, str(error).splitlines()
    problems = problems or unknown_names(connection, scope)
    return (None, problems) if problems else (scope, [])


def _policy(connection: Connection) -> Policy:
    book = policy_book(connection)
    if book is None:
        raise Failure("no ledger here yet: start `chargeback serve` first")
    return book.first


def _listed(each: Adjustment) -> Row:
    return {
        "number": each.number,
        "kind": each.kind,
        "from": format_instant(each.from_ms),
        "until": format_instant(each.until_ms),
        "scope": str(each.scope),
        "amount": None if each.amount_micros is None else format_micros(each.amount_micros),
        "posted_in": each.month if each.kind in SUMS else None,
        "ticket": each.ticket,
        "reason": each.reason,
        "who": each.who,
        "recorded": format_instant(each.recorded_ms),
        "withdrawn": None if each.withdrawn_ms is None else format_instant(each.withdrawn_ms),
    }
