"""`chargeback explain`: what stands behind one line."""

from __future__ import annotations

import json
from typing import Any

import click

from chargeback.cli.options import STORE, Failure, settings_options, take_database
from chargeback.core.explaining.explaining import as_json
from chargeback.explaining.explain import NoSuchLine
from chargeback.explaining.explain import explain as explain_line
from chargeback.explaining.text import explanation_text
from chargeback.reports import NoLedger
from chargeback.store.database import DatabaseUnavailable


@click.command()
@settings_options(*STORE)
@click.argument("line")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def explain(line: str, output: str, **options: Any) -> None:
    """Explain a line: from its amount down to the node-hour, the owner, the price and the policy that made it.

    LINE is its id, or the first digits of it. The line is rated again by the same functions, and what comes out is
    compared. `chargeback export --detail hour` lists lines with their ids.

    \b
    Example: chargeback export --month 2026-10 --detail hour --where namespace=alpha --where pod=train
             chargeback explain 5f2c9a
    """
    database = take_database(options)
    try:
        found = explain_line(database, line)
    except (NoSuchLine, NoLedger, DatabaseUnavailable) as error:
        raise Failure(str(error)) from error
    if output == "json":
        click.echo(json.dumps(as_json(found), indent=2, ensure_ascii=False))
    else:
        click.echo(explanation_text(found), nl=False)
