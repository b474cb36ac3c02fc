"""`chargeback serve`, `migrate` and `rerate`."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click

from chargeback.api.tokens import TokensError
from chargeback.app import serve as run_server
from chargeback.cli.options import STORE, Failure, settings_options, take_database, take_settings
from chargeback.cluster.api import ApiError
from chargeback.cluster.objects import ObjectsError
from chargeback.core.hours import parse_hour
from chargeback.logs import log_to_stderr
from chargeback.owner_rules_file import OwnerRulesError
from chargeback.price_file import PriceFileError
from chargeback.store.database import DatabaseError, DatabaseUnavailable, open_database
from chargeback.store.node_hours import make_all_due, skip_grace
from chargeback.store.schema import migrate as migrate_schema
from chargeback.store.terms import TermsConflict, policy_book
from chargeback.tasks.close_hours import close_all


@click.command()
@settings_options()
def serve(**options: Any) -> None:
    """Take in node-hours, rate them, serve metrics, pages and the API.

    \b
    Example: chargeback serve --data /var/lib/chargeback --prices prices.yaml --owners namespaces.yaml
    """
    settings = take_settings(options)
    log_to_stderr()
    try:
        asyncio.run(run_server(settings))
    except (
        ApiError,
        DatabaseError,
        DatabaseUnavailable,
        ObjectsError,
        OwnerRulesError,
        PriceFileError,
        TermsConflict,
        TokensError,
        OSError,
    ) as error:
        raise Failure(str(error)) from error


@click.command()
@settings_options(*STORE)
@click.option("--to", "revision", default="head", help="revision to go to; `base` takes everything down")
def migrate(revision: str, **options: Any) -> None:
    """Bring the database's schema to this release's (`serve` does so at its start).

    \b
    Example: chargeback migrate --database postgresql://chargeback@db/chargeback
    """
    settings = take_settings(options)
    try:
        database = open_database(settings.database_url)
        before, after = migrate_schema(database, revision)
    except (DatabaseError, DatabaseUnavailable) as error:
        raise Failure(str(error)) from error
    click.echo(f"{database.engine.url.render_as_string()}: {before or 'empty'} → {after or 'empty'}")
    database.close()


@click.command()
@settings_options(*STORE)
@click.option("--from", "first", metavar="HOUR", help="rate hours from here on again, such as 2026-10-03T14Z")
@click.option("--now", is_flag=True, help="close what is over at once, without waiting for the grace")
def rerate(first: str | None, now: bool, **options: Any) -> None:
    """Rate hours again, or close what is due.

    \b
    Examples: chargeback rerate --now
              chargeback rerate --from 2026-10-01T00Z
    """
    if not now and first is None:
        raise Failure("want --from HOUR or --now")
    try:
        first_hour = None if first is None else parse_hour(first)
    except ValueError as error:
        raise Failure(f"--from: {error}") from error
    database = take_database(options)
    now_ms = time.time_ns() // 1_000_000
    try:
        with database.write() as connection:
            if policy_book(connection) is None:
                raise Failure("no ledger here yet: start `chargeback serve` first")
            if first_hour is not None:
                make_all_due(connection, None, first_hour, now_ms)
            if now:
                skip_grace(connection, now_ms)
        count = close_all(database, now_ms, 0)
    except DatabaseUnavailable as error:
        raise Failure(str(error)) from error
    click.echo(f"{count} node-hours rated")
