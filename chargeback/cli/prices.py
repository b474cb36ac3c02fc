"""`chargeback prices`: what the ledger bills by, at what instant, and why a holder pays what he pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from chargeback.cli.listing import OUTPUT, Row, ledger_timezone, now_ms, print_rows, reading
from chargeback.cli.options import EXIT_INCOMPLETE, STORE, Failure, settings_options, take_database
from chargeback.cli.price_files import commands
from chargeback.cli.price_reasons import FACTS, WHY, Question, answer
from chargeback.cli.values import INSTANT
from chargeback.core.hours import format_instant, parse_instant
from chargeback.core.prices.book import PriceBook
from chargeback.core.prices.changes import SECTIONS, says
from chargeback.core.prices.entries import SHARINGS, TERMS, Entry, Labels
from chargeback.files.prices import BUILT_IN, read_price_file
from chargeback.store.terms import price_book

SELECTORS = (
    "model", "profile", "tier", "term", "sharing", "cluster", "pool", "node_labels", "cost_center", "priority_class",
)  # fmt: skip
SHOWN = ("kind", *SELECTORS, "price", "unit", "factor", "to_tier", "contract", "from", "until")
KINDS = {"prices": "price", "tiers": "tier", "discounts": "discount", "priority_classes": "priority class"}
QUESTION = ("model", "profile", "tier", "sharing", "term", "cluster", "pool", "labels", "cards", "cost_center")


@click.group()
def prices() -> None:
    """Check, import and show prices."""


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
    if not why:
        _check_alone()
    if built_in:
        book = read_price_file(BUILT_IN).book(version=0, timezone="UTC")
    else:
        with reading(take_database(options)) as connection:
            book = price_book(connection, ledger_timezone(connection))
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


def _check_alone() -> None:
    """Raises Failure with every option that says whom and what --why is about."""
    context = click.get_current_context()
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name in QUESTION and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise Failure("\n".join(f"{option}: want --why with it" for option in given))


def _labels(texts: Sequence[str]) -> Labels:
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise Failure(
                f"--node-label: {text!r}: want KEY=VALUE such as node.kubernetes.io/instance-type=p5.48xlarge"
            )
    return tuple(sorted((key, value) for key, _, value in (text.partition("=") for text in texts)))


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


for command in commands():
    prices.add_command(command)
