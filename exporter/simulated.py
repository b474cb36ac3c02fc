"""A node without a card: what NVML, the kubelet and /proc would say on it, for demos, tests and GPU-less clusters.

All of it is a function of the scenario and the clock: two nodes of one scenario agree at every instant, and one
that was cut off goes on as if it had not been. What is kept between calls is only what would be worked out again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.reading import (
    Allocation,
    CgroupOwner,
    GpuReading,
    KubeletReading,
    LostGpu,
    MigReading,
    NodeReading,
    ProcessReading,
)
from exporter.scenario import Pod, Scenario, Schedule
from exporter.scenario_events import kubelet_is_down, lost_cards, raised_xids
from exporter.simulated_cards import Card, Device, Profile, derived, derived_uuid
from exporter.simulated_health import card_health

MIB = 1024 * 1024
BASE_MEMORY_MIB = 512  # what the driver keeps of a card that nobody uses
PID_FIRST, PIDS = 1_000, 4_000_000  # below Linux' largest pid, above those of a node's own daemons
SWING = 0.15  # how far activity strays from its mean
SWING_PERIOD_MS = 20 * 60_000
_RADIANS_PER_MS = 2 * math.pi / SWING_PERIOD_MS
ALWAYS = Schedule(every_ms=1 << 60, start_ms=0, length_ms=1 << 60)  # one run, since the epoch


class SimulatedOutage(ConnectionError):
    """The scenario has the kubelet down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a pod, in [start_ms, end_ms).

    busy_before_ms  SM milliseconds of all runs before it, since the epoch
    """

    number: int
    start_ms: int
    end_ms: int
    name: str
    uid: str
    container_id: str
    pid: int
    busy_before_ms: float


class _PodLife:
    """A pod through time: its current or next run, and how busy it is and has been."""

    def __init__(self, pod: Pod, *, seed: str, position: int, pods: int) -> None:
        self.pod = pod
        self._schedule = pod.schedule or ALWAYS
        self._key = (seed, pod.namespace, pod.name)
        self._position, self._pods = position, pods
        self._phase = derived(*self._key, "phase")[0] / 256 * 2 * math.pi
        self._swing = min(SWING * pod.busy_ratio, 1 - pod.busy_ratio)
        self._run: Run | None = None  # the last one worked out

    @property
    def peak_ratio(self) -> float:
        return self.pod.busy_ratio + self._swing

    def run_at(self, now_ms: int) -> Run | None:
        run = self._period_at(now_ms)
        return run if run.start_ms <= now_ms < run.end_ms else None

    def busy_ratio(self, run: Run, now_ms: int) -> float:
        angle = _RADIANS_PER_MS * (now_ms - run.start_ms) + self._phase
        return self.pod.busy_ratio + self._swing * math.sin(angle)

    def busy_ms(self, now_ms: int) -> float:
        """SM milliseconds since the epoch: the integral of `busy_ratio` over all runs, exact and never falling."""
        run = self._period_at(now_ms)
        return run.busy_before_ms + self._busy_in_run_ms(min(max(now_ms, run.start_ms), run.end_ms) - run.start_ms)

    def _busy_in_run_ms(self, elapsed_ms: int) -> float:
        # The swing begins anew with each run: all whole runs of a pod are equally busy, and need only counting.
        waves = math.cos(self._phase) - math.cos(_RADIANS_PER_MS * elapsed_ms + self._phase)
        return self.pod.busy_ratio * elapsed_ms + self._swing * waves / _RADIANS_PER_MS

    def _period_at(self, now_ms: int) -> Run:
        """The run of the period that began last. A skipped one is empty: it ends where it starts."""
        number = (now_ms - self._schedule.start_ms) // self._schedule.every_ms
        if self._run is None or self._run.number != number:
            self._run = self._work_out(number)
        return self._run

    def _work_out(self, number: int) -> Run:
        schedule, key = self._schedule, (*self._key, number)
        jitter_ms = int.from_bytes(derived(*key, "jitter")) % (schedule.jitter_ms + 1)
        start_ms = number * schedule.every_ms + schedule.start_ms + jitter_ms
        takes_place, runs_before = self._chance(number)
        return Run(
            number=number,
            start_ms=start_ms,
            end_ms=start_ms + schedule.length_ms if takes_place else start_ms,
            name=self.pod.name.replace("{run}", str(number)),
            uid=derived_uuid(*key, "pod"),
            container_id=derived(*key, "container", size=32).hex(),
            # Pods take turns at the pids, so no two can have one pid at a time.
            pid=PID_FIRST + number % (PIDS // self._pods) * self._pods + self._position,
            busy_before_ms=runs_before * self._busy_in_run_ms(schedule.length_ms),
        )

    def _chance(self, number: int) -> tuple[bool, int]:
        """Whether the run takes place, and how many before it did since the epoch.

        Of every hundred runs an exact number takes place, so the past is counted without looking at each of them.
        """
        percent = self._schedule.chance_percent
        if percent == 100:
            return True, number
        hundred, within = divmod(number, 100)
        order = sorted(range(100), key=lambda each: derived(*self._key, hundred, each, "chance"))
        chosen = sorted(order[:percent])
        return within in chosen, hundred * percent + sum(each < within for each in chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seat:
    """A pod on a device it has slots of.

    scale  less than 1 where the device's pods, all at their busiest, would be busier than it can be
    """

    life: _PodLife
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """What one device does at an instant. busy_ratio and busy_ms count in whole cards."""

    processes: tuple[ProcessReading, ...]
    memory_bytes: int
    busy_ratio: float
    busy_ms: float


class SimulatedNode:
    """Answers as exporter/nvml, kubelet.py and cgroups.py do."""

    def __init__(self, scenario: Scenario, *, clock: Clock) -> None:
        self._scenario = scenario
        self._clock = clock
        self._read_ms: int | None = None
        self._lives = [
            _PodLife(pod, seed=scenario.seed, position=position, pods=len(scenario.pods))
            for position, pod in enumerate(scenario.pods)
        ]
        self._seats = {device.uuid: _seats(device, self._lives) for card in scenario.cards for device in card.devices}
        self._offered = tuple(
            (device.resource, slot) for card in scenario.cards for device in card.devices for slot in device.slots
        )

    def read(self) -> NodeReading:
        """All cards now; those that an event has lost apart, and each XID once."""
        now_ms = self._clock.now_ms()
        before_ms, self._read_ms = self._read_ms, now_ms
        uuids = {card.index: card.uuid for card in self._scenario.cards}
        lost = lost_cards(self._scenario.events, now_ms)
        return NodeReading(
            driver_version="simulated",
            gpus=tuple(self._read_card(card, now_ms) for card in self._scenario.cards if card.index not in lost),
            lost=tuple(
                LostGpu(index=card.index, uuid=card.uuid, error="GPU is lost (simulated)")
                for card in self._scenario.cards
                if card.index in lost
            ),
            xids=raised_xids(self._scenario.events, uuids, before_ms, now_ms),
            xids_watched=frozenset(uuids.values()),
        )

    def list_pods(self) -> KubeletReading:
        """What the kubelet offers and who holds what now. Raises SimulatedOutage while it is down."""
        now_ms = self._clock.now_ms()
        if kubelet_is_down(self._scenario.events, now_ms):
            raise SimulatedOutage("the kubelet is down (simulated)")
        return KubeletReading(
            allocations=tuple(
                Allocation(
                    namespace=life.pod.namespace,
                    pod=run.name,
                    container=life.pod.container,
                    resource=life.pod.resource,
                    device_id=slot.id,
                )
                for life in self._lives
                if (run := life.run_at(now_ms))
                for slot in life.pod.slots
            ),
            offered=self._offered,
        )

    def owner_of(self, pid: int) -> CgroupOwner | None:
        """The pod of a process that runs now. None: there is no such process."""
        if pid < PID_FIRST or not self._lives:
            return None
        life = self._lives[(pid - PID_FIRST) % len(self._lives)]
        run = life.run_at(self._clock.now_ms())
        if run is None or run.pid != pid:
            return None
        return CgroupOwner(pod_uid=run.uid, container_id=run.container_id, runtime="containerd")

    def prune(self, live_pids: Iterable[int]) -> None:
        """Nothing is kept for a pid."""

    def close(self) -> None:
        """Nothing is open."""

    def _read_card(self, card: Card, now_ms: int) -> GpuReading:
        uses = [self._use(device, now_ms) for device in card.devices]
        busy_ratio = min(1.0, sum(use.busy_ratio for use in uses))
        memory_bytes = BASE_MEMORY_MIB * MIB + sum(use.memory_bytes for use in uses)
        watts = card.kind.peak_watts - card.kind.idle_watts
        # Watts times milliseconds are millijoules. The simulated driver was loaded at the epoch.
        energy_mj = card.kind.idle_watts * now_ms + watts * sum(use.busy_ms for use in uses)
        return GpuReading(
            uuid=card.uuid,
            index=card.index,
            model=card.model,
            memory_total_bytes=card.memory_mib * MIB,
            mig_enabled=card.mig_enabled,
            mig_slices_max=card.kind.mig_slices_max,
            instances=tuple(
                _read_instance(device, device.profile, use, gpm=card.kind.gpm)
                for device, use in zip(card.devices, uses, strict=True)
                if device.profile
            ),
            processes=tuple(process for use in uses for process in use.processes),
            memory_used_bytes=min(memory_bytes, card.memory_mib * MIB),
            utilization_ratio=None if card.mig_enabled else busy_ratio,
            power_watts=card.kind.idle_watts + watts * busy_ratio,
            energy_mj=int(energy_mj),
            temperature_celsius=round(30 + 45 * busy_ratio),
            health=card_health(card, busy_ratio),
        )

    def _use(self, device: Device, now_ms: int) -> _Use:
        processes = []
        memory_bytes, busy_ratio, busy_ms = 0, 0.0, 0.0
        for seat in self._seats[device.uuid]:
            busy_ms += seat.scale * seat.life.busy_ms(now_ms)
            if run := seat.life.run_at(now_ms):
                pod_busy_ratio = seat.scale * seat.life.busy_ratio(run, now_ms)
                processes.append(
                    ProcessReading(
                        pid=run.pid,
                        device=device.uuid,
                        memory_used_bytes=seat.life.pod.memory_mib * MIB,
                        sm_ratio=None if device.profile else pod_busy_ratio,
                    )
                )
                busy_ratio += pod_busy_ratio
                memory_bytes += seat.life.pod.memory_mib * MIB
        return _Use(
            processes=tuple(processes),
            memory_bytes=memory_bytes,
            busy_ratio=busy_ratio * device.compute_ratio,
            busy_ms=busy_ms * device.compute_ratio,
        )


def _seats(device: Device, lives: list[_PodLife]) -> tuple[_Seat, ...]:
    here = [life for life in lives if any(slot.device.uuid == device.uuid for slot in life.pod.slots)]
    scale = 1 / max(1.0, sum(life.peak_ratio for life in here))
    return tuple(_Seat(life=life, scale=scale) for life in here)


def _read_instance(device: Device, profile: Profile, use: _Use, *, gpm: bool) -> MigReading:
    has_figure = gpm and profile.compute_slices == profile.gpu_instance_slices
    return MigReading(
        uuid=device.uuid,
        profile=profile.name,
        gpu_instance_id=device.gpu_instance_id,
        compute_instance_id=device.compute_instance_id,
        compute_slices=profile.compute_slices,
        gpu_instance_slices=profile.gpu_instance_slices,
        memory_mib=device.memory_mib,
        memory_used_bytes=use.memory_bytes,
        sm_ratio=min(1.0, use.busy_ratio / device.compute_ratio) if has_figure else None,
    )
