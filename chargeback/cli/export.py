"""`chargeback export`: the monthly CSV, and what lies below it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from chargeback.cli.groups import groups_type, where_option
from chargeback.cli.listing import now_ms
from chargeback.cli.options import EXIT_INCOMPLETE, STORE, Failure, settings_options, take_database
from chargeback.core.costs import OF_LINES, check_where
from chargeback.core.details import DETAILS, GROUPS, HOUR, SUMMARY
from chargeback.core.hours import check_month
from chargeback.core.money import round_six
from chargeback.exports import CSV, JSONL, Wish
from chargeback.exports import export as export_month
from chargeback.reports import NoLedger, unpriced_of_month
from chargeback.store.database import Database, DatabaseUnavailable


@click.command()
@settings_options(*STORE)
@click.option("--month", required=True, help="such as 2026-10")
@click.option(
    "--detail",
    type=click.Choice(DETAILS),
    help="summary: the monthly CSV (the default); sums by namespace, workload or pod; hour: every line",
)
@click.option(
    "--group-by",
    type=groups_type(OF_LINES),
    metavar="GROUPS",
    help="sums by these, or more of them in a detail: cost-center, team, namespace, cluster, sku, kind, day, node, "
    "workload, pod, container, label:KEY; several with commas",
)
@where_option(OF_LINES)
@click.option("--provisional", is_flag=True, help="with --detail hour: also hours that are not closed yet, so marked")
@click.option("--format", "form", type=click.Choice([CSV, JSONL]), default=CSV, show_default=True)
@click.option("--output-file", "-o", type=click.Path(dir_okay=False, path_type=Path), help="default: standard output")
@click.option("--allow-unpriced", is_flag=True, help="exit 0 although some time has no price")
def export(
    month: str,
    detail: str | None,
    group_by: tuple[str, ...] | None,
    where: tuple[tuple[str, str], ...],
    provisional: bool,
    form: str,
    output_file: Path | None,
    allow_unpriced: bool,
    **options: Any,
) -> None:
    """Write a month's chargeback CSV, or what lies below it: rated hours only, every account, always the same bytes.

    The columns of every detail add up to those of the monthly CSV. docs/csv.md says what each of them means.

    Exit 0: complete; 1: some time has no price (named on stderr; its amounts are empty).

    \b
    Example: chargeback export --data /var/lib/chargeback --month 2026-10 -o 2026-10.csv
             chargeback export --month 2026-10 --detail pod --where team=red --format jsonl
             chargeback export --month 2026-10 --group-by team,label:project
    """
    groups = group_by or ()
    _check_wish(detail, groups, where, provisional)
    database = take_database(options)
    wish = Wish(
        month=month,
        detail=detail or (None if groups else SUMMARY),
        group_by=groups,
        where=check_where(where, OF_LINES),
        now_ms=now_ms() if provisional else None,
    )
    try:
        check_month(month)
        write_pieces(export_month(database, wish, form), output_file)
        unpriced = unpriced_of_month(database, month)
    except ValueError as error:
        raise Failure(f"--month: {error}") from error
    except (NoLedger, DatabaseUnavailable, OSError) as error:
        raise Failure(str(error)) from error
    for model, hours in sorted(unpriced.items()):
        # Of no model is what a plan guarantees that has no price key.
        what = f"{model}: {round_six(hours)} card hours" if model else "unused guarantees"
        click.echo(f"no price for {what} in {month}, amounts left empty", err=True)
    if unpriced and not allow_unpriced:
        click.echo(f"`chargeback close {month} --dry-run` says what to do; or pass --allow-unpriced", err=True)
        sys.exit(EXIT_INCOMPLETE)


def _check_wish(
    detail: str | None, groups: tuple[str, ...], where: tuple[tuple[str, str], ...], provisional: bool
) -> None:
    """Raise Failure for what no export has."""
    problems = []
    if provisional and detail != HOUR:
        problems.append(f"--provisional: {detail or SUMMARY} has closed hours only: want --detail {HOUR}")
    if groups and detail in (SUMMARY, HOUR):
        problems.append(f"--group-by: {detail} has rows of its own: want --detail {', '.join(GROUPS)}, or none")
    twice = sorted(set(groups) & set(GROUPS.get(detail or "", ())))
    problems += [f"--group-by: {name}: --detail {detail} has it already" for name in twice]
    if where and detail in (None, SUMMARY) and not groups:
        problems.append("--where: the monthly CSV is whole: want --detail or --group-by with it")
    if problems:
        raise Failure("\n".join(problems))


def write_month(database: Database, month: str, path: Path | None) -> None:
    """Write the monthly CSV to a file, whole or not at all, or to standard output."""
    write_pieces(export_month(database, Wish(month=month)), path)


def write_pieces(pieces: Iterable[bytes], path: Path | None) -> None:
    """To a file, whole or not at all; to standard output, a pipe or a device, which stay what they are."""
    if path is not None and path.exists() and not path.is_file():
        with path.open("wb") as file:
            file.writelines(pieces)
        return
    if path is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            for piece in pieces:
                file.write(piece)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
