"""What every source of GPU readings promises: the driver through exporter/nvml, and the simulated node.

The agent's loop cannot tell them apart, so each law here holds for both. Both are shown the same node: a whole card
with one busy process, and a card in MIG mode whose instances have a process each.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from exporter.clock import ReplayClock
from exporter.health import XidReading
from exporter.mig import memory_slices
from exporter.nvml import Nvml
from exporter.reading import GpuReading, NodeReading
from exporter.scenario import load_scenario
from exporter.simulated import SimulatedNode
from tests.nvml import fake as driver
from tests.nvml.fake import MIB, FakeNvml

START = datetime(2026, 10, 3, 14, tzinfo=UTC)
LOST_FROM, LOST_UNTIL = START + timedelta(minutes=1), START + timedelta(minutes=2)
PROFILES = ("3g.40gb", "2g.20gb", "1g.10gb")
MEMORY_MIB = 81_559

SCENARIO = f"""
seed: contract
gpus:
  - {{model: {driver.H100}, memory_mib: {MEMORY_MIB}}}
  - {{model: {driver.H100}, memory_mib: {MEMORY_MIB}, mig: [{", ".join(PROFILES)}]}}
workloads:
  - {{namespace: a, pod: whole, on: 0, busy: 0.5, memory_mib: 4096}}
  - {{namespace: a, pod: three, resource: nvidia.com/mig-3g.40gb, busy: 0.5, memory_mib: 1024}}
  - {{namespace: a, pod: two, resource: nvidia.com/mig-2g.20gb, busy: 0.5, memory_mib: 1024}}
  - {{namespace: a, pod: one, resource: nvidia.com/mig-1g.10gb, busy: 0.5, memory_mib: 1024}}
events:
  - {{at: {LOST_FROM.isoformat()}, until: {LOST_UNTIL.isoformat()}, gpu: 0, lost: true}}
