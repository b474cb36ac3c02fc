"""`chargeback plans check`, `import` and `history`: plans as people write them, and as the ledger keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from chargeback import setting_texts as texts
from chargeback.cli.listing import OUTPUT, Row, ledger_timezone, now_ms, print_rows, reading, writing
from chargeback.cli.options import STORE, Failure, settings_options, take_database
from chargeback.cli.people import given, people_options, taken
from chargeback.cli.values import reading_by, timezone_option
from chargeback.core.hours import format_instant
from chargeback.core.plans.book import PlanVersion
from chargeback.files.plans import PlanFile, PlanFileError, read_plan_file
from chargeback.store.plans import (
    PlanChange,
    PlansConflict,
    file_changes,
    import_plans,
    plan_clusters,
    plan_histories,
)

CHANGES = ("cluster", "namespace", "resource", "price_key", "guaranteed", "cap", "from", "until", "closed_months")
HISTORY = (
    "cluster", "namespace", "version", "resource", "guaranteed", "cap", "price_key", "from", "until", "layer",
    "source", "recorded", "who", "why",
)  # fmt: skip
NUMBERS = ("guaranteed", "cap", "version")
TIMES = ("from", "until", "recorded")

FILE = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
CLUSTER = click.option(
    "--cluster",
    type=reading_by(texts.name),
    envvar="CHARGEBACK_CLUSTER",
    default="default",
    show_default=True,
    metavar="NAME",
    help="of entries that name none",
)


@click.command()
@FILE
@CLUSTER
@timezone_option("whose midnights bare dates are")
def check(file: Path, cluster: str, timezone: str) -> None:
    """Check a plan file; every problem is named.

    \b
    Example: chargeback plans check plans.yaml
    """
    found = _read(file, cluster, timezone)
    namespaces = {(of, each.namespace) for of, entries in found.entries.items() for each in entries}
    click.echo(f"{file}: {found.count} plans of {len(namespaces)} namespaces")


@click.command("import")
@FILE
@CLUSTER
@settings_options(*STORE)
@click.option("--dry-run", is_flag=True, help="show what would change, and change nothing")
@click.option("--force", is_flag=True, help="also where it changes closed months: adjustments follow")
@people_options(required=False)
@OUTPUT
def import_file(
    file: Path,
    cluster: str,
    dry_run: bool,
    force: bool,
    reason: str | None,
    who: str | None,
    output: str,
    **options: Any,
) -> None:
    """Have a file's plans hold, over annotations and quotas; hours that it reaches are settled again.

    The file says all of the clusters that it names, and of --cluster: what it does not say any more ends. The same
    file again changes nothing. Closed months change only with --force and --reason.

    \b
    Example: chargeback plans import plans.yaml --dry-run --data /var/lib/chargeback
    """
    if force and not dry_run:
        given("reason", reason or "")
    why, who = taken(reason, who)
    database = take_database(options)
    try:
        if dry_run:
            with reading(database) as connection:
                timezone = ledger_timezone(connection)
                found = _read(file, cluster, timezone)
                changes = file_changes(connection, found, [cluster], timezone, now_ms(), who)
        else:
            with writing(database) as connection:
                timezone = ledger_timezone(connection)
                found = _read(file, cluster, timezone)
                changes = import_plans(
                    connection, found, [cluster], timezone, now_ms(), who=who, why=why, force=force
                )
    except PlansConflict as error:
        raise Failure(f"{error}\nto take them all the same: --force --reason WHY") from error
    if changes or output != "table":
        print_rows(CHANGES, list(map(_change, changes)), output, whole=TIMES[:2], numbers=NUMBERS[:2])
    said = f"{len(changes)} versions of plans {'would be' if dry_run else 'are'} new" if changes else "nothing is new"
    click.echo(f"{file}: {said}", err=output != "table")


@click.command()
@click.argument("namespace", required=False)
@settings_options(*STORE)
@click.option("--cluster", envvar="CHARGEBACK_CLUSTER", help="only this one; default: all")
@OUTPUT
def history(namespace: str | None, cluster: str | None, output: str, **options: Any) -> None:
    """List plans as they were recorded, of all namespaces or of one. Nothing of it is ever rewritten.

    Layer `file` goes before `seen` (annotations and quotas); in a layer, what was recorded last. A version without
    numbers takes away what was said before, or is one that contradicts itself: then `why` says how.

    \b
    Example: chargeback plans history ml-research --data /var/lib/chargeback
    """
    database = take_database(options)
    with reading(database) as connection:
        clusters = plan_clusters(connection) if cluster is None else [cluster]
        histories = {each: plan_histories(connection, each) for each in clusters}
    rows = [
        {"cluster": of} | version_row(version)
        for of, by_namespace in histories.items()
        for name, versions in sorted(by_namespace.items())
        if namespace in (None, name)
        for version in versions
    ]
    print_rows(HISTORY, rows, output, whole=TIMES, numbers=NUMBERS)
    if not rows:
        click.echo("no plan was ever recorded" + (f" of {namespace}" if namespace else ""), err=True)


def version_row(version: PlanVersion) -> dict[str, Any]:
    """In a table's words."""
    return {
        "namespace": version.namespace,
        "version": version.version,
        "resource": version.resource,
        "guaranteed": version.guaranteed,
        "cap": version.cap,
        "price_key": version.price_key,
        # From ever, where no begin is said.
        "from": format_instant(version.from_ms) if version.from_ms else "",
        "until": None if version.until_ms is None else format_instant(version.until_ms),
        "layer": version.layer,
        "source": version.source,
        "recorded": format_instant(version.recorded_ms),
        "who": version.who,
        "why": version.problem or version.why,
    }


def _change(change: PlanChange) -> Row:
    row = {"cluster": change.cluster} | version_row(change.version)
    return row | {"closed_months": ", ".join(change.closed)}


def _read(file: Path, cluster: str, timezone: str) -> PlanFile:
    try:
        return read_plan_file(file, cluster, timezone)
    except (PlanFileError, OSError) as error:
        raise Failure(str(error)) from error


def commands() -> Iterable[click.Command]:
    return (check, import_file, history)
