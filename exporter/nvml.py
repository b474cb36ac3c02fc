"""The door to NVML: the only module that imports pynvml. Asks the driver; what it answers is exporter/reading.py.

Two answers mean "cannot say" and give None; "no permission" gives None and the call's name in `denied`; every
other refusal costs the reading of one card, never that of its neighbours. Nothing is guessed and nothing is 0 for
want of an answer. For one thread at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pynvml

from exporter.clock import Clock, SystemClock
from exporter.mig import profile_name, profile_of
from exporter.nvml_processes import (
    CLOCK_SLACK_US,
    RECORD_ROOM_BYTES,
    SENTINEL,
    ProcessRecord,
    SmSample,
    UnknownRecord,
    decode_records,
    sm_ratios,
)
from exporter.reading import GpuReading, LostGpu, MigReading, NodeReading, ProcessReading

T = TypeVar("T")
log = logging.getLogger(__name__)

LIBRARY = "libnvidia-ml.so.1"
PROCESS_LIST = "nvmlDeviceGetComputeRunningProcesses_v3"
MIB = 1024 * 1024
RECORDS_FIRST = 32  # enough for most cards, so that their process list costs one call
GROWTHS_MAX = 4  # how often a list may have grown between two calls before we give up
FIRST_WINDOW_US = 1_000_000  # how far back the first reading of a process looks: it has no reading before it
MODEL_UNKNOWN = "unknown"  # has no price, so it shows itself

_GARBLED = -1  # our own number, beside NVML's: an answer that is not utf-8
_CANNOT_SAY = frozenset(
    {
        _GARBLED,
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
    }
)
_CLIENT_DEAD = frozenset(
    {pynvml.NVML_ERROR_UNINITIALIZED, pynvml.NVML_ERROR_DRIVER_NOT_LOADED, pynvml.NVML_ERROR_UNKNOWN}
)
_REMADE = frozenset({pynvml.NVML_ERROR_INVALID_ARGUMENT, pynvml.NVML_ERROR_NOT_FOUND})
_MISSING = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: f"{LIBRARY} not found: give the pod NVIDIA's runtime class, or mount the "
    "driver's library and set LD_LIBRARY_PATH; a node without a card needs --simulate",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA kernel driver is not loaded on this node: load it, or keep the "
    "agent off nodes without a card",
    pynvml.NVML_ERROR_NO_PERMISSION: "no permission to talk to the NVIDIA driver: run the agent privileged",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: f"{LIBRARY} is too old: driver 450 or newer is needed",
}


class NvmlError(Exception):
    """NVML refused. call: what we asked; code: NVML's number for why."""

    def __init__(self, call: str, code: int, text: str) -> None:
        super().__init__(f"{call}: {text} ({code})")
        self.call = call
        self.code = code


class NvmlMissing(NvmlError):
    """There is no NVML to talk to on this node: the text says what is missing and what to do."""


class DriverChanged(Exception):
    """The driver was upgraded under us. Not an NvmlError, for trying again is useless: a process never gets rid of
    the library it has loaded, so it must exit and be started anew."""


@dataclass(slots=True)
class _Card:
    """What is known of a card beyond one reading, by UUID: indexes change, handles die."""

    uuid: str
    model: str
    handle: Any
    memory_total_bytes: int | None = None
    samples_until_us: int | None = None
    # By UUID: the attributes a MIG device had, and its profile and ids. UUIDs are reused, so attributes are compared.
    mig: dict[str, tuple[bytes, str, int, int]] = field(default_factory=dict)


