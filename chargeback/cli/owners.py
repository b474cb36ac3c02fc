"""`chargeback owners`: whose a namespace is and was, and corrections of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from chargeback.cli.changes import to_be_rated
from chargeback.cli.listing import OUTPUT, Row, now_ms, print_rows, reading
from chargeback.cli.options import STORE, Failure, settings_options, take_database
from chargeback.cli.people import given, taken
from chargeback.cli.values import INSTANT, reading_by
from chargeback.core.hours import format_instant, parse_instant
from chargeback.core.owners.history import CLEARED, CORRECTION, Version, timeline
from chargeback.core.owners.lookalikes import look_alikes
from chargeback.core.owners.owners import check_name
from chargeback.store.database import Connection, DatabaseUnavailable
from chargeback.store.owners import (
    correct_owner,
    current_owners,
    is_holder,
    owner_clusters,
    owner_history,
    owner_names,
)
from chargeback.store.policies import policy_book

LISTED = ("cluster", "namespace", "cost_center", "team", "tier", "from", "source", "version", "note")
HISTORY = ("from", "until", "cost_center", "team", "tier", "version", "source", "recorded", "who", "why")

TIMES = ("from", "until", "recorded")

CLUSTER = click.option("--cluster", envvar="CHARGEBACK_CLUSTER", help="default: the ledger's only one")
# An empty one takes the name away.
NAME = reading_by(lambda text: text and check_name(text))


@click.group()
def owners() -> None:
    """Show whose namespaces are and were; correct it."""


@owners.command("list")
@settings_options(*STORE)
@click.option("--cluster", envvar="CHARGEBACK_CLUSTER", help="only this one; default: all")
@click.option(
    "--at", type=INSTANT, metavar="TIME", help="as it held then, such as 2026-10-03T14:00:00Z; default: now"
)
@OUTPUT
def list_owners(cluster: str | None, at: str | None, output: str, **options: Any) -> None:
    """List the owner of every namespace.

    Names that differ from another only by case, - and _ have a note: they are never taken for one.

    \b
    Example: chargeback owners list --data /var/lib/chargeback --output csv
    """
    with reading(take_database(options)) as connection:
        at_ms = now_ms() if at is None else _in_time_of(connection, at)
        clusters = owner_clusters(connection)
        if cluster is not None and cluster not in clusters:
            raise Failure(_unknown_cluster(cluster, clusters))
        alike = {name: look_alikes(names) for name, names in owner_names(connection, at_ms).items()}
        rows = [
            _listed(each, owner, alike)
            for each in ([cluster] if cluster is not None else clusters)
            for _, owner in sorted(current_owners(connection, each, at_ms).items())
        ]
    print_rows(LISTED, rows, output, whole=TIMES, hidden=() if any(row["note"] for row in rows) else ("note",))


@owners.command()
@click.argument("namespace")
@settings_options(*STORE)
@CLUSTER
@click.option("--recorded", is_flag=True, help="every version as it was recorded, with those that no longer hold")
@OUTPUT
def history(namespace: str, cluster: str | None, recorded: bool, output: str, **options: Any) -> None:
    """Show who owned a namespace when, and how that is known.

    With --recorded a correction has only the fields that it gives: others stay as they were seen, and "" takes a name
    away.

    \b
    Example: chargeback owners history ml-production --data /var/lib/chargeback
    """
    with reading(take_database(options)) as connection:
        chosen = _cluster(connection, cluster)
        versions = owner_history(connection, chosen, namespace)
    if not versions:
        raise Failure(f"{namespace}: no such namespace was ever seen in cluster {chosen}")
    rows = [_version(each) for each in (versions if recorded else timeline(versions))]
    print_rows(HISTORY, rows, output, whole=TIMES)


@owners.command("set")
@click.argument("namespace")
@settings_options(*STORE)
@CLUSTER
@click.option("--cost-center", type=NAME, metavar="NAME", help='"" for none; default: as it was')
@click.option("--team", type=NAME, metavar="NAME", help='"" for none; default: as it was')
@click.option("--tier", type=NAME, metavar="NAME", help='"" for none; default: as it was')
@click.option("--clear", is_flag=True, help="take earlier corrections away instead: what was seen holds again")
@click.option(
    "--from",
    "start",
    type=INSTANT,
    metavar="TIME",
    required=True,
    help="such as 2026-10-03T14:00:00Z; a date alone is its midnight in the ledger's timezone",
)
@click.option("--until", "end", type=INSTANT, metavar="TIME", help="default: until the labels are changed")
@click.option("--why", required=True, help="for those who ask later")
@click.option("--who", help="who corrects it; default: the user that runs this")
def set_owner(
    namespace: str,
    cluster: str | None,
    cost_center: str | None,
    team: str | None,
    tier: str | None,
    clear: bool,
    start: str,
    end: str | None,
    why: str,
    who: str | None,
    **options: Any,
) -> None:
    """Correct whose a namespace was, or is; what it touches is rated again.

    What was seen stays in the history, and so does every correction: the later one wins, field by field.

    \b
    Example: chargeback owners set ml-dev --cost-center rd-002 --from 2026-10-01 --until 2026-10-15 \\
               --why "moved late" --data /var/lib/chargeback
    """
    if clear == any(value is not None for value in (cost_center, team, tier)):
        raise Failure("want --cost-center, --team or --tier, or --clear alone")
    why, who = given("why", why), taken(None, who)[1]
    database = take_database(options)
    try:
        with database.write() as connection:
            chosen = _cluster(connection, cluster)
            if not owner_history(connection, chosen, namespace) and not is_holder(connection, chosen, namespace):
                raise Failure(f"{namespace}: no such namespace was ever seen in cluster {chosen}")
            correction = Version(
                namespace=namespace,
                cost_center=cost_center,
                team=team,
                tier=tier,
                from_ms=_in_time_of(connection, start),
                until_ms=None if end is None else _in_time_of(connection, end),
                source=CLEARED if clear else CORRECTION,
                who=who,
                why=why,
                recorded_ms=now_ms(),
            )
            recorded, due = correct_owner(connection, chosen, correction)
    except ValueError as error:
        raise Failure(f"--{error}") from error
    except DatabaseUnavailable as error:
        raise Failure(str(error)) from error
    open_end = "further notice" if clear else "the labels change"
    until = open_end if recorded.until_ms is None else format_instant(recorded.until_ms)
    said = f"version {recorded.version}, from {format_instant(recorded.from_ms)} until {until}"
    click.echo(f"{chosen}/{namespace}: {said}; {to_be_rated(due)}")


def _in_time_of(connection: Connection, text: str) -> int:
    """An instant, in unix ms: a bare date as bills have it, a local day of the ledger."""
    book = policy_book(connection)
    return parse_instant(text) if book is None else parse_instant(text, book.first.timezone)


def _cluster(connection: Connection, named: str | None) -> str:
    clusters = owner_clusters(connection)
    if named is None and len(clusters) == 1:
        return clusters[0]
    if named is None or named not in clusters:
        raise Failure(_unknown_cluster(named, clusters))
    return named


def _unknown_cluster(named: str | None, clusters: Sequence[str]) -> str:
    known = ", ".join(clusters) or "none: no namespace was seen yet"
    return f"--cluster: {'missing' if named is None else repr(named)}: want one of {known}"


def _listed(cluster: str, owner: Version, alike: Mapping[str, Sequence[Sequence[str]]]) -> Row:
    notes = []
    for name, groups in alike.items():
        value = getattr(owner, name)
        others = [other for group in groups if value in group for other in group if other != value]
        if others:
            notes.append(f"{name.replace('_', ' ')} looks like {', '.join(others)}")
    return _version(owner) | {"cluster": cluster, "namespace": owner.namespace, "note": "; ".join(notes)}


def _version(version: Version) -> dict[str, Any]:
    return {
        # From ever, where the creation is not known.
        "from": format_instant(version.from_ms) if version.from_ms else "",
        "until": None if version.until_ms is None else format_instant(version.until_ms),
        "cost_center": version.cost_center,
        "team": version.team,
        "tier": version.tier,
        "version": version.version,
        "source": version.source,
        "recorded": format_instant(version.recorded_ms),
        "who": version.who,
        "why": version.why,
    }
