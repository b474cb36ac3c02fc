"""`chargeback budgets` as people use it."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.main import main
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import GRACE_MS, HOUR, body, holding, put, start_ms
from tests.chargeback.store.conftest import begin

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`chargeback budgets` on a ledger in which cc-a spent 3 USD on the 3rd of October 2026."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    begin(database)
    put(database, body(holdings=[holding()]))
    close_all(database, start_ms(HOUR + 2), GRACE_MS)
    database.close()

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["budgets", *arguments], env={"CHARGEBACK_DATA": str(tmp_path)})

    return run


def set_budget(run: Run, amount: str = "12.5", *arguments: str) -> Result:
    return run("set", "cc-a", "--amount", amount, "--from", "2026-10", "--reason", "plan", "--who", "jo", *arguments)


def test_a_budget_is_set_and_shown(run: Run) -> None:
    ended = set_budget(run, "5.5", "--thresholds", "50,80")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout == "cc-a: version 1: 5.500000 a month from 2026-10 until further notice\n"
    shown = run("show", "--month", "2026-10", "--output", "json")
    [row] = json.loads(shown.stdout)
    assert row | {"no_forecast": "", "forecast": None} == {
        "month": "2026-10", "cost_center": "cc-a", "budget": "5.500000", "spent": "3.000000",
        "used_percent": "54.545455", "reached": "50% 2026-10-03", "forecast_low": row["forecast_low"],
        "forecast": None, "forecast_high": row["forecast_high"], "no_forecast": "", "used_up": row["used_up"],
        "currency": "USD", "version": "1",
    }  # fmt: skip


def test_the_table_is_for_people(run: Run) -> None:
    """A month that is over has no forecast."""
    run("set", "cc-a", "--amount", "1000", "--from", "2026-09", "--reason", "plan")
    shown = run("show", "--month", "2026-09")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.startswith("2026-09, USD\n")
    assert "1,000.00" in shown.stdout
    assert "0.0" in shown.stdout


def test_what_was_given_back_stays_a_number_in_csv(run: Run, tmp_path: Path) -> None:
    """A minus begins no formula here."""
    set_budget(run, "10")
    credit = "adjust credit --from 2026-10-03 --until 2026-10-04 --amount 5 --scope cluster=lab,cost-center=cc-a"
    given = [*shlex.split(credit), "--reason", "outage", "--ticket", "T-1", "--data", str(tmp_path)]
    assert CliRunner().invoke(main, given).exit_code == 0
    [row] = csv.DictReader(io.StringIO(run("show", "--month", "2026-10", "--output", "csv").stdout))
    assert (row["spent"], row["used_percent"]) == ("-2.000000", "-20.000000")


def test_days_have_their_part(run: Run) -> None:
    set_budget(run, "31")
    shown = run("show", "--from", "2026-10-02", "--until", "2026-10-04", "--output", "csv")
    assert list(csv.DictReader(io.StringIO(shown.stdout))) == [
        {
            "cost_center": "cc-a", "from": "2026-10-02", "until": "2026-10-04", "budget": "2.000000",
            "spent": "3.000000", "used_percent": "150.000000", "currency": "USD",
        }
    ]  # fmt: skip


def test_the_history_says_who_and_why(run: Run) -> None:
    set_budget(run)
    assert set_budget(run).stdout == "nothing new: it is so already\n"
    ended = set_budget(run, "none", "--until", "2026-12")
    assert ended.stdout == "cc-a: version 2: no budget from 2026-10 until 2026-12\n"
    rows = json.loads(run("history", "cc-a", "--output", "json").stdout)
    assert [(row["version"], row["amount"], row["until"], row["who"], row["why"]) for row in rows] == [
        (1, "12.500000", None, "jo", "plan"),
        (2, None, "2026-12", "jo", "plan"),
    ]
    assert json.loads(run("show", "--month", "2026-11", "--output", "json").stdout) == []
    missing = run("history", "cc-x")
    assert (missing.exit_code, missing.stderr) == (2, "cc-x: never had a budget\n")


def test_a_file_is_imported_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "budgets.yaml"
    file.write_text("currency: USD\nbudgets:\n  - {cost_center: cc-a, amount: 7, from: 2026-10}\n")
    ended = run("import", str(file), "--reason", "plan")
    assert ended.exit_code == 0, ended.output
    assert ended.stdout == "cc-a: version 1: 7.000000 a month from 2026-10 until further notice\n"
    file.write_text("currency: EUR\nbudgets:\n  - {cost_center: cc-a, amount: 8, from: 2026-10}\n  - {}\n")
    refused = run("import", str(file), "--reason", "plan")
    assert refused.exit_code == 2
    assert refused.stderr.splitlines() == [
        f"{file}: currency: 'EUR': want USD, which the ledger is kept in",
        f"{file}: budgets[1].cost_center: missing",
        f"{file}: budgets[1].amount: missing",
        f"{file}: budgets[1].from: missing",
    ]
    assert len(json.loads(run("history", "--output", "json").stdout)) == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("set a --amount 1 --from 2026-10", "Missing option '--reason'"),
        ("set a --amount 1 --from 2026-10 --reason ' '", "--reason: ' ': want a text"),
        ("set a --amount -1 --from 2026-10 --reason x", "'-1': want an amount of 0 or more"),
        ("set unowned --amount 1 --from 2026-10 --reason x", "'unowned': is an account"),
        ("set a --amount 1 --from 2026-10 --until 2026-10 --reason x", "--until: '2026-10': want a month after"),
        ("set a --amount 1 --from 10-2026 --reason x", "'10-2026': want a month"),
        ("set a --amount 1 --from 2026-10 --thresholds a --reason x", "'a': want up to 10"),
        ("show --from 2026-10-01", "want --month, or --from and --until"),
        ("show --from 2026-10-02 --until 2026-10-02", "--until: 2026-10-02: want a day after"),
        ("show --from yesterday --until 2026-10-02", "'yesterday': want a day such as 2026-10-03"),
    ],
)
def test_wrong_use_is_said(run: Run, line: str, problem: str) -> None:
    ended = run(*shlex.split(line))
    assert ended.exit_code == 2
    assert problem in ended.stderr


def report(tmp_path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", "--data", str(tmp_path), "--month", "2026-10", *arguments])


def test_the_report_has_budgets_beside_costs(run: Run, tmp_path: Path) -> None:
    """Where somebody has one, and only where rows are whole cost centers."""
    before = report(tmp_path, "--output", "csv").stdout
    assert "budget" not in before
    set_budget(run, "5.5")
    rows = {
        row["cost_center"]: row for row in csv.DictReader(io.StringIO(report(tmp_path, "--output", "csv").stdout))
    }
    assert (rows["cc-a"]["budget"], rows["cc-a"]["used_percent"]) == ("5.500000", "54.545455")
    found = json.loads(report(tmp_path, "--output", "json").stdout)["costs"]
    assert [(row["cost_center"], row["budget"]) for row in found if row["amount"] == "3.000000"] == [
        ("cc-a", "5.500000")
    ]
    table = report(tmp_path).stdout
    assert "54.5" in table
    assert "used %" in table
    assert "budget" not in report(tmp_path, "--group-by", "team", "--output", "csv").stdout
    assert "budget" not in report(tmp_path, "--where", "namespace=alpha", "--output", "csv").stdout
