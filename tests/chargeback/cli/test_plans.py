"""`chargeback plans` over a ledger: dry runs, refusals, force, history. docs/plans.md shows the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.main import main
from chargeback.core.policy import Policy
from chargeback.store.audit import entries
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.months import CLOSED, MonthState, hours_of, put_state
from chargeback.store.policies import begin_policy
from chargeback.store.schema import migrate

Run = Callable[..., Result]
PLANS = "plans: [{namespace: alpha, guaranteed: 2, from: 2026-10-03}]"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """On a ledger whose October is closed; {file}: a plan file."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    first, last = hours_of("2026-10", "UTC")
    with database.write() as connection:
        begin_policy(connection, Policy(), 0)
        put_state(
            connection,
            MonthState(month="2026-10", state=CLOSED, draft=1, first_hour=first, last_hour=last, changed_ms=0),
        )
    database.close()
    file = tmp_path / "plans.yaml"
    file.write_text(PLANS)

    def run(*arguments: str) -> Result:
        named = [each.replace("{file}", str(file)) for each in arguments]
        return CliRunner().invoke(main, ["plans", *named], env={"CHARGEBACK_DATA": str(tmp_path)})

    return run


def test_check_knows_a_timezone_that_is_none(run: Run) -> None:
    ended = run("check", "{file}", "--timezone", "Mars/Olympus")
    assert (ended.exit_code, "'Mars/Olympus': want an IANA time zone" in ended.stderr) == (2, True)


@pytest.mark.parametrize("command", ["check", "import"])
def test_an_empty_name_is_no_cluster(run: Run, command: str) -> None:
    """As of a variable that is not set: what such a plan guaranteed would hold nowhere."""
    ended = run(command, "{file}", "--cluster", "")
    assert (ended.exit_code, "'--cluster': '': want a name" in ended.stderr) == (2, True)


def test_a_dry_run_shows_what_would_change_and_changes_nothing(run: Run) -> None:
    ended = run("import", "{file}", "--cluster", "lab", "--dry-run", "--output", "json")
    assert ended.exit_code == 0, ended.output
    (row,) = json.loads(ended.stdout)
    assert (row["namespace"], row["guaranteed"], row["closed_months"]) == ("alpha", 2, "2026-10")
    assert "1 versions of plans would be new" in ended.stderr
    assert json.loads(run("history", "--output", "json").stdout) == []


def test_closed_months_change_by_force_and_with_a_reason(run: Run, tmp_path: Path) -> None:
    """Audited; importing it again is nothing new."""
    refused = run("import", "{file}", "--cluster", "lab")
    assert refused.exit_code == 2
    assert "lab / alpha / nvidia.com/gpu: guaranteed 2, cap None from 2026-10-03T00:00:00Z" in refused.stderr
    assert "2026-10, which is closed" in refused.stderr
    assert "--force --reason WHY" in refused.stderr
    unexplained = run("import", "{file}", "--cluster", "lab", "--force")
    assert (unexplained.exit_code, "--reason" in unexplained.stderr) == (2, True)
    forced = ("import", "{file}", "--cluster", "lab", "--force", "--reason", "late contract", "--who", "ann")
    assert run(*forced).exit_code == 0
    assert "nothing is new" in run(*forced).stdout
    (row,) = json.loads(run("history", "alpha", "--output", "json").stdout)
    assert (row["layer"], row["guaranteed"], row["who"], row["why"]) == ("file", 2, "ann", "late contract")
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    with database.read() as connection:
        assert [(each.action, each.subject, each.who) for each in entries(connection)] == [
            ("import plans", "lab", "ann")
        ]
    database.close()


def test_a_file_with_problems_is_not_imported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "plans.yaml").write_text("plans: [{namespace: alpha, guaranteed: many}, {cap: 1}]")
    for command in (("check", "{file}"), ("import", "{file}")):
        ended = run(*command)
        assert ended.exit_code == 2
        assert ended.stderr.count("plans.yaml:1: ") == 2


@pytest.mark.parametrize("command", ["used", "history"])
def test_a_ledger_without_plans_says_so(run: Run, command: str) -> None:
    ended = run(command)
    assert ended.exit_code == 0
    assert ended.stderr.startswith("no plan ")


def test_a_month_or_an_hour_not_both(run: Run) -> None:
    ended = run("used", "--month", "2026-10", "--hour", "2026-10-03T10Z")
    assert (ended.exit_code, ended.stderr) == (2, "--hour: want it, or --month, not both\n")
