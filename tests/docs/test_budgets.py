"""What docs/budgets.md shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import promql_parser
from click.testing import CliRunner

from chargeback.cli.main import main
from chargeback.core.budgets import BudgetBook
from chargeback.families import FAMILIES
from chargeback.files.budgets import parse_budgets
from chargeback.store.budgets import budget_book
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.schema import migrate

DOCS = (Path(__file__).resolve().parents[2] / "docs/budgets.md").read_text()
MONTHS = {"2026-09": None, "2026-10": 12000, "2026-12": 15000, "2027-01": 15000, "2027-02": 12000, "2027-06": None}


def amounts(book: BudgetBook) -> dict[str, int | None]:
    held = {month: book.of("rd-001", month) for month in MONTHS}
    return {month: budget and (budget.amount_micros or 0) // 1_000_000 for month, budget in held.items()}


def test_the_examples_run(tmp_path: Path) -> None:
    """Each prints what is shown, but for the instant at which it runs; and then what the text says holds."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    (block,) = re.findall(r"```console\n(.*?)```", DOCS, re.DOTALL)
    steps = re.findall(r"^\$ chargeback (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
    assert len(steps) == 4
    for command, output in steps:
        ended = CliRunner().invoke(main, shlex.split(command), env={"CHARGEBACK_DATA": str(tmp_path)})
        assert ended.exit_code == 0, ended.output
        said = re.sub(r'",[^,"]*,jo,', '",2026-10-20T09:00:00Z,jo,', ended.stdout.replace("\r\n", "\n"))
        assert said == output
    with database.read() as connection:
        assert amounts(budget_book(connection)) == MONTHS
    database.close()


def test_the_file_says_what_the_commands_say() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    found = parse_budgets(block, "docs/budgets.md", "USD")
    assert [(each.cost_center, each.from_month) for each in found if each.amount_micros is None] == [
        ("rd-003", "2026-11")
    ]
    assert len(found) == 4


def test_the_alerts_are_of_our_metrics() -> None:
    expressions = re.findall(r"```\n(chargeback_.*?)\n```", DOCS, re.DOTALL)
    assert len(expressions) == 2
    names = {family.name for family in FAMILIES}
    for expression in expressions:
        promql_parser.parse(expression)
        assert set(re.findall(r"chargeback_\w+", expression)) <= names
