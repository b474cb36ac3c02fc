"""What docs/months.md shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from chargeback.cli.main import main
from chargeback.core.months.checks import CHECKS
from chargeback.core.months.statements import DESCRIPTIONS
from chargeback.store.database import open_database, sqlite_url
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.a_month import HOUR, NOW_MS, stand
from tests.chargeback.store.bodies import GRACE_MS, body, gpu, holding, put
from tests.chargeback.store.conftest import begin

DOCS = (Path(__file__).resolve().parents[2] / "docs/months.md").read_text()


def steps() -> list[tuple[str, str]]:
    """Commands of the document, and what they print there."""
    (block,) = re.findall(r"```console\n(.*?)```", DOCS, re.DOTALL)
    return re.findall(r"^\$ chargeback (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def run(folder: Path) -> list[tuple[str, str, int]]:
    """The same commands on the ledger that the document tells of."""
    database = open_database(sqlite_url(folder / "ledger.db"))
    migrate(database)
    begin(database)
    cards = [gpu("GPU-1"), gpu("GPU-2")]
    put(database, body(hour=HOUR, gpus=cards, holdings=[holding("GPU-1"), holding("GPU-2", namespace="sandbox")]))
    put(database, body(hour=HOUR + 1, gpus=cards, holdings=[holding("GPU-1"), holding("GPU-2", namespace="beta")]))
    stand(database, "n1", HOUR, HOUR + 2)
    close_all(database, NOW_MS, GRACE_MS)
    database.close()
    done = []
    for command, _ in steps():
        ended = CliRunner().invoke(main, shlex.split(command), env={"CHARGEBACK_DATA": str(folder)})
        done.append((command, ended.output, ended.exit_code))
    return done


def without_hashes(text: str) -> str:
    return re.sub(r"[0-9a-f]{64}", "HASH", text)


def test_the_transcript_runs(tmp_path: Path) -> None:
    """Each command prints what is shown; the hash is that of the day's ledger."""
    done = run(tmp_path)
    assert [without_hashes(said) for _, said, _ in done] == [without_hashes(shown) for _, shown in steps()]
    assert [code for _, _, code in done] == [1, 0, 0, 0, 0, 0]


def test_every_check_is_documented() -> None:
    """In order, with whether it blocks and can be waived."""
    rows = re.findall(r"^\| `(\w+)` \| (yes|no) \| (yes|no) \|", DOCS, re.MULTILINE)
    words = {True: "yes", False: "no"}
    assert rows == [(check.name, words[check.blocks], words[check.waivable]) for check in CHECKS]


def test_every_kind_of_a_line_is_documented() -> None:
    """docs/csv.md names each, and no other."""
    text = (Path(__file__).resolve().parents[2] / "docs/csv.md").read_text()
    (paragraph,) = re.findall(r"^Kinds of a holder.*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    assert sorted(re.findall(r"`([a-z-]+)`", paragraph)) == sorted(DESCRIPTIONS)
