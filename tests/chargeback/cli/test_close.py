"""`chargeback close`: each step, what it prints, and its exit codes. docs/months.md shows a whole life."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.main import main
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.schema import migrate
from tests.chargeback.store.a_month import MONTH, closed, fill, late
from tests.chargeback.store.conftest import begin

Run = Callable[..., Result]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A month that could be drafted."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    begin(database)
    fill(database)
    return database


@pytest.fixture
def run(database: Database, tmp_path: Path) -> Run:
    """`chargeback close` on that ledger."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["close", *arguments], env={"CHARGEBACK_DATA": str(tmp_path)})

    return run


def unowned(database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE lines SET account = 'unowned' WHERE account = 'cc-a'")


def test_a_dry_run_says_that_nothing_blocks(run: Run) -> None:
    ended = run(MONTH, "--dry-run")
    assert (ended.exit_code, ended.stdout.splitlines()) == (
        0,
        [
            "coverage lab: 100.00 % observed, 0.00 % known by the API, 0.00 % gap",
            "2024-10 is open; nothing blocks it",
        ],
    )


def test_a_dry_run_of_a_month_without_lines_says_so(run: Run) -> None:
    """So that a mistyped year is seen."""
    ended = run("2023-10", "--dry-run")
    assert ended.exit_code == 0
    assert ended.stdout == "2023-10 is open and has no lines; nothing blocks it\n"


def test_a_dry_run_says_what_blocks_and_what_to_run(run: Run, database: Database) -> None:
    """Exit 1, in three forms; and nothing is changed by it."""
    unowned(database)
    ended = run(MONTH, "--dry-run")
    assert ended.exit_code == 1
    assert ended.stdout.splitlines()[:2] == [
        "blocks  unowned:lab/alpha: 2.000000 card hours, 6.000000, of alpha in lab belong to no cost center",
        "        chargeback owners set alpha --cluster lab --cost-center NAME --from 2024-10-01 --why WHY",
    ]
    blocked = "2024-10 is open; 1 finding blocks it; --waive NAME --reason WHY lets pass: unowned\n"
    assert ended.stderr == blocked
    found = json.loads(run(MONTH, "--dry-run", "--output", "json").stdout)
    assert (found["state"], found["blocked"], [each["name"] for each in found["findings"]]) == (
        "open",
        True,
        ["unowned:lab/alpha"],
    )
    listed = run(MONTH, "--dry-run", "--output", "csv").stdout.splitlines()
    assert listed[0] == "says,name,found,mend"
    assert listed[1].startswith("blocks,unowned:lab/alpha,")
    ended = run(MONTH, "--prepare", "--who", "ann")
    assert (ended.exit_code, ended.stderr) == (1, blocked)
    assert json.loads(run("--list", "--output", "json").stdout) == [
        {"month": MONTH, "state": "open", "draft": None, "waiting": 0}
    ]


def test_a_draft_that_is_made_again_takes_in_what_waited(run: Run, database: Database) -> None:
    """The list says how much waits."""
    assert run(MONTH, "--prepare", "--who", "ann").exit_code == 0
    late(database)
    (row,) = json.loads(run("--list", "--output", "json").stdout)
    assert (row["state"], row["draft"], row["waiting"]) == ("draft", 1, 1)
    said = run(MONTH, "--dry-run")
    assert (said.exit_code, "waiting: 1 node-hours or plan-hours have changed" in said.stdout) == (0, True)
    made = json.loads(run(MONTH, "--prepare", "--who", "ann", "--output", "json").stdout)
    assert (made["draft"], made["state"], made["lines"], made["waived"]) == (2, "draft", 6, [])
    (row,) = json.loads(run("--list", "--output", "json").stdout)
    assert row["waiting"] == 0


def test_a_draft_that_no_other_can_follow_is_discarded_and_says_so(run: Run, database: Database) -> None:
    """What waits is rated before the month is judged, so there is no way back."""
    unowned(database)
    run(MONTH, "--prepare", "--who", "ann", "--waive", "unowned", "--reason", "gone")
    ended = run(MONTH, "--prepare", "--who", "ann")
    assert (ended.exit_code, ended.stderr.splitlines()[0]) == (1, f"{MONTH}: draft 1 is discarded")
    (row,) = json.loads(run("--list", "--output", "json").stdout)
    assert row["state"] == "open"


def test_what_is_waived_stays_with_the_draft(run: Run, database: Database) -> None:
    unowned(database)
    made = run(MONTH, "--prepare", "--who", "ann", "--waive", "unowned", "--reason", "gone")
    assert made.exit_code == 0, made.output
    assert made.stdout.splitlines()[:2] == [
        "waived  unowned:lab/alpha: 2.000000 card hours, 6.000000, of alpha in lab belong to no cost center",
        "        gone",
    ]


def test_a_wrong_waiver_leaves_the_draft_as_it_is(run: Run, database: Database) -> None:
    """What it waives is looked up first; a right one is replaced by the next draft."""
    unowned(database)
    waived = (MONTH, "--prepare", "--who", "ann", "--reason", "gone", "--waive")
    assert run(*waived, "unowned").exit_code == 0
    ended = run(*waived, "unowned:lab/alfa")
    said = "--waive unowned:lab/alfa: nothing of that name blocks: want one of unowned, unowned:lab/alpha"
    assert (ended.exit_code, said in ended.stderr) == (2, True), ended.output
    (row,) = json.loads(run("--list", "--output", "json").stdout)
    assert (row["state"], row["draft"]) == ("draft", 1)
    assert json.loads(run(*waived, "unowned:lab/alpha", "--output", "json").stdout)["draft"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "MONTH: missing: want a month such as 2026-10"),
        (("2024-13", "--dry-run"), "want a month such as 2026-10"),
        ((MONTH, "--dry-run", "--prepare"), "--dry-run, --prepare: want one of them"),
        ((MONTH, "--waive", "x"), "--waive: want --prepare with it\n--reason: missing"),
        ((MONTH, "--prepare", "--waive", "x"), "--reason: missing: want it with --waive and --discard"),
        ((MONTH, "--prepare", "--waive", "x", "--reason", " "), "--reason: ' ': want a text"),
        ((MONTH, "--discard"), "--reason: missing"),
        ((MONTH, "--draft", "1"), "--draft, --sha256: want --approve with them"),
        ((MONTH,), f"{MONTH} is open: `chargeback close {MONTH} --prepare` makes a draft of it"),
        ((MONTH, "--approve"), "is open"),
        ((MONTH, "--verify"), f"{MONTH} is open: nothing of it was closed"),
        (("2024-09", "--verify"), "2024-09 is open: nothing of it was closed"),
        (
            (MONTH, "--prepare", "--waive", "x", "--reason", "y"),
            "--waive x: nothing of that name blocks: nothing can be",
        ),
    ],
)
def test_wrong_use_is_named(run: Run, arguments: tuple[str, ...], said: str) -> None:
    """Exit 2, and nothing is done."""
    ended = run(*arguments)
    assert (ended.exit_code, said in ended.stderr) == (2, True), ended.output
    assert json.loads(run("--list", "--output", "json").stdout)[0]["state"] == "open"


