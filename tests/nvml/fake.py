"""Build the fake driver, and say what it has: cards, MIG instances, processes, and what goes wrong.

    with FakeNvml(tmp_path / "state") as fake:
        card = fake.add_gpu(mig=["3g.40gb", "1g.10gb"])
        card.instances[1].add_process(pid=4711, memory_mib=500)
        os.environ["FAKE_NVML_STATE"] = str(fake.path)  # before NVML is opened

Changes are seen by the next call of the library, in this process or another.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import mmap
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.nvml import state as layout

SOURCES = [Path(__file__).with_name(f"fake_nvml{part}.c") for part in ("", "_core", "_health", "_plugin", "_usage")]
SONAME = "libnvidia-ml.so.1"
COMPILE_TIMEOUT_S = 60
MIB = 1024 * 1024
H100 = "NVIDIA H100 80GB HBM3"

# NVML's return codes that tests force.
SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, NOT_FOUND, INSUFFICIENT_SIZE = 0, 2, 3, 4, 6, 7
XID_CRITICAL_ERROR = 8  # NVML's type of event
UNINITIALIZED, DRIVER_NOT_LOADED, RESET_REQUIRED, LIB_RM_VERSION_MISMATCH, UNKNOWN = 1, 9, 16, 18, 999

_built: dict[tuple[int, tuple[str, ...]], Path] = {}


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


def build(directory: Path, *, record_bytes: int = 24, without: Sequence[str] = ()) -> Path:
    """Compile the library once a session and a set of options, and return its path.

    record_bytes  length of a process record
    without       functions it does not export, as an older driver
    """
    key = (record_bytes, tuple(sorted(without)))
    if key not in _built:
        _built[key] = _compile(directory / f"nvml-{len(_built)}", record_bytes, key[1])
    return _built[key]


def _compile(directory: Path, record_bytes: int, without: Sequence[str]) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing: install the packages gcc and libc6-dev")
    directory.mkdir()
    library = directory / SONAME
    hidden = "".join(f" {name};" for name in without)
    exports = directory / "exports.map"
    exports.write_text(f"{{ global: nvml*; fake_nvml_*; local:{hidden} *; }};\n")
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations"]
    command += ["-shared", "-fPIC", "-pthread", f"-Wl,-soname,{SONAME}", f"-Wl,--version-script={exports}"]
    command += [f"-I{_header().parent}", f"-DPROCESS_RECORD_BYTES={record_bytes}", "-o", str(library)]
    command += map(str, SOURCES)
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return library


def _header() -> Path:
    """The wheel's nvml.h: NVIDIA's own, and not ours to copy."""
    try:
        files = importlib.metadata.files("nvidia-nvml-dev") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nvml.h is missing: install the development extra (nvidia-nvml-dev)")
    return next(Path(str(file.locate())) for file in files if file.name == "nvml.h")


def load(directory: Path) -> None:
    """Make this process's libnvidia-ml.so.1 the fake: whoever asks for that soname later gets it."""
    layout.check_sizes(ctypes.CDLL(str(build(directory))))


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
            row.uuid = (uuid or f"GPU-{_uuid(index)}").encode()
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
        """No function is forced any more."""
        with self.change() as state:
            for rule in state.rules:
                rule.times = 0

    def set(self, **fields: int) -> None:
        """Set init_code, unprivileged, delay_us (of every call) or gpu_count."""
        with self.change() as state:
            for name, value in fields.items():
                setattr(state, name, value)


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
            target.uuid = f"MIG-{_uuid(self.index, gi, ci)}".encode()
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

    def clear_processes(self) -> None:
        self.set(process_count=0)


class FakeInstance:
    """One MIG device of a FakeGpu."""

    def __init__(self, gpu: FakeGpu, slot: int, gi: int, ci: int) -> None:
        self._gpu, self.slot, self.gi, self.ci = gpu, slot, gi, ci
        self.uuid = f"MIG-{_uuid(gpu.index, gi, ci)}"

    def set(self, **fields: int | bytes) -> None:
        """Set any plain field of the slot (fake_nvml.h)."""
        with self._gpu._change() as row:
            for name, value in fields.items():
                setattr(row.slots[self.slot], name, value)

    def destroy(self) -> None:
        self.set(present=0)

    def work(self, percent: int) -> None:
        """Time passes in which the SMs of its GPU instance are so busy, as GPM counts it."""
        with self._gpu._change() as row:
            row.slots[self.slot].gpm_ticks += 100
            row.slots[self.slot].gpm_busy_ticks += percent

    def add_process(self, pid: int, *, memory_mib: int | None = 0) -> None:
        self._gpu.add_process(pid, memory_mib=memory_mib, gi=self.gi, ci=self.ci)


def _uuid(*key: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "/".join(map(str, key))))
