"""The laws of the agent, for arbitrary cards, holders, layouts, failures, silences and restarts.

The whole agent but its doors: scripted sources stand in for driver, kubelet and /proc; the spool is a real one.
"""

from __future__ import annotations

import asyncio
import gzip
import tempfile
from collections.abc import Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chargeback.bodies import read_body
from chargeback.core.lines import EXCESS
from chargeback.core.merge import merge
from chargeback.core.node_hour import NodeHour
from chargeback.core.spans import length
from exporter.agent import Agent
from exporter.clock import ReplayClock
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.node import Collectors
from exporter.collectors.processes import Processes
from exporter.reading import Allocation, CgroupOwner, GpuReading, KubeletReading, LostGpu, NodeReading
from exporter.spool import Spool
from exporter.worker import DirectCalls
from tests.exporter.builders import GIB, NOON_MS, POD_A, POD_B, gpu, in_pod, mig_device, mig_gpu, node, process
from tests.exporter.whole_node import ledger

BEAT_MS = 600_000  # the longest: so that a few beats cross an hour
STEPS_MS = (
    BEAT_MS,
    BEAT_MS,
    BEAT_MS,
    BEAT_MS + 1,
    1,
    7_777,
    3 * BEAT_MS,
    3 * BEAT_MS + 1,
    5 * 3_600_000 + 1,
    0,
    -1_000,
    -7 * 3_600_000,
)
LAYOUTS = ((), (3, 3), (1, 1, 1), (2, 2, 3), (7,), (1, 2, 4))  # compute slices of instances; UUIDs go by slot
CARDS = ("GPU-0", "GPU-1", "GPU-2")
DEVICES = (*CARDS, *(f"MIG-{card}-{slot}" for card in range(3) for slot in range(3)))
DRIVERS_OWN = "gpu_energy_joules_total"  # it begins anew with the driver, and Prometheus takes that for what it is
OWNERS = (None, in_pod(POD_A), in_pod(POD_B), CgroupOwner())


@dataclass(frozen=True, slots=True)
class Beat:
    """What the sources say in a beat, and how long after it the next one comes. None: the source fails."""

    reading: NodeReading | None
    kubelet: KubeletReading | None
    owners: dict[int, CgroupOwner | None]
    step_ms: int
    release: bool
    restart: bool


@st.composite
def cards(draw: st.DrawFn, number: int) -> GpuReading:
    busy = [
        process(
            10 * number + each,
            CARDS[number],
            memory_used_bytes=draw(st.none() | st.integers(0, GIB)),
            sm_ratio=draw(st.none() | st.floats(0, 0.5)),
        )
        for each in range(draw(st.integers(0, 2)))
    ]
    energy = draw(st.none() | st.integers(0, 2**40))  # it may fall back, as after a reset
    if draw(st.booleans()):
        return gpu(CARDS[number], index=number, processes=tuple(busy), energy_mj=energy)
    instances = [
        mig_device(f"MIG-{number}-{slot}", slices=slices, ordinal=slot)
        for slot, slices in enumerate(draw(st.sampled_from(LAYOUTS)))
    ]
    return mig_gpu(*instances, uuid=CARDS[number], index=number, energy_mj=energy)


@st.composite
def readings(draw: st.DrawFn) -> NodeReading:
    there = sorted(draw(st.sets(st.integers(0, 2))))
    lost = sorted(draw(st.sets(st.integers(0, 2), max_size=1)) - set(there))
    seen = node(*(draw(cards(number)) for number in there))
    return NodeReading(
        driver_version=seen.driver_version,
        gpus=seen.gpus,
        lost=tuple(LostGpu(index=number, uuid=CARDS[number], error="lost") for number in lost),
    )


@st.composite
def kubelets(draw: st.DrawFn) -> KubeletReading:
    offered, given_away = [], []
    for device in DEVICES:
        shares = draw(st.sampled_from((0, 0, 3)))
        ids = [f"{device}::{share}" for share in range(shares)] or [device]
        offered += [("nvidia.com/gpu", each) for each in ids]
        for each in ids:
            for pod in draw(st.sampled_from(((), (), ("a",), ("b",), ("a", "b")))):
                claim = draw(st.sampled_from((None, "team/both")))
                given_away.append(
                    Allocation(
                        namespace="team",
                        pod=pod,
                        container="main",
                        resource="nvidia.com/gpu",
                        device_id=each,
                        source="dra" if claim else "device-plugin",
                        claim=claim,
                    )
                )
    return KubeletReading(allocations=tuple(given_away), offered=tuple(offered))


