"""`chargeback export`: the monthly CSV."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from chargeback.cli.options import EXIT_INCOMPLETE, STORE, Failure, settings_options, take_database
from chargeback.core.hours import check_month
from chargeback.core.money import round_six
from chargeback.reports import NoLedger, month_csv, unpriced_of_month
from chargeback.store.database import Database, DatabaseUnavailable


@click.command()
@settings_options(*STORE)
@click.option("--month", required=True, help="such as 2026-10")
@click.option("--output-file", "-o", type=click.Path(dir_okay=False, path_type=Path), help="default: standard output")
@click.option("--allow-unpriced", is_flag=True, help="exit 0 although some time has no price")
def export(month: str, output_file: Path | None, allow_unpriced: bool, **options: Any) -> None:
    """Write a month's chargeback CSV: rated hours only, every account, byte for byte the same each time.

    Exit 0: complete; 1: some time has no price (named on stderr; its amounts are empty).

    \b
    Example: chargeback export --data /var/lib/chargeback --month 2026-10 -o 2026-10.csv
    """
    database = take_database(options)
    try:
        check_month(month)
        write_month(database, month, output_file)
        unpriced = unpriced_of_month(database, month)
    except ValueError as error:
        raise Failure(f"--month: {error}") from error
    except (NoLedger, DatabaseUnavailable, OSError) as error:
        raise Failure(str(error)) from error
    for model, hours in sorted(unpriced.items()):
        click.echo(f"no price for {model}: {round_six(hours)} card hours in {month}, amounts left empty", err=True)
    if unpriced and not allow_unpriced:
        click.echo("add the prices and start `serve` with them, or pass --allow-unpriced", err=True)
        sys.exit(EXIT_INCOMPLETE)


def write_month(database: Database, month: str, path: Path | None) -> None:
    """Write the CSV to a file, whole or not at all, or to standard output."""
    if path is None:
        for piece in month_csv(database, month):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            for piece in month_csv(database, month):
                file.write(piece)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
