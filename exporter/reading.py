"""What the doors of the node saw at one instant: values only, no I/O.

`nvml/` and `simulated.py` make `NodeReading`, `kubelet.py` makes `KubeletReading`, `cgroups.py` makes
`CgroupOwner`. Absent means "cannot say", never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.health import Health, Links, XidReading


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReading:
    """One process on one device.

    device             UUID of the MIG instance it runs in, else of the whole GPU
    memory_used_bytes  None where the driver cannot say
    sm_ratio           share (0 to 1) of the time since the last reading (of its last 14 s, if that is longer ago) in
                       which the SMs were busy and the driver credited it: one process at a time, so only the sum over
                       a device's processes is their use. None where the driver cannot say (always under MIG)
    memory_peak_bytes  the greatest since the last reading, by the driver's accounting; None where that is off, or it
                       was no more than ever before
    """

    pid: int
    device: str
    memory_used_bytes: int | None = None
    sm_ratio: float | None = None
    memory_peak_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigReading:
    """One MIG device: a compute instance inside a GPU instance.

    compute_slices       of this compute instance (c)
    gpu_instance_slices  compute slices of its GPU instance (g)
    memory_mib           of its GPU instance, shared by all compute instances in it
    sm_ratio             share (0 to 1) of its SMs that were busy since the last reading, by GPM. None where the
                         driver cannot say: before Hopper, the first time, and of a part of a GPU instance
    profile_id           of its GPU instance, as the driver numbers profiles; None where it does not say
    placement_start      the first of the card's memory slices that its GPU instance lies on; None likewise
    """

    uuid: str
    profile: str
    gpu_instance_id: int
    compute_instance_id: int
    compute_slices: int
    gpu_instance_slices: int
    memory_mib: int
    memory_used_bytes: int | None = None
    sm_ratio: float | None = None
    profile_id: int | None = None
    placement_start: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One physical card that answered.

    minor           N of /dev/nvidiaN, by which some plugins name the card; not its index, and it may change
    mig_slices_max  the card's maximal MIG device count (7, 4 …), None where it has none or cannot say
    energy_mj       millijoules since the driver was loaded
    links           None where they are not asked for
    denied          names of NVML calls that the driver refused for want of permission, or answered unreadably
    """

    uuid: str
    index: int
    model: str
    memory_total_bytes: int
    minor: int | None = None
    mig_enabled: bool = False
    mig_slices_max: int | None = None
    instances: tuple[MigReading, ...] = ()
    processes: tuple[ProcessReading, ...] = ()
    memory_used_bytes: int | None = None
    utilization_ratio: float | None = None
    power_watts: float | None = None
    energy_mj: int | None = None
    temperature_celsius: int | None = None
    health: Health = field(default_factory=Health)
    links: Links | None = None
    denied: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class LostGpu:
    """A card that is there but does not answer. uuid: None when it was never known."""

    index: int
    uuid: str | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReading:
    """All cards of a node at one instant, ordered by index.

    xids          raised since the reading before, also by cards that do not answer
    xids_watched  UUIDs of the cards whose XIDs the driver tells us
    on_bus        how many cards of NVIDIA's lie on the PCI bus for the driver, None where nobody can say
    """

    driver_version: str | None = None
    gpus: tuple[GpuReading, ...] = ()
    lost: tuple[LostGpu, ...] = ()
    xids: tuple[XidReading, ...] = ()
    xids_watched: frozenset[str] = frozenset()
    on_bus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """A device id that the kubelet gave to a container, verbatim (`GPU-…`, `MIG-…::3`).

    source  "device-plugin" or "dra"
    claim   namespace/name of the ResourceClaim, for "dra"
    """

    namespace: str
    pod: str
    container: str
    resource: str
    device_id: str
    source: str = "device-plugin"
    claim: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletReading:
    """One answer of the kubelet: who holds what, and the device ids it offers (resource, device id)."""

    allocations: tuple[Allocation, ...] = ()
    offered: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupOwner:
    """Whom a process belongs to by its cgroup. All None: a process of the host itself.

    mps_server  it calls itself NVIDIA's MPS server, which works for others. Any process may choose its name
    """

    pod_uid: str | None = None
    container_id: str | None = None
    runtime: str | None = None
    mps_server: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorResult:
    """How one collector's run went, for its duration and success metrics."""

    name: str
    duration_s: float
    success: bool
    error: str = field(default="")
