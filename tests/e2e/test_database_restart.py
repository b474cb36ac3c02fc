"""The server outlives its PostgreSQL: while that is away pushes are to be tried again, and afterwards all goes on."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chargeback.store.backlogs import node_hour_backlog
from chargeback.store.database import open_database
from chargeback.store.ledger import lines_of_month
from exporter import wire
from tests.chargeback.store.bodies import PRICES, body, gpu, holding
from tests.postgres import Postgres, find_binaries, start_postgres
from tests.programs import PAST_DAY, PAST_MONTH, Program, fetch, running, wait_for

START_MS = int(datetime(PAST_DAY.year, PAST_DAY.month, PAST_DAY.day, 13, tzinfo=UTC).timestamp()) * 1000
HOUR = START_MS // 3_600_000
NODES = 6


@pytest.fixture
def mortal() -> Iterator[Postgres]:
    """A server of the test's own, that syncs what it commits."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no `initdb` and `postgres` here: they come with Debian's package `postgresql`")
    with start_postgres(binaries, ("max_connections=40",)) as server:
        yield server


def push(program: Program, sent: wire.NodeHour) -> tuple[int, dict[str, object]]:
    url = f"{program.url}/v1/node-hours/{sent.cluster}/{sent.node}/{sent.hour}"
    request = urllib.request.Request(url, data=wire.encode(sent), method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def failures(program: Program) -> list[str]:
    """What the log says of closing that failed."""
    said = [json.loads(line) for line in program.log.read_text().splitlines() if line.startswith("{")]
    return [str(line["error"]) for line in said if line["event"] == "closing hours failed"]


def test_the_server_outlives_its_database(mortal: Postgres, tmp_path: Path) -> None:
    """SIGKILL, and back: 503 meanwhile, one line a try in the log, and every body that was taken is rated."""
    (tmp_path / "prices.yaml").write_text(PRICES)
    url = mortal.new_database()
    sent = [
        body(f"n{number}", HOUR, cluster="lab", gpus=[gpu(f"GPU-{number}")], holdings=[holding(f"GPU-{number}")])
        for number in range(NODES)
    ]
    arguments = ("serve", "--database", url, "--cluster", "lab", "--grace", "0s")
    prices = ("--prices", str(tmp_path / "prices.yaml"))
    with running("chargeback.cli.main", *arguments, *prices, log=tmp_path / "serve.log") as program:
        assert push(program, sent[0])[0] == 200
        mortal.kill()
        status, said = push(program, sent[1])
        assert (status, said["field"]) == (503, "database")
        wait_for("closing fails", lambda: failures(program))
        assert fetch(f"{program.url}/healthz")[0] == 200
        mortal.start_again()
        for each in sent[1:]:
            wait_for("the push is taken", lambda each=each: push(program, each)[0] == 200)
        database = open_database(url)

        def is_rated() -> bool:
            with database.read() as connection:
                return not any(each.due for each in node_hour_backlog(connection, START_MS + 10**10))

        wait_for("all is rated", is_rated)
        with database.read() as connection:
            held = [line for line in list(lines_of_month(connection, PAST_MONTH)) if line.kind == "held"]
        database.close()
        assert program.process.poll() is None
    assert sorted((line.node, line.hour, line.list_micros) for line in held) == [
        (f"n{number}", HOUR, 3_000_000) for number in range(NODES)
    ]
