"""`chargeback prices`: check a price file, show what the ledger bills by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from chargeback.cli.console import console
from chargeback.cli.options import STORE, Failure, settings_options, take_database
from chargeback.core.hours import format_instant
from chargeback.core.money import MICROS, format_decimal
from chargeback.core.prices import Price, PriceBook, TierFactor
from chargeback.price_file import PriceFileError, read_price_file
from chargeback.reports import NoLedger, policy_of
from chargeback.store.terms import price_book


@click.group()
def prices() -> None:
    """Check and show prices."""


@prices.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--timezone", default="UTC", show_default=True, help="whose midnights prices may change at")
def check(file: Path, timezone: str) -> None:
    """Check a price file; every problem is named.

    \b
    Example: chargeback prices check prices.yaml
    """
    try:
        found = read_price_file(str(file), timezone)
    except (PriceFileError, OSError) as error:
        raise Failure(str(error)) from error
    click.echo(f"{file}: {len(found.prices)} prices, {len(found.factors)} tier factors, {found.currency}")


@prices.command()
@settings_options(*STORE)
@click.option("--default", "built_in", is_flag=True, help="the built-in list prices, not the ledger's")
def show(built_in: bool, **options: Any) -> None:
    """Show the price book in force.

    \b
    Example: chargeback prices show --data /var/lib/chargeback
    """
    if built_in:
        console().print(_table(read_price_file("default").book(version=0, timezone="UTC"), "built-in list prices"))
        return
    database = take_database(options)
    try:
        timezone = policy_of(database).timezone
    except NoLedger as error:
        raise Failure(str(error)) from error
    with database.read() as connection:
        book = price_book(connection, timezone)
    console().print(_table(book, f"price book, version {book.version}" if book.version else "no price book yet"))


def _table(book: PriceBook, title: str) -> Table:
    table = Table("model", "profile", "tier", "price", "unit", "from", "until", title=title, title_justify="left")
    for price in sorted(book.prices, key=lambda p: (p.model, p.profile or "", p.tier or "", p.from_ms)):
        amount = format_decimal(price.amount / MICROS)
        table.add_row(price.model, price.profile or "", price.tier or "", amount, price.unit, *_validity(price))
    for factor in sorted(book.factors, key=lambda f: (f.tier, f.from_ms)):
        table.add_row("any", "", factor.tier, format_decimal(factor.factor), "factor", *_validity(factor))
    return table


def _validity(entry: Price | TierFactor) -> tuple[str, str]:
    begin = format_instant(entry.from_ms) if entry.from_ms else ""
    return begin, "" if entry.until_ms is None else format_instant(entry.until_ms)
