"""`chargeback policy` as people use it. docs/policy.md shows the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.main import main
from chargeback.core.policy import Policy
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.policies import begin_policy
from chargeback.store.schema import migrate

Run = Callable[..., Result]
WHY = ("--reason", "agreed", "--who", "ada")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`chargeback policy` on a ledger of Berlin."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    with database.write() as connection:
        begin_policy(connection, Policy(timezone="Europe/Berlin"), 0)
    database.close()

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["policy", *arguments], env={"CHARGEBACK_DATA": str(tmp_path)})

    return run


def shown(run: Run, *options: str) -> dict[str, tuple[Any, ...]]:
    """By field: value, cluster, pool, version."""
    ended = run("show", "--output", "json", *options)
    assert ended.exit_code == 0, ended.output
    rows = json.loads(ended.stdout)
    return {row["field"]: (row["value"], row["cluster"], row["pool"], row["version"]) for row in rows}


def test_a_bare_date_is_a_midnight_of_the_ledger(run: Run) -> None:
    ended = run("set", "--from", "2026-11-01", "--sharing", "active", "--mig-weight", "0.5", *WHY)
    assert ended.exit_code == 0, ended.output
    said = "version 2: the whole ledger: sharing active, mig-weight 0.500000, from 2026-10-31T23:00:00Z"
    assert ended.stdout == f"{said}; 0 node-hours to be rated again\n"
    assert shown(run, "--at", "2026-10-31")["sharing"] == ("configured", "", "", 1)
    assert shown(run, "--at", "2026-11-01")["sharing"] == ("active", "", "", 2)
    assert shown(run, "--at", "2026-11-01")["mig-weight"] == ("0.500000", "", "", 2)


def test_scopes_and_how_to_leave_one(run: Run) -> None:
    """A narrower one wins, whenever the wider one changed, until it inherits."""
    lab = ("--cluster", "lab")
    assert run("set", "--from", "2026-11-01", *lab, "--pool", "p", "--basis", "usage", *WHY).exit_code == 0
    assert run("set", "--from", "2026-11-02", *lab, "--faulted", "credit", *WHY).exit_code == 0
    assert run("set", "--from", "2026-11-03", *lab, "--pool", "p", "--inherit", "basis", *WHY).exit_code == 0
    place = (*lab, "--pool", "p")
    assert shown(run, *place, "--at", "2026-11-02")["basis"] == ("usage", "lab", "p", 2)
    assert shown(run, *place, "--at", "2026-11-02")["faulted"] == ("credit", "lab", "", 3)
    assert shown(run, *place, "--at", "2026-11-03")["basis"] == ("allocation", "", "", 1)
    every = json.loads(run("show", "--at", "2026-11-02", "--output", "json").stdout)
    assert [(row["field"], row["cluster"], row["pool"]) for row in every if row["cluster"]] == [
        ("faulted", "lab", ""),
        ("basis", "lab", "p"),
    ]
    history = json.loads(run("show", "--history", "--output", "json").stdout)
    assert [(row["change"], row["who"], row["why"]) for row in history[1:]] == [
        ("basis usage", "ada", "agreed"),
        ("faulted credit", "ada", "agreed"),
        ("inherit basis", "ada", "agreed"),
    ]


def test_the_timezone_has_no_date(run: Run) -> None:
    ended = run("set", "--timezone", "UTC", *WHY)
    assert ended.stdout == "version 2: the whole ledger: timezone UTC, from ever; 0 node-hours to be rated again\n"
    assert shown(run)["timezone"] == ("UTC", "", "", 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sharing", "active"], "--from: missing"),
        ([], "--from: missing"),
        (["--from", "2026-11-01"], "want one of --sharing"),
        (["--from", "2026-11-01", "--sharing", "some"], "'some': want one of configured, active"),
        (
            ["--from", "2026-11-01T10:30:00Z", "--sharing", "active"],
            "want a whole UTC hour or a midnight of Europe/Berlin",
        ),
        (["--from", "2026-11-01", "--timezone", "UTC"], "want no --from with it"),
        (["--from", "2026-11-01", "--basis", "usage", "--inherit", "basis", "--cluster", "a"], "want either that or"),
        (["--from", "2026-11-01", "--basis", "usage", "--pool", "p"], "want --cluster as well"),
        (["--from", "2026-11-01", "--basis", "usage", "--cluster", ""], "--cluster: '': want a text"),
        (["--from", "2026-11-01", "--basis", "usage", "--cluster", "a", "--pool", " "], "--pool: ' ': want a text"),
        (["--from", "soon", "--basis", "usage"], "want an instant"),
    ],
)
def test_what_cannot_be_meant_is_refused(run: Run, arguments: list[str], said: str) -> None:
    """With the option, what was seen and what is wanted; nothing is recorded."""
    ended = run("set", *arguments, *WHY)
    assert ended.exit_code == 2
    assert said in ended.stderr.replace("\n", " ")
    assert len(json.loads(run("show", "--history", "--output", "json").stdout)) == 1


def test_a_change_has_a_reason(run: Run) -> None:
    for reason in ([], ["--reason", " "]):
        ended = run("set", "--from", "2026-11-01", "--basis", "usage", *reason)
        assert (ended.exit_code, "--reason" in ended.stderr) == (2, True)


def test_what_cannot_be_shown(run: Run, tmp_path: Path) -> None:
    assert "--cluster" in run("show", "--pool", "p").stderr
    assert "--history" in run("show", "--history", "--at", "2026-11-01").stderr
    (tmp_path / "empty").mkdir()
    database = open_database(sqlite_url(tmp_path / "empty" / "ledger.db"))
    migrate(database)
    database.close()
    for command in (["show"], ["set", "--from", "2026-11-01", "--basis", "usage", *WHY]):
        ended = run(*command, "--data", str(tmp_path / "empty"))
        assert (ended.exit_code, "no ledger here yet" in ended.stderr) == (2, True)
