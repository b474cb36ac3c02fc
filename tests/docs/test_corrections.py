"""What docs/corrections.md shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from chargeback.cli.main import main
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.schema import migrate
from tests.chargeback.store import a_month
from tests.chargeback.store.closing import put_month
from tests.chargeback.store.conftest import begin

DOCS = (Path(__file__).resolve().parents[2] / "docs/corrections.md").read_text()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The ledger of which the document tells: two cards for two hours, of a month that is closed."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    begin(database)
    a_month.fill(database)
    put_month(database, a_month.MONTH)
    database.close()
    return tmp_path


def test_the_examples_run(data: Path) -> None:
    """One after the other; each prints what is shown, but for the instant at which it runs."""
    blocks = re.findall(r"```console\n\$ chargeback (.*)\n([^`]*)```", DOCS)
    assert len(blocks) == 8
    for command, output in blocks:
        environment = {"CHARGEBACK_DATA": str(data), "LOGNAME": "jo"}
        ended = CliRunner().invoke(main, shlex.split(command), env=environment)
        assert ended.exit_code == 0, ended.output
        said = ended.stdout.replace("\r\n", "\n")
        said = re.sub(r",jo,[^,]*,20[^,\n]*", ",jo,2024-11-03T09:00:00Z,2024-11-03T09:20:00Z", said)
        said = re.sub(r",jo,20[^,]*,$", ",jo,2024-11-03T09:10:00Z,", said, flags=re.MULTILINE)
        assert said == output, command
