"""`chargeback explain`, and finding the line to explain."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chargeback.cli.main import main
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.ledger import lines_of_month
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import HOUR as SOME_HOUR
from tests.chargeback.store.bodies import body, gpu, holding, put, start_ms
from tests.chargeback.store.conftest import begin
from tests.chargeback.store.many_lines import MONTH, fill_with_lines


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One hour of two cards, one of them held; and many lines that nothing stands behind."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    begin(database)
    put(database, body(gpus=[gpu(), gpu("GPU-2")], holdings=[holding(busy_ms=396_000)]))
    close_all(database, start_ms(SOME_HOUR + 2), 0)
    fill_with_lines(database, 2_000)
    database.close()
    return tmp_path


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--data", str(data)])


def found_line(data: Path) -> dict[str, str]:
    """As the help says: by namespace and pod."""
    where = ("--where", "namespace=alpha", "--where", "pod=train", "--where", "node=n1", "--where", "day=2026-10-03")
    ended = run(data, "export", "--month", MONTH, "--detail", "hour", "--allow-unpriced", *where)
    rows = [row for row in csv.DictReader(io.StringIO(ended.stdout, newline="")) if row["device"] == "GPU-1"]
    return next(row for row in rows if row["hour"] == "2026-10-03T10Z" and row["gpu"] == "GPU-1")


def test_a_line_is_found_and_explained(data: Path) -> None:
    """By the first digits of its id; as text and as JSON."""
    row = found_line(data)
    text = run(data, "explain", row["line_id"][:10])
    assert text.exit_code == 0
    assert text.stdout.splitlines()[0] == "3.000000 USD on cc-a: GPU time held by alpha/train/main"
    assert "reproduced: yes: rating this hour again gives this very line" in text.stdout
    said: dict[str, Any] = json.loads(run(data, "explain", row["line_id"].upper(), "--output", "json").stdout)
    assert said["line_id"] == row["line_id"]
    assert said["amount"]["by_usage"] == "0.330000"
    assert said["amount"]["amount_arithmetic"] == {
        "text": "E(b) − E(a) = ⌊3000000⌋ − ⌊0⌋ = 3000000 − 0 micros",
        "exact_micros": ["0", "3000000"],
        "micros": 3_000_000,
    }
    assert said["node_hour"]["body"]["seq"] == 1
    assert said["reproduced"]["answer"] is True


def test_what_is_no_line_is_said_to_be_none(data: Path) -> None:
    """Not found, several, or nothing that an id could begin with: exit 2, and what to do."""
    assert run(data, "explain", "x" * 8).exit_code == 2
    assert "4 to 32 of 0-9 and a-f" in run(data, "explain", "abc").stderr
    unknown = run(data, "explain", "f" * 32)
    assert (unknown.exit_code, "no line has this id" in unknown.stderr) == (2, True)
    with open_database(sqlite_url(data / "ledger.db")).read() as connection:
        ids = [line.line_id for line in lines_of_month(connection, MONTH)]
    ((several, count),) = Counter(each[:4] for each in ids).most_common(1)
    assert count > 1
    ambiguous = run(data, "explain", several)
    assert ambiguous.exit_code == 2
    assert all(each in ambiguous.stderr for each in ids if each.startswith(several))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--provisional",), "--provisional: summary has closed hours only: want --detail hour"),
        (("--detail", "hour", "--group-by", "team"), "--group-by: hour has rows of its own"),
        (("--detail", "pod", "--group-by", "kind"), "--group-by: kind: --detail pod has it already"),
        (("--where", "team=red"), "--where: the monthly CSV is whole"),
        (("--where", "team"), "want KEY=VALUE"),
        (("--group-by", "teams"), "want one of cost-center"),
    ],
)
def test_exports_that_are_none_are_refused(data: Path, arguments: tuple[str, ...], problem: str) -> None:
    ended = run(data, "export", "--month", MONTH, *arguments)
    assert ended.exit_code == 2
    assert problem in ended.stderr


def test_a_report_in_groups_has_the_sums_of_the_whole(data: Path) -> None:
    """By label, with a group for what has none; both bases; as a table, too."""

    def rows(*arguments: str) -> list[dict[str, Any]]:
        ended = run(data, "report", "--month", MONTH, "--output", "json", *arguments)
        found: list[dict[str, Any]] = json.loads(ended.stdout)["costs"]
        return found

    by_label = rows("--group-by", "label:project,kind")
    assert {row["label:project"] for row in by_label} == {"", "a", "b"}
    for name in ("list_amount", "amount", "allocation_amount", "usage_amount"):
        sums = [sum(micros(row[name]) for row in found) for found in (by_label, rows(), rows("--group-by", "day"))]
        assert sums[0] == sums[1] == sums[2] != 0
    assert {row["team"] for row in rows("--group-by", "team", "--where", "team=red")} == {"red"}
    table = run(data, "report", "--month", MONTH, "--group-by", "label:project").stdout
    assert "allocation" in table
    assert "busy time is not known of all of it" in table


def micros(text: str | None) -> int:
    return 0 if text is None else int(text.replace(".", ""))
