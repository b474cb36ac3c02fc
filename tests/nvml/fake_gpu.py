"""A card of the fake driver and its MIG instances: what they are, who runs on them, and what goes wrong."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.nvml import state as layout

if TYPE_CHECKING:
    from tests.nvml.fake import FakeNvml

MIB = 1024 * 1024
XID_CRITICAL_ERROR = 8  # NVML's type of event


@dataclass(frozen=True, slots=True)
class Shape:
    """A MIG profile: slices of the compute instance and of its GPU instance, MiB, multiprocessors."""

    compute: int
    gpu: int
    mib: int
    multiprocessors: int


# Of an H100 with 80 GB, as `nvidia-smi mig -lgip` has them.
SHAPES = {
    "1g.10gb": Shape(1, 1, 9_984, 16),
    "1g.10gb+me": Shape(1, 1, 9_984, 16),
    "1g.20gb": Shape(1, 1, 20_096, 26),
    "2g.20gb": Shape(2, 2, 20_096, 32),
    "3g.40gb": Shape(3, 3, 40_448, 60),
    "1c.3g.40gb": Shape(1, 3, 40_448, 20),
    "4g.40gb": Shape(4, 4, 40_448, 64),
    "7g.80gb": Shape(7, 7, 81_152, 132),
}


class FakeGpu:
    """One card of a FakeNvml."""

    def __init__(self, fake: FakeNvml, index: int) -> None:
        self._fake = fake
        self.index = index
        self.instances: list[FakeInstance] = []

    @contextmanager
    def _change(self) -> Iterator[layout.Gpu]:
        with self._fake.change() as state:
            yield state.gpus[self.index]

    @property
    def uuid(self) -> str:
        with self._change() as row:
            return str(row.uuid.decode())

    def set(self, **fields: int | bytes) -> None:
        """Set any plain field of the card (fake_nvml.h)."""
        with self._change() as row:
            for name, value in fields.items():
                setattr(row, name, value)

    def lose(self) -> None:
        self.set(lost=1)

    def come_back(self) -> None:
        """By a reset, which ends what was registered with the card."""
        with self._change() as row:
            row.lost = 0
            row.epoch += 1

    def set_health(self, **fields: int | tuple[int, ...]) -> None:
        """Set any field of the card's health (fake_nvml.h)."""
        with self._change() as row:
            for name, value in fields.items():
                if isinstance(value, tuple):
                    getattr(row.health, name)[:] = value
                else:
                    setattr(row.health, name, value)

    def add_xid(self, xid: int, *, gi: int = layout.NO_ID, ci: int = layout.NO_ID) -> None:
        """An XID now: of the whole card, or of one of its instances."""
        with self._fake.change() as state:
            event = state.events[state.event_count % layout.EVENTS]
            event.gpu, event.epoch = self.index, state.gpus[self.index].epoch
            event.gpu_instance, event.compute_instance = gi, ci
            event.type, event.data = XID_CRITICAL_ERROR, xid
            state.event_count += 1

    def draw(self, watts: float, *, energy_mj: int) -> None:
        """Draw this power from now on; the energy counter stands at `energy_mj` and grows with it."""
        self.set(power_mw=round(watts * 1000), energy_mj=energy_mj, energy_ns=time.monotonic_ns())

    def draw_on(self, watts: float) -> None:
        """Draw this power from now on; the energy counter goes on from where it stands."""
        with self._change() as row:
            now_ns = time.monotonic_ns()
            row.energy_mj += row.power_mw * (now_ns - row.energy_ns) // 10**9
            row.power_mw, row.energy_ns = round(watts * 1000), now_ns

    def add_instance(
        self, profile: str, *, slot: int | None = None, gi: int | None = None, ci: int = 0, name: str | None = None,
        start: int | None = None,
    ) -> FakeInstance:  # fmt: skip
        """start: the first of the card's memory slices that it lies on; by its slot, if not said."""
        shape = SHAPES[profile]
        with self._change() as row:
            if slot is None:
                slot = next(slot for slot in range(layout.SLOTS) if not row.slots[slot].present)
            gi = 7 + slot if gi is None else gi
            target = row.slots[slot]
            target.uuid = f"MIG-{derived_uuid(self.index, gi, ci)}".encode()
            target.name = (name or f"{row.name.decode()} MIG {profile}").encode()
            target.gpu_instance, target.compute_instance = gi, ci
            target.compute_instance_slices, target.gpu_instance_slices = shape.compute, shape.gpu
            target.memory_mib, target.multiprocessors = shape.mib, shape.multiprocessors
            target.placement_start = slot if start is None else start
            target.present = 1
        self.instances.append(FakeInstance(self, slot, gi, ci))
        return self.instances[-1]

    def remake_mig(self, profiles: Sequence[str]) -> None:
        """Destroy all instances and make these: handles of before are stale."""
        self.instances.clear()
        with self._change() as row:
            row.mig_generation += 1
            row.mig_current = row.mig_pending = 1
            for slot in row.slots:
                slot.present = 0
        for profile in profiles:
            self.add_instance(profile)

    def add_process(
        self, pid: int, *, memory_mib: int | None = 0, sm_percent: int | None = None, sample_us: int = 0,
        listed: bool = True, gi: int = layout.NO_ID, ci: int = layout.NO_ID, peak_mib: int = 0,
        started_us: int = 1,
    ) -> None:  # fmt: skip
        """A process. memory_mib None: the driver cannot say; sm_percent None: idle; sample_us 0: sampled now.

        peak_mib  as accounting mode has it, where it is on; 0: accounting does not know the process
        """
        with self._change() as row:
            process = row.processes[row.process_count]
            process.pid, process.gpu_instance, process.compute_instance = pid, gi, ci
            process.memory_bytes = 0xFFFFFFFFFFFFFFFF if memory_mib is None else memory_mib * MIB
            process.listed = listed
            process.sampled = sm_percent is not None
            process.sm_percent = sm_percent or 0
            process.sample_us = sample_us
            process.peak_bytes, process.started_us = peak_mib * MIB, started_us
            row.process_count += 1

    def remove_process(self, pid: int) -> None:
        """It has ended: whatever it had on this card, the others' entries stay."""
        with self._change() as row:
            kept = [bytes(each) for each in row.processes[: row.process_count] if each.pid != pid]
            for number, entry in enumerate(kept):
                row.processes[number] = layout.Process.from_buffer_copy(entry)
            row.process_count = len(kept)

    def clear_processes(self) -> None:
        self.set(process_count=0)


