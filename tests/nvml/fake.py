"""Build the fake driver, and say what it has: cards, MIG instances, processes, and what goes wrong.

    with FakeNvml(tmp_path / "state") as fake:
        card = fake.add_gpu(mig=["3g.40gb", "1g.10gb"])
        card.instances[1].add_process(pid=4711, memory_mib=500)
        os.environ["FAKE_NVML_STATE"] = str(fake.path)  # before NVML is opened

Changes are seen by the next call of the library, in this process or another.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.nvml import state as layout
from tests.nvml.fake_gpu import MIB, SHAPES, FakeGpu, derived_uuid
from tests.nvml.fake_library import SONAME, build, load

__all__ = ["H100", "MIB", "SHAPES", "SONAME", "FakeGpu", "FakeNvml", "build", "load"]

H100 = "NVIDIA H100 80GB HBM3"

# NVML's return codes that tests force.
SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, INSUFFICIENT_SIZE = 0, 2, 3, 4, 6, 7
UNINITIALIZED, DRIVER_NOT_LOADED, RESET_REQUIRED, LIB_RM_VERSION_MISMATCH, UNKNOWN = 1, 9, 16, 18, 999


class FakeNvml:
    """A node's driver. Everything here may be changed while the library is in use."""

    def __init__(self, path: Path, *, driver_version: str = "580.95.05") -> None:
        self.path = path
        self.gpus: list[FakeGpu] = []
        size = ctypes.sizeof(layout.State)
        with path.open("w+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._state = layout.State.from_buffer(self._map)
        self._state.magic = layout.MAGIC
        self._state.bytes = size
        self._state.driver_version = driver_version.encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self._state  # the mapping goes with the last reference to it
        self.path.unlink()

    @contextmanager
    def change(self) -> Iterator[layout.State]:
        """Write whole: the library waits while the sequence is odd."""
        self._state.sequence += 1
        try:
            yield self._state
        finally:
            self._state.sequence += 1

    @property
    def gpm_samples(self) -> int:
        """Sample buffers of GPM that nobody has given back."""
        return int(self._state.gpm_samples)

    @property
    def calls(self) -> int:
        """How many calls the library has answered so far."""
        return int(self._state.calls)

    @property
    def clients(self) -> int:
        """How often the library is open now: while it is, no driver work is possible."""
        return int(self._state.clients)

    def add_gpu(
        self,
        *,
        model: str = H100,
        uuid: str | None = None,
        memory_mib: int = 81_559,
        mig: Sequence[str] | None = None,
        mig_capable: bool = True,
        minor: int | None = None,
    ) -> FakeGpu:
        """A card. mig: its instances' profiles; None: not in MIG mode. minor: as its index, if not said."""
        index = self._state.gpu_count
        with self.change() as state:
            row = state.gpus[index]
            row.uuid = (uuid or f"GPU-{derived_uuid(index)}").encode()
            row.name = model.encode()
            row.total_bytes = memory_mib * MIB
            row.reserved_bytes = 600 * MIB
            row.mig_capable = mig_capable
            row.mig_current = row.mig_pending = mig is not None
            row.mig_slots = 7
            row.minor = index if minor is None else minor
            row.temperature_celsius = 35
            row.health.has_ecc = row.health.persistence = 1
            row.health.power_limit_mw, row.health.sm_mhz, row.health.memory_mhz = 700_000, 1_980, 2_619
            state.gpu_count += 1
        gpu = FakeGpu(self, index)
        self.gpus.append(gpu)
        for profile in mig or ():
            gpu.add_instance(profile)
        return gpu

    def force(
        self, function: str, code: int | None = None, *, gpu: int | None = None, times: int | None = None,
        delay_ms: int = 0, remake_mig: bool = False, skip: int = 0,
    ) -> None:  # fmt: skip
        """Have a function answer `code`, wait, or find the card's MIG instances just remade; `times` or for ever.

        skip  how many calls it answers as ever before that
        """
        with self.change() as state:
            rule = next(rule for rule in state.rules if not rule.times)
            rule.function = function.encode()
            rule.gpu = layout.ANY if gpu is None else gpu
            rule.code = -1 if code is None else code
            rule.delay_us = delay_ms * 1000
            rule.remake_mig = remake_mig
            rule.skip = skip
            rule.times = layout.ANY if times is None else times

    def relent(self) -> None:
        """No function is forced or slow any more, and what waits goes on."""
        with self.change() as state:
            state.delay_us = 0
            for rule in state.rules:
                rule.times = 0
            state.relented += 1

    def set(self, **fields: int) -> None:
        """Set init_code, unprivileged, delay_us (of every call) or gpu_count."""
        with self.change() as state:
            for name, value in fields.items():
                setattr(state, name, value)
