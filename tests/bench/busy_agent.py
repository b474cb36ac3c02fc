"""An agent on simulated time over a driver, a kubelet's socket and a /proc, all of them real to it.

As a program it is the process whose memory is weighed: `python -m tests.bench.busy_agent` loads what `gpu-exporter`
loads, beats, and prints its memory now and then. Nothing here may import what only tests need.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from pathlib import Path

import exporter.cli
from exporter.agent import Agent
from exporter.cgroups import CgroupReader
from exporter.clock import ReplayClock
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.node import Collectors
from exporter.collectors.processes import Processes
from exporter.kubelet import Kubelet
from exporter.nvml import Nvml
from exporter.spool import Spool
from exporter.worker import DirectCalls

BEAT_MS = 10_000
WEIGHED_TIMES = 10
MIB = 2**20


class BusyAgent:
    """Beats ten simulated seconds apart, in the caller's thread alone. Hours are acknowledged as soon as they end."""

    def __init__(self, *, socket: Path, proc: Path, spool: Path) -> None:
        self.clock = ReplayClock(time.time_ns() // 1_000_000)
        self.nvml = Nvml(self.clock)
        self._keeper = Spool(spool, cluster="lab", node="n1", now_ms=self.clock.now_ms())
        collectors = Collectors(
            Gpus(self.nvml),
            Holdings(Kubelet(socket)),
            Processes(CgroupReader(proc)),
            calls=lambda name: DirectCalls(),
            clock=self.clock,
            deadline_s=60.0,
        )
        self.agent = Agent(
            collectors, self._keeper, clock=self.clock, beat_ms=BEAT_MS, disk=DirectCalls(), pushing=True
        )

    async def beat(self) -> None:
        await self.clock.sleep(BEAT_MS / 1000)
        await self.agent.beat()

    def acknowledge(self) -> None:
        for hour in self._keeper.waiting():
            self._keeper.acknowledge(hour)

    def close(self) -> None:
        self.nvml.close()
        self._keeper.close()


def weigh() -> dict[str, float]:
    """MiB of this process: in RAM, of it private, of it of files (libraries)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.endswith(" kB")}
    return {name: round(sizes[name], 1) for name in ("VmRSS", "RssAnon", "RssFile")}


async def _beat_and_weigh(agent: BusyAgent, beats: int) -> None:
    every = max(1, beats // WEIGHED_TIMES)
    for number in range(1, beats + 1):
        await agent.beat()
        agent.acknowledge()
        if number == 1 or number % every == 0:
            print(json.dumps({"beats": number} | weigh()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("socket", "proc", "spool"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--beats", type=int, required=True)
    flags = parser.parse_args()
    agent = BusyAgent(socket=flags.socket, proc=flags.proc, spool=flags.spool)
    assert exporter.cli.main is not None  # the server and the pusher are loaded too
    asyncio.run(_beat_and_weigh(agent, flags.beats))
    page = agent.agent.page.decode()
    succeeded = [line for line in page.splitlines() if line.startswith("gpu_exporter_collector_success")]
    print(json.dumps({"page_bytes": len(page), "succeeded": succeeded, "objects": len(gc.get_objects())}))
    agent.close()


if __name__ == "__main__":
    main()
