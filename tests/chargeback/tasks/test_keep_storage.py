"""Partitions are there before they are needed; a month that waits for being closed is named once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from chargeback.core.hours import parse_hour
from chargeback.store.database import open_database
from chargeback.store.partitions import PARTITIONED, attached
from chargeback.store.retention import Keep
from chargeback.store.schema import migrate
from chargeback.tasks.keep_storage import AGAIN_S, EVERY_S, keep_tending
from tests.chargeback.store.bodies import body, put, start_ms
from tests.chargeback.store.conftest import begin
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]

DAY_MS = 86_400_000
KEEP = Keep(bodies_ms=400 * DAY_MS, lines_ms=3653 * DAY_MS)


class Steps:
    """A clock on which so many sleeps end at once, and the next never."""

    def __init__(self, now_ms: int, sleeps: int) -> None:
        self.at_ms = now_ms
        self.left = sleeps
        self.slept: list[float] = []

    def now_ms(self) -> int:
        return self.at_ms

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at_ms += round(seconds * 1000)
        if len(self.slept) == self.left:
            raise asyncio.CancelledError


async def test_partitions_are_made_and_what_waits_is_named_once(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """Every hour; and a database that is away for a while is tried again sooner."""
    url = postgres.new_database()
    database = open_database(url)
    migrate(database)
    begin(database)
    old = parse_hour("2026-10-03T10Z")
    put(database, body(hour=old))
    clock = Steps(start_ms(old) + 500 * DAY_MS, sleeps=3)
    with caplog.at_level(logging.INFO), pytest.raises(asyncio.CancelledError):
        await keep_tending(database, KEEP, clock)
    assert clock.slept == [EVERY_S] * 3
    with database.read() as connection:
        assert [attached(connection, table)[-1] for table in PARTITIONED] == ["2028-05", "2028-05"]
    said = [record.message for record in caplog.records]
    assert (said.count("partition made"), said.count("month kept: it is not closed")) == (8, 1)
    postgres.refuse(url)
    clock = Steps(clock.at_ms, sleeps=1)
    with caplog.at_level(logging.WARNING), pytest.raises(asyncio.CancelledError):
        await keep_tending(database, KEEP, clock)
    assert clock.slept == [AGAIN_S]
    assert "storage not tended" in caplog.text
    database.close()