class FakeInstance:
    """One MIG device of a FakeGpu."""

    def __init__(self, gpu: FakeGpu, slot: int, gi: int, ci: int) -> None:
        self._gpu, self.slot, self.gi, self.ci = gpu, slot, gi, ci
        self.uuid = f"MIG-{derived_uuid(gpu.index, gi, ci)}"

    def set(self, **fields: int | bytes) -> None:
        """Set any plain field of the slot (fake_nvml.h)."""
        with self._gpu._change() as row:
            for name, value in fields.items():
                setattr(row.slots[self.slot], name, value)

    def destroy(self) -> None:
        self.set(present=0)

    def work(self, percent: int) -> None:
        """Time passes in which the SMs of its GPU instance are so busy, as GPM counts it."""
        self.count(100, percent)

    def count(self, ticks: int, busy_ticks: int) -> None:
        """So much more for GPM to tell."""
        with self._gpu._change() as row:
            row.slots[self.slot].gpm_ticks += ticks
            row.slots[self.slot].gpm_busy_ticks += busy_ticks

    def add_process(self, pid: int, *, memory_mib: int | None = 0) -> None:
        self._gpu.add_process(pid, memory_mib=memory_mib, gi=self.gi, ci=self.ci)


def derived_uuid(*key: int) -> str:
    """The same for the same key: UUIDs of MIG are used again."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, key))))
