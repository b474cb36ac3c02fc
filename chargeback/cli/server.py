"""`chargeback serve` and `migrate`."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from chargeback.api.tokens import TokensError
from chargeback.app import serve as run_server
from chargeback.cli.options import STORE, Failure, settings_options, take_settings
from chargeback.cluster.api import ApiError
from chargeback.cluster.objects import ObjectsError
from chargeback.files.owner_rules import OwnerRulesError
from chargeback.files.plans import PlanFileError
from chargeback.files.prices import PriceFileError
from chargeback.logs import log_to_stderr
from chargeback.store.database import DatabaseError, DatabaseUnavailable, open_database
from chargeback.store.policies import TermsConflict
from chargeback.store.schema import migrate as migrate_schema


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
        PlanFileError,
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
