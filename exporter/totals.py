"""Totals since the agent began, for the counters of /metrics: seconds observed, idle, held, busy. Never billed.

Of each device, observed healthy seconds are held + idle seconds; a share counts for its part of the device. A
total whose holder has gone is kept long enough to be scraped, and then dropped, or they would pile up for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.energy import UNKNOWN, Energy
from exporter.health import XidReading
from exporter.sight import PPM, Card, Claimant, SeenHolding, Sight

KEEPS_MS = 15 * 60_000  # three scrapes of the slowest Prometheus that still makes sense

Holder = tuple[str, str, str]


@dataclass(slots=True)
class DeviceTotals:
    observed_s: float = 0.0
    idle_s: float = 0.0
    unallocated_use_s: float = 0.0
    last_ms: int = 0


@dataclass(slots=True)
class XidTotal:
    of_card: bool
    count: int = 0
    last_ms: int = 0


@dataclass(slots=True)
class HolderTotals:
    """busy_s and energy_mj are None as long as they were never known."""

    held_s: float = 0.0
    busy_s: float | None = None
    energy_mj: int | None = None
    last_ms: int = 0


class Totals:
    """Counts sights.

    devices         by UUID
    holders         by device UUID and (namespace, pod, container)
    unknown         by the kubelet's id, resource and holder: held seconds of devices that no card here has
    xids            by UUID of the device and XID
    idle_energy_mj  by card UUID, in MIG mode or not: what nobody held; absent as long as it was never known
    """

    def __init__(self) -> None:
        self.devices: dict[str, DeviceTotals] = {}
        self.holders: dict[tuple[str, Holder], HolderTotals] = {}
        self.unknown: dict[tuple[str, str, Holder], HolderTotals] = {}
        self.idle_energy_mj: dict[str, int] = {}
        self.xids: dict[tuple[str, int], XidTotal] = {}

    def add(self, sight: Sight, length_ms: int, energy: Energy = UNKNOWN, *, now_ms: int) -> None:
        """Count a sight that held for so long, and the energy of that time."""
        if not sight.observed:
            return
        seconds = length_ms / 1000
        on_device: dict[str, list[SeenHolding]] = {}
        for holding in sight.holdings:
            on_device.setdefault(holding.device, []).append(holding)
        for card in sight.cards:
            # A card in MIG mode is no device: its instances are.
            devices = card.instances if card.mig else (card,)
            for device in devices:
                self._add_device(card, device.uuid, device.shares, on_device.pop(device.uuid, []), seconds, now_ms)
        for use in {use.device for use in sight.uses}:
            self.devices.setdefault(use, DeviceTotals(last_ms=now_ms)).unallocated_use_s += seconds
        for key in {(each.device, each.holder.resource, names_of(each.holder)) for each in sight.unknown}:
            held = self.unknown.setdefault(key, HolderTotals())
            held.held_s += seconds
            held.last_ms = now_ms
        self._add_energy(sight.holdings, energy)
        self._drop_old(now_ms)

    def add_xids(self, xids: Sequence[XidReading], *, now_ms: int) -> None:
        """Count errors that were raised since the last beat. Those of a card are kept for good."""
        for each in xids:
            total = self.xids.setdefault((each.device, each.xid), XidTotal(of_card=each.device == each.gpu))
            total.count += each.count
            total.last_ms = now_ms

    def _add_energy(self, holdings: Sequence[SeenHolding], energy: Energy) -> None:
        for uuid, idle_mj in energy.idle.items():
            self.idle_energy_mj[uuid] = self.idle_energy_mj.get(uuid, 0) + idle_mj
        for holding, energy_mj in zip(holdings, energy.holdings, strict=False):  # none at all where all is unknown
            if energy_mj is not None and (held := self.holders.get(_key(holding))) is not None:
                held.energy_mj = (held.energy_mj or 0) + energy_mj

    def _add_device(
        self, card: Card, uuid: str, shares: int, holdings: list[SeenHolding], seconds: float, now_ms: int
    ) -> None:
        totals = self.devices.setdefault(uuid, DeviceTotals())
        totals.observed_s += seconds
        totals.last_ms = now_ms
        holders_of: dict[int, int] = {}
        for holding in holdings:
            for share in holding.shares:
                holders_of[share] = holders_of.get(share, 0) + 1
        count = max(shares, len(holders_of))
        if card.healthy:
            totals.idle_s += seconds * (count - len(holders_of)) / count
        for holding in holdings:
            held = self.holders.setdefault(_key(holding), HolderTotals())
            held_s = seconds * sum(1 / holders_of[share] for share in holding.shares) / count
            held.held_s += held_s
            held.last_ms = now_ms
            if holding.busy_ppm is not None:
                held.busy_s = (held.busy_s or 0.0) + held_s * holding.busy_ppm / PPM

    def _drop_old(self, now_ms: int) -> None:
        for key in [key for key, held in self.holders.items() if now_ms - held.last_ms > KEEPS_MS]:
            del self.holders[key]
        for unknown in [each for each, held in self.unknown.items() if now_ms - held.last_ms > KEEPS_MS]:
            del self.unknown[unknown]
        for uuid in [uuid for uuid, device in self.devices.items() if now_ms - device.last_ms > KEEPS_MS]:
            del self.devices[uuid]
            for raised in [key for key, total in self.xids.items() if key[0] == uuid and not total.of_card]:
                del self.xids[raised]


def _key(holding: SeenHolding) -> tuple[str, Holder]:
    return holding.device, names_of(holding.holder)


def names_of(holder: Claimant) -> Holder:
    return holder.namespace, holder.pod, holder.container
