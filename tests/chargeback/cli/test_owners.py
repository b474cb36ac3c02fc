"""`chargeback owners` as people use it: tables, dates, reasons, refusals. docs/owners.md shows the rest."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.main import main
from chargeback.core.hours import parse_instant
from chargeback.core.owners.owners import Namespace
from chargeback.core.policy import Policy
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.owners import note_namespaces
from chargeback.store.policies import begin_policy
from chargeback.store.schema import migrate

CREATED_MS = parse_instant("2026-01-01")
SEEN_MS = parse_instant("2026-01-02")
NAMESPACES = (
    Namespace(name="alpha", created_ms=CREATED_MS, cost_center="cc-1", team="[red]"),
    Namespace(name="beta", created_ms=CREATED_MS, cost_center="CC_1", team="=blue"),
)

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`chargeback owners` on a ledger of one cluster."""
    note(tmp_path, "lab")

    def run(*arguments: str, **env: str) -> Result:
        return CliRunner().invoke(main, ["owners", *arguments], env={"CHARGEBACK_DATA": str(tmp_path)} | env)

    return run


def note(folder: Path, cluster: str) -> None:
    database = open_database(sqlite_url(folder / "ledger.db"))
    migrate(database)
    with database.write() as connection:
        note_namespaces(connection, cluster, NAMESPACES, "api", SEEN_MS)
    database.close()


def rows(ended: Result) -> Any:
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def set_alpha(run: Run, *arguments: str) -> Result:
    return run("set", "alpha", "--from", "2026-01-10", "--why", "moved", "--who", "jo", *arguments)


def test_list_in_three_forms(run: Run) -> None:
    """The same rows; in a spreadsheet no name is a formula, on a terminal none is markup."""
    found = rows(run("list", "--output", "json"))
    assert [(row["namespace"], row["cost_center"], row["from"], row["note"]) for row in found] == [
        ("alpha", "cc-1", "2026-01-01T00:00:00Z", "cost center looks like CC_1"),
        ("beta", "CC_1", "2026-01-01T00:00:00Z", "cost center looks like cc-1"),
    ]
    read = list(csv.DictReader(io.StringIO(run("list", "--output", "csv").stdout, newline="")))
    assert [row["team"] for row in read] == ["[red]", "'=blue"]
    table = run("list").stdout
    assert "[red]" in table
    assert "looks like" in table


def test_list_says_who_it_was_then(run: Run) -> None:
    """Before its creation there was nobody; after the correction somebody else."""
    assert rows(run("list", "--at", "2025-12-31", "--output", "json")) == []
    assert set_alpha(run, "--cost-center", "cc-9").exit_code == 0
    for at, expected in (("2026-01-09", "cc-1"), ("2026-01-10", "cc-9")):
        found = rows(run("list", "--at", at, "--output", "json"))
        assert found[0]["cost_center"] == expected


def test_without_look_alikes_the_table_has_no_notes(run: Run) -> None:
    set_alpha(run, "--cost-center", "other", "--from", "2026-01-01")
    assert "note" not in run("list").stdout


def test_history_says_since_when_and_how_it_is_known(run: Run) -> None:
    """Pieces in order of time; with --recorded what was said, in order of saying it."""
    assert set_alpha(run, "--team", "", "--until", "2026-01-20").exit_code == 0
    assert set_alpha(run, "--clear", "--until", "2026-01-12").exit_code == 0
    pieces = rows(run("history", "alpha", "--output", "json"))
    assert [(piece["from"][:10], piece["team"], piece["version"], piece["why"]) for piece in pieces] == [
        ("2026-01-01", "[red]", 1, None),
        ("2026-01-12", None, 2, "moved"),
        ("2026-01-20", "[red]", 1, None),
    ]
    recorded = rows(run("history", "alpha", "--recorded", "--output", "json"))
    assert [(each["source"], each["team"], each["who"]) for each in recorded] == [
        ("api", "[red]", None),
        ("correction", "", "jo"),
        ("cleared", None, "jo"),
    ]
    assert recorded[0]["recorded"] == "2026-01-02T00:00:00Z"


def test_set_says_what_it_did_and_until_when(run: Run) -> None:
    said = set_alpha(run, "--cost-center", "cc-9").stdout
    assert said == (
        "lab/alpha: version 2, from 2026-01-10T00:00:00Z until the labels change; 0 node-hours to be rated again\n"
    )
    assert "until 2026-01-20T00:00:00Z;" in set_alpha(run, "--team", "t", "--until", "2026-01-20").stdout
    assert "until further notice;" in set_alpha(run, "--clear").stdout


