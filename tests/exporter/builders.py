"""Values of a valid node; a test names only what it is about."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.attribution import attribute
from exporter.reading import (
    Allocation,
    CgroupOwner,
    GpuReading,
    KubeletReading,
    MigReading,
    NodeReading,
    ProcessReading,
)
from exporter.sight import Card, Claimant, Instance, Memory, SeenHolding, Sight

HOUR_MS = 3_600_000
MIB = 1024 * 1024
GIB = 1024 * MIB
NOON_MS = 1_790_856_000_000  # 2026-10-01T12Z
POD_A, POD_B = "0a" * 16, "0b" * 16


def gpu(uuid: str = "GPU-a", **changes: object) -> GpuReading:
    values: dict[str, object] = {
        "uuid": uuid,
        "index": 0,
        "model": "NVIDIA H100 80GB HBM3",
        "memory_total_bytes": 81559 * MIB,
        "mig_slices_max": 7,
        "memory_used_bytes": 0,
    }
    return GpuReading(**(values | changes))  # type: ignore[arg-type]


def mig_device(uuid: str = "MIG-a", *, slices: int = 1, ordinal: int = 0) -> MigReading:
    return MigReading(
        uuid=uuid,
        profile=f"{slices}g.{slices * 10}gb",
        gpu_instance_id=7 + ordinal,
        compute_instance_id=0,
        compute_slices=slices,
        gpu_instance_slices=slices,
        memory_mib=slices * 9728,
        memory_used_bytes=0,
    )


def mig_gpu(*instances: MigReading, uuid: str = "GPU-m", **changes: object) -> GpuReading:
    return gpu(uuid, mig_enabled=True, instances=instances, **changes)


def node(*gpus: GpuReading) -> NodeReading:
    return NodeReading(driver_version="580.1", gpus=gpus)


def process(pid: int, device: str = "GPU-a", **changes: object) -> ProcessReading:
    values: dict[str, object] = {"pid": pid, "device": device, "memory_used_bytes": GIB, "sm_ratio": 0.5}
    return ProcessReading(**(values | changes))  # type: ignore[arg-type]


def given(pod: str, device_id: str = "GPU-a", **changes: object) -> Allocation:
    values: dict[str, object] = {
        "namespace": "team",
        "pod": pod,
        "container": "main",
        "resource": "nvidia.com/gpu",
        "device_id": device_id,
    }
    return Allocation(**(values | changes))  # type: ignore[arg-type]


def claimed(pod: str, claim: str, device_id: str = "GPU-a") -> Allocation:
    return given(pod, device_id, source="dra", claim=claim)


def kubelet(*allocations: Allocation, offered: Iterable[str] = ()) -> KubeletReading:
    return KubeletReading(allocations=allocations, offered=tuple(("nvidia.com/gpu", each) for each in offered))


def in_pod(uid: str) -> CgroupOwner:
    return CgroupOwner(pod_uid=uid, container_id=uid * 2, runtime="containerd")


def look(
    *gpus: GpuReading,
    kubelet: KubeletReading | None,
    owners: dict[int, CgroupOwner | None] | None = None,
    memory: Memory | None = None,
) -> tuple[Sight, Memory]:
    """Attribute one beat in which all these cards answered."""
    return attribute(node(*gpus), kubelet, {} if owners is None else owners, memory or Memory())


def card(uuid: str = "GPU-a", **changes: object) -> Card:
    values: dict[str, object] = {
        "uuid": uuid,
        "index": 0,
        "model": "NVIDIA H100 80GB HBM3",
        "memory_mib": 81559,
        "slices_max": 7,
        "memory_slices": 8,
    }
    return Card(**(values | changes))  # type: ignore[arg-type]


def instance(uuid: str = "MIG-a", *, ordinal: int = 0, shares: int = 1) -> Instance:
    return Instance(uuid=uuid, profile="1g.10gb", gi=7 + ordinal, ci=0, c=1, g=1, m=1, shares=shares)


def holding(
    pod: str = "train-0",
    device: str = "GPU-a",
    *,
    shares: tuple[int, ...] = (0,),
    evidence: str = "exclusive",
    pod_uid: str | None = None,
    busy_ppm: int | None = None,
    memory_bytes: int | None = None,
) -> SeenHolding:
    holder = Claimant(namespace="team", pod=pod, container="main", resource="nvidia.com/gpu")
    return SeenHolding(
        device=device,
        shares=shares,
        holder=holder,
        evidence=evidence,
        pod_uid=pod_uid,
        busy_ppm=busy_ppm,
        memory_bytes=memory_bytes,
    )


def sight(*cards: Card, holdings: Iterable[SeenHolding] = (), observed: bool = True) -> Sight:
    return Sight(observed=observed, cards=cards or (card(),), holdings=tuple(holdings))
