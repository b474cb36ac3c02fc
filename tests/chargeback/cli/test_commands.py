"""The other commands on a small ledger: status, report, rerate, migrate; and the help of all."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from chargeback.cli import status as status_words
from chargeback.cli.main import main
from chargeback.core import reservations, second_meter
from tests.chargeback.api.serving import serving
from tests.chargeback.store.bodies import body, gpu, holding
from tests.chargeback.store.test_schema import NEWEST
from tests.programs import chargeback


@pytest.fixture
async def ledger(tmp_path: Path) -> Path:
    """One hour of two cards: one held by cc-a, one by nobody."""
    async with serving(tmp_path, grace="0s") as server:
        assert (await server.put(body(gpus=[gpu(), gpu("GPU-2")], holdings=[holding()]))).status == 200
        await server.close_hours()
    return tmp_path


async def test_report_in_three_forms(ledger: Path) -> None:
    """The same sums as a table, as JSON and as CSV."""
    arguments = ("report", "--data", str(ledger), "--month", "2026-10")
    table = chargeback(*arguments).stdout.decode()
    assert "cc-a" in table
    assert "3.00" in table
    found = json.loads(chargeback(*arguments, "--output", "json").stdout)["costs"]
    (of_a,) = [row for row in found if row["cost_center"] == "cc-a"]
    assert (of_a["gpu_hours"], of_a["list_amount"], of_a["amount"]) == ("1.000000", "3.000000", "3.000000")
    rows = list(csv.DictReader(io.StringIO(chargeback(*arguments, "--output", "csv").stdout.decode(), newline="")))
    assert [(row["cost_center"], row["amount"]) for row in rows] == [(a["cost_center"], a["amount"]) for a in found]


async def test_status_says_what_is_due_and_who_is_silent(ledger: Path) -> None:
    """The test's hour is long over: its silent hours are due, and so it exits 1, until they are closed."""
    ended = chargeback("status", "--data", str(ledger), "--output", "json", check=False)
    found = json.loads(ended.stdout)
    assert ended.returncode == 1
    assert found["due_node_hours"] == 1
    assert found["conservation_error_ms"] == 0
    assert [(node["node"], node["silent"]) for node in found["nodes"]] == [("n1", True)]
    assert "node-hours rated" in chargeback("rerate", "--now", "--data", str(ledger)).stdout.decode()
    found = json.loads(chargeback("status", "--data", str(ledger), "--output", "json", check=False).stdout)
    assert found["due_node_hours"] == 0
    assert [(month["month"], month["state"]) for month in found["months"]] == [("2026-10", "open")]


def test_status_has_words_for_every_difference() -> None:
    """And for what is wrong with data, as the core names it."""
    assert tuple(status_words.DIFFERENCES) == second_meter.DIFFERENCES
    assert {second_meter.UNPLACED, reservations.OVERCOMMITTED, *card_problems()} == set(status_words.PROBLEMS)


def card_problems() -> set[str]:
    source = (Path(__file__).resolve().parents[3] / "chargeback/core/rating/card.py").read_text()
    return set(re.findall(r'Problem\(kind="(\w+)"', source))


async def test_rerate_changes_nothing_where_nothing_changed(ledger: Path) -> None:
    chargeback("rerate", "--now", "--data", str(ledger))
    export = ("export", "--data", str(ledger), "--month", "2026-10")
    before = chargeback(*export).stdout
    said = chargeback("rerate", "--from", "2026-10-03T00Z", "--data", str(ledger)).stdout.decode()
    assert int(said.split()[0]) > 70
    assert chargeback(*export).stdout == before


def test_migrate_goes_up_and_down(tmp_path: Path) -> None:
    assert f"empty → {NEWEST}" in chargeback("migrate", "--data", str(tmp_path)).stdout.decode()
    assert f"{NEWEST} → {NEWEST}" in chargeback("migrate", "--data", str(tmp_path)).stdout.decode()
    assert f"{NEWEST} → empty" in chargeback("migrate", "--data", str(tmp_path), "--to", "base").stdout.decode()
    ended = chargeback("report", "--data", str(tmp_path), check=False)
    assert (ended.returncode, "its schema is not this release's" in ended.stderr.decode()) == (2, True)


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands(main)), ids=" ".join)
def test_every_commands_help_has_an_example(path: tuple[str, ...]) -> None:
    assert f"chargeback {' '.join(path)}" in chargeback(*path, "--help").stdout.decode().partition("Example")[2]


def test_the_exit_codes_are_in_the_help() -> None:
    assert "Exit codes: 0 done" in chargeback("--help").stdout.decode()
