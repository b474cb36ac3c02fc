"""`chargeback prices`: check a price file, import it, show what the ledger bills by and what it billed by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from chargeback.cli.changes import to_be_rated
from chargeback.cli.listing import OUTPUT, Row, now_ms, print_rows, reading, writing
from chargeback.cli.options import EXIT_INCOMPLETE, STORE, Failure, settings_options, take_database
from chargeback.cli.people import given, people_options, taken
from chargeback.cli.price_reasons import FACTS, WHY, Question, answer
from chargeback.cli.values import INSTANT, reading_by, timezone_option
from chargeback.core.hours import format_instant, parse_instant
from chargeback.core.nodes import PRICE_LABELS
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.changes import SECTIONS, Change, says
from chargeback.core.prices.entries import SHARINGS, TERMS, Entry, Labels
from chargeback.core.prices.warnings import warnings
from chargeback.files.prices import BUILT_IN, PriceFile, PriceFileError, read_price_file
from chargeback.setting_texts import label_keys
from chargeback.store.database import Connection
from chargeback.store.policies import TermsConflict, policy_book
from chargeback.store.terms import Import, PricesRefused, book_history, import_prices, look_at_import, price_book

SELECTORS = (
    "model", "profile", "tier", "term", "sharing", "cluster", "pool", "node_labels", "cost_center", "priority_class",
)  # fmt: skip
SHOWN = ("kind", *SELECTORS, "price", "unit", "factor", "to_tier", "contract", "from", "until")
CHANGES = ("section", "entry", "field", "before", "after", "from", "until", "needs_force")
HISTORY = ("version", "recorded", "who", "why", "source", "change")
KINDS = {"prices": "price", "tiers": "tier", "discounts": "discount", "priority_classes": "priority class"}


@click.group()
def prices() -> None:
    """Check, import and show prices."""


NODE_LABELS = click.option(
    "--node-labels",
    type=reading_by(label_keys),
    default=",".join(PRICE_LABELS),
    show_default=True,
    help="labels of nodes that prices may name, as `serve` has them",
)


@prices.command()
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


def _warn(file: Path, found: PriceFile, timezone: str, node_labels: Sequence[str]) -> bool:
    """Name on stderr what can never apply; whether anything was."""
    odd = [f"{file}: {each}" for each in warnings(found.book(version=0, timezone=timezone), node_labels)]
    for each in odd:
        click.echo(each, err=True)
    return bool(odd)


@prices.command("import")
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
                timezone = _timezone(connection)
                found = _read(file, timezone)
                look = look_at_import(connection, found, timezone)
            _show_look(look, output)
            _warn(file, found, timezone, node_labels)
            if look.problems and not force:
                click.echo("\n".join(look.problems), err=True)
                raise SystemExit(EXIT_INCOMPLETE)
            return
        with writing(database) as connection:
            timezone = _timezone(connection)
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


@prices.command()
@settings_options(*STORE)
@click.option("--default", "built_in", is_flag=True, help="the built-in list prices, not the ledger's")
@click.option("--at", type=INSTANT, metavar="TIME", help="what holds then; default: everything, of whatever time")
@click.option("--why", is_flag=True, help="which entries match what is asked for, which applies, and what comes out")
@click.option("--model", help="of the card, as NVML calls it; with --why")
@click.option("--profile", help="of a MIG instance, such as 1g.10gb; with --why")
@click.option("--tier", help="of the holder; with --why")
@click.option("--sharing", type=click.Choice(SHARINGS), default=SHARINGS[0], help="of the device; with --why")
@click.option("--term", type=click.Choice(TERMS), default=TERMS[0], help="reserved: of a guarantee; with --why")
@click.option("--cluster", default="", help="where the card is; with --why")
@click.option("--pool", default="", help="the node pool; with --why")
@click.option("--node-label", "labels", multiple=True, metavar="KEY=VALUE", help="of the node; with --why")
@click.option("--cards", type=click.IntRange(1, 1024), default=1, show_default=True, help="of the node; with --why")
@click.option("--cost-center", help="of the holder; with --why")
@OUTPUT
def show(built_in: bool, at: str | None, why: bool, output: str, **options: Any) -> None:
    """Show the price book in force.

    With --why, all entries that match, in order of precedence: of each kind the first applies.

    \b
    Examples: chargeback prices show --data /var/lib/chargeback
              chargeback prices show --why --model "NVIDIA H100 80GB HBM3" --tier best-effort --cost-center rd-001
    """
    asked = {name: options.pop(name) for name in QUESTION}
    if built_in:
        book = read_price_file(BUILT_IN).book(version=0, timezone="UTC")
    else:
        with reading(take_database(options)) as connection:
            book = price_book(connection, _timezone(connection))
    at_ms = None if at is None else parse_instant(at, book.timezone)
    if why:
        if not asked["model"]:
            raise Failure("--model: missing: want the model of the card that --why is about")
        question = Question(
            **asked | {"labels": _labels(asked["labels"])}, at_ms=now_ms() if at_ms is None else at_ms
        )
        facts, rows = answer(book, question)
        _show_why(facts, rows, output)
        if facts["list_price"] is None:
            click.echo(f"{question.model}: unpriced: it has no price of its own then and there", err=True)
            raise SystemExit(EXIT_INCOMPLETE)
        return
    if output == "table":
        title = "built-in list prices" if built_in else f"price book, version {book.version}"
        click.echo(title if book.entries else "no price book yet")
    rows = [_entry(each) for each in _sorted(book) if at_ms is None or each.holds(at_ms)]
    hidden = [name for name in SHOWN if not any(row[name] for row in rows)]
    print_rows(SHOWN, rows, output, hidden=hidden, whole=("from", "until"), numbers=("price", "factor"))


@prices.command()
@settings_options(*STORE)
@OUTPUT
def history(output: str, **options: Any) -> None:
    """Show every version of the price book: when, who, why, and what it changed.

    \b
    Example: chargeback prices history --data /var/lib/chargeback
    """
    with reading(take_database(options)) as connection:
        found = book_history(connection, _timezone(connection))
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


QUESTION = ("model", "profile", "tier", "sharing", "term", "cluster", "pool", "labels", "cards", "cost_center")


def _read(file: Path, timezone: str) -> PriceFile:
    try:
        return read_price_file(str(file), timezone)
    except (PriceFileError, OSError) as error:
        raise Failure(str(error)) from error


def _timezone(connection: Connection) -> str:
    policies = policy_book(connection)
    if policies is None:
        raise Failure("no ledger here yet: start `chargeback serve` first")
    return policies.first.timezone


def _labels(texts: Sequence[str]) -> Labels:
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise Failure(
                f"--node-label: {text!r}: want KEY=VALUE such as node.kubernetes.io/instance-type=p5.48xlarge"
            )
    return tuple(sorted((key, value) for key, _, value in (text.partition("=") for text in texts)))


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


def _show_why(facts: Mapping[str, str | None], rows: Sequence[Row], output: str) -> None:
    if output == "table":
        for name in FACTS:
            if facts[name] is not None:
                click.echo(f"{name.replace('_', ' ')}: {facts[name]}")
        click.echo()
        print_rows(WHY, rows, output, whole=("from", "until"), numbers=("price", "factor"))
    else:
        print_rows((*WHY, *FACTS), [{**row, **facts} for row in rows], output, numbers=("price", "factor", *FACTS))


def _sorted(book: PriceBook) -> list[Entry]:
    order = tuple(SECTIONS)
    return sorted(book.entries, key=lambda entry: (order.index(type(entry)), entry.key, entry.from_ms))


def _entry(entry: Entry) -> Mapping[str, Any]:
    """A row; names of labels stand together."""
    kind = SECTIONS[type(entry)]
    named = {name: value for name, value in entry.key if not name.startswith("node_labels.")}
    labels = [f"{name.removeprefix('node_labels.')}={value}" for name, value in entry.key if name not in named]
    said = says(entry)
    return {
        **dict.fromkeys(SHOWN),
        "kind": KINDS[kind],
        **named,
        "node_labels": ", ".join(labels) or None,
        **{name: said.get(name) for name in ("price", "unit", "factor", "contract")},
        "to_tier": said.get("tier"),
        "from": format_instant(entry.from_ms) if entry.from_ms else "",
        "until": None if entry.until_ms is None else format_instant(entry.until_ms),
    }
