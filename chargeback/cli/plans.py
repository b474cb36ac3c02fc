"""`chargeback plans`: how many GPUs namespaces are guaranteed and capped at, and what becomes of that."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import Any

import click

from chargeback.answers.quotas import Plain, plan_json
from chargeback.cli.console import cell, console, table, text_of
from chargeback.cli.options import EXIT_INCOMPLETE, settings_options, take_settings
from chargeback.cli.plan_files import commands
from chargeback.cli.plan_uses import used
from chargeback.cli.quota.reports import OUTPUT, SOURCES, read_report, say_missing
from chargeback.cli.quota.tables import UNKNOWN
from chargeback.core.months.statements import safe

COLUMNS = ("namespace", "resource", "guaranteed", "cap", "held", "source", "quota")


@click.group()
def plans() -> None:
    """Check, import and show what namespaces are guaranteed, and capped at."""


@plans.command("show")
@click.argument("namespace", required=False)
@settings_options(*SOURCES)
@OUTPUT
def show_plans(namespace: str | None, output: str, **options: Any) -> None:
    """Show the plan of each namespace that has one: guarantee and cap, who says so, and how many GPUs it holds.

    A plan comes from annotations on the Namespace or its ResourceQuotas; else, with --plans-from quota, from a
    quota's pair of requests. and limits.; a bare quota is a ceiling and no plan. Numbers that contradict each other
    are named, never added up.

    Exit 0: all shown; 1: some plans contradict themselves, or rights are missing (named on stderr).

    \b
    Example: chargeback plans show --quotas quotas.yaml --plans-from quota
    """
    settings = take_settings(options)
    report = read_report(settings, namespace)
    rows = [plan_json(each) for each in report.plans]
    match output:
        case "json":
            click.echo(json.dumps(rows, indent=2))
        case "csv":
            click.echo(_csv(rows), nl=False)
        case _:
            shown = table("namespace", "=resource", ">guaranteed", ">cap", ">held", "by", "quota")
            for row in rows:
                numbers = [row[name] or UNKNOWN for name in ("guaranteed", "cap", "held")]
                cells = (row["namespace"], row["resource"], *numbers, row["source"], row["quota"])
                shown.add_row(*map(cell, cells))
            click.echo(text_of(console(), shown))
    if namespace is not None and not rows and "namespaces" not in report.unknown:
        click.echo(f"{namespace}: no plan there: a bare quota is a ceiling", err=True)
    if say_missing(report, settings):
        sys.exit(EXIT_INCOMPLETE)


def _csv(rows: list[Plain]) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([safe(str(row[name])) if row[name] is not None else "" for name in COLUMNS])
    return file.getvalue()


for command in (*commands(), used):
    plans.add_command(command)
