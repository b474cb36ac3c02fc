"""A whole agent on simulated time over real parts: the C driver, a PodResources socket, threads that may hang.

Its node has a card held by team/train, an idle card, and one cut in two, of which team/tune holds the first half.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Self, TypeVar

from chargeback.bodies import read_body
from chargeback.core.existence import exist
from chargeback.core.lines import HELD
from chargeback.core.node_hour import NodeHour
from chargeback.core.owners.owners import OwnerBook
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import GPU_HOUR, Price, PriceBook
from chargeback.core.rating.rating import rate_node_hour
from chargeback.core.spans import length
from exporter.agent import Agent
from exporter.cgroups import CgroupReader
from exporter.clock import ReplayClock
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.node import Collectors
from exporter.collectors.processes import Processes
from exporter.kubelet import Kubelet
from exporter.memory_spool import MemorySpool
from exporter.nvml import DriverChanged, Nvml, successors
from exporter.reading import KubeletReading
from exporter.worker import Worker
from tests.exporter.builders import NOON_MS
from tests.kubelet_server import PodResourcesServer
from tests.nvml.fake import H100, FakeNvml

BEAT_MS = 10_000
# Of real time. Whoever shall answer is waited for, however busy the machine is; who hangs does so until he is let go.
PATIENT_S, HURRIED_S = 60.0, 0.3
HANG_MS = 60_000
RESOURCE = "nvidia.com/gpu"
PRICES = PriceBook([Price(model=H100, unit=GPU_HOUR, amount=Fraction(3_600_000))])
POLICIES = PolicyBook([Policy()])

T = TypeVar("T")


class CardReader(Worker):
    """The thread that reads the cards, waited for until they are read, whatever the agent wants."""

    _within_s = PATIENT_S

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Meanwhile a reading is given up soon: none shall succeed."""
        self._within_s = HURRIED_S
        yield
        self._within_s = PATIENT_S

    async def call(self, work: Callable[[], T], *, timeout_s: float) -> T:
        return await super().call(work, timeout_s=self._within_s)


class WholeNode:
    """Beats ten simulated seconds apart. kubelet_within_s: how long a call to the kubelet may take."""

    def __init__(self, fake: FakeNvml, scratch: Path) -> None:
        self.fake = fake
        self.clock = ReplayClock(NOON_MS)
        self.kubelet_within_s = PATIENT_S
        self._cards = CardReader(Gpus.name)
        self.held, self.idle, self.cut = fake.add_gpu(), fake.add_gpu(), fake.add_gpu(mig=["3g.40gb", "3g.40gb"])
        self.kubelet = PodResourcesServer(scratch / "kubelet.sock")
        self.kubelet.give("team", "train", "main", RESOURCE, [self.held.uuid])
        self.kubelet.give("team", "tune", "main", RESOURCE, [self.cut.instances[0].uuid])
        (scratch / "proc").mkdir()
        self._proc = scratch / "proc"

    def __enter__(self) -> Self:
        self.kubelet.__enter__()

        nvml = Nvml(self.clock)
        self.gpus = Gpus(nvml, reopen=successors(nvml))
        collectors = Collectors(
            self.gpus,
            Holdings(self),
            Processes(CgroupReader(self._proc)),
            calls=lambda name: self._cards if name == Gpus.name else Worker(name),
            clock=self.clock,
            deadline_s=PATIENT_S,
            fatal=(DriverChanged,),
        )
        spool = MemorySpool(cluster="lab", node="n1", now_ms=NOON_MS)
        self.agent = Agent(collectors, spool, clock=self.clock, beat_ms=BEAT_MS, disk=Worker("spool"), pushing=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.fake.relent()
        self.gpus.close()
        deadline = time.monotonic() + PATIENT_S
        while self.fake.clients and time.monotonic() < deadline:  # threads that hang still have the driver open
            time.sleep(0.02)
        self.kubelet.__exit__()
        assert not self.fake.clients

    async def beat(self, count: int = 1) -> None:
        for _ in range(count):
            await self.agent.beat()
            await self.clock.sleep(BEAT_MS / 1000)

    def hurried(self) -> AbstractContextManager[None]:
        return self._cards.hurried()

    def list_pods(self) -> KubeletReading:
        """As the agent's own door does, which connects for each reading."""
        return Kubelet(self.kubelet.socket_path, timeout_s=self.kubelet_within_s).list_pods()

    def body(self) -> NodeHour:
        """The account so far, as the aggregator takes it."""
        running = self.agent.running()
        assert running is not None
        return read_body(gzip.decompress(running.data))

    def success(self, collector: str) -> bool:
        line = f'gpu_exporter_collector_success{{collector="{collector}"}} 1.0'
        return line in self.agent.page.decode().splitlines()


def ledger(body: NodeHour) -> dict[str, dict[str, Fraction]]:
    """What the aggregator books for each card, in milliseconds of the whole card: of holders by pod, else by kind.

    Raises where that is not all the time for which the card has existed, to the millisecond.
    """
    existence = exist(body.hour, [body], body, [], body.through)
    lines, _ = rate_node_hour(
        body.cluster, body.node, body.hour, body.holdings, existence, OwnerBook([]), PRICES, POLICIES, body.through
    )
    booked: dict[str, dict[str, Fraction]] = {gpu.uuid: {} for gpu in existence.gpus}
    for line in lines:
        key = line.pod if line.kind == HELD else line.kind
        of_card = booked[line.parent]
        of_card[key] = of_card.get(key, Fraction(0)) + Fraction(line.gpu_ms_num, line.ms_den)
    for uuid, of_card in booked.items():
        assert sum(of_card.values()) == length(existence.spans[uuid]), (uuid, of_card)
    return {uuid: {key: ms for key, ms in of_card.items() if ms} for uuid, of_card in booked.items()}