def test_an_approved_month_is_not_drafted_again_by_mistake(run: Run) -> None:
    """Somebody has put a name under it: it is discarded first, with a reason."""
    run(MONTH, "--prepare", "--who", "ann")
    assert run(MONTH, "--approve", "--who", "bob").exit_code == 0
    ended = run(MONTH, "--prepare", "--who", "ann")
    assert (ended.exit_code, "is approved (draft 1): discard its draft before" in ended.stderr) == (2, True)
    assert run(MONTH, "--discard", "--reason", "late body", "--who", "ann").exit_code == 0
    assert run(MONTH, "--prepare", "--who", "ann").exit_code == 0


def test_what_was_closed_is_verified(run: Run, database: Database) -> None:
    """Exit 1 and what differs, where somebody changed a statement or a line."""
    closed(database)
    assert (run("--verify").exit_code, run(MONTH, "--verify").stdout) == (0, "nothing differs from what was closed\n")
    assert json.loads(run("--verify", "--output", "json").stdout) == []
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE statements SET amount_micros = 1 WHERE account = 'cc-b'")
    ended = run("--verify")
    assert ended.exit_code == 1
    assert [line.split(":")[0] for line in ended.stdout.splitlines()] == ["2024-10 cc-b (statement 2)", "2024-10"]
    listed = json.loads(run("--verify", "--output", "json").stdout)
    assert [row["difference"] for row in listed] == ended.stdout.splitlines()
    as_csv = run("--verify", "--output", "csv")
    assert (as_csv.exit_code, as_csv.stdout.splitlines()[0]) == (1, "difference")
