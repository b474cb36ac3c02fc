"""`chargeback prices check`, `import` and `history`: prices as people write them, and as the ledger keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from chargeback.cli.changes import to_be_rated
from chargeback.cli.listing import OUTPUT, Row, ledger_timezone, now_ms, print_rows, reading, writing
from chargeback.cli.options import EXIT_INCOMPLETE, STORE, Failure, settings_options, take_database
from chargeback.cli.people import given, people_options, taken
from chargeback.cli.values import reading_by, timezone_option
from chargeback.core.hours import format_instant
from chargeback.core.nodes import PRICE_LABELS
from chargeback.core.prices.changes import Change
from chargeback.core.prices.warnings import warnings
from chargeback.files.prices import PriceFile, PriceFileError, read_price_file
from chargeback.setting_texts import label_keys
from chargeback.store.policies import TermsConflict
from chargeback.store.terms import Import, PricesRefused, book_history, import_prices, look_at_import

CHANGES = ("section", "entry", "field", "before", "after", "from", "until", "needs_force")
HISTORY = ("version", "recorded", "who", "why", "source", "change")

NODE_LABELS = click.option(
    "--node-labels",
    type=reading_by(label_keys),
    default=",".join(PRICE_LABELS),
    show_default=True,
    help="labels of nodes that prices may name, as `serve` has them",
)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@timezone_option("whose midnights prices may change at")
@NODE_LABELS
def check(file: Path, timezone: str, node_labels: Sequence[str]) -> None:
    """Check a price file; every problem is named.

    Exit code 1: it is valid, but some entries can never apply (named on stderr).

    \b
    Example: chargeback prices check prices.yaml
    """
    found = _read(file, timezone)
    counts = (
        f"{len(found.prices)} prices",
        f"{len(found.factors)} tier factors",
        f"{len(found.discounts)} discounts",
        f"{len(found.classes)} priority classes",
    )
    click.echo(f"{file}: {', '.join(counts)}, {found.currency}")
    if _warn(file, found, timezone, node_labels):
        raise SystemExit(EXIT_INCOMPLETE)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@settings_options(*STORE)
@click.option("--dry-run", is_flag=True, help="show what would change, and change nothing")
@click.option(
    "--force", is_flag=True, help="also where it changes what rated hours cost; of closed months adjustments follow"
)
@NODE_LABELS
@people_options(required=False)
@OUTPUT
def import_file(
    file: Path,
    dry_run: bool,
    force: bool,
    node_labels: Sequence[str],
    reason: str | None,
    who: str | None,
    output: str,
    **options: Any,
) -> None:
    """Make a file the ledger's price book; what it changes is rated again.

    What rated hours cost changes only with --force and --reason; time that had no price is filled without.
    Entries that can never apply are named on stderr, and taken.

    \b
    Example: chargeback prices import prices.yaml --dry-run --data /var/lib/chargeback
    """
    if force and not dry_run:
        given("reason", reason or "")
    why, who = taken(reason, who)
    database = take_database(options)
    try:
        if dry_run:
            with reading(database) as connection:
                timezone = ledger_timezone(connection)
                found = _read(file, timezone)
                look = look_at_import(connection, found, timezone)
            _show_look(look, output)
            _warn(file, found, timezone, node_labels)
            if look.problems and not force:
                click.echo("\n".join(look.problems), err=True)
                raise SystemExit(EXIT_INCOMPLETE)
            return
        with writing(database) as connection:
            timezone = ledger_timezone(connection)
            found = _read(file, timezone)
            look = look_at_import(connection, found, timezone)
            book = import_prices(connection, found, str(file), timezone, now_ms(), force=force, who=who, why=why)
    except PricesRefused as error:
        raise Failure(str(error)) from error
    except TermsConflict as error:
        raise Failure(f"{file}: {error}") from error
    _show_look(look, output)
    _warn(file, found, timezone, node_labels)
    said = f"version {book.version}" if look.is_new else f"is version {book.version} already"
    click.echo(f"{file}: {said}; {to_be_rated(look.due)}", err=output != "table")


@click.command()
@settings_options(*STORE)
@OUTPUT
def history(output: str, **options: Any) -> None:
    """Show every version of the price book: when, who, why, and what it changed.

    \b
    Example: chargeback prices history --data /var/lib/chargeback
    """
    with reading(take_database(options)) as connection:
        found = book_history(connection, ledger_timezone(connection))
    rows: list[Row] = []
    for each in found:
        about = {
            "version": each.book.version,
            "recorded": format_instant(each.recorded_ms),
            "who": each.who,
            "why": each.why,
            "source": each.source,
        }
        texts = [change.text for change in each.changes] or ["nothing that is billed by"]
        rows += [about | {"change": text} for text in texts]
    print_rows(HISTORY, rows, output, whole=("recorded",))


def _read(file: Path, timezone: str) -> PriceFile:
    try:
        return read_price_file(str(file), timezone)
    except (PriceFileError, OSError) as error:
        raise Failure(str(error)) from error


def _warn(file: Path, found: PriceFile, timezone: str, node_labels: Sequence[str]) -> bool:
    """Name on stderr what can never apply; whether anything was."""
    odd = [f"{file}: {each}" for each in warnings(found.book(version=0, timezone=timezone), node_labels)]
    for each in odd:
        click.echo(each, err=True)
    return bool(odd)


def _show_look(look: Import, output: str) -> None:
    forced = set(look.backdated)
    rows = [row for change in look.changes for row in _change(change, change in forced)]
    if rows or output != "table":
        print_rows(CHANGES, rows, output, whole=("from", "until"), numbers=("before", "after"))


def _change(change: Change, needs_force: bool) -> list[Mapping[str, Any]]:
    return [
        {
            "section": change.section,
            "entry": change.name,
            "field": field,
            "before": before or None,
            "after": after or None,
            "from": format_instant(change.from_ms) if change.from_ms else "",
            "until": None if change.until_ms is None else format_instant(change.until_ms),
            "needs_force": "yes" if needs_force else "",
        }
        for field, before, after in change.fields
    ]


def commands() -> Iterable[click.Command]:
    return (check, import_file, history)
