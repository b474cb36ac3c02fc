"""Reads the fake driver's cards as the agent does, in a process of its own, and prints the readings.

    $ FAKE_NVML_STATE=FILE LD_LIBRARY_PATH=<…> python -m tests.nvml.read_cards ask FILE
    $ LD_LIBRARY_PATH=<where tape.py built> python -m tests.nvml.read_cards replay LINES

ask     the library is the fake driver, or one that records it: what FILE is to hold is made, and changed
replay  the library is the tape: its recording gives the same again
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporter.clock import ReplayClock
from exporter.nvml import Nvml
from exporter.reading import NodeReading
from tests.nvml.fake import FakeNvml
from tests.nvml.tape import SONAME, Tape, readings

NOON_MS = 1_782_000_000_000
BEAT_MS = 10_000
READINGS = 3
HOLDER, WATCHER, SLICED = 4711, 4712, 4713


def scene(fake: FakeNvml) -> Iterator[None]:
    """A card at work and in trouble, one cut into instances; between readings, XIDs and work."""
    whole = fake.add_gpu(minor=3)
    whole.set(power_mw=0, energy_mj=5_000, busy_percent=61, accounting=1)
    whole.set_health(
        ecc_errors=(11, 2, 33, 4), remaps=(5, 6, 1, 1), clocks_reasons=0x44, sm_mhz=1_755, pcie_kib_s=(700, 500),
        nvlink_kib=(1 << 40, 7), has_nvlink=1,
    )  # fmt: skip
    whole.add_process(HOLDER, memory_mib=2_048, sm_percent=40, sample_us=(NOON_MS + 500) * 1000, peak_mib=4_096)
    cut = fake.add_gpu(mig=["3g.40gb", "2g.20gb"])
    cut.set(gpm=1)
    cut.instances[0].add_process(SLICED, memory_mib=300)
    yield
    whole.add_xid(79)
    cut.add_xid(31, gi=cut.instances[1].gi, ci=0)
    cut.instances[0].work(25)
    cut.instances[1].work(75)
    whole.set(energy_mj=9_000)
    whole.add_process(WATCHER, memory_mib=None, sm_percent=10, sample_us=(NOON_MS + BEAT_MS) * 1000, peak_mib=64)
    yield
    whole.set_health(ecc_errors=(12, 2, 34, 4), clocks_reasons=0)
    cut.instances[0].work(50)
    yield


async def ask(state: Path) -> list[NodeReading]:
    clock, nvml, found = ReplayClock(NOON_MS), None, []
    with FakeNvml(state) as fake:
        for _ in scene(fake):
            nvml = nvml or Nvml(clock, links=True)
            found.append(nvml.read())
            await clock.sleep(BEAT_MS / 1000)
        assert nvml is not None
        nvml.close()
    return found


async def replay(lines: Path, scratch: Path) -> tuple[list[NodeReading], list[str]]:
    """The readings, and what was asked that is not recorded."""
    tape, clock, nvml, found = Tape(Path(SONAME), scratch), ReplayClock(NOON_MS), None, []
    unanswered: list[str] = []
    for each in readings(lines.read_text().splitlines()):
        tape.answer(each)
        nvml = nvml or Nvml(clock, links=True)
        found.append(nvml.read())
        unanswered += tape.unanswered
        await clock.sleep(BEAT_MS / 1000)
    return found, unanswered


def said(found: list[NodeReading], unanswered: list[str]) -> dict[str, Any]:
    return {"readings": [dataclasses.asdict(each) for each in found], "unanswered": unanswered}


async def main(how: str, file: Path) -> None:
    found = (await ask(file), []) if how == "ask" else await replay(file, file.with_suffix(".scratch"))
    print(json.dumps(said(*found), default=sorted))


if __name__ == "__main__":
    import asyncio

    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
