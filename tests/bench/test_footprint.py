"""CPU, calls to the driver and memory of the busy node, each beside a floor of the same run.

CPU is the thread's own, so that neither the other side of the socket nor the machine's load is in it. What is
asserted holds on any machine: counts, ratios with much room, and memory that does not grow.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pytest_benchmark.fixture import BenchmarkFixture

from exporter.app import make_app
from tests.bench.busy_agent import BusyAgent
from tests.bench.busy_node import GPUS, PROCESSES, SLICES, BusyNode
from tests.nvml.fake import SONAME, FakeNvml

pytestmark = [pytest.mark.bench, pytest.mark.benchmark(timer=time.thread_time)]

ROOT = Path(__file__).parents[2]
ROUNDS = 100
BEATS = 10_000
RSS_MAX_MIB = 64.0  # what the design promises; a real driver's library comes on top of the fake's few KiB
GROWTH_MAX_MIB = 2.0
WITHIN_S = 1_800


@pytest.fixture
def measured(benchmark: BenchmarkFixture, figures: list[str]) -> Callable[..., float]:
    """Run a function so many times; median CPU in ms, which is also printed."""

    def run(name: str, work: Callable[[], object], *, rounds: int = ROUNDS) -> float:
        benchmark.pedantic(work, rounds=rounds, warmup_rounds=5)  # type: ignore[no-untyped-call]
        assert benchmark.stats is not None
        median_ms = float(benchmark.stats.stats.median) * 1000
        figures.append(f"{name:42} {median_ms:9.3f} ms CPU (median of {rounds})")
        return median_ms

    return run


@pytest.fixture(scope="module")
def calls_a_beat(busy: BusyAgent, fake: FakeNvml) -> int:
    """Calls to the driver in one beat, after those that only the first makes."""
    for _ in range(3):
        asyncio.run(busy.beat())
    before = fake.calls
    asyncio.run(busy.beat())
    return fake.calls - before


@pytest.fixture(scope="module")
def floor_ms(calls_a_beat: int, fake: FakeNvml) -> float:
    """CPU of as many calls to the driver as a beat makes, of the cheapest kind and with nothing around them."""
    library, count = ctypes.CDLL(SONAME), ctypes.c_uint()
    assert library.nvmlInit_v2() == 0
    times = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(calls_a_beat):
            library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        times.append(time.thread_time() - began)
    assert count.value == GPUS
    return sorted(times)[ROUNDS // 2] * 1000


def test_calls_to_the_driver(calls_a_beat: int, floor_ms: float, figures: list[str]) -> None:
    """So many a device at most, and one process list a card: calls do not grow with the processes."""
    devices = GPUS * (1 + SLICES)
    figures.append(f"{'calls to the driver a beat':42} {calls_a_beat:9d} = {calls_a_beat / devices:.1f} a device")
    figures.append(f"{'floor: as many bare calls':42} {floor_ms:9.3f} ms CPU (median of {ROUNDS})")
    assert calls_a_beat < devices * 40


def test_a_reading(
    busy: BusyAgent, calls_a_beat: int, floor_ms: float, measured: Callable[..., float], figures: list[str]
) -> None:
    reading = busy.nvml.read()
    assert sum(len(gpu.processes) for gpu in reading.gpus) == GPUS * SLICES * PROCESSES
    took_ms = measured("reading the cards", busy.nvml.read)
    figures.append(f"{'  beside the floor':42} {took_ms / floor_ms:9.1f} times")


def test_a_beat(busy: BusyAgent, floor_ms: float, measured: Callable[..., float], figures: list[str]) -> None:
    """All of it: cards, kubelet, cgroups, account, spool, page."""
    with asyncio.Runner() as runner:
        took_ms = measured("a beat", lambda: runner.run(busy.beat()))
    busy.acknowledge()
    figures.append(f"{'  beside the floor':42} {took_ms / floor_ms:9.1f} times")
    figures.append(f"{'  at a beat of 10 s':42} {took_ms / 100:9.2f} % of one core")
    assert b'collector_success{collector="holdings"} 1.0' in busy.agent.page
    assert b'collector_success{collector="processes"} 1.0' in busy.agent.page


def test_a_scrape(busy: BusyAgent, measured: Callable[..., float], figures: list[str]) -> None:
    """A page is rendered once a beat; a scrape copies it. The client's CPU is in the figure too."""
    with asyncio.Runner() as runner:
        runner.run(busy.beat())
        size = len(busy.agent.page)

        async def opened() -> TestClient[web.Request, web.Application]:
            client = TestClient(TestServer(make_app(busy.agent)))
            await client.start_server()
            return client

        client = runner.run(opened())

        async def scrape() -> int:
            async with client.get("/metrics") as answer:
                return len(await answer.read())

        assert runner.run(scrape()) == size
        measured(f"a scrape of {size} bytes, client included", lambda: runner.run(scrape()))
        runner.run(client.close())


def test_memory_after_many_beats(node: BusyNode, fake: FakeNvml, tmp_path: Path, figures: list[str]) -> None:
    """Flat, and within what is promised. In a process of its own, which has loaded what the agent loads."""
    command = [sys.executable, "-m", "tests.bench.busy_agent", "--beats", str(BEATS)]
    command += ["--socket", str(node.socket), "--proc", str(node.proc), "--spool", str(tmp_path / "spool")]
    ended = subprocess.run(
        command, cwd=ROOT, env=node.env(), capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    *weighed, last = map(json.loads, ended.stdout.splitlines())
    for each in weighed:
        beats = each.pop("beats")
        figures.append(
            f"after {beats:6d} beats  " + "  ".join(f"{name} {mib:5.1f} MiB" for name, mib in each.items())
        )
    assert len(last["succeeded"]) == 3
    assert all(line.endswith(" 1.0") for line in last["succeeded"])
    half, whole = weighed[len(weighed) // 2]["VmRSS"], weighed[-1]["VmRSS"]
    assert whole <= RSS_MAX_MIB
    assert whole - half <= GROWTH_MAX_MIB
