"""Lists that commands print: as a table for people, as JSON or CSV for programs; and the ledger that they read."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from chargeback.cli.console import cell, console, table, text_of
from chargeback.cli.options import Failure
from chargeback.core.months.statements import safe
from chargeback.store.database import Connection, Database, DatabaseUnavailable
from chargeback.store.policies import policy_book

OUTPUT = click.option("--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)

Row = Mapping[str, Any]


def print_rows(
    columns: Sequence[str],
    rows: Sequence[Row],
    output: str,
    *,
    hidden: Sequence[str] = (),
    whole: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> None:
    """Print these columns of the rows. A table leaves out `hidden` ones and never breaks `whole` ones and numbers.

    A value is text, a whole number, or None: null in JSON, empty elsewhere.
    """
    if output == "json":
        click.echo(json.dumps([{name: row[name] for name in columns} for row in rows], indent=2))
    elif output == "csv":
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\r\n")
        writer.writerow(columns)
        writer.writerows([_csv_cell(row[name], name in numbers) for name in columns] for row in rows)
        click.echo(buffer.getvalue(), nl=False)
    else:
        names = [name for name in columns if name not in hidden]
        signs = dict.fromkeys(numbers, ">") | dict.fromkeys(whole, "=")
        shown = table(*(signs.get(name, "") + name.replace("_", " ") for name in names))
        for row in rows:
            shown.add_row(*(cell(row[name]) for name in names))
        click.echo(text_of(console(), shown))


def _csv_cell(value: object, is_number: bool) -> str:
    """Safe for a spreadsheet; a number may begin with a minus."""
    text = "" if value is None else str(value)
    return text if is_number else safe(text)


@contextmanager
def reading(database: Database) -> Iterator[Connection]:
    """A transaction for reading. Raises Failure where the database is away."""
    try:
        with database.read() as connection:
            yield connection
    except DatabaseUnavailable as error:
        raise Failure(str(error)) from error


@contextmanager
def writing(database: Database) -> Iterator[Connection]:
    """A transaction that commits if the block ends well. Raises Failure where the database is away."""
    try:
        with database.write() as connection:
            yield connection
    except DatabaseUnavailable as error:
        raise Failure(str(error)) from error


def ledger_timezone(connection: Connection) -> str:
    """Whose midnights the ledger's days have. Raises Failure where none has begun."""
    policies = policy_book(connection)
    if policies is None:
        raise Failure("no ledger here yet: start `chargeback serve` first")
    return policies.first.timezone


def now_ms() -> int:
    return time.time_ns() // 1_000_000
