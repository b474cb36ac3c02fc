"""The node's driver: how its cards are cut, and which real processes work on them. Each change is told.

As NVIDIA's driver does, it drops a process that has ended, counts energy, and counts the busy time of MIG instances'
multiprocessors: a thread goes round ten times a second.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from tests.nvml.fake import SHAPES, FakeGpu, FakeNvml
from tests.nvml.fake_gpu import FakeInstance
from tests.proof.witness.testimony import HOST, Card, Load, Lost, Mig, Power, Slice, Told

ROUND_S = 0.1
IDLE_WATTS = 70
COMPUTE_SLICES = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a process does on a device. pid: as the machine has it; node_pid: as the driver names it."""

    device: str
    pid: int
    node_pid: int
    sm: int
    memory_mib: int
    watts: int
    until_s: float
    namespace: str = HOST
    pod: str = ""
    container: str = ""

    def alive(self) -> bool:
        return time.monotonic() < self.until_s and Path(f"/proc/{self.pid}").exists()


class Driver:
    """The cards by number. tell: where changes are told."""

    def __init__(self, nvml: FakeNvml, models: Sequence[str]) -> None:
        self.nvml = nvml
        self.tell: Callable[[Told], None] = lambda told: None
        self.models = tuple(models)
        self.cards = [nvml.add_gpu(model=model) for model in models]
        self.lock = threading.RLock()
        self._profiles: dict[str, str] = {}
        self._works: list[Work] = []
        self._lost: set[str] = set()
        self._instances: dict[str, FakeInstance] = {}
        self._went_round_s = time.monotonic()
        for card in self.cards:
            card.set(gpm=1)
            card.draw(IDLE_WATTS, energy_mj=1_000_000)
        self._uuids = [card.uuid for card in self.cards]

    def profiles(self, card: int) -> list[str]:
        """Of its instances; none: it is whole."""
        with self.lock:
            return sorted(self._profiles[each.uuid] for each in self.cards[card].instances)

    def tell_all(self) -> None:
        """How everything is now, to who has just begun to listen."""
        with self.lock:
            for number, model in enumerate(self.models):
                self.tell(Card(at_ms=_now_ms(), gpu=self._uuids[number], model=model))
                self._tell_cut(number)
                self._tell_power(number)
            for work in self._works:
                self._tell_work(work)

    def cut(self, card: int, profiles: Sequence[str]) -> None:
        """Cut a card into these; none: it is whole. Instances whose profiles are still wanted stay as they are."""
        with self.lock:
            if sorted(profiles) == self.profiles(card):
                return
            gpu, wanted = self.cards[card], Counter(profiles)
            for instance in list(gpu.instances):
                if wanted[self._profiles[instance.uuid]]:
                    wanted[self._profiles[instance.uuid]] -= 1
                else:
                    instance.destroy()
                    gpu.instances.remove(instance)
                    del self._profiles[instance.uuid], self._instances[instance.uuid]
            gpu.set(mig_current=bool(profiles), mig_pending=bool(profiles))
            for profile in wanted.elements():
                made = gpu.add_instance(profile)
                self._profiles[made.uuid], self._instances[made.uuid] = profile, made
            self._tell_cut(card)

    def begin(self, work: Work) -> None:
        """A process works on a device from now on, until its time is over or it has ended."""
        with self.lock:
            self._go_round()
            card, instance = self._find(work.device)
            if instance is None:
                card.add_process(work.node_pid, memory_mib=work.memory_mib, sm_percent=work.sm)
            else:
                instance.add_process(work.node_pid, memory_mib=work.memory_mib)
            self._works.append(work)
            self._tell_work(work)
            self._draw(card.index)

    def lose(self, card: int) -> None:
        with self.lock:
            self.cards[card].lose()
            self._lost.add(self._uuids[card])
            self.tell(Lost(at_ms=_now_ms(), gpu=self._uuids[card]))

    def recover(self, card: int) -> None:
        with self.lock:
            self.cards[card].come_back()
            self._lost.discard(self._uuids[card])
            self.tell(Lost(at_ms=_now_ms(), gpu=self._uuids[card], lost=False))

    def lost(self, card: int) -> bool:
        with self.lock:
            return self._uuids[card] in self._lost

    def idle(self) -> bool:
        with self.lock:
            return not self._works

    def _find(self, device: str) -> tuple[FakeGpu, FakeInstance | None]:
        if device in self._uuids:
            return self.cards[self._uuids.index(device)], None
        for gpu in self.cards:
            for instance in gpu.instances:
                if instance.uuid == device:
                    return gpu, instance
        raise KeyError(f"{device} is no device of this node now")

    def _go_round(self) -> None:
        """Bury who has ended, and count what the others did since last time."""
        with self.lock:
            now_s = time.monotonic()
            passed_s, self._went_round_s = now_s - self._went_round_s, now_s
            self._count(passed_s)
            for work in [each for each in self._works if not each.alive()]:
                self._works.remove(work)
                card = self.cards[self._card_of(work.device)]
                card.remove_process(work.node_pid)
                self._tell_work(work, over=True)
                self._draw(card.index)

    def _count(self, passed_s: float) -> None:
        """Ticks are microseconds of the multiprocessors: busy and not."""
        ticks = round(passed_s * 1_000_000)
        for device, instance in self._instances.items():
            busy = min(100, sum(work.sm for work in self._works if work.device == device))
            instance.count(ticks, ticks * busy // 100)

    def _card_of(self, device: str) -> int:
        return self._uuids.index(device) if device in self._uuids else self._find(device)[0].index

    def _draw(self, card: int) -> None:
        self.cards[card].set(busy_percent=min(100, sum(each.sm for each in self._on(card))))
        self.cards[card].draw_on(self._watts(card))
        self._tell_power(card)

    def _watts(self, card: int) -> int:
        return IDLE_WATTS + sum(work.watts for work in self._on(card))

    def _on(self, card: int) -> list[Work]:
        return [work for work in self._works if self._card_of(work.device) == card]

    def _tell_cut(self, card: int) -> None:
        slices = tuple(
            Slice(
                device=each.uuid,
                profile=self._profiles[each.uuid],
                part=Fraction(SHAPES[self._profiles[each.uuid]].compute, COMPUTE_SLICES),
            )
            for each in self.cards[card].instances
        )
        self.tell(Mig(at_ms=_now_ms(), gpu=self._uuids[card], slices=slices or None))

    def _tell_power(self, card: int) -> None:
        self.tell(Power(at_ms=_now_ms(), gpu=self._uuids[card], watts=self._watts(card)))

    def _tell_work(self, work: Work, *, over: bool = False) -> None:
        self.tell(
            Load(
                at_ms=_now_ms(), device=work.device, pid=work.node_pid, namespace=work.namespace, pod=work.pod,
                container=work.container, sm_percent=work.sm, memory_mib=work.memory_mib, over=over,
            )
        )  # fmt: skip

    def run(self, ended: threading.Event) -> None:
        while not ended.wait(ROUND_S):
            self._go_round()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def driver(nvml: FakeNvml, models: Sequence[str]) -> Iterator[Driver]:
    made, ended = Driver(nvml, models), threading.Event()
    thread = threading.Thread(target=made.run, args=(ended,), name="driver")
    thread.start()
    try:
        yield made
    finally:
        ended.set()
        thread.join()
