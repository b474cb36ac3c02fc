"""`chargeback close`: a month is looked at, drafted, approved and closed, one step a command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from chargeback.answers.months import draft_json, look_json, state_json
from chargeback.cli.listing import OUTPUT, now_ms, print_rows, reading
from chargeback.cli.options import EXIT_INCOMPLETE, STORE, Failure, open_ledger, settings_options, take_settings
from chargeback.cli.people import people_options, taken
from chargeback.cli.values import MONTH
from chargeback.config import Settings
from chargeback.core.money import format_micros
from chargeback.core.months.checks import percent
from chargeback.core.months.closing import Finding, NotWaivable, stopping, waive
from chargeback.core.months.sums import Coverage
from chargeback.months.close import MonthBlocked, MonthRefused, approve, close, discard, prepare, verified
from chargeback.months.look import Look, all_months, look
from chargeback.reports import NoLedger
from chargeback.store.database import Database, DatabaseUnavailable
from chargeback.store.drafts import Draft
from chargeback.store.months import DRAFT, month_state
from chargeback.tasks.close_hours import close_all

STEPS = ("dry_run", "prepare", "approve", "discard", "verify", "list")
LISTED = ("month", "state", "draft", "waiting")
FOUND = ("says", "name", "found", "mend")


@click.command("close")
@click.argument("month", type=MONTH, required=False)
@settings_options(*STORE, "grace", "min-coverage", "day-factor")
@click.option("--dry-run", is_flag=True, help="check the month, and say what blocks it and how to mend that")
@click.option("--prepare", is_flag=True, help="make a draft; a draft that is not approved is replaced")
@click.option("--approve", is_flag=True, help="approve the draft, as --who")
@click.option("--discard", is_flag=True, help="open a drafted or approved month again")
@click.option("--verify", is_flag=True, help="compare closed months with what was closed: one, or all")
@click.option("--list", "list_", is_flag=True, help="list all months and their states")
@click.option(
    "--waive", "waivers", multiple=True, metavar="NAME", help="let a finding pass, with --reason; repeatable"
)
@click.option("--draft", "number", type=int, metavar="N", help="with --approve: the draft that you have looked at")
@click.option("--sha256", metavar="HEX", help="with --approve: its hash")
@people_options(required=False)
@OUTPUT
def close_month(
    month: str | None,
    waivers: tuple[str, ...],
    number: int | None,
    sha256: str | None,
    reason: str | None,
    who: str | None,
    output: str,
    list_: bool,
    **options: Any,
) -> None:
    """Close a month for ever: --dry-run, --prepare, --approve, and then without any of these.

    From the draft on nothing of the month changes; what comes late waits for the next draft, or is posted as
    adjustments in a later month.

    Exit 0: done; 1: something blocks the draft, or a closed month is not what was closed; 2: not in this state.

    \b
    Examples: chargeback close 2026-10 --dry-run
              chargeback close 2026-10 --prepare --waive unowned:lab/sandbox --reason "left the company"
              chargeback close 2026-10 --approve --who jo
              chargeback close 2026-10
    """
    steps = [step for step in STEPS if (list_ if step == "list" else options.pop(step))]
    step = _one(steps)
    _check_options(step, month, waivers, number, sha256, reason)
    settings = take_settings(options)
    database = open_ledger(settings)
    with _failures():
        if step == "list":
            _list(database, output)
        elif step == "verify":
            _verify(database, month, output)
        elif month is not None and step == "dry_run":
            _show_look(look(database, month, now_ms(), settings.grace, settings.limits), output)
        elif month is not None:
            why, person = taken(reason, who)
            if step == "prepare":
                _prepare(database, settings, month, person, waivers, why, output)
            elif step == "approve":
                _show_draft(approve(database, month, person, now_ms(), number=number, sha256=sha256), output)
            elif step == "discard":
                _show_draft(discard(database, month, person, now_ms(), why), output)
            else:
                _show_draft(close(database, month, person, now_ms()), output)


def _one(steps: Sequence[str]) -> str:
    if len(steps) > 1:
        names = ", ".join(f"--{step.replace('_', '-')}" for step in steps)
        raise Failure(f"{names}: want one of them")
    return steps[0] if steps else "close"


def _check_options(
    step: str, month: str | None, waivers: Sequence[str], number: int | None, sha256: str | None, reason: str | None
) -> None:
    """Raises Failure with every option that the step does not go with, or lacks."""
    problems: list[str] = []
    if month is None and step not in ("verify", "list"):
        problems.append("MONTH: missing: want a month such as 2026-10")
    if waivers and step != "prepare":
        problems.append("--waive: want --prepare with it")
    if (number is not None or sha256 is not None) and step != "approve":
        problems.append("--draft, --sha256: want --approve with them")
    if reason is None and (waivers or step == "discard"):
        problems.append("--reason: missing: want it with --waive and --discard, for those who ask later")
    if problems:
        raise Failure("\n".join(problems))


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (MonthRefused, NotWaivable, NoLedger, DatabaseUnavailable) as error:
        raise Failure(str(error)) from error


def _prepare(
    database: Database,
    settings: Settings,
    month: str,
    who: str,
    waivers: Sequence[str],
    reason: str,
    output: str,
) -> None:
    with reading(database) as connection:
        state = month_state(connection, month)
    if state is not None and state.state == DRAFT:
        # A wrong name leaves the draft as it is.
        waive(look(database, month, now_ms(), settings.grace, settings.limits).findings, waivers, reason)
        discarded = discard(database, month, who, now_ms(), reason or "another draft is made")
        click.echo(f"{month}: draft {discarded.draft} is discarded", err=True)  # also where no other can be made
        close_all(database, now_ms(), 0)  # what waited
    try:
        draft = prepare(database, month, who, now_ms(), settings.grace, settings.limits, waivers, reason)
    except MonthBlocked as blocked:
        _show_look(blocked.look, output)
    else:
        _show_draft(draft, output)


def _show_look(found: Look, output: str) -> None:
    """Prints all of it; exit 1 where something blocks."""
    if output == "json":
        click.echo(json.dumps(look_json(found), indent=2))
    else:
        _print_findings(found.findings, output)
    if output == "table":
        _print_coverage(found.coverage)
    stops = stopping(found.findings)
    month, state = found.state.month, found.state.state
    if not stops:
        empty = "" if found.coverage else " and has no lines"
        click.echo(f"{month} is {state}{empty}; nothing blocks it", err=output != "table")
        return
    able = sorted({each.check for each in stops if each.waivable})
    waive = f"; --waive NAME --reason WHY lets pass: {', '.join(able)}" if able else ""
    count = "1 finding blocks" if len(stops) == 1 else f"{len(stops)} findings block"
    click.echo(f"{month} is {state}; {count} it{waive}", err=True)
    sys.exit(EXIT_INCOMPLETE)


def _print_findings(findings: Sequence[Finding], output: str) -> None:
    rows = [
        {"says": _says(each), "name": each.name, "found": each.found, "mend": each.waived or each.mend}
        for each in findings
    ]
    if output == "csv":
        print_rows(FOUND, rows, output)
        return
    for row in rows:
        click.echo(f"{row['says']:7} {row['name']}: {row['found']}")
        click.echo(f"        {row['mend']}")


def _says(finding: Finding) -> str:
    return ("waived" if finding.waived else "blocks") if finding.blocks else "note"


def _print_coverage(found: Sequence[Coverage]) -> None:
    for each in found:
        if each.whole_ms and not each.node:
            parts = [
                f"{percent(part / each.whole_ms)} {name}"
                for name, part in (
                    ("observed", each.observed_ms),
                    ("known by the API", each.api_ms),
                    ("gap", each.gap_ms),
                )
            ]
            click.echo(f"coverage {each.cluster}: {', '.join(parts)}")
        elif each.gap_ms and each.whole_ms:
            click.echo(f"        {each.node}: {percent(each.gap_ms / each.whole_ms)} gap")


def _show_draft(draft: Draft, output: str) -> None:
    if output == "json":
        click.echo(json.dumps({"month": draft.month, **draft_json(draft)}, indent=2))
        return
    _print_findings(draft.findings, output)
    if output == "csv":
        return
    digest = draft.digest
    people = [("prepared", draft.prepared_by), ("approved", draft.approved_by), ("closed", draft.closed_by)]
    click.echo(f"{draft.month}: draft {draft.draft}, {draft.state}")
    listed, amount = format_micros(digest.list_micros), format_micros(digest.amount_micros)
    click.echo(f"  {digest.lines} lines, list {listed}, amount {amount}")
    click.echo(f"  sha256 {digest.sha256}")
    click.echo("  " + ", ".join(f"{step} by {who}" for step, who in people if who is not None))


def _list(database: Database, output: str) -> None:
    rows = [state_json(state, waiting) for state, waiting in all_months(database)]
    print_rows(LISTED, rows, output, numbers=("draft", "waiting"))


def _verify(database: Database, month: str | None, output: str) -> None:
    differences = list(verified(database, month))
    if output == "table":
        for difference in differences:
            click.echo(difference)
    else:
        print_rows(("difference",), [{"difference": each} for each in differences], output)
    if differences:
        sys.exit(EXIT_INCOMPLETE)
    click.echo("nothing differs from what was closed", err=output != "table")
