"""`chargeback report`: a month by cost center, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import time
from fractions import Fraction
from typing import Any

import click
from rich.table import Table

from chargeback.cli.console import console
from chargeback.cli.options import STORE, Failure, settings_options, take_database
from chargeback.core.hours import check_month, local_day
from chargeback.core.lines import UNPRICED
from chargeback.core.money import MICROS, format_micros, round_six, show_micros
from chargeback.core.statements import CostCenterRow, safe
from chargeback.reports import MonthReport, NoLedger, month_report, policy_of
from chargeback.store.database import DatabaseUnavailable


@click.command()
@settings_options(*STORE)
@click.option("--month", help="such as 2026-10; default: the current one")
@click.option("--output", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
def report(month: str | None, output: str, **options: Any) -> None:
    """Show a month by cost center; hours that are not closed yet are in it and named provisional.

    \b
    Example: chargeback report --data /var/lib/chargeback --month 2026-10 --output json
    """
    database = take_database(options)
    now_ms = time.time_ns() // 1_000_000
    try:
        chosen = check_month(month or local_day(now_ms, policy_of(database).timezone).isoformat()[:7])
        found = month_report(database, chosen, now_ms)
    except ValueError as error:
        raise Failure(f"--month: {error}") from error
    except (NoLedger, DatabaseUnavailable) as error:
        raise Failure(str(error)) from error
    if output == "table":
        console().print(month_table(found))
    else:
        click.echo(_as_json(found) if output == "json" else _as_csv(found), nl=False)


def month_table(found: MonthReport) -> Table:
    """The month as people read it: two decimals, a total."""
    title = f"{found.month}, {found.currency}"
    caption = (
        f"{_hours(found.provisional_hours)} card hours of it are provisional" if found.provisional_hours else None
    )
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", show_footer=True)
    table.add_column("cost center", "all accounts")
    table.add_column("card hours", _hours(found.gpu_hours), justify="right")
    table.add_column("list amount", show_micros(found.list_micros), justify="right")
    table.add_column("amount", show_micros(found.amount_micros), justify="right")
    for row in found.rows:
        style = "dim" if row.account.startswith("platform:") else None
        table.add_row(row.account, _hours(row.gpu_hours), *_amounts(row), style=style)
    return table


def _amounts(row: CostCenterRow) -> tuple[str, str]:
    if row.account == UNPRICED:
        return "no price", "no price"
    return show_micros(row.list_micros), show_micros(row.amount_micros)


def _hours(hours: Fraction) -> str:
    return show_micros(round(hours * MICROS))


def _as_json(found: MonthReport) -> str:
    rows = [
        {
            "account": row.account,
            "gpu_hours": round_six(row.gpu_hours),
            "list_amount": None if row.account == UNPRICED else format_micros(row.list_micros),
            "amount": None if row.account == UNPRICED else format_micros(row.amount_micros),
        }
        for row in found.rows
    ]
    about = {
        "month": found.month,
        "currency": found.currency,
        "provisional_gpu_hours": round_six(found.provisional_hours),
        "accounts": rows,
    }
    return json.dumps(about, indent=2) + "\n"


def _as_csv(found: MonthReport) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(["month", "account", "gpu_hours", "list_amount", "amount", "currency"])
    for row in found.rows:
        amounts = (format_micros(row.list_micros), format_micros(row.amount_micros))
        if row.account == UNPRICED:
            amounts = ("", "")
        writer.writerow([found.month, safe(row.account), round_six(row.gpu_hours), *amounts, found.currency])
    return buffer.getvalue()
