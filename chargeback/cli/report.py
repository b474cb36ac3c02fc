"""`chargeback report`: a month by cost center or by other groups, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from chargeback.answers.costs import FIELDS, cost_json
from chargeback.budget_reports import (
    NO_BUDGETS,
    BudgetReport,
    budget_columns,
    budget_report,
    show_no_forecast,
    show_percent,
)
from chargeback.cli.console import cell, console, least_width, text_of
from chargeback.cli.groups import groups_type, where_option
from chargeback.cli.options import STORE, Failure, settings_options, take_database
from chargeback.core.costs import LABEL, Costs, check_where
from chargeback.core.hours import check_month, local_day
from chargeback.core.money import MICROS, round_six, show_micros
from chargeback.core.months.statements import safe
from chargeback.reports import BY_COST_CENTER, MonthReport, NoLedger, month_report, policy_of
from chargeback.store.database import DatabaseUnavailable

# Of a group without a name, for people.
NONE = "(none)"


@click.command()
@settings_options(*STORE)
@click.option("--month", help="such as 2026-10; default: the current one")
@click.option(
    "--group-by",
    type=groups_type(),
    default=",".join(BY_COST_CENTER),
    show_default=True,
    metavar="GROUPS",
    help="cost-center, team, namespace, cluster, sku, kind, day, label:KEY; several with commas",
)
@where_option()
@click.option("--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
def report(
    month: str | None, group_by: tuple[str, ...], where: Sequence[tuple[str, str]], output: str, **options: Any
) -> None:
    """Show a month by cost center, or by other groups; hours that are not closed yet are in it, named provisional.

    Beside the amount stands what would be charged by what is held, and by busy time. (none) has no team, or no such
    label; in JSON and CSV that is an empty text. By cost center alone, budgets stand there, too: see `chargeback
    budgets`.

    \b
    Example: chargeback report --data /var/lib/chargeback --month 2026-10
             chargeback report --group-by team,label:project --where cluster=lab --output csv
    """
    database = take_database(options)
    now_ms = time.time_ns() // 1_000_000
    try:
        chosen = check_month(month or local_day(now_ms, policy_of(database).timezone).isoformat()[:7])
        found = month_report(database, chosen, now_ms, group_by, check_where(where))
        # A budget is of the whole of a cost center.
        whole = group_by == BY_COST_CENTER and not where
        budgets = budget_report(database, chosen, now_ms) if whole else NO_BUDGETS
    except ValueError as error:
        raise Failure(f"--month: {error}") from error
    except (NoLedger, DatabaseUnavailable) as error:
        raise Failure(str(error)) from error
    if output == "table":
        print_month(console(), found, budgets)
    else:
        click.echo(_as_json(found, budgets) if output == "json" else _as_csv(found, budgets), nl=False)


def print_month(out: Console, found: MonthReport, budgets: BudgetReport = NO_BUDGETS) -> None:
    """As a table; where the terminal is too narrow for budgets, without them."""
    shown = month_table(found, budgets)
    if budgets.uses and least_width(shown) > out.width:
        shown = month_table(found)
        shown.caption = f"{shown.caption or ''}\nbudgets: `chargeback budgets show --month {found.month}`".strip()
    click.echo(text_of(out, shown))


def month_table(found: MonthReport, budgets: BudgetReport = NO_BUDGETS) -> Table:
    """The month as people read it: two decimals, a total; budgets, if there are any."""
    title = f"{found.month}, {found.currency}"
    table = Table(
        title=title, caption="\n".join(_notes(found)) or None, title_justify="left", caption_justify="left",
        show_footer=True, box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for i, name in enumerate(found.group_by):
        table.add_column(name.removeprefix(LABEL).replace("-", " "), "" if i else "all of it", overflow="fold")
    headings = ("card hours", "list amount", "amount", "by\nallocation", "by\nusage")
    for heading, sum_of_all in zip(headings, _numbers(found.whole), strict=True):
        table.add_column(heading, sum_of_all, justify="right", no_wrap=True)
    for heading in ("budget", "used %", "forecast") if budgets.uses else ():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.rows:
        style = "dim" if any(value.startswith("platform:") for value in row.group) else None
        table.add_row(
            *(cell(value or NONE) for value in row.group), *_numbers(row), *_budget(row, budgets), style=style
        )
    return table


def _budget(row: Costs, budgets: BudgetReport) -> tuple[str, ...]:
    use = budgets.of(row.group[0]) if budgets.uses else None
    if use is None:
        return ()
    forecast = show_no_forecast(use) if use.forecast is None else show_micros(use.forecast.expected_micros)
    return show_micros(use.amount_micros), show_percent(use.share), forecast


def _numbers(row: Costs) -> tuple[str, ...]:
    usage = _money(row.usage_micros) + ("*" if row.unknown_usage_micros else "")
    if row.unpriced_hours and row.amount_micros is None:
        return (_hours(row.gpu_hours), "no price", "no price", "", "")
    return (
        _hours(row.gpu_hours),
        _money(row.list_micros),
        _money(row.amount_micros),
        _money(row.allocation_micros),
        usage,
    )


def _notes(found: MonthReport) -> list[str]:
    notes = []
    if found.provisional_hours:
        notes.append(f"{_hours(found.provisional_hours)} card hours of it are provisional")
    if found.whole.unpriced_hours:
        notes.append(f"{_hours(found.whole.unpriced_hours)} card hours of it have no price and are in no amount")
    if found.whole.unknown_usage_micros:
        unknown = _money(found.whole.unknown_usage_micros)
        notes.append(f"* busy time is not known of all of it: {unknown} are by allocation")
    return notes


def _hours(hours: Fraction) -> str:
    return show_micros(round(hours * MICROS))


def _money(micros: int | None) -> str:
    return "" if micros is None else show_micros(micros)


def _names(found: MonthReport) -> list[str]:
    return [name.replace("-", "_") if not name.startswith(LABEL) else name for name in found.group_by]


def _as_json(found: MonthReport, budgets: BudgetReport) -> str:
    about = {
        "month": found.month,
        "currency": found.currency,
        "provisional_gpu_hours": round_six(found.provisional_hours),
        "costs": [{**cost_json(_names(found), row), **budget_columns(row.group, budgets)} for row in found.rows],
    }
    return json.dumps(about, indent=2) + "\n"


def _as_csv(found: MonthReport, budgets: BudgetReport) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    names = _names(found)
    more = list(budget_columns((), budgets))
    writer.writerow(["month", *(safe(name) for name in names), *FIELDS, *more, "currency"])
    for row in found.rows:
        fields = {**cost_json(names, row), **budget_columns(row.group, budgets)}
        groups = [safe(value) for value in row.group]
        writer.writerow([found.month, *groups, *(fields[name] or "" for name in (*FIELDS, *more)), found.currency])
    return buffer.getvalue()
