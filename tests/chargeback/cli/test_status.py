"""`chargeback status`: what waits, what is known of a month, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.main import main
from chargeback.core.hours import HOUR_MS
from chargeback.ledger_status import is_well, ledger_status
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.months import APPROVED, DRAFT, MonthState, hours_of, put_state
from chargeback.store.node_hours import NodeHourKey, make_due
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, gpu, holding, put, start_ms
from tests.chargeback.store.conftest import begin
from tests.chargeback.store.test_schema import NEWEST

NOW_MS = start_ms(HOUR + 1) + GRACE_MS
HALF = HOUR_MS // 2


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """One hour of a card that was held in its first half and seen by nobody in the second."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    begin(database)
    put(database, body(gpus=[gpu(observed=[(0, HALF)])], holdings=[holding(end=HALF)]), NOW_MS - 1000)
    close_all(database, NOW_MS, GRACE_MS)
    yield database
    database.close()


def state(month: str, of: str) -> MonthState:
    first, last = hours_of(month, "UTC")
    return MonthState(month=month, state=of, draft=3, first_hour=first, last_hour=last, changed_ms=NOW_MS)


def read(database: Database, month: str | None = None, now_ms: int = NOW_MS) -> dict[str, Any]:
    with database.read() as connection:
        return ledger_status(connection, month, now_ms)


def test_nothing_is_due_and_all_is_well(database: Database) -> None:
    found = read(database)
    assert is_well(found)
    assert found["schema"] == NEWEST
    assert found["backlog"] == [
        {"work": "node-hours", "cluster": CLUSTER, "due": 0, "held": 0, "oldest": None},
    ]
    assert [(each["month"], each["state"], each["draft"], each["waits"]) for each in found["months"]] == [
        ("2026-10", "open", None, False)
    ]
    assert found["detached"] == []


def test_coverage_is_what_was_observed_and_the_gap(database: Database) -> None:
    (found,) = read(database)["coverage"]
    assert found == {
        "month": "2026-10", "cluster": CLUSTER, "observed_gpu_hours": "0.500000", "api_gpu_hours": "0.000000",
        "gap_gpu_hours": "0.500000", "covered_percent": "50.000000",
    }  # fmt: skip
    assert read(database, "2026-09")["coverage"] == []


def test_the_oldest_that_is_due_is_named(database: Database) -> None:
    """The silent node's next two hours are due when their grace has passed."""
    found = read(database, now_ms=NOW_MS + 2 * HOUR_MS)
    assert found["backlog"][0] | {"due": 0} == {
        "work": "node-hours", "cluster": CLUSTER, "due": 0, "held": 0, "oldest": "2026-10-03T11Z",
    }  # fmt: skip
    assert found["due_node_hours"] == found["backlog"][0]["due"] == 1  # the second comes of the first
    assert not is_well(found)


def test_what_waits_for_a_draft_is_held_and_not_due(database: Database) -> None:
    with database.write() as connection:
        put_state(connection, state("2026-10", DRAFT))
        make_due(connection, NodeHourKey(cluster=CLUSTER, node="n1", hour=HOUR), NOW_MS, 0)
    found = read(database)
    assert (found["due_node_hours"], found["backlog"][0]["held"], found["backlog"][0]["oldest"]) == (0, 1, None)
    (month,) = found["months"]
    assert (month["state"], month["draft"], month["waits"], month["since"]) == (
        "draft", 3, True, "2026-10-03T11:10:00Z",
    )  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(main, ["status", "--data", str(tmp_path), *arguments])


def test_the_table_says_it_in_words(database: Database, run: Callable[..., Result]) -> None:
    """Long after the hour the node is silent, and so it exits 1."""
    with database.write() as connection:
        put_state(connection, state("2026-10", APPROVED))
    ended = run("--month", "2026-10")
    assert ended.exit_code == 1, ended.output
    assert "due: 0 node-hours, 0 plan-hours, 0 days to sum up\n" in ended.stdout
    assert f"due in {CLUSTER}: 0 node-hours; 1 wait for a draft\n" in ended.stdout
    assert "50.000000" in ended.stdout
    assert "waits to be closed" in ended.stdout
    assert "silent" in ended.stdout
    found = json.loads(run("--month", "2026-10", "--output", "json").stdout)
    assert found["coverage"][0]["month"] == "2026-10"


def test_a_month_is_a_month(database: Database, run: Callable[..., Result]) -> None:
    ended = run("--month", "10")
    assert (ended.exit_code, "'10': want a month" in ended.stderr) == (2, True)
