"""`chargeback quota show`: what quotas allow, who has taken it, and what waits for it."""

from __future__ import annotations

import csv
import io
import json
import sys
from typing import Any

import click
from rich.table import Table

from chargeback.answers.quotas import report_json, use_json
from chargeback.cli.console import console, text_of
from chargeback.cli.options import EXIT_INCOMPLETE, Failure, settings_options, take_settings
from chargeback.cli.quota.reports import OUTPUT, SOURCES, read_report, say_missing
from chargeback.cli.quota.tables import details, legend, overview
from chargeback.core.months.statements import safe
from chargeback.core.quota.report import QuotaReport

COLUMNS = (
    "namespace", "quota", "resource", "enforced", "hard", "used", "counted", "counted_by", "guaranteed", "cap",
    "saturation_s",
)  # fmt: skip


@click.command("show")
@click.argument("namespace", required=False)
@settings_options(*SOURCES)
@OUTPUT
def show_quotas(namespace: str | None, output: str, **options: Any) -> None:
    """Show the GPU keys of quotas: what is allowed and used, by whose count, the plan, what is idle, what waits.

    With NAMESPACE also who holds what, which of its other keys is fullest, and which key refuses which workload.
    From a live cluster, or from --quotas, a file that may hold Pods, Events, Nodes and Namespaces as well. What is
    idle comes from a ledger, if --database or --data has one. When a key will be full only a running server can tell,
    which samples its use (`GET /v1/quotas`).

    Exit 0: all shown; 1: some numbers cannot be read, or rights are missing (named on stderr).

    \b
    Example: chargeback quota show
    Example: chargeback quota show ml-production --quotas quotas.yaml
    """
    settings = take_settings(options)
    report = read_report(settings, namespace)
    if namespace is not None and not report.namespaces:
        raise Failure(f"{namespace}: no GPU quota and no plan there")
    match output:
        case "json":
            click.echo(json.dumps(report_json(report), indent=2))
        case "csv":
            click.echo(_csv(report), nl=False)
        case _:
            _print(report, with_details=namespace is not None)
    if say_missing(report, settings):
        sys.exit(EXIT_INCOMPLETE)


def _print(report: QuotaReport, *, with_details: bool) -> None:
    out = console()
    click.echo(text_of(out, overview(report)))
    for line in legend(report):
        click.echo(line)
    for part in details(report.namespaces[0]) if with_details else ():
        click.echo(text_of(out, part) if isinstance(part, Table) else f"\n{part}")


def _csv(report: QuotaReport) -> str:
    """A row a GPU key. RFC 4180; names are chosen by users, so none is a formula."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for use in report.uses:
        row = use_json(use, report.saturation_s)
        row["enforced"] = "true" if use.enforced else "false"
        writer.writerow([safe(str(row[name])) if row[name] is not None else "" for name in COLUMNS])
    return file.getvalue()
