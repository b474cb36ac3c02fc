"""Agents that die, lose their spool or overlap, in simulated time against the real aggregator: the hour balances.

A kill is an agent that is dropped between two beats: only what lies in its spool is left.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from exporter.agent import Agent
from exporter.clock import ReplayClock
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.node import Collectors
from exporter.collectors.processes import Processes
from exporter.push import Door, Pusher
from exporter.scenario import load_scenario
from exporter.simulated import SimulatedNode
from exporter.spool import Spool
from exporter.worker import DirectCalls
from tests.programs import PAST_DAY, PAST_MONTH, Program, chargeback, running

SCENARIO = """
seed: lab
gpus:
  - {count: 2, model: NVIDIA H100 80GB HBM3, memory_mib: 81559}
workloads:
  - {namespace: alpha, pod: train, on: 0, count: 1}
"""
# One micro a millisecond: amounts are milliseconds.
PRICES = "currency: USD\nprices:\n  - {model: NVIDIA H100 80GB HBM3, price: '3.6', unit: gpu-hour}\n"
NAMESPACES = "kind: Namespace\nmetadata: {name: alpha, labels: {cost-center: cc-a}}\n"

HOUR_START_MS = int(datetime(PAST_DAY.year, PAST_DAY.month, PAST_DAY.day, 13, tzinfo=UTC).timestamp()) * 1000
BEAT_MS = 10_000
MINUTE_MS = 60_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "prices.yaml").write_text(PRICES)
    (tmp_path / "namespaces.yaml").write_text(NAMESPACES)
    arguments = (
        *("serve", "--data", str(tmp_path), "--cluster", "lab", "--grace", "0s"),
        *("--owners", str(tmp_path / "namespaces.yaml"), "--prices", str(tmp_path / "prices.yaml")),
    )
    with running("chargeback.cli.main", *arguments, log=tmp_path / "serve.log") as program:
        yield program


class Life:
    """An agent between its start and its end, on a clock of its own."""

    def __init__(self, spool: Path, at_ms: int, session: aiohttp.ClientSession, url: str) -> None:
        self.clock = ReplayClock(at_ms)
        node = SimulatedNode(load_scenario(SCENARIO, "scenario", node="n1"), clock=self.clock)
        collectors = Collectors(
            Gpus(node),
            Holdings(node),
            Processes(node),
            calls=lambda name: DirectCalls(),
            clock=self.clock,
            deadline_s=0,
        )
        self.spool = Spool(spool, cluster="lab", node="n1", now_ms=at_ms)
        self.agent = Agent(
            collectors, self.spool, clock=self.clock, beat_ms=BEAT_MS, disk=DirectCalls(), pushing=True
        )
        door = Door(session, url, cluster="lab", node="n1", token_file=None)
        self.pusher = Pusher(door, self.spool, clock=self.clock, disk=partial(DirectCalls().call, timeout_s=1))
        self._door = door

    async def beat_until(self, until_ms: int) -> None:
        """Beat from now to until, both included."""
        await self.agent.beat()
        while self.clock.now_ms() < until_ms:
            await self.clock.sleep(BEAT_MS / 1000)
            await self.agent.beat()

    async def push(self) -> None:
        """Everything that it has: finished hours and the open one."""
        while self.spool.waiting():
            assert await self.pusher.push_round()
        body = self.agent.running()
        assert body is not None
        assert (await self._door.put(body.hour, body.data)).result == "taken"


@asynccontextmanager
async def living(spool: Path, at_minute: float, server: Program) -> AsyncIterator[Life]:
    async with aiohttp.ClientSession() as session:
        life = Life(spool, HOUR_START_MS + round(at_minute * MINUTE_MS), session, server.url)
        try:
            yield life
        finally:
            life.spool.close()  # as the kernel does with the lock of a process that is gone


def hour_in_ms(tmp_path: Path) -> dict[tuple[str, str], int]:
    """(account, kind) → milliseconds in the first hour's share of the ledger; silent hours after it are left out."""
    chargeback("rerate", "--now", "--data", str(tmp_path))
    text = chargeback("export", "--data", str(tmp_path), "--month", PAST_MONTH).stdout.decode()
    found = {
        (row["cost_center_id"], row["kind"]): int(row["amount"].replace(".", ""))
        for row in csv.DictReader(io.StringIO(text, newline=""))
    }
    # The cards exist for 72 hours after their last observation, and nobody looks: 2 × 72 h of gap.
    found["platform:gap", "gap"] -= 2 * 72 * 3_600_000
    return {key: ms for key, ms in found.items() if ms}