"""


class Source(Protocol):
    """What the agent uses."""

    def read(self) -> NodeReading: ...
    def close(self) -> None: ...


class Stage(Protocol):
    """A source, and the three things that a law may have happen to its node."""

    @property
    def source(self) -> Source: ...
    async def go_on(self, seconds: float) -> None: ...
    async def lose_first_card(self) -> None: ...
    async def bring_it_back(self) -> None: ...


class SimulatedStage:
    """Events stand in the scenario, so they are reached by time."""

    def __init__(self) -> None:
        self._clock = ReplayClock(round(START.timestamp() * 1000))
        self.source = SimulatedNode(load_scenario(SCENARIO, "contract.yaml"), clock=self._clock)

    async def go_on(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    async def lose_first_card(self) -> None:
        await self._until(LOST_FROM)

    async def bring_it_back(self) -> None:
        await self._until(LOST_UNTIL)

    async def _until(self, instant: datetime) -> None:
        await self._clock.sleep(instant.timestamp() - self._clock.now_ms() / 1000)


class DriverStage:
    """The node of SCENARIO by the fake driver."""

    def __init__(self, fake: FakeNvml) -> None:
        self._clock = ReplayClock(round(START.timestamp() * 1000))
        self._whole, self._cut = fake.add_gpu(), fake.add_gpu(mig=PROFILES)
        self._energy_mj = 0
        self._busy()
        for pid, instance in enumerate(self._cut.instances, start=2):
            instance.add_process(pid, memory_mib=1024)
            instance.set(used_bytes=1024 * MIB)
        self.source = Nvml(self._clock)

    async def go_on(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._energy_mj += round(seconds * 300_000)
        self._busy()

    async def lose_first_card(self) -> None:
        self._whole.add_xid(79)
        self._whole.lose()

    async def bring_it_back(self) -> None:
        self._whole.come_back()

    def _busy(self) -> None:
        self._whole.clear_processes()
        self._whole.add_process(1, memory_mib=4096, sm_percent=50, sample_us=self._clock.now_ms() * 1000 - 1)
        self._whole.set(used_bytes=4096 * MIB, busy_percent=50)
        for gpu in (self._whole, self._cut):
            gpu.draw(300, energy_mj=self._energy_mj)


@pytest.fixture(params=["driver", "simulated"])
def stage(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    if request.param == "simulated":
        yield SimulatedStage()
        return
    driver.load(tmp_path_factory.mktemp("library"))
    with FakeNvml(tmp_path / "state") as fake:
        monkeypatch.setenv("FAKE_NVML_STATE", str(fake.path))
        stage = DriverStage(fake)
        yield stage
        stage.source.close()


def cards(stage: Stage) -> tuple[GpuReading, GpuReading]:
    """The whole card and the one in MIG mode."""
    whole, cut = stage.source.read().gpus
    return whole, cut


def test_cards_are_ordered_by_index(stage: Stage) -> None:
    """Index, model and memory are those of the node; nothing is lost, and the driver has a version."""
    reading = stage.source.read()
    assert [gpu.index for gpu in reading.gpus] == [0, 1]
    assert {(gpu.model, gpu.memory_total_bytes) for gpu in reading.gpus} == {(driver.H100, MEMORY_MIB * MIB)}
    assert reading.lost == ()
    assert reading.driver_version


async def test_uuids_are_stable_and_tell_kinds_apart(stage: Stage) -> None:
    """Cards are GPU-…, instances MIG-…, all different, and the same ten seconds later."""

    def uuids() -> list[str]:
        gpus = stage.source.read().gpus
        return [gpu.uuid for gpu in gpus] + [each.uuid for gpu in gpus for each in gpu.instances]

    before = uuids()
    await stage.go_on(10)
    assert uuids() == before
    assert [uuid.partition("-")[0] for uuid in before] == ["GPU", "GPU", "MIG", "MIG", "MIG"]
    assert len(set(before)) == len(before)


def test_instances_belong_to_the_card_in_mig_mode(stage: Stage) -> None:
    """Profiles and slices are those asked for, memory is in eighths of the card, and no two have the same ids."""
    whole, cut = cards(stage)
    assert (whole.mig_enabled, whole.instances) == (False, ())
    assert (cut.mig_enabled, cut.mig_slices_max) == (True, 7)
    assert [each.profile for each in cut.instances] == list(PROFILES)
    assert [(each.compute_slices, each.gpu_instance_slices) for each in cut.instances] == [(3, 3), (2, 2), (1, 1)]
    assert [memory_slices(each.memory_mib, MEMORY_MIB) for each in cut.instances] == [4, 2, 1]
    assert len({(each.gpu_instance_id, each.compute_instance_id) for each in cut.instances}) == len(PROFILES)


def test_processes_are_on_the_device_they_use(stage: Stage) -> None:
    """One process on the whole card, one on each instance by its UUID, with their memory and different pids."""
    whole, cut = cards(stage)
    assert [each.device for each in whole.processes] == [whole.uuid]
    assert sorted(each.device for each in cut.processes) == sorted(each.uuid for each in cut.instances)
    assert [each.memory_used_bytes for each in whole.processes] == [4096 * MIB]
    assert len({each.pid for each in (*whole.processes, *cut.processes)}) == 4


async def test_absent_is_none_and_never_zero(stage: Stage) -> None:
    """Under MIG nobody can say how busy a card or a process is; elsewhere it is a share of time."""
    stage.source.read()
    await stage.go_on(10)
    whole, cut = cards(stage)
    assert cut.utilization_ratio is None
    assert {each.sm_ratio for each in cut.processes} == {None}
    (process,) = whole.processes
    assert process.sm_ratio is not None
    assert 0 < process.sm_ratio <= 1
    assert whole.utilization_ratio is not None
    assert 0 < whole.utilization_ratio <= 1


def test_a_card_holds_the_memory_of_its_processes(stage: Stage) -> None:
    """Used is at least what processes have, at most what there is; instances say their own."""
    whole, cut = cards(stage)
    assert whole.memory_used_bytes is not None
    assert 4096 * MIB <= whole.memory_used_bytes <= whole.memory_total_bytes
    assert [each.memory_used_bytes for each in cut.instances] == [1024 * MIB] * 3


async def test_energy_never_falls(stage: Stage) -> None:
    """The counter grows by what the card draws."""
    before = cards(stage)
    await stage.go_on(10)
    after = cards(stage)
    for first, second in zip(before, after, strict=True):
        assert first.energy_mj is not None
        assert second.energy_mj is not None
        assert first.power_watts is not None
        assert second.energy_mj > first.energy_mj


async def test_a_lost_card_is_named_and_comes_back(stage: Stage) -> None:
    """While it is away it is in `lost` with its index, UUID and a reason; the other goes on; then all is back."""
    whole, cut = cards(stage)
    await stage.lose_first_card()
    reading = stage.source.read()
    assert [gpu.uuid for gpu in reading.gpus] == [cut.uuid]
    assert [(lost.index, lost.uuid) for lost in reading.lost] == [(0, whole.uuid)]
    assert reading.lost[0].error
    await stage.bring_it_back()
    assert [gpu.uuid for gpu in cards(stage)] == [whole.uuid, cut.uuid]


async def test_a_lost_card_tells_why_once(stage: Stage) -> None:
    """Its XID comes with the first reading that misses it; all cards are watched, also the lost one."""
    whole, cut = cards(stage)
    await stage.lose_first_card()
    first, second = stage.source.read(), stage.source.read()
    assert first.xids == (XidReading(gpu=whole.uuid, device=whole.uuid, xid=79, count=1),)
    assert second.xids == ()
    assert second.xids_watched == {whole.uuid, cut.uuid}


def test_nothing_is_denied_to_a_privileged_agent(stage: Stage) -> None:
    """`denied` is empty where every call is allowed."""
    assert [gpu.denied for gpu in stage.source.read().gpus] == [frozenset(), frozenset()]


def test_close_is_safe_to_run_twice(stage: Stage) -> None:
    """Closing lets go; it never fails."""
    stage.source.close()
    stage.source.close()
