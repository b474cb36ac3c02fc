"""`chargeback policy`: how is billed, since when and where; and changes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import click

from chargeback.cli.changes import to_be_rated
from chargeback.cli.listing import OUTPUT, Row, now_ms, print_rows, reading, writing
from chargeback.cli.options import STORE, Failure, settings_options, take_database
from chargeback.cli.people import given, people_options, taken
from chargeback.cli.values import INSTANT, reading_by
from chargeback.core.hours import format_instant, parse_instant
from chargeback.core.money import format_decimal
from chargeback.core.policy import FIELDS, PolicyBook, PolicyChange
from chargeback.setting_table import SETTINGS
from chargeback.store.policies import (
    PolicyRefused,
    Recorded,
    change_policy,
    policy_book,
    policy_history,
)

SHOWN = ("field", "value", "cluster", "pool", "from", "version")
HISTORY = ("version", "from", "cluster", "pool", "change", "recorded", "who", "why")

# By field, what a setting of it is called and how it is read.
_SETTINGS = {setting.field: setting for setting in SETTINGS if setting.field in FIELDS}

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def policy() -> None:
    """Show and change how is billed, by date, cluster and node pool."""


def _field_options(command: Command) -> Command:
    """An option for each field, as the setting of it."""
    for name in reversed(FIELDS):
        setting = _SETTINGS[name]
        option = click.option(f"--{setting.name}", type=reading_by(setting.read), metavar="VALUE", help=setting.help)
        command = option(command)
    return command


@policy.command()
@settings_options(*STORE)
@click.option(
    "--at", type=INSTANT, metavar="TIME", help="as it holds then, such as 2026-10-03T14:00:00Z; default: now"
)
@click.option("--cluster", default="", help="as it holds there; default: what each scope says")
@click.option("--pool", default="", help="a node pool of the cluster")
@click.option("--history", is_flag=True, help="every version instead, as it was recorded, with who and why")
@OUTPUT
def show(at: str | None, cluster: str, pool: str, history: bool, output: str, **options: Any) -> None:
    """Show how is billed.

    Each field is what the narrowest scope says: a node pool, its cluster, the whole ledger.

    \b
    Example: chargeback policy show --cluster prod --pool h100 --data /var/lib/chargeback
    """
    if history and (at is not None or cluster or pool):
        raise Failure("--history: shows every version: want no --at, --cluster or --pool with it")
    if pool and not cluster:
        raise Failure(f"--pool: {pool!r}: want --cluster as well: pools of two clusters may have one name")
    with reading(take_database(options)) as connection:
        if history:
            rows = [_recorded(each) for each in policy_history(connection)]
            print_rows(HISTORY, rows, output, whole=("from", "recorded"))
            return
        book = policy_book(connection)
    if book is None:
        raise Failure("no ledger here yet: start `chargeback serve` first")
    at_ms = now_ms() if at is None else parse_instant(at, book.first.timezone)
    found = list(_held(book, at_ms, cluster, pool) if cluster else _scopes(book, at_ms))
    hidden = () if any(row["cluster"] for row in found) else ("cluster", "pool")
    print_rows(SHOWN, found, output, whole=("from",), hidden=hidden)


@policy.command("set")
@settings_options(*STORE)
@click.option(
    "--from",
    "start",
    type=INSTANT,
    metavar="TIME",
    help="a whole UTC hour, such as 2026-11-01T14:00:00Z, or a date, which is its midnight in the ledger's timezone",
)
@click.option("--cluster", help="only there; default: the whole ledger")
@click.option("--pool", help="only in this node pool of the cluster")
@_field_options
@click.option(
    "--inherit",
    multiple=True,
    type=click.Choice([_SETTINGS[name].name for name in FIELDS]),
    metavar="FIELD",
    help="from then on as the wider scope says; may be given several times",
)
@click.option("--force", is_flag=True, help="also where months are closed: adjustments follow in the open one")
@people_options()
def set_policy(
    start: str | None,
    cluster: str | None,
    pool: str | None,
    inherit: tuple[str, ...],
    force: bool,
    reason: str,
    who: str | None,
    **options: Any,
) -> None:
    """Change how is billed from a time on; what it touches is rated again.

    Timezone and currency have no --from: they are of the whole ledger, and change only before a month is closed; the
    currency only before there are any amounts.

    \b
    Examples: chargeback policy set --from 2026-11-01 --basis usage --cluster prod --reason "as agreed"
              chargeback policy set --from 2026-12-01 --inherit basis --cluster prod --reason "trial is over"
    """
    why, who = taken(reason, who)
    # An empty name, of a variable that is not set, is not every cluster.
    cluster, pool = ("" if name is None else given(of, name) for of, name in (("cluster", cluster), ("pool", pool)))
    values = {name: value for name in FIELDS if (value := options.pop(name)) is not None}
    for name in inherit:
        field = name.replace("-", "_")
        if field in values:
            raise Failure(f"--inherit {name}: want either that or --{name}")
        values[field] = None
    dated = any(name not in ("timezone", "currency") for name in values)
    if start is None and (dated or not values):
        raise Failure("--from: missing: want the time from which on it holds")
    with writing(take_database(options)) as connection:
        book = policy_book(connection)
        timezone = "UTC" if book is None else book.first.timezone
        change = PolicyChange(
            version=0,
            from_ms=0 if start is None else parse_instant(start, timezone),
            cluster=cluster,
            pool=pool,
            values=values,
        )
        try:
            made, due = change_policy(connection, change, now_ms(), who=who, why=why, force=force)
        except PolicyRefused as error:
            raise Failure(str(error)) from error
    since = f"from {format_instant(made.from_ms)}" if made.from_ms else "from ever"
    where = "/".join(filter(None, (made.cluster, made.pool))) or "the whole ledger"
    click.echo(f"version {made.version}: {where}: {_said(made)}, {since}; {to_be_rated(due)}")


def _scopes(book: PolicyBook, at_ms: int) -> Iterator[Row]:
    """What the ledger says, and what each narrower scope says itself."""
    for cluster, pool in book.scopes():
        for row in _held(book, at_ms, cluster, pool):
            if (row["cluster"], row["pool"]) == (cluster, pool):
                yield row


def _held(book: PolicyBook, at_ms: int, cluster: str, pool: str) -> Iterator[Row]:
    for name, change in book.said(at_ms, cluster, pool).items():
        yield {
            "field": _SETTINGS[name].name,
            "value": _text(change.values[name]),
            "cluster": change.cluster,
            "pool": change.pool,
            "from": _since(change),
            "version": change.version,
        }


def _recorded(recorded: Recorded) -> Mapping[str, Any]:
    change = recorded.change
    return {
        "version": change.version,
        "from": _since(change),
        "cluster": change.cluster,
        "pool": change.pool,
        "change": _said(change),
        "recorded": format_instant(recorded.recorded_ms),
        "who": recorded.who,
        "why": recorded.why,
    }


def _said(change: PolicyChange) -> str:
    """`sharing active, inherit basis`."""
    names = {name: _SETTINGS[name].name for name in FIELDS if name in change.values}
    return ", ".join(
        f"inherit {shown}" if change.values[name] is None else f"{shown} {_text(change.values[name])}"
        for name, shown in names.items()
    )


def _since(change: PolicyChange) -> str:
    return format_instant(change.from_ms) if change.from_ms else ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else format_decimal(value)
