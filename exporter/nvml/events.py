"""XIDs: the errors the driver calls out, counted once each, also those between two readings.

The driver keeps them from when a card is registered with an event set. Each card has a set of its own, for a lost
card fails the wait for all that are in its set. A set is emptied on every reading and never waited for. What fails
here costs the card its XIDs, never its reading.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pynvml

from exporter.health import XidReading
from exporter.nvml.calls import CANNOT_SAY, NvmlError, call
from exporter.reading import GpuReading

EVENTS_MAX = 1_000  # of one card a reading: a storm must not hold up the beat; what is left waits for the next
NO_ID = 0xFFFFFFFF  # of the whole card, or of the whole GPU instance

_Raised = tuple[str, int, int, int]  # the card's UUID, ids of the GPU and compute instance, XID
_Places = dict[tuple[int, int], str]  # ids of the GPU and compute instance: UUID of the MIG device


class Xids:
    """The XIDs of all cards of one open driver; those not taken yet outlive it.

    watched  UUIDs of the cards whose XIDs are being told
    """

    def __init__(self) -> None:
        self._sets: dict[str, Any] = {}  # by UUID of the card
        self._stale: set[str] = set()  # cards that did not answer: a reset may have ended their registration
        self._refused: dict[str, str | None] = {}  # for as long as the driver is open; the call, if denied
        self._raised: Counter[_Raised] = Counter()  # with the lock: a call may come back late, see taken_over
        self._lock = threading.Lock()
        self._places: dict[str, _Places] = {}
        self._waiting_for: str | None = None
        self._retired = False

    @property
    def watched(self) -> frozenset[str]:
        return frozenset(self._sets)

    def watch(self, denied: set[str], uuid: str, card: Any) -> None:
        """Have the driver tell a card's XIDs from now on, if it does not yet. card: its handle, just obtained."""
        if uuid in self._stale:
            self._drop(uuid)
            self._stale.discard(uuid)
        if uuid not in self._sets and uuid not in self._refused and not self._retired:
            self._register(uuid, card)
        if (name := self._refused.get(uuid)) is not None:
            denied.add(name)

    def mistrust(self, uuid: str) -> None:
        """The card did not answer: once it does, it is registered anew."""
        self._stale.add(uuid)

    def drain(self) -> None:
        """Fetch what the driver has kept."""
        for uuid in tuple(self._sets):
            self._drain(uuid)

    def take(self, gpus: Iterable[GpuReading]) -> tuple[XidReading, ...]:
        """What was fetched, and is now forgotten. gpus: those that answer, which tell whose an instance's id is."""
        now = {
            gpu.uuid: {(each.gpu_instance_id, each.compute_instance_id): each.uuid for each in gpu.instances}
            for gpu in gpus
        }
        with self._lock:
            if self._retired:
                return ()
            raised = self._raised.copy()
            self._raised.clear()
        counts: Counter[tuple[str, str, int]] = Counter()
        for (gpu, gi, ci, xid), count in raised.items():
            counts[gpu, _device(gpu, gi, ci, self._places.get(gpu, {}), now.get(gpu)), xid] += count
        self._places |= now
        return tuple(
            XidReading(gpu=gpu, device=device, xid=xid, count=count)
            for (gpu, device, xid), count in sorted(counts.items())
        )

    def close(self) -> None:
        """Before the driver is let go: its sets die with it."""
        for uuid in tuple(self._sets):
            self._drop(uuid)
        self._refused.clear()
        self._stale.clear()

    def taken_over(self) -> Xids:
        """Another, for a thread that takes the place of one that hangs in the driver: it goes on with all sets but
        the one that thread may be waiting for. This one adds what that wait may yet bring, and tells nothing."""
        self._retired = True
        heir = Xids()
        heir._raised, heir._lock = self._raised, self._lock
        heir._places, heir._stale = self._places, set(self._stale)
        heir._refused = dict(self._refused)
        heir._sets = {uuid: events for uuid, events in self._sets.items() if uuid != self._waiting_for}
        self._sets = {uuid: events for uuid, events in self._sets.items() if uuid == self._waiting_for}
        return heir

    def _register(self, uuid: str, card: Any) -> None:
        events = None
        try:
            events = call(pynvml.nvmlEventSetCreate)
            call(pynvml.nvmlDeviceRegisterEvents, card, pynvml.nvmlEventTypeXidCriticalError, events)
        except NvmlError as error:
            if error.code == pynvml.NVML_ERROR_NO_PERMISSION:
                self._refused[uuid] = error.call
            elif error.code in CANNOT_SAY:
                self._refused[uuid] = None
            if events is not None:
                _free(events)
            return
        self._sets[uuid] = events

    def _drain(self, uuid: str) -> None:
        events = self._sets[uuid]
        for _ in range(EVENTS_MAX):
            self._waiting_for = uuid
            try:
                event = call(pynvml.nvmlEventSetWait_v2, events, 0)
            except NvmlError as error:
                if error.code != pynvml.NVML_ERROR_TIMEOUT:
                    self._stale.add(uuid)
                return
            finally:
                self._waiting_for = None
            with self._lock:
                self._raised[uuid, event.gpuInstanceId, event.computeInstanceId, event.eventData] += 1
            if self._retired:
                return  # what comes after this one is told by the heir

    def _drop(self, uuid: str) -> None:
        if uuid in self._sets:
            self._drain(uuid)
            _free(self._sets.pop(uuid))


def _free(events: Any) -> None:
    with contextlib.suppress(NvmlError):  # a dead driver has freed it
        call(pynvml.nvmlEventSetFree, events)


def _device(gpu: str, gi: int, ci: int, before: _Places, now: _Places | None) -> str:
    """The UUID of the MIG device an XID is of; the card's where it is of the card, or could be of several devices."""
    if gi == NO_ID:
        return gpu
    found = {
        uuid
        for places in (before, now or {})
        for (its_gi, its_ci), uuid in places.items()
        if its_gi == gi and ci in (its_ci, NO_ID)
    }
    return found.pop() if len(found) == 1 else gpu