def test_who_corrects_it_is_the_user_unless_said(run: Run) -> None:
    run("set", "alpha", "--team", "t", "--from", "2026-01-10", "--why", "moved", LOGNAME="sam")
    assert rows(run("history", "alpha", "--output", "json"))[-1]["who"] == "sam"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "want --cost-center, --team or --tier, or --clear alone"),
        (("--clear", "--team", "t"), "want --cost-center, --team or --tier, or --clear alone"),
        (("--team", "platform:idle"), "'platform:idle': is an account of the ledger's own"),
        (("--tier", " "), "' ': want 1 to 63 printable characters"),
        (("--team", "t", "--until", "2026-01-10"), "--until: 2026-01-10T00:00:00Z: want an instant after from"),
        (("--team", "t", "--from", "10.1.2026"), "'10.1.2026': want an instant such as"),
        (("--team", "t", "--why", " "), "--why: ' ': want a text"),
        (("--team", "t", "--who", ""), "--who: '': want a text"),
        (("--team", "t", "--cluster", "x"), "--cluster: 'x': want one of lab"),
    ],
)
def test_a_correction_that_cannot_be_meant_is_refused(run: Run, arguments: tuple[str, ...], said: str) -> None:
    """Exit 2, and nothing is recorded."""
    ended = set_alpha(run, *arguments)
    assert (ended.exit_code, said in ended.stderr) == (2, True), ended.stderr
    assert len(rows(run("history", "alpha", "--recorded", "--output", "json"))) == 1


def test_a_namespace_that_nobody_saw_is_refused(run: Run) -> None:
    """A slip of the pen must not correct nothing in silence."""
    arguments = ("--team", "t", "--from", "2026-01-10", "--why", "x")
    for ended in (run("set", "alhpa", *arguments), run("history", "alhpa")):
        assert (ended.exit_code, ended.stderr) == (2, "alhpa: no such namespace was ever seen in cluster lab\n")


def test_of_several_clusters_one_is_named(run: Run, tmp_path: Path) -> None:
    """By option or environment; a list is of all."""
    note(tmp_path, "edge")
    assert {row["cluster"] for row in rows(run("list", "--output", "json"))} == {"edge", "lab"}
    assert {row["cluster"] for row in rows(run("list", "--cluster", "lab", "--output", "json"))} == {"lab"}
    assert run("list", "--cluster", "x").stderr == "--cluster: 'x': want one of edge, lab\n"
    assert run("history", "alpha").stderr == "--cluster: missing: want one of edge, lab\n"
    assert run("history", "alpha", CHARGEBACK_CLUSTER="edge").exit_code == 0


def test_an_empty_ledger_says_so(tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    database.close()
    ended = CliRunner().invoke(main, ["owners", "history", "alpha", "--data", str(tmp_path)])
    assert (ended.exit_code, "want one of none: no namespace was seen yet" in ended.stderr) == (2, True)


def test_status_names_look_alikes(run: Run, tmp_path: Path) -> None:
    """For people and for programs."""
    arguments = ["status", "--data", str(tmp_path)]
    assert (
        "look alike: cost center CC_1, cc-1: each is billed by itself" in CliRunner().invoke(main, arguments).stdout
    )
    found = json.loads(CliRunner().invoke(main, [*arguments, "--output", "json"]).stdout)
    assert found["lookalikes"] == {"cost_center": [["CC_1", "cc-1"]], "team": [], "tier": []}


def test_a_date_is_a_day_of_the_ledger(run: Run, tmp_path: Path) -> None:
    """Its midnight, where bills are cut; an instant stays what it is."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    with database.write() as connection:
        begin_policy(connection, Policy(timezone="Europe/Berlin"), SEEN_MS)
    database.close()
    said = set_alpha(run, "--until", "2026-07-01", "--cost-center", "cc-2").stdout
    assert "from 2026-01-09T23:00:00Z until 2026-06-30T22:00:00Z" in said
    said = run("set", "alpha", "--from", "2026-01-10T00:00:00Z", "--why", "x", "--who", "jo", "--team", "t").stdout
    assert "from 2026-01-10T00:00:00Z" in said
    (then, _) = rows(run("list", "--at", "2026-01-10", "--output", "json"))
    assert (then["cost_center"], then["team"]) == ("cc-2", "[red]")