class Nvml:
    """An open NVML. Raises NvmlMissing, NvmlError or DriverChanged where there is none to open.

    close() lets go of the driver (a card cannot be reset or cut anew while someone has it open); the next read()
    opens it again, as it does after NVML itself has died.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._is_open = False
        self._library: Any = None
        self._at: dict[int, _Card] = {}  # by index, as long as all goes well
        self._known: dict[str, _Card] = {}  # by UUID, for as long as we live
        self._uuid_last: dict[int, str] = {}  # by index, what a card that no longer answers was
        self._open()

    def read(self) -> NodeReading:
        """All cards now. Raises NvmlError when none can be asked, DriverChanged when the process must exit."""
        if not self._is_open:
            self._open()
        try:
            count = _call(pynvml.nvmlDeviceGetCount)
            driver_version = _ask(set(), pynvml.nvmlSystemGetDriverVersion)
        except NvmlError:
            self.close()
            raise
        gpus: list[GpuReading] = []
        failed: dict[int, NvmlError] = {}
        for index in range(count):
            try:
                gpus.append(self._read_card(index))
            except NvmlError as error:
                failed[index] = error
        if failed and not gpus and all(error.code in _CLIENT_DEAD for error in failed.values()):
            self.close()
            raise next(iter(failed.values()))
        if failed:
            self._at.clear()  # a card that falls off or comes back may shift the others' indexes
        return NodeReading(
            driver_version=driver_version,
            gpus=tuple(gpus),
            lost=tuple(self._lost(index, error, gpus) for index, error in failed.items()),
        )

    def close(self) -> None:
        """Let go of the driver. Safe to run twice."""
        self._at.clear()  # handles die with it
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(NvmlError):  # whatever it says, we are done with it
                _call(pynvml.nvmlShutdown)

    def _open(self) -> None:
        # It would make the driver list MPS localities instead of cards.
        os.environ.pop("NVML_MPS_DEVICE_ENUMERATION", None)
        if not hasattr(pynvml, "nvmlInitWithFlags"):
            raise NvmlMissing("pynvml", _GARBLED, "not NVIDIA's: uninstall `pynvml`, install `nvidia-ml-py`")
        try:
            _call(pynvml.nvmlInit)
        except NvmlError as error:
            if error.code in _MISSING:
                raise NvmlMissing(error.call, error.code, _MISSING[error.code]) from None
            raise
        self._library = ctypes.CDLL(LIBRARY)  # the one pynvml has loaded
        self._is_open = True

    def _lost(self, index: int, error: NvmlError, gpus: list[GpuReading]) -> LostGpu:
        uuid = self._uuid_last.get(index)
        if uuid in {gpu.uuid for gpu in gpus}:  # that card answers, at another index
            uuid = None
        return LostGpu(index=index, uuid=uuid, error=str(error))

    def _card(self, index: int) -> _Card:
        if index not in self._at:
            handle = _call(pynvml.nvmlDeviceGetHandleByIndex, index)
            uuid = _call(pynvml.nvmlDeviceGetUUID, handle)
            if uuid not in self._known:
                model = _ask(set(), pynvml.nvmlDeviceGetName, handle) or MODEL_UNKNOWN
                self._known[uuid] = _Card(uuid=uuid, model=model, handle=handle)
            self._known[uuid].handle = handle
            self._at[index] = self._known[uuid]
            self._uuid_last[index] = uuid
        return self._at[index]

    def _read_card(self, index: int) -> GpuReading:
        try:
            return self._read_card_once(index)
        except NvmlError as error:
            if error.code not in _REMADE:
                raise
        self._at.pop(index, None)  # its MIG instances were remade while we read them: once more, from the start
        return self._read_card_once(index)

    def _read_card_once(self, index: int) -> GpuReading:
        card = self._card(index)
        handle, denied = card.handle, set[str]()
        mig_mode = _ask(denied, pynvml.nvmlDeviceGetMigMode, handle)
        mig_enabled = mig_mode is not None and mig_mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE
        slots = _ask(denied, pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or None
        memory = _memory(denied, handle)
        if memory is not None:
            card.memory_total_bytes = memory.total
        if card.memory_total_bytes is None:
            # Every share of a card is a share of this: with a guess in its place the bill would be one.
            code = pynvml.NVML_ERROR_NO_PERMISSION if denied else pynvml.NVML_ERROR_NOT_SUPPORTED
            text = "how much memory the card has is not known; in MIG mode that takes CAP_SYS_ADMIN"
            raise NvmlError("nvmlDeviceGetMemoryInfo", code, text)
        instances = self._instances(denied, card, slots or 0) if mig_enabled else []
        power_milliwatts = _ask(denied, pynvml.nvmlDeviceGetPowerUsage, handle)
        utilization = _ask(denied, pynvml.nvmlDeviceGetUtilizationRates, handle)
        return GpuReading(
            uuid=card.uuid,
            index=index,
            model=card.model,
            memory_total_bytes=card.memory_total_bytes,
            mig_enabled=mig_enabled,
            mig_slices_max=slots,
            instances=tuple(reading for _, reading in instances),
            processes=self._mig_processes(denied, card, instances)
            if mig_enabled
            else self._card_processes(denied, card),
            memory_used_bytes=None if memory is None else memory.used,
            utilization_ratio=None if utilization is None else utilization.gpu / 100,
            power_watts=None if power_milliwatts is None else power_milliwatts / 1000,
            energy_mj=_ask(denied, pynvml.nvmlDeviceGetTotalEnergyConsumption, handle),
            temperature_celsius=_temperature(denied, handle),
            denied=frozenset(denied),
        )

    def _instances(self, denied: set[str], card: _Card, slots: int) -> list[tuple[Any, MigReading]]:
        instances = []
        for slot in range(slots):
            try:
                handle = _ask(denied, pynvml.nvmlDeviceGetMigDeviceHandleByIndex, card.handle, slot)
            except NvmlError as error:
                if error.code != pynvml.NVML_ERROR_NOT_FOUND:
                    raise
                continue  # an empty slot: others may follow it
            if handle is not None:
                instances.append((handle, _read_instance(denied, card, handle)))
        return instances

    def _card_processes(self, denied: set[str], card: _Card) -> tuple[ProcessReading, ...]:
        now_us = self._clock.now_ms() * 1000
        records = self._records(denied, card.handle)
        if not records:
            card.samples_until_us = now_us  # nobody's time is lost, and who comes next does not inherit ours
            return ()
        since_us = card.samples_until_us
        if since_us is None or since_us > now_us + CLOCK_SLACK_US:  # nothing before, or the clock was set back
            since_us = now_us - FIRST_WINDOW_US
        ratios: dict[int, float | None] = {}
        samples = _ask(denied, _sm_samples, card.handle, since_us)
        if samples is not None:
            pids = {record.pid for record in records}
            ratios, card.samples_until_us = sm_ratios(samples, pids, since_us=since_us, now_us=now_us)
        return tuple(_process(record, card.uuid, ratios.get(record.pid)) for record in records)

    def _mig_processes(
        self, denied: set[str], card: _Card, instances: list[tuple[Any, MigReading]]
    ) -> tuple[ProcessReading, ...]:
        """Busy ratios are not asked for: the driver has none under MIG."""
        card.samples_until_us = None
        records = self._records(denied, card.handle)
        if records is None or any(record.instance is None for record in records):
            # The card's list takes more privileges than those of its instances.
            return tuple(
                _process(record, instance.uuid)
                for handle, instance in instances
                for record in self._records(denied, handle) or ()
            )
        uuids = {(each.gpu_instance_id, each.compute_instance_id): each.uuid for _, each in instances}
        # A process whose instance is not in `uuids` began in one made since: the next reading has both.
        return tuple(_process(record, uuids[record.instance]) for record in records if record.instance in uuids)

    def _records(self, denied: set[str], device: Any) -> tuple[ProcessRecord, ...] | None:
        try:
            return _ask(denied, _process_records, self._library, device)
        except UnknownRecord as error:
            log.error("process list of an unknown form: processes are not read", extra={"error": str(error)})
            denied.add(PROCESS_LIST)
            return None


def _call(query: Callable[..., T], *args: Any) -> T:
    """The gate: whatever pynvml raises leaves as ours, for its own errors can be neither hashed nor compared."""
    try:
        return query(*args)
    except pynvml.NVMLError as error:
        raise _refusal(query.__name__, error.value) from None
    except pynvml.NVMLLibraryMismatchError:
        raise _refusal(query.__name__, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND) from None
    except UnicodeDecodeError:
        raise NvmlError(query.__name__, _GARBLED, "the answer is not utf-8") from None


def _refusal(call: str, code: int) -> Exception:
    if code == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return DriverChanged("the driver was upgraded under the agent: it must exit and be started anew")
    return NvmlError(call, code, str(pynvml.NVMLError(code)))


def _ask(denied: set[str], query: Callable[..., T], *args: Any) -> T | None:
    """None: this device or driver cannot say, or we may not see it (then `denied` names the call)."""
    try:
        return _call(query, *args)
    except NvmlError as error:
        if error.code == pynvml.NVML_ERROR_NO_PERMISSION:
            denied.add(error.call)
        elif error.code not in _CANNOT_SAY:
            raise
        return None


def _memory(denied: set[str], handle: Any) -> Any:
    """Before driver 510 there is no version 2; version 1 counts what the driver keeps for itself as used."""
    memory = _ask(denied, pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    return memory or _ask(denied, pynvml.nvmlDeviceGetMemoryInfo, handle)


def _temperature(denied: set[str], handle: Any) -> int | None:
    """The old call is on its way out, the new one not yet everywhere."""
    celsius = _ask(denied, pynvml.nvmlDeviceGetTemperatureV, handle, pynvml.NVML_TEMPERATURE_GPU)
    if celsius is None:
        celsius = _ask(denied, pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    return celsius


def _read_instance(denied: set[str], card: _Card, handle: Any) -> MigReading:
    assert card.memory_total_bytes is not None
    uuid = _call(pynvml.nvmlDeviceGetUUID, handle)
    attributes = _call(pynvml.nvmlDeviceGetAttributes_v2, handle)
    shape = {
        "compute_slices": attributes.computeInstanceSliceCount,
        "gpu_instance_slices": attributes.gpuInstanceSliceCount,
        "memory_mib": attributes.memorySizeMB,
    }
    known = card.mig.get(uuid)
    if known is None or known[0] != bytes(attributes):
        name = _ask(denied, pynvml.nvmlDeviceGetName, handle) or ""
        known = (
            bytes(attributes),
            profile_of(name) or profile_name(**shape, total_mib=card.memory_total_bytes // MIB),
            _call(pynvml.nvmlDeviceGetGpuInstanceId, handle),
            _call(pynvml.nvmlDeviceGetComputeInstanceId, handle),
        )
        card.mig[uuid] = known
    memory = _memory(denied, handle)
    return MigReading(
        uuid=uuid,
        profile=known[1],
        gpu_instance_id=known[2],
        compute_instance_id=known[3],
        memory_used_bytes=None if memory is None else memory.used,
        **shape,
    )


def _process(record: ProcessRecord, device: str, sm_ratio: float | None = None) -> ProcessReading:
    return ProcessReading(
        pid=record.pid, device=device, memory_used_bytes=record.memory_used_bytes, sm_ratio=sm_ratio
    )


def _process_records(library: Any, device: Any) -> tuple[ProcessRecord, ...]:
    """Read the list without pynvml: it trusts that records are 24 bytes long, and they were not always."""
    query = getattr(library, PROCESS_LIST, None)
    if query is None:
        raise _refusal(PROCESS_LIST, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    capacity = RECORDS_FIRST
    for _ in range(GROWTHS_MAX):
        size = capacity * RECORD_ROOM_BYTES
        buffer = ctypes.create_string_buffer(bytes([SENTINEL]) * size, size)
        count = ctypes.c_uint(capacity)
        code = query(device, ctypes.byref(count), buffer)
        if code == pynvml.NVML_SUCCESS:
            return decode_records(buffer.raw, count=count.value, capacity=capacity)
        if code != pynvml.NVML_ERROR_INSUFFICIENT_SIZE:
            raise _refusal(PROCESS_LIST, code)
        capacity = 2 * max(capacity, count.value)
    raise _refusal(PROCESS_LIST, pynvml.NVML_ERROR_INSUFFICIENT_SIZE)


def _sm_samples(handle: Any, since_us: int) -> list[SmSample]:
    for _ in range(GROWTHS_MAX):
        try:
            samples = _call(pynvml.nvmlDeviceGetProcessUtilization, handle, since_us)
        except NvmlError as error:
            # Nobody was busy. pynvml raises even where the driver says so by a list of none.
            if error.code in (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_SUCCESS):
                return []
            if error.code != pynvml.NVML_ERROR_INSUFFICIENT_SIZE:
                raise
        else:
            return [SmSample(pid=each.pid, timestamp_us=each.timeStamp, sm_percent=each.smUtil) for each in samples]
    raise _refusal("nvmlDeviceGetProcessUtilization", pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
