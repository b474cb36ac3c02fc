"""`chargeback rerate`: shows what it changes before it does, stores nothing in a dry run, and says the same after."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.main import main
from chargeback.core.existence import SILENT_MS
from chargeback.core.hours import HOUR_MS, format_hour
from chargeback.core.owners.history import CORRECTION, Version
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.ledger import lines_of_month
from chargeback.store.owners import correct_owner
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.a_month import HOUR
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, body, gpu, holding, put, start_ms
from tests.chargeback.store.closing import put_month
from tests.chargeback.store.conftest import begin

FROM, UNTIL = format_hour(HOUR), format_hour(HOUR + 1)
LATER_MS = start_ms(HOUR + 1) + GRACE_MS


@pytest.fixture
def ledger(tmp_path: Path) -> Database:
    """Two nodes with a card each, held by alpha for an hour."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    begin(database)
    for node in ("n1", "n2"):
        put(database, body(node, HOUR, gpus=[gpu(f"GPU-{node}")], holdings=[holding(f"GPU-{node}")]))
    close_all(database, LATER_MS, 0)
    return database


def run(database: Database, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--database", database.engine.url.render_as_string()])


def rerate(database: Database, *arguments: str) -> Result:
    return run(database, "rerate", "--from", FROM, "--until", UNTIL, *arguments)


def move_to_beta(database: Database) -> None:
    """alpha's cost center was cc-b all the time: both hours are due."""
    correction = Version(
        namespace="alpha",
        cost_center="cc-b",
        team=None,
        tier=None,
        from_ms=0,
        until_ms=start_ms(HOUR + 1),
        source=CORRECTION,
        who="jo",
        why="typed wrongly",
        recorded_ms=LATER_MS,
    )
    with database.write() as connection:
        correct_owner(connection, CLUSTER, correction)


def stored(database: Database) -> list[Any]:
    with database.read() as connection:
        return [line for month in ("2024-10", "2024-11") for line in lines_of_month(connection, month)]


def changes(result: Result) -> str:
    """What is said after how many node-hours it were."""
    return result.stdout.partition("\n")[2]


def test_a_dry_run_says_what_the_real_one_then_does(ledger: Database) -> None:
    """And stores nothing; afterwards nothing differs any more."""
    move_to_beta(ledger)
    before = stored(ledger)
    would = rerate(ledger, "--dry-run")
    assert would.exit_code == 0, would.output
    assert would.stdout.startswith("2 node-hours would be rated\n")
    assert stored(ledger) == before
    assert [row.split() for row in changes(would).splitlines() if "amount" in row and "list" not in row] == [
        ["cc-a", "amount", "6.000000", "0.000000", "-6.000000"],
        ["cc-b", "amount", "0.000000", "6.000000", "6.000000"],
    ]
    did = rerate(ledger)
    assert did.exit_code == 0, did.output
    assert changes(did) == changes(would)
    assert {line.account for line in stored(ledger)} - {"platform:gap"} == {"cc-b"}
    assert changes(rerate(ledger, "--dry-run")) == "No amount, hour or account differs.\n"


def test_of_a_closed_month_it_says_where_it_is_posted(ledger: Database) -> None:
    """By the month that it corrects, too; the same in a dry run and when it is done."""
    put_month(ledger, "2024-10")
    move_to_beta(ledger)
    would = rerate(ledger, "--dry-run")
    assert [row.split() for row in changes(would).splitlines() if "2024-11" in row] == [
        ["2024-11", "2024-10", "cc-a", "-2.000000", "-6.000000", "-6.000000"],
        ["2024-11", "2024-10", "cc-b", "2.000000", "6.000000", "6.000000"],
    ]
    as_json = json.loads(rerate(ledger, "--dry-run", "--output", "json").stdout)
    as_csv = list(csv.DictReader(io.StringIO(rerate(ledger, "--dry-run", "--output", "csv").stdout, newline="")))
    assert as_csv == as_json
    assert [(row["posted_in"], row["account"], row["amount_difference"]) for row in as_json] == [
        ("", "cc-a", "-6.000000"),
        ("", "cc-b", "6.000000"),
        ("2024-11", "cc-a", "-6.000000"),
        ("2024-11", "cc-b", "6.000000"),
    ]
    assert changes(rerate(ledger)) == changes(would)


def test_one_node_alone(ledger: Database) -> None:
    """The other waits for its turn."""
    move_to_beta(ledger)
    would = rerate(ledger, "--dry-run", "--cluster", CLUSTER, "--node", "n1")
    assert would.stdout.startswith("1 node-hours would be rated\n")
    assert "3.000000" in changes(would)


def test_hours_of_a_drafted_month_wait(ledger: Database) -> None:
    """Which it says, and ends with 1."""
    put_month(ledger, "2024-10", "draft")
    move_to_beta(ledger)
    before = stored(ledger)
    for dry in ("--dry-run",), ():
        ended = rerate(ledger, *dry)
        assert (ended.exit_code, ended.stderr) == (1, "2 node-hours wait: their month is drafted or approved\n")
    assert stored(ledger) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "want --from HOUR or --now"),
        (("--dry-run",), "--dry-run: want --from HOUR with it"),
        (("--now", "--until", UNTIL, "--node", "n1"), "--until: want --from HOUR with it\n--node: want --from HOUR"),
        (("--from", FROM, "--until", FROM), "--until: want an hour after --from"),
        (("--from", FROM, "--dry-run", "--now"), "--now: want it without --dry-run"),
        (("--from", FROM, "--cluster", "moon"), "--cluster: 'moon': want one of lab"),
        (("--from", FROM, "--node", "n9", "--dry-run"), "--node: 'n9': no node of this name has ever pushed"),
    ],
)
def test_wrong_use(ledger: Database, arguments: tuple[str, ...], said: str) -> None:
    """Every option that is wrong is named."""
    ended = run(ledger, "rerate", *arguments)
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_what_is_due_is_said_with_the_plans_that_follow(ledger: Database, tmp_path: Path) -> None:
    """A plan makes no node-hour due, and its hours are settled all the same."""
    assert run(ledger, "rerate", "--now").exit_code == 0
    file = tmp_path / "plans.yaml"
    file.write_text(f"plans: [{{namespace: alpha, guaranteed: 2, from: {FROM[:10]}}}]")
    imported = run(ledger, "plans", "import", str(file), "--cluster", CLUSTER, "--force", "--reason", "agreed")
    assert imported.exit_code == 0, imported.output
    hours = 1 + SILENT_MS // HOUR_MS
    assert run(ledger, "rerate", "--now").stdout == f"0 node-hours rated, {hours} plan-hours settled\n"
    assert run(ledger, "rerate", "--now").stdout == "0 node-hours rated\n"
    as_json = run(ledger, "rerate", "--now", "--output", "json")
    assert json.loads(as_json.stdout) == [{"node_hours": 0, "plan_hours": 0}]
