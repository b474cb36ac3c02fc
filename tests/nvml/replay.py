"""Plays a recording of tests/gpu/record.py to the agent again, in a process of its own, and prints what came out.

    $ LD_LIBRARY_PATH=<where tape.py built> python -m tests.nvml.replay RECORDING.json LIBRARY SCRATCH

Only the driver and time are the recording's. Everything else is the real thing: pynvml and ctypes over the recorded
bytes, a kubelet's socket, files of /proc, the agent and all in it. Beat by beat, at the recorded times.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import sys
from pathlib import Path
from typing import Any

from exporter.agent import Agent
from exporter.cgroups import CgroupReader
from exporter.clock import ReplayClock
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.node import Collectors
from exporter.collectors.processes import Processes
from exporter.kubelet import Kubelet
from exporter.memory_spool import MemorySpool
from exporter.nvml import Nvml
from exporter.reading import NodeReading
from exporter.worker import DirectCalls
from tests.kubelet_server import PodResourcesServer
from tests.nvml.tape import Tape, at_ms

BEAT_MS = 1000
RESOURCE = "nvidia.com/gpu"


class Noted:
    """The driver's readings, kept."""

    def __init__(self, nvml: Nvml) -> None:
        self._nvml = nvml
        self.readings: list[NodeReading] = []

    def read(self) -> NodeReading:
        self.readings.append(self._nvml.read())
        return self.readings[-1]

    def close(self) -> None:
        self._nvml.close()


class Stage:
    """The node around the card, as it was at a moment of the recording."""

    def __init__(self, recorded: dict[str, Any], kubelet: PodResourcesServer, proc: Path) -> None:
        self._events = list(recorded["events"])
        self._processes = recorded["processes"]
        self._card = recorded["card"]
        self._kubelet, self._proc = kubelet, proc
        kubelet.offer(RESOURCE, [self._card])

    def set(self, now_ms: int) -> None:
        """Have everything happen that had happened by then."""
        while self._events and self._events[0]["at_ms"] <= now_ms:
            event = self._events.pop(0)
            if event["event"] == "give":
                self._kubelet.give(event["namespace"], event["pod"], "main", RESOURCE, [self._card])
            else:
                self._kubelet.take(event["namespace"], event["pod"])
        for process in self._processes:
            directory = self._proc / str(process["pid"])
            if process["from_ms"] <= now_ms < process["until_ms"]:
                directory.mkdir(exist_ok=True)
                (directory / "stat").write_text(process["stat"])
                (directory / "cgroup").write_text(process["cgroup"])
            elif directory.exists():
                for file in directory.iterdir():
                    file.unlink()
                directory.rmdir()


async def replay(recorded: dict[str, Any], library: Path, scratch: Path) -> dict[str, Any]:
    """The readings, pages and unanswered calls of all beats, and the node-hour at the end."""
    tape = Tape(library, scratch / "answers")
    clock = ReplayClock(at_ms(recorded["readings"][0][0]))
    proc = scratch / "proc"
    proc.mkdir()
    pages: list[str] = []
    unanswered: list[str] = []
    with PodResourcesServer(scratch / "kubelet.sock") as kubelet:
        stage = Stage(recorded, kubelet, proc)
        tape.answer(recorded["readings"][0])
        driver = Noted(Nvml(clock))
        collectors = Collectors(
            Gpus(driver),
            Holdings(Kubelet(kubelet.socket_path, timeout_s=5)),
            Processes(CgroupReader(proc)),
            calls=lambda _: DirectCalls(), clock=clock, deadline_s=0,
        )  # fmt: skip
        keeper = MemorySpool(cluster="lab", node="recorded", now_ms=clock.now_ms())
        agent = Agent(collectors, keeper, clock=clock, beat_ms=BEAT_MS, disk=DirectCalls(), pushing=True)
        for lines in recorded["readings"]:
            if driver.readings:
                tape.answer(lines)
            await clock.sleep((at_ms(lines[0]) - clock.now_ms()) / 1000)
            stage.set(clock.now_ms())
            await agent.beat()
            pages.append(agent.page.decode())
            unanswered += tape.unanswered
        running = agent.running()
    return {
        "readings": [dataclasses.asdict(each) for each in driver.readings],
        "pages": pages,
        "unanswered": unanswered,
        "body": None if running is None else json.loads(gzip.decompress(running.data)),
    }


if __name__ == "__main__":
    played = asyncio.run(replay(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), Path(sys.argv[3])))
    print(json.dumps(played, default=sorted))
