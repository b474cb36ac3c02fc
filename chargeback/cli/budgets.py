"""`chargeback budgets`: what cost centers may spend a month, what is used of it, and where the month will end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import click

from chargeback.budget_reports import (
    BudgetReport,
    budget_report,
    budget_row,
    days_report,
    show_no_forecast,
    show_percent,
)
from chargeback.cli.listing import OUTPUT, now_ms, print_rows, reading, writing
from chargeback.cli.options import STORE, Failure, settings_options, take_database
from chargeback.cli.people import people_options, taken
from chargeback.cli.values import DAY, MONTH, reading_by
from chargeback.core.budgets import THRESHOLDS, Budget, BudgetUse
from chargeback.core.hours import format_instant
from chargeback.core.money import format_micros, round_six, show_micros
from chargeback.files.budgets import (
    BudgetFileError,
    check_cost_center,
    parse_amount,
    parse_thresholds,
    read_budget_file,
)
from chargeback.reports import NoLedger, policy_of
from chargeback.store.budgets import BudgetVersion, add_budgets, budget_history
from chargeback.store.database import Database, DatabaseUnavailable

SHOWN = (
    "month", "cost_center", "budget", "spent", "used_percent", "reached", "forecast_low", "forecast", "forecast_high",
    "no_forecast", "used_up", "currency", "version",
)  # fmt: skip
NUMBERS = ("budget", "spent", "used_percent", "forecast_low", "forecast", "forecast_high")
# For people the month and the currency stand above, and amounts have two decimals.
TABLE = ("cost_center", "budget", "spent", "used_%", "reached", "forecast", "range", "used_up")
DAYS = ("cost_center", "from", "until", "budget", "spent", "used_percent", "currency")
HISTORY = ("cost_center", "version", "from", "until", "amount", "thresholds", "recorded", "who", "why")

PERCENT = reading_by(lambda text: parse_thresholds(text.split(",")))


@click.group()
def budgets() -> None:
    """Set what cost centers may spend a month, and show what they do."""


@budgets.command("set")
@click.argument("cost_center", type=reading_by(check_cost_center))
@settings_options(*STORE)
@click.option(
    "--amount",
    "micros",
    type=reading_by(parse_amount),
    metavar="AMOUNT",
    required=True,
    help="a month, such as 12000; none: no budget",
)
@click.option(
    "--from",
    "first",
    type=MONTH,
    metavar="MONTH",
    required=True,
    help="the first month that it holds for, such as 2026-10",
)
@click.option(
    "--until",
    "until",
    type=MONTH,
    metavar="MONTH",
    help="this month is not included; default: until a newer one is set",
)
@click.option(
    "--thresholds",
    type=PERCENT,
    metavar="PERCENT,…",
    default=",".join(map(str, THRESHOLDS)),
    show_default=True,
    help="percent of the amount",
)
@people_options()
def set_budget(
    cost_center: str,
    micros: int | None,
    first: str,
    until: str | None,
    thresholds: tuple[int, ...],
    reason: str,
    who: str | None,
    **options: Any,
) -> None:
    """Set a cost center's budget. In the months that it is for, the one that was set last holds.

    \b
    Example: chargeback budgets set rd-001 --amount 12000 --from 2026-10 --reason "approved plan 2026" \\
               --data /var/lib/chargeback
    """
    if until is not None and until <= first:
        raise Failure(f"--until: {until!r}: want a month after {first}")
    budget = Budget(
        cost_center=cost_center,
        version=0,
        from_month=first,
        until_month=until,
        amount_micros=micros,
        thresholds=thresholds,
    )
    _add(take_database(options), [budget], reason, who)


@budgets.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@settings_options(*STORE)
@people_options()
def import_budgets(file: Path, reason: str, who: str | None, **options: Any) -> None:
    """Set the budgets of a YAML file, all or none; docs/budgets.md has an example. The same again changes nothing.

    \b
    Example: chargeback budgets import budgets.yaml --reason "approved plan 2026" --data /var/lib/chargeback
    """
    database = take_database(options)
    try:
        read = read_budget_file(file, policy_of(database).currency)
    except (BudgetFileError, NoLedger, DatabaseUnavailable) as error:
        raise Failure(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file}: {error}") from error
    _add(database, read, reason, who)


@budgets.command()
@settings_options(*STORE)
@click.option("--month", type=MONTH, metavar="MONTH", help="such as 2026-10; default: the current one")
@click.option("--from", "first", type=DAY, metavar="DAY", help="instead of a month: from this local day on")
@click.option("--until", "until", type=DAY, metavar="DAY", help="this day is not included")
@OUTPUT
def show(month: str | None, first: date | None, until: date | None, output: str, **options: Any) -> None:
    """Show what is used of each budget, which thresholds were reached, and where the month will end.

    The forecast: what is spent, and the mean of the month's full days for each day to come; of fewer than three full
    days there is none. The running hours are in it. Of days, each has an equal part of its month's budget.

    \b
    Example: chargeback budgets show --month 2026-10 --output json --data /var/lib/chargeback
    """
    if (first is None) != (until is None) or (first is not None and month is not None):
        raise Failure("want --month, or --from and --until")
    database = take_database(options)
    if first is not None and until is not None:
        _show_days(database, first, until, output)
        return
    try:
        found = budget_report(database, month, now_ms())
    except DatabaseUnavailable as error:
        raise Failure(str(error)) from error
    if output == "table":
        click.echo(f"{found.month}, {found.currency}".strip(", ") or "no ledger here yet")
        rows: list[Mapping[str, Any]] = [_shown(use) for use in found.uses]
        numbers = ("budget", "spent", "used_%", "forecast", "range")
        print_rows(TABLE, rows, output, whole=("used_up",), numbers=numbers)
    else:
        print_rows(SHOWN, _rows(found), output, numbers=NUMBERS)
    if found.month and not found.uses:
        click.echo(f"nobody has a budget in {found.month}: `chargeback budgets set` gives one", err=True)


@budgets.command()
@click.argument("cost_center", required=False)
@settings_options(*STORE)
@OUTPUT
def history(cost_center: str | None, output: str, **options: Any) -> None:
    """Show every version that was ever set, by whom and why; of one cost center, or all.

    \b
    Example: chargeback budgets history rd-001 --data /var/lib/chargeback
    """
    with reading(take_database(options)) as connection:
        versions = budget_history(connection, cost_center)
    if cost_center is not None and not versions:
        raise Failure(f"{cost_center}: never had a budget")
    print_rows(HISTORY, [_version(each) for each in versions], output, whole=("from", "until", "recorded"))


def _add(database: Database, wanted: list[Budget], reason: str, who: str | None) -> None:
    reason, who = taken(reason, who)
    with writing(database) as connection:
        added = add_budgets(connection, wanted, who, reason, now_ms())
    for budget in added:
        until = "further notice" if budget.until_month is None else budget.until_month
        amount = "no budget" if budget.amount_micros is None else f"{format_micros(budget.amount_micros)} a month"
        click.echo(f"{budget.cost_center}: version {budget.version}: {amount} from {budget.from_month} until {until}")
    if not added:
        click.echo("nothing new: it is so already")


def _show_days(database: Database, first: date, until: date, output: str) -> None:
    if until <= first:
        raise Failure(f"--until: {until}: want a day after {first}")
    try:
        currency = policy_of(database).currency
        found = days_report(database, first, until, now_ms())
    except (NoLedger, DatabaseUnavailable) as error:
        raise Failure(str(error)) from error
    rows = [
        {
            "cost_center": each.cost_center,
            "from": first.isoformat(),
            "until": until.isoformat(),
            "budget": None if each.budget is None else round_six(each.budget / 1_000_000),
            "spent": format_micros(each.spent_micros),
            "used_percent": None if each.share is None else round_six(each.share * 100),
            "currency": currency,
        }
        for each in found
    ]
    print_rows(DAYS, rows, output, whole=("from", "until"), numbers=("budget", "spent", "used_percent"))


def _rows(found: BudgetReport) -> list[Mapping[str, Any]]:
    return [budget_row(use, found.currency) for use in found.uses]


def _shown(use: BudgetUse) -> dict[str, str]:
    found = use.forecast
    span = "" if found is None else f"{show_micros(found.low_micros)} … {show_micros(found.high_micros)}"
    return {
        "cost_center": use.budget.cost_center,
        "budget": show_micros(use.amount_micros),
        "spent": show_micros(use.spent_micros),
        "used_%": show_percent(use.share),
        "reached": budget_row(use, "")["reached"] or "",
        "forecast": show_no_forecast(use) if found is None else show_micros(found.expected_micros),
        "range": span,
        "used_up": "" if use.used_up is None else use.used_up.isoformat(),
    }


def _version(version: BudgetVersion) -> dict[str, Any]:
    budget = version.budget
    return {
        "cost_center": budget.cost_center,
        "version": budget.version,
        "from": budget.from_month,
        "until": budget.until_month,
        "amount": None if budget.amount_micros is None else format_micros(budget.amount_micros),
        "thresholds": ",".join(map(str, budget.thresholds)),
        "recorded": format_instant(version.recorded_ms),
        "who": version.who,
        "why": version.why,
    }
