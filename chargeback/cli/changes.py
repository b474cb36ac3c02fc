"""What rating again changes, printed: by account, and where it is posted as adjustments of closed months."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chargeback.cli.listing import Row, print_rows
from chargeback.core.differences import NOTHING, Sum, Sums, adjusted, by_account
from chargeback.core.money import MS_PER_HOUR, format_micros, round_six
from chargeback.rerating import Told

MEASURES = ("gpu_hours", "list_amount", "amount")
COLUMNS = (
    "posted_in", "corrects", "account",
    *(f"{measure}_{when}" for measure in MEASURES for when in ("before", "after", "difference")),
)  # fmt: skip
BY_ACCOUNT = ("account", "of", "before", "after", "difference")
POSTED = ("posted_in", "corrects", "account", *MEASURES)


def to_be_rated(due: int) -> str:
    """What a change has made due, and who does it."""
    said = f"{due} node-hours to be rated again"
    return f"{said}: a running server does it, or chargeback rerate --now" if due else said


def print_changes(before: Sums, after: Sums, currency: str, output: str) -> None:
    """Each account whose sums differ, and each of its postings as adjustments that does.

    In JSON and CSV these are rows of one list: of all months together, where it says of no month where it is posted.
    """
    accounts = by_account(before, after)
    postings = adjusted(before, after)
    if output != "table":
        rows = [_row("", "", each.account, each.before, each.after) for each in accounts]
        rows += [
            _row(at.month, at.corrects_month, at.account, before.get(at, NOTHING), after.get(at, NOTHING))
            for at, _ in postings
        ]
        print_rows(COLUMNS, rows, output, numbers=COLUMNS[3:])
        return
    if not accounts and not postings:
        click.echo("No amount, hour or account differs.")
        return
    if accounts:
        changes = [row for each in accounts for row in _changes(each.account, each.before, each.after)]
        click.echo(f"By account, in {currency}:")
        print_rows(BY_ACCOUNT, changes, output, whole=("of",), numbers=BY_ACCOUNT[2:])
    if postings:
        click.echo("Of it as adjustments, for months that are closed:")
        posted = [
            {"posted_in": at.month, "corrects": at.corrects_month, "account": at.account} | _shown(more)
            for at, more in postings
        ]
        print_rows(POSTED, posted, output, whole=POSTED[:2], numbers=MEASURES)


def _changes(account: str, before: Sum, after: Sum) -> Iterator[Row]:
    """What differs of an account, a row a measure."""
    old, new, differs = _shown(before), _shown(after), _shown(after - before)
    for name in MEASURES:
        if old[name] != new[name]:
            shown = {"before": old[name], "after": new[name], "difference": differs[name]}
            yield {"account": account, "of": name.replace("_", " ")} | shown


def _row(posted_in: str, corrects: str, account: str, before: Sum, after: Sum) -> Row:
    row = {"posted_in": posted_in, "corrects": corrects, "account": account}
    for when, each in (("before", before), ("after", after), ("difference", after - before)):
        row |= {f"{name}_{when}": value for name, value in _shown(each).items()}
    return row


def _shown(of: Sum) -> dict[str, str]:
    return {
        "gpu_hours": round_six(of.gpu_ms / Fraction(MS_PER_HOUR)),
        "list_amount": format_micros(of.list_micros),
        "amount": format_micros(of.amount_micros),
    }


@contextmanager
def progress(what: str) -> Iterator[Told]:
    """A bar on stderr while it lasts, if that is a terminal."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
