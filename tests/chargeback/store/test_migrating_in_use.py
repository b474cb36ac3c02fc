"""Migrations while the release before goes on writing: it waits, and nothing is lost or doubled."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from chargeback.store.database import Database, open_database
from chargeback.store.schema import migrate
from tests.chargeback.store.bodies import HOUR

# What the release before writes: a push, and an hour that is rated; their locks are taken in different orders.
_PUSH = """
INSERT INTO node_hour_bodies (cluster, node, hour, instance, started_ms, seq, through, final, received_ms, body)
VALUES ('lab', :node, :hour, 'agent', 0, 1, 3600000, true, 0, :body)
ON CONFLICT (cluster, node, hour, instance) DO UPDATE SET seq = excluded.seq WHERE node_hour_bodies.seq < excluded.seq
"""
_READ = "SELECT body FROM node_hour_bodies WHERE cluster = 'lab' AND node = :node AND hour = :hour"
_LINE = """
INSERT INTO lines (
    line_id, cluster, node, hour, day, month, start_ms, end_ms, account, kind, device, parent, shares, model, sku,
    namespace, pod, container, claim, price_version, policy_version, evidence, gpu_ms_num, quantity_ms_num, ms_den,
    list_micros, amount_micros, part, revision
) VALUES (
    :id, 'lab', :node, :hour, :day, :month, 0, 1, 'cc', 'held', 'GPU-1', 'GPU-1', '', 'm', 's',
    'alpha', 'train', 'main', '', 1, 1, 'exclusive', :n, 1, 1, 3, 3, 'charge', 1
)
"""
_BEGIN = """
INSERT INTO node_hours (cluster, node, hour, due_ms, revision, known, error_ms)
VALUES ('lab', :node, :hour, 0, 0, '{}', 0) ON CONFLICT DO NOTHING
"""
_CLAIM = "SELECT due_ms, revision, known FROM node_hours WHERE cluster = 'lab' AND node = :node AND hour = :hour"
_SETTLE = """
UPDATE node_hours SET due_ms = NULL, revision = 1 WHERE cluster = 'lab' AND node = :node AND hour = :hour
"""
BEFORE = "0003"
MONTHS = ("2026-10", "2026-11", "2026-12")


class Writer(threading.Thread):
    """Writes until it is stopped; `written` counts what was committed."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.database = open_database(url)
        self.written = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set():
            self.write(self.written)
            self.written += 1

    def write(self, number: int) -> None:
        month = MONTHS[number % 3]
        hour, node = HOUR + number % 3 * 24 * 31, f"n{number}"
        with self.database.write() as connection:
            connection.execute(text(_PUSH), {"node": node, "hour": hour, "body": b"x" * 100})
            connection.execute(text(_BEGIN), {"node": node, "hour": hour})
        claim = _CLAIM if self.database.is_sqlite else f"{_CLAIM} FOR UPDATE"
        with self.database.write() as connection:
            assert connection.execute(text(claim), {"node": node, "hour": hour}).first() is not None
            assert connection.execute(text(_READ), {"node": node, "hour": hour}).first() is not None
            values = {"id": f"{number:032d}", "node": node, "hour": hour, "day": f"{month}-03", "month": month}
            connection.execute(text(_LINE), values | {"n": number})
            connection.execute(text(_SETTLE), {"node": node, "hour": hour})


@pytest.fixture
def old(url: str) -> Iterator[Database]:
    """In use by the release before."""
    database = open_database(url)
    migrate(database, BEFORE)
    with database.write() as connection:
        connection.execute(text(_BEGIN), {"node": "n", "hour": HOUR})
    yield database
    database.close()


def test_a_writer_of_the_old_release_goes_on(old: Database, url: str) -> None:
    """Before, during and after, up and down again; every row that was committed is there, once."""
    writers = [Writer(url)] if old.is_sqlite else [Writer(url), Writer(url)]
    if len(writers) == 2:
        writers[1].written = 1_000_000  # rows of its own
    for writer in writers:
        writer.start()
    for revision in ("head", BEFORE, "head"):
        _await_progress(writers)
        migrate(old, revision)
    _await_progress(writers)
    assert [writer.is_alive() for writer in writers] == [True] * len(writers)  # none has failed
    for writer in writers:
        writer.stopped.set()
    for writer in writers:
        writer.join(30)
        writer.database.close()
    want = {n for writer in writers for n in range(writer.written // 1_000_000 * 1_000_000, writer.written)}
    with old.read() as connection:
        found = connection.execute(text("SELECT gpu_ms_num FROM lines")).scalars().all()
        bodies = connection.execute(text("SELECT node FROM node_hour_bodies")).scalars().all()
    assert sorted(found) == sorted(want)
    assert sorted(bodies) == sorted(f"n{number}" for number in want)


def _await_progress(writers: list[Writer]) -> None:
    """Each has written something more."""
    before = [writer.written for writer in writers]
    until = time.monotonic() + 30
    while any(
        writer.written <= count + 3 and writer.is_alive() for writer, count in zip(writers, before, strict=True)
    ):
        assert time.monotonic() < until
        time.sleep(0.02)
