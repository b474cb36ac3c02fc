"""What docs/explain.md shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from chargeback.cli.main import main
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.schema import migrate
from tests.chargeback.store import a_month
from tests.chargeback.store.conftest import begin

DOCS = (Path(__file__).resolve().parents[2] / "docs/explain.md").read_text()


def test_the_examples_run(tmp_path: Path) -> None:
    """The export lists the line that is then explained, word for word."""
    database = open_database(sqlite_url(tmp_path / "ledger.db"))
    migrate(database)
    begin(database)
    a_month.fill(database)
    database.close()
    listing, explained = re.findall(r"```console\n\$ chargeback (.*)\n((?:.*\n)*?)```", DOCS)
    rows = CliRunner().invoke(main, [*shlex.split(listing[0]), "--data", str(tmp_path)]).stdout
    command, wanted = explained
    assert any(row.startswith(command.split()[1]) for row in rows.splitlines())
    ended = CliRunner().invoke(main, [*shlex.split(command), "--data", str(tmp_path)])
    assert (ended.exit_code, ended.stdout) == (0, wanted)
