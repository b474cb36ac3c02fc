"""What docs/prices.md and docs/policy.md show is what happens."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from chargeback.cli.main import main
from chargeback.core.policy import BY_CLUSTER, BY_NOTHING, BY_POOL, Policy
from chargeback.core.prices.entries import UNITS
from chargeback.files.price_reader import PRICE
from chargeback.files.prices import parse_prices
from chargeback.setting_table import SETTINGS
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.policies import begin_policy
from chargeback.store.schema import migrate
from chargeback.store.terms import import_prices
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import GRACE_MS, HOUR, body, put, start_ms

DOCS = Path(__file__).resolve().parents[2] / "docs"
PRICES, POLICY = (DOCS / "prices.md").read_text(), (DOCS / "policy.md").read_text()
BOOK, RAISED = re.findall(r"```yaml\n(.*?)```", PRICES, re.DOTALL)
(LIST_PRICE,) = re.findall(r"  - \{model: NVIDIA H100 80GB HBM3, price.*\n", BOOK)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger that billed an hour by the document's prices; its files are at hand."""
    (tmp_path / "prices.yaml").write_text(BOOK)
    _, old, new = RAISED.replace("2026-12-01", "2026-10-03").split("  - ")
    (tmp_path / "raised-too-early.yaml").write_text(BOOK.replace(LIST_PRICE, f"  - {old}  - {new}"))
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    with database.write() as connection:
        begin_policy(connection, Policy(), start_ms(HOUR))
        import_prices(connection, parse_prices(BOOK, "prices.yaml"), "prices.yaml", "UTC", start_ms(HOUR))
    put(database, body())
    close_all(database, start_ms(HOUR + 2), GRACE_MS)
    database.close()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(text: str) -> Sequence[tuple[str, str]]:
    found: Sequence[tuple[str, str]] = re.findall(r"```console\n\$ chargeback (.*)\n([^`]*)```", text)
    return found


def run(folder: Path, command: str) -> str:
    """What it says, but for the instant at which it runs."""
    ended = CliRunner().invoke(main, shlex.split(command), env={"CHARGEBACK_DATA": str(folder)})
    assert ended.exit_code in (0, 1), ended.output
    said = "\n".join(line.rstrip() for line in ended.output.replace("\r\n", "\n").splitlines()) + "\n"
    return re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z,jo", "2026-10-20T09:00:00Z,jo", said)


@pytest.mark.parametrize(("text", "count"), [(PRICES, 3), (POLICY, 4)])
def test_the_examples_run(folder: Path, text: str, count: int) -> None:
    """Each prints what is shown."""
    examples = shown(text)
    assert len(examples) == count
    for command, output in examples:
        assert run(folder, command) == output


def test_the_price_file_may_say_what_is_described() -> None:
    """Every key and unit has its row, and no other has one; the way to raise a price is a valid file."""
    rows = re.findall(r"^\| (`.*?) \|", PRICES, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named == PRICE | set(UNITS)
    assert len(parse_prices(RAISED, "raised.yaml").prices) == 2


def test_every_field_of_the_policy_is_described_with_its_scope() -> None:
    """As settings call them."""
    rows = re.findall(r"^\| `([a-z-]+)` \|.*\| ([a-z, ]*)\|$", POLICY, re.MULTILINE)
    scopes = {name: scope.strip() for name, scope in rows}
    wanted = dict.fromkeys(BY_POOL, "cluster, node pool") | dict.fromkeys(BY_CLUSTER, "cluster")
    wanted |= dict.fromkeys(BY_NOTHING, "")
    assert scopes == {name.replace("_", "-"): scope for name, scope in wanted.items()}
    assert set(scopes) <= {setting.name for setting in SETTINGS}
