"""All cards of a node, read through NVML. For one thread at a time."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pynvml

from exporter.bus import cards_on_bus
from exporter.clock import Clock, SystemClock
from exporter.host_memory import host_memory_bytes
from exporter.nvml.accounting import Accounting
from exporter.nvml.calls import (
    CLIENT_DEAD,
    GARBLED,
    LIBRARY,
    MISSING,
    REMADE,
    NvmlError,
    NvmlMissing,
    ask,
    call,
    figure,
)
from exporter.nvml.events import Xids
from exporter.nvml.gpm import Gpm
from exporter.nvml.health import read_health, read_links
from exporter.nvml.instances import KnownInstances, read_instances
from exporter.nvml.process_tables import CLOCK_SLACK_US, ProcessRecord, sm_ratios
from exporter.nvml.processes import records_of, sm_samples
from exporter.nvml.sensors import memory_of, temperature_of
from exporter.reading import GpuReading, LostGpu, MigReading, NodeReading, ProcessReading

FIRST_WINDOW_US = 1_000_000  # how far back the first reading of a process looks: it has no reading before it
MODEL_UNKNOWN = "unknown"  # has no price, so it shows itself


@dataclass(slots=True)
class _Card:
    """What is known of a card beyond one reading, by UUID: indexes change, handles die."""

    uuid: str
    model: str
    handle: Any
    memory_total_bytes: int | None = None
    samples_until_us: int | None = None
    mig: KnownInstances = field(default_factory=dict)
    gpm: Gpm = field(default_factory=Gpm)
    accounting: Accounting = field(default_factory=Accounting)
    minor: tuple[bool, int | None] | None = None  # with whether the card was in MIG mode: it may change with that


class Nvml:
    """An open NVML. Raises NvmlMissing, NvmlError or DriverChanged where there is none to open.

    close() lets go of the driver (a card cannot be reset or cut anew while someone has it open); the next read()
    opens it again, as it does after NVML itself has died.
    """

    def __init__(self, clock: Clock | None = None, *, links: bool = False, before: Nvml | None = None) -> None:
        self._clock = clock or SystemClock()
        self._links = links
        self._on_bus = cards_on_bus()
        self._xids = Xids()
        self._is_open = False
        self._library: Any = None
        self._at: dict[int, _Card] = {}  # by index, as long as all goes well
        self._known: dict[str, _Card] = {}  # by UUID, for as long as we live
        self._uuid_last: dict[int, str] = {}  # by index, what a card that no longer answers was
        self._inside: int | None = None  # the index of the card that is being read: for as long as a call to it hangs
        self._left_behind: tuple[Nvml, ...] = ()
        self._retired = False
        self._open()
        if before is not None:
            self._xids = before._xids.taken_over()
            self._uuid_last = dict(before._uuid_last)
            self._left_behind = tuple(each for each in (*before._left_behind, before) if each._inside is not None)

    def successor(self) -> Nvml:
        """Another, where a call to this one never returned.

        It goes on telling the XIDs; this one tells none. It passes by the card whose call hangs, until that returns.
        """
        self._retired = True
        return Nvml(self._clock, links=self._links, before=self)

    def read(self) -> NodeReading:
        """All cards now. Raises NvmlError when none can be asked, DriverChanged when the process must exit."""
        if not self._is_open:
            self._open()
        self._xids.drain()
        try:
            count = call(pynvml.nvmlDeviceGetCount)
            driver_version = ask(set(), pynvml.nvmlSystemGetDriverVersion)
        except NvmlError:
            self.close()
            raise
        gpus: list[GpuReading] = []
        failed: dict[int, NvmlError] = {}
        for index in range(count):
            if self._retired:
                break  # back after all: another reads now
            try:
                gpus.append(self._read_card(index))
            except NvmlError as error:
                failed[index] = error
                self._xids.mistrust(self._uuid_last.get(index, ""))
        if failed and not gpus and all(error.code in CLIENT_DEAD for error in failed.values()):
            self.close()
            raise next(iter(failed.values()))
        if failed:
            self._at.clear()  # a card that falls off or comes back may shift the others' indexes
        return NodeReading(
            driver_version=driver_version,
            gpus=tuple(gpus),
            lost=tuple(self._lost(index, error, gpus) for index, error in failed.items()),
            xids=self._xids.take(gpus),
            xids_watched=self._xids.watched,
            on_bus=self._on_bus,
        )

    def close(self) -> None:
        """Let go of the driver. Safe to run twice."""
        self._at.clear()  # handles die with it
        if self._is_open:
            for card in self._known.values():
                card.gpm.close()
            self._is_open = False
            self._xids.close()
            with contextlib.suppress(NvmlError):  # whatever it says, we are done with it
                call(pynvml.nvmlShutdown)

    def _open(self) -> None:
        # It would make the driver list MPS localities instead of cards.
        os.environ.pop("NVML_MPS_DEVICE_ENUMERATION", None)
        if not hasattr(pynvml, "nvmlInitWithFlags"):
            raise NvmlMissing("pynvml", GARBLED, "not NVIDIA's: uninstall `pynvml`, install `nvidia-ml-py`")
        try:
            call(pynvml.nvmlInit)
        except NvmlError as error:
            if error.code in MISSING:
                raise NvmlMissing(error.call, error.code, MISSING[error.code]) from None
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
            handle = call(pynvml.nvmlDeviceGetHandleByIndex, index)
            uuid = call(pynvml.nvmlDeviceGetUUID, handle)
            if uuid not in self._known:
                model = ask(set(), pynvml.nvmlDeviceGetName, handle) or MODEL_UNKNOWN
                self._known[uuid] = _Card(uuid=uuid, model=model, handle=handle)
            self._known[uuid].handle, self._known[uuid].minor = handle, None
            self._at[index] = self._known[uuid]
            self._uuid_last[index] = uuid
        return self._at[index]

    def _read_card(self, index: int) -> GpuReading:
        if any(each._inside == index for each in self._left_behind):
            raise NvmlError("a call before", pynvml.NVML_ERROR_TIMEOUT, "has not returned: the card is left alone")
        self._inside = index
        try:
            return self._read_card_once(index)
        except NvmlError as error:
            if error.code not in REMADE:
                raise
            self._at.pop(index, None)  # its MIG instances were remade while we read them: once more, from the start
            return self._read_card_once(index)
        finally:
            self._inside = None

    def _read_card_once(self, index: int) -> GpuReading:
        card = self._card(index)
        handle, denied = card.handle, set[str]()
        mig_mode = ask(denied, pynvml.nvmlDeviceGetMigMode, handle)
        mig_enabled = mig_mode is not None and mig_mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE
        slots = ask(denied, pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or None
        memory = memory_of(denied, handle)
        if memory is not None:
            card.memory_total_bytes = memory.total
        elif card.memory_total_bytes is None and not denied and not mig_enabled:
            card.memory_total_bytes = host_memory_bytes()  # it has none of its own, as a GB10
        self._xids.watch(denied, card.uuid, handle)  # it answers
        if card.memory_total_bytes is None:
            # Every share of a card is a share of this: with a guess in its place the bill would be one.
            code = pynvml.NVML_ERROR_NO_PERMISSION if denied else pynvml.NVML_ERROR_NOT_SUPPORTED
            text = "how much memory the card has is not known; in MIG mode that takes CAP_SYS_ADMIN"
            raise NvmlError("nvmlDeviceGetMemoryInfo", code, text)
        total_bytes = card.memory_total_bytes
        instances = read_instances(denied, handle, slots or 0, card.mig, total_bytes) if mig_enabled else []
        power_milliwatts = figure(denied, pynvml.nvmlDeviceGetPowerUsage, handle)
        utilization = figure(denied, pynvml.nvmlDeviceGetUtilizationRates, handle)
        return GpuReading(
            uuid=card.uuid,
            index=index,
            model=card.model,
            memory_total_bytes=total_bytes,
            minor=_minor(denied, card, mig_enabled),
            mig_enabled=mig_enabled,
            mig_slices_max=slots,
            instances=self._with_sm_ratios(denied, card, [reading for _, reading in instances]),
            processes=self._mig_processes(denied, card, instances)
            if mig_enabled
            else self._card_processes(denied, card),
            memory_used_bytes=None if memory is None else memory.used,
            utilization_ratio=None if utilization is None else utilization.gpu / 100,
            power_watts=None if power_milliwatts is None else power_milliwatts / 1000,
            energy_mj=figure(denied, pynvml.nvmlDeviceGetTotalEnergyConsumption, handle),
            temperature_celsius=temperature_of(denied, handle),
            health=read_health(denied, handle),
            links=read_links(denied, handle) if self._links else None,
            denied=frozenset(denied),
        )

    def _with_sm_ratios(self, denied: set[str], card: _Card, instances: list[MigReading]) -> tuple[MigReading, ...]:
        if not instances:
            card.gpm.close()
            return ()
        ratios = card.gpm.sm_ratios(denied, card.handle, instances, now_s=self._clock.monotonic_s())
        return tuple(replace(each, sm_ratio=ratios.get(each.uuid)) for each in instances)

    def _card_processes(self, denied: set[str], card: _Card) -> tuple[ProcessReading, ...]:
        now_us = self._clock.now_ms() * 1000
        records = records_of(denied, self._library, card.handle)
        peaks = card.accounting.peaks(denied, card.handle, [record.pid for record in records or ()])
        if not records:
            card.samples_until_us = now_us  # nobody's time is lost, and who comes next does not inherit ours
            return ()
        since_us = card.samples_until_us
        if since_us is None or since_us > now_us + CLOCK_SLACK_US:  # nothing before, or the clock was set back
            since_us = now_us - FIRST_WINDOW_US
        ratios: dict[int, float | None] = {}
        samples = ask(denied, sm_samples, card.handle, since_us)
        if samples is not None:
            pids = {record.pid for record in records}
            ratios, card.samples_until_us = sm_ratios(samples, pids, since_us=since_us, now_us=now_us)
        return tuple(
            replace(_process(record, card.uuid, ratios.get(record.pid)), memory_peak_bytes=peaks.get(record.pid))
            for record in records
        )

    def _mig_processes(
        self, denied: set[str], card: _Card, instances: list[tuple[Any, MigReading]]
    ) -> tuple[ProcessReading, ...]:
        """Busy ratios are not asked for: the driver has none under MIG."""
        card.samples_until_us = None
        records = records_of(denied, self._library, card.handle)
        if records is None or any(record.instance is None for record in records):
            # The card's list takes more privileges than those of its instances.
            return tuple(
                _process(record, instance.uuid)
                for handle, instance in instances
                for record in records_of(denied, self._library, handle) or ()
            )
        uuids = {(each.gpu_instance_id, each.compute_instance_id): each.uuid for _, each in instances}
        # A process whose instance is not in `uuids` began in one made since: the next reading has both.
        return tuple(_process(record, uuids[record.instance]) for record in records if record.instance in uuids)


def _minor(denied: set[str], card: _Card, mig_enabled: bool) -> int | None:
    if card.minor is None or card.minor[0] != mig_enabled:
        card.minor = (mig_enabled, ask(denied, pynvml.nvmlDeviceGetMinorNumber, card.handle))
    return card.minor[1]


def successors(first: Nvml) -> Callable[[], Nvml]:
    """Makes one after another, each to take the place of the one before it."""
    last = first

    def successor() -> Nvml:
        nonlocal last
        last = last.successor()
        return last

    return successor


def _process(record: ProcessRecord, device: str, sm_ratio: float | None = None) -> ProcessReading:
    return ProcessReading(
        pid=record.pid, device=device, memory_used_bytes=record.memory_used_bytes, sm_ratio=sm_ratio
    )