async def test_an_hour_that_one_agent_watched_is_whole(tmp_path: Path, server: Program) -> None:
    """What the others are compared with."""
    async with living(tmp_path / "spool", 0, server) as life:
        await life.beat_until(HOUR_START_MS + 60 * MINUTE_MS)
        await life.push()
    assert hour_in_ms(tmp_path) == {("cc-a", "held"): 3_600_000, ("platform:idle", "free"): 3_600_000}


async def test_a_killed_agent_goes_on_with_its_hour(tmp_path: Path, server: Program) -> None:
    """Killed at 20:00 and back at 20:20, within three beats: nothing is missing."""
    async with living(tmp_path / "spool", 0, server) as life:
        await life.beat_until(HOUR_START_MS + 20 * MINUTE_MS)
        first = life.spool.identity
    async with living(tmp_path / "spool", 20 + 1 / 3, server) as life:
        assert life.spool.identity == first
        await life.beat_until(HOUR_START_MS + 60 * MINUTE_MS)
        await life.push()
    assert hour_in_ms(tmp_path) == {("cc-a", "held"): 3_600_000, ("platform:idle", "free"): 3_600_000}


async def test_a_longer_absence_is_a_gap_and_the_hour_balances(tmp_path: Path, server: Program) -> None:
    """Killed at 20:00 and back at 25:00: five minutes of both cards were not observed."""
    async with living(tmp_path / "spool", 0, server) as life:
        await life.beat_until(HOUR_START_MS + 20 * MINUTE_MS)
        await life.push()
    async with living(tmp_path / "spool", 25, server) as life:
        await life.beat_until(HOUR_START_MS + 60 * MINUTE_MS)
        await life.push()
    assert hour_in_ms(tmp_path) == {
        ("cc-a", "held"): 55 * MINUTE_MS,
        ("platform:idle", "free"): 55 * MINUTE_MS,
        ("platform:gap", "gap"): 10 * MINUTE_MS,
    }


async def test_an_agent_that_lost_its_spool_is_another_instance(tmp_path: Path, server: Program) -> None:
    """What the first had pushed still counts; between them nobody looked for twenty seconds."""
    async with living(tmp_path / "spool", 0, server) as life:
        await life.beat_until(HOUR_START_MS + 20 * MINUTE_MS)
        await life.push()
        first = life.spool.identity.instance
    async with living(tmp_path / "elsewhere", 20 + 1 / 3, server) as life:
        assert life.spool.identity.instance != first
        await life.beat_until(HOUR_START_MS + 60 * MINUTE_MS)
        await life.push()
    assert hour_in_ms(tmp_path) == {
        ("cc-a", "held"): 3_600_000 - 20_000,
        ("platform:idle", "free"): 3_600_000 - 20_000,
        ("platform:gap", "gap"): 40_000,
    }


async def test_two_agents_that_overlap_count_once(tmp_path: Path, server: Program) -> None:
    """A rolling update: the new agent begins a minute before the old one ends."""
    async with living(tmp_path / "old", 0, server) as old:
        await old.beat_until(HOUR_START_MS + 31 * MINUTE_MS)
        await old.push()
    async with living(tmp_path / "new", 30, server) as new:
        await new.beat_until(HOUR_START_MS + 60 * MINUTE_MS)
        await new.push()
    assert hour_in_ms(tmp_path) == {("cc-a", "held"): 3_600_000, ("platform:idle", "free"): 3_600_000}
