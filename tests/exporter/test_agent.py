"""The agent as a whole: its beat in simulated time, and the real process when it is killed or its driver hangs."""

from __future__ import annotations

import gzip
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from exporter.agent import Agent
from exporter.clock import ReplayClock, SystemClock
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.node import Collectors
from exporter.collectors.processes import Processes
from exporter.memory_spool import MemorySpool
from exporter.reading import NodeReading
from exporter.scenario import load_scenario
from exporter.simulated import SimulatedNode
from exporter.spool import Spool, State
from exporter.worker import DirectCalls, Worker
from tests.exporter.whole_node import PATIENT_S, CardReader
from tests.programs import running, wait_for

NOON_MS = int(datetime(2026, 10, 3, 12, tzinfo=UTC).timestamp() * 1000)
SCENARIO = """
seed: lab
gpus:
  - {model: NVIDIA H100 80GB HBM3, memory_mib: 81559}
workloads:
  - {namespace: a, pod: train, busy: 0.5}
"""


def read_state(spool: Path) -> State:
    """What a killed process left; opened as the next one would."""
    return msgspec.json.decode(gzip.decompress((spool / "state.json.gz").read_bytes()), type=State)


async def test_an_hour_of_beats_is_one_finished_node_hour(tmp_path: Path) -> None:
    clock = ReplayClock(NOON_MS)
    node = SimulatedNode(load_scenario(SCENARIO, "scenario"), clock=clock)
    collectors = Collectors(
        Gpus(node), Holdings(node), Processes(node), calls=lambda name: DirectCalls(), clock=clock, deadline_s=0
    )
    spool = Spool(tmp_path, cluster="lab", node="n1", now_ms=NOON_MS)
    agent = Agent(collectors, spool, clock=clock, beat_ms=10_000, disk=DirectCalls(), pushing=True)
    assert not agent.ready
    for _ in range(361):
        await agent.beat()
        await clock.sleep(10)
    assert agent.ready
    assert [hour.hour for hour in spool.waiting()] == ["2026-10-03T12Z"]
    assert b'gpu_held_seconds_total{container="main"' in agent.page
    body = agent.running()
    assert body is not None
    assert body.hour == "2026-10-03T13Z"


class WedgedDriver:
    """A driver whose every call after the first hangs until the test ends, or for HANG_S."""

    HANG_S = 60

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.calls = 0
        self.ended = threading.Event()

    def read(self) -> NodeReading:
        self.calls += 1
        if self.calls > 1:
            self.ended.wait(self.HANG_S)
        return self.node.read()

    def close(self) -> None:
        return None


async def test_a_wedged_driver_stops_neither_the_beat_nor_the_page() -> None:
    """Its cards become unhealthy, and stay held by whom they were."""
    clock = SystemClock()
    node = SimulatedNode(load_scenario(SCENARIO, "scenario"), clock=clock)
    driver = WedgedDriver(node)
    cards = CardReader(Gpus.name)
    collectors = Collectors(
        Gpus(driver),
        Holdings(node),
        Processes(node),
        calls=lambda name: cards if name == Gpus.name else Worker(name),
        clock=clock,
        deadline_s=PATIENT_S,
    )
    spool = MemorySpool(cluster="lab", node="n1", now_ms=clock.now_ms())
    agent = Agent(collectors, spool, clock=clock, beat_ms=1_000, disk=DirectCalls())
    await agent.beat()
    started = time.monotonic()
    try:
        with cards.hurried():
            for _ in range(2):
                await agent.beat()
        assert time.monotonic() - started < driver.HANG_S
    finally:
        driver.ended.set()
    page = agent.page.decode()
    assert 'gpu_exporter_collector_success{collector="gpus"} 0.0' in page
    assert 'gpu_exporter_collector_success{collector="holdings"} 1.0' in page
    assert any(line.startswith("gpu_up{") and line.endswith(" 0.0") for line in page.splitlines())
    assert "gpu_held_seconds_total{" in page


def test_a_killed_process_goes_on_with_its_hour(tmp_path: Path) -> None:
    """SIGKILL between two beats: the same instance, greater numbers, an account that goes on where it was."""
    (tmp_path / "node.yaml").write_text(SCENARIO)
    spool = tmp_path / "spool"
    arguments = (
        *("--cluster", "lab", "--node", "n1", "--beat", "1s"),
        *("--simulate", str(tmp_path / "node.yaml"), "--spool", str(spool)),
    )

    def beats(program_page: bytes) -> float:
        lines = program_page.decode().splitlines()
        return float(next(line for line in lines if line.startswith("gpu_exporter_beats_total")).split()[-1])

    with running("exporter.cli", *arguments, log=tmp_path / "log") as agent:
        wait_for("three beats", lambda: beats(agent.get("/metrics")) >= 3)
        agent.kill()
    before = read_state(spool)
    with running("exporter.cli", *arguments, log=tmp_path / "log") as agent:
        wait_for("three beats", lambda: beats(agent.get("/metrics")) >= 3)
        started = time.monotonic()
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(10) == 0
        assert time.monotonic() - started < 5
    after = read_state(spool)
    assert (after.instance, after.started_ms) == (before.instance, before.started_ms)
    assert after.seq_reserved > before.seq_reserved
    assert before.saved is not None
    assert after.saved is not None
    first, last = before.saved.account, after.saved.account
    if first.start_ms == last.start_ms:  # else an hour ended in between, and the old one waits in hours/
        assert last.through > first.through
        (was,), (now,) = first.holdings, last.holdings[:1]
        assert (now.start, now.holder) == (was.start, was.holder)
        (card,) = last.cards.values()
        assert (card.observed[0].start, last.holdings[-1].end) == (was.start, card.observed[-1].end)


def test_a_process_that_lost_its_spool_is_another_instance(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text(SCENARIO)
    instances = set()
    for name in ("one", "two"):
        arguments = ("--node", "n1", "--simulate", str(tmp_path / "node.yaml"), "--spool", str(tmp_path / name))
        with running("exporter.cli", *arguments, log=tmp_path / "log") as agent:
            agent.kill()
        instances.add(read_state(tmp_path / name).instance)
    assert len(instances) == 2