runs = st.lists(
    st.builds(
        Beat,
        st.integers(0, 5).flatmap(lambda n: readings() if n else st.none()),
        st.integers(0, 5).flatmap(lambda n: kubelets() if n else st.none()),
        st.dictionaries(st.integers(0, 29), st.sampled_from(OWNERS)),
        st.sampled_from(STEPS_MS),
        st.sampled_from((False, False, False, True)),
        st.sampled_from((False, False, False, True)),
    ),
    min_size=4,
    max_size=8,
)


class Script:
    """All three sources: what the beat at hand says."""

    def __init__(self) -> None:
        self.beat: Beat | None = None

    def read(self) -> NodeReading:
        assert self.beat is not None
        if self.beat.reading is None:
            raise OSError("no driver")
        return self.beat.reading

    def close(self) -> None:
        """Nothing is open."""

    def list_pods(self) -> KubeletReading:
        assert self.beat is not None
        if self.beat.kubelet is None:
            raise OSError("no kubelet")
        return self.beat.kubelet

    def owner_of(self, pid: int) -> CgroupOwner | None:
        return None if self.beat is None else self.beat.owners.get(pid)

    def prune(self, live_pids: Set[int]) -> None:
        """Nothing is remembered."""


def counters(page: bytes) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in page.decode().splitlines() if not line.startswith("#"))
    ours = ((name, float(value)) for name, value in lines if name.partition("{")[0].endswith("_total"))
    return {name: value for name, value in ours if not name.startswith(DRIVERS_OWN)}


async def live(beats: Sequence[Beat], directory: Path) -> tuple[list[NodeHour], list[list[dict[str, float]]]]:
    """The bodies in the end, and each life's counters, beat by beat."""
    script, clock = Script(), ReplayClock(NOON_MS + 1_234_567)
    lives: list[list[dict[str, float]]] = []
    spool: Spool | None = None
    for beat in beats:
        if spool is None or beat.restart:
            if spool is not None:
                spool.close()
            spool = Spool(directory, cluster="lab", node="n1", now_ms=clock.now_ms())
            collectors = Collectors(
                Gpus(script), Holdings(script), Processes(script), calls=lambda _: DirectCalls(), clock=clock,
                deadline_s=0,
            )  # fmt: skip
            agent = Agent(collectors, spool, clock=clock, beat_ms=BEAT_MS, disk=DirectCalls(), pushing=True)
            lives.append([])
        script.beat = beat
        if beat.release:
            agent.release.order(600, by="test")
        await agent.beat()
        lives[-1].append(counters(agent.page))
        await clock.sleep(beat.step_ms / 1000)
    assert spool is not None
    running = agent.running()
    packed = [spool.load(hour) for hour in spool.waiting()] + [running.data if running else None]
    spool.close()
    return [read_body(gzip.decompress(data)) for data in packed if data], lives


def lived(beats: Sequence[Beat]) -> tuple[list[NodeHour], list[list[dict[str, float]]]]:
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(live(beats, Path(directory)))


@given(runs)
@settings(deadline=None, max_examples=60)
def test_shares_idle_and_gap_are_all_the_time_a_card_existed(beats: list[Beat]) -> None:
    """In every hour, for every card: held + idle + unavailable + gap (+ difference) = existence, to the millisecond.
    Nothing is held or observed after `through`, nor idle while a card was silent."""
    bodies, _ = lived(beats)
    assert len({(body.hour, body.instance) for body in bodies}) == len(bodies)
    for hour in {body.hour for body in bodies}:
        body = merge([each for each in bodies if each.hour == hour])
        for uuid, of_card in ledger(body).items():
            (card,) = (each for each in body.gpus if each.uuid == uuid)
            healthy_ms = length(card.observed) - length(card.unhealthy)
            idle_ms = sum(of_card.get(kind, Fraction(0)) for kind in ("free", "unsold", "unpartitioned"))
            # What a card holds beyond itself for a moment stands against it as `excess`.
            assert idle_ms <= healthy_ms - of_card.get(EXCESS, Fraction(0))
            assert card.observed == () or card.observed[-1][1] <= body.through


@given(runs)
@settings(deadline=None, max_examples=60)
def test_no_counter_ever_goes_down(beats: list[Beat]) -> None:
    """Within a life, of every series that is still there, whatever the driver's own counters do."""
    for pages in lived(beats)[1]:
        shown: dict[str, float] = {}
        for page in pages:
            for name, value in page.items():
                assert value >= shown.get(name, 0.0), name
            shown = page
