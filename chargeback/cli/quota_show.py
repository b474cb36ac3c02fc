"""`chargeback quota show`: what quotas allow and use, and the plan they carry."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from chargeback.cli.console import console
from chargeback.cli.options import EXIT_INCOMPLETE, settings_options, take_settings
from chargeback.cli.quota_objects import ANSWERS, OUTPUT, cluster_objects
from chargeback.core.quotas import QuotaUse, quota_uses


@click.command("show")
@settings_options("kubeconfig", "quotas", "plans-from")
@OUTPUT
def show_quotas(output: str, **options: Any) -> None:
    """Show each GPU resource of each quota: hard and used, guarantee and cap, and whether Kubernetes enforces it.

    Exit 0: all shown; 1: some numbers cannot be read (named on stderr).

    \b
    Example: chargeback quota show --quotas quotas.yaml
    """
    settings = take_settings(options)
    objects = cluster_objects([settings.quotas] if settings.quotas else [], settings, "ResourceQuota")
    uses, problems = quota_uses([each.as_enforced() for each in objects.quotas], settings.plans_from)
    if output == "json":
        click.echo(json.dumps([_plain(use) for use in uses], indent=2))
    else:
        table = Table("namespace", "quota", "resource", "hard", "used", "guaranteed", "cap", "enforced")
        for use in uses:
            *cells, enforced = _plain(use).values()
            table.add_row(*(escape(cell or "") for cell in cells), ANSWERS[enforced])
        console().print(table)
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(EXIT_INCOMPLETE)


def _plain(use: QuotaUse) -> dict[str, Any]:
    """Numbers as text, for they may be fractions; in the order of the table's columns."""
    values = asdict(use)
    names = ("namespace", "quota", "resource", "hard", "used", "guaranteed", "cap", "enforced")
    return {name: _text(values[name]) for name in names}


def _text(value: Any) -> Any:
    return format(value.normalize(), "f") if isinstance(value, Decimal) else value
