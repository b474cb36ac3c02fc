"""Devices by claim (DRA), as the API shows them now: classes, what nodes offer, what is claimed."""

from __future__ import annotations

from dataclasses import dataclass

# A claim for all devices of a class counts as so many in a quota, as Kubernetes does (AllocationResultsMaxSize).
ALL_DEVICES = 32
# Drivers of GPUs; devices of another are network cards, channels between nodes, and so on.
_GPU_DRIVERS = frozenset({"gpu.nvidia.com"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClass:
    """extended_resource: the resource name under which pods may ask for it, too; selectors: its CEL expressions."""

    name: str
    extended_resource: str | None = None
    selectors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """classes: one, or those of which the first available is taken. admin: sees devices without holding them."""

    classes: tuple[str, ...]
    count: int
    admin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A ResourceClaim. pods: uids of those that may use it; devices: driver, pool and device, once allocated."""

    namespace: str
    name: str
    uid: str
    requests: tuple[ClaimRequest, ...] = ()
    pods: tuple[str, ...] = ()
    devices: tuple[tuple[str, str, str], ...] = ()

    @property
    def only_watches(self) -> bool:
        """Whether it sees devices and holds none."""
        return bool(self.requests) and all(request.admin for request in self.requests)

    @property
    def holds_no_gpu(self) -> bool:
        """It only watches, or what it was given are other devices. Until it is allocated nobody knows."""
        others = bool(self.devices) and all(driver not in _GPU_DRIVERS for driver, _, _ in self.devices)
        return others or self.only_watches


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedDevice:
    """kind: gpu, mig, vfio. uuid: None where the driver makes the device only when it is claimed."""

    name: str
    kind: str | None = None
    uuid: str | None = None
    parent_uuid: str | None = None
    product: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSlice:
    """A ResourceSlice: what a driver offers on a node."""

    name: str
    driver: str
    pool: str
    node: str | None = None
    devices: tuple[OfferedDevice, ...] = ()
