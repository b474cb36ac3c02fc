"""What docs/owners.md shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from chargeback.cli.main import main
from chargeback.core.hours import parse_instant
from chargeback.core.owners.owners import LabelKeys, Namespace
from chargeback.files.owner_rules import parse_owner_rules
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.owners import note_namespaces
from chargeback.store.schema import migrate

DOCS = (Path(__file__).resolve().parents[2] / "docs/owners.md").read_text()
CREATED_MS = parse_instant("2026-09-01T08:00:00Z")
LABELLED_MS = parse_instant("2026-10-08T12:30:00Z")


def namespaces(team: str, labelled_ms: int | None = None) -> list[Namespace]:
    return [
        Namespace(name="kube-system", created_ms=CREATED_MS),
        Namespace(name="ml-dev", created_ms=CREATED_MS, cost_center="rd-001", team=team, labelled_ms=labelled_ms),
        Namespace(name="ml-test", created_ms=CREATED_MS, cost_center="RD_001"),
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The ledger of which the document tells."""
    (block,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    rules = parse_owner_rules(block, "docs/owners.md")
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    with database.write() as connection:
        note_namespaces(connection, "lab", namespaces("vision"), "api", CREATED_MS + 20_000, rules=rules)
        seen = namespaces("speech", LABELLED_MS)
        note_namespaces(connection, "lab", seen, "api", LABELLED_MS + 10_000, rules=rules)
    database.close()
    return tmp_path


def test_the_examples_run(data: Path) -> None:
    """Each prints what is shown, but for the instant at which it runs."""
    blocks = re.findall(r"```console\n\$ chargeback (.*)\n([^`]*)```", DOCS)
    assert len(blocks) == 3
    for command, output in blocks:
        ended = CliRunner().invoke(main, shlex.split(command), env={"CHARGEBACK_DATA": str(data)})
        assert ended.exit_code == 0, ended.output
        said = re.sub(r",[^,]*,jo,", ",2026-10-20T09:00:00Z,jo,", ended.stdout.replace("\r\n", "\n"))
        assert said == output


def test_the_labels_are_the_defaults() -> None:
    """The document's first sentence."""
    keys = LabelKeys()
    named = re.findall(r"`([a-z-]+)`", DOCS)
    assert named[:3] == [keys.cost_center, keys.team, keys.tier]
