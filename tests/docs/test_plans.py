"""What docs/plans.md shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from chargeback.cli.main import main
from chargeback.core.owners.owners import Namespace
from chargeback.core.policy import Policy
from chargeback.files.prices import parse_prices
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.owners import note_namespaces
from chargeback.store.policies import begin_policy
from chargeback.store.schema import migrate
from chargeback.store.terms import import_prices
from chargeback.tasks.close_hours import close_all
from chargeback.tasks.settle_plans import settle_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, H100, HOUR, body, gpu, holding, put, start_ms

DOCS = (Path(__file__).resolve().parents[2] / "docs/plans.md").read_text()
PRICES = f"""
currency: USD
prices:
  - {{model: {H100}, price: "3", unit: gpu-hour}}
  - {{model: {H100}, price: "2", unit: gpu-hour, term: reserved}}
"""


def begin(folder: Path) -> None:
    """The hour of the example, rated before anybody says what is guaranteed."""
    database = open_database(sqlite_url(folder / "ledger.db"))
    migrate(database)
    with database.write() as connection:
        begin_policy(connection, Policy(), 0)
        import_prices(connection, parse_prices(PRICES, "prices.yaml"), "prices.yaml", "UTC", 0)
        owners = [Namespace(name=name, cost_center=f"cc-{name}") for name in ("alpha", "beta", "gamma")]
        note_namespaces(connection, CLUSTER, owners, "file", 0)
    for node in ("n1", "n2"):
        cards = [f"GPU-{node}-{n}" for n in range(8)]
        holdings = [holding(card, pod=card) for card in cards[:6]]
        put(database, body(node, gpus=[gpu(card) for card in cards], holdings=holdings))
    close_all(database, start_ms(HOUR + 2), GRACE_MS)
    database.close()


def settle(folder: Path) -> None:
    """As the server does, whatever the time is."""
    database = open_database(sqlite_url(folder / "ledger.db"))
    settle_all(database, start_ms(2 * HOUR))
    database.close()


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command prints what is shown."""
    begin(tmp_path)
    (written,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / "plans.yaml").write_text(written)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```console\n(.*?)```", DOCS, re.DOTALL)
    steps = re.findall(r"^\$ chargeback (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
    assert len(steps) == 3
    for command, output in steps:
        settle(tmp_path)
        ended = CliRunner().invoke(main, shlex.split(command), env={"CHARGEBACK_DATA": str(tmp_path)})
        assert ended.exit_code == 0, ended.output
        assert ended.stdout.replace("\r\n", "\n") == output, command
