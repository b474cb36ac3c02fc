"""MIG devices: compute instances in GPU instances, by the card's sparse slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pynvml

from exporter.mig import profile_name, profile_of
from exporter.nvml.calls import NvmlError, ask, call, figure
from exporter.nvml.sensors import memory_of
from exporter.reading import MigReading

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a MIG device was when it was last looked at.

    made              what it was made as: its ids and attributes. UUIDs and ids are used again, so all are compared
    profile_id, start  of its GPU instance and its placement; None where the driver does not say
    """

    made: tuple[int, int, bytes]
    profile: str
    profile_id: int | None
    start: int | None


KnownInstances = dict[str, _Known]  # by UUID


def read_instances(
    denied: set[str], card: Any, slots: int, known: KnownInstances, total_bytes: int
) -> list[tuple[Any, MigReading]]:
    """The handle and reading of every MIG device of a card. card: its handle.

    What is not there any more is forgotten: the next device of that UUID is another one.
    """
    instances = []
    for slot in range(slots):
        try:
            handle = ask(denied, pynvml.nvmlDeviceGetMigDeviceHandleByIndex, card, slot)
        except NvmlError as error:
            if error.code != pynvml.NVML_ERROR_NOT_FOUND:
                raise
            continue  # an empty slot: others may follow it
        if handle is not None:
            instances.append((handle, _read_instance(denied, card, handle, known, total_bytes)))
    for gone in known.keys() - {reading.uuid for _, reading in instances}:
        del known[gone]
    return instances


def _read_instance(
    denied: set[str], card: Any, handle: Any, known_instances: KnownInstances, total_bytes: int
) -> MigReading:
    uuid = call(pynvml.nvmlDeviceGetUUID, handle)
    attributes = call(pynvml.nvmlDeviceGetAttributes_v2, handle)
    gi = call(pynvml.nvmlDeviceGetGpuInstanceId, handle)
    ci = call(pynvml.nvmlDeviceGetComputeInstanceId, handle)
    shape = {
        "compute_slices": attributes.computeInstanceSliceCount,
        "gpu_instance_slices": attributes.gpuInstanceSliceCount,
        "memory_mib": attributes.memorySizeMB,
    }
    made = (gi, ci, bytes(attributes))
    known = known_instances.get(uuid)
    if known is None or known.made != made:
        name = ask(denied, pynvml.nvmlDeviceGetName, handle) or ""
        placement = _placement(denied, card, gi)
        profile_id, start = placement or (None, None)
        known = _Known(
            made=made,
            profile=profile_of(name) or profile_name(**shape, total_mib=total_bytes // MIB),
            profile_id=profile_id,
            start=start,
        )
        if placement is not None:
            known_instances[uuid] = known
    memory = memory_of(denied, handle, by=figure)  # one that cannot say costs its neighbours nothing
    return MigReading(
        uuid=uuid,
        profile=known.profile,
        gpu_instance_id=gi,
        compute_instance_id=ci,
        memory_used_bytes=None if memory is None else memory.used,
        profile_id=known.profile_id,
        placement_start=known.start,
        **shape,
    )


def _placement(denied: set[str], card: Any, gi: int) -> tuple[int | None, int | None] | None:
    """The profile's id of a GPU instance, and where it lies: only names that are given by DRA need it.

    It takes privileges that nothing else here does, so whatever is answered instead, the card goes on being read.
    None: it failed, and may not the next time.
    """
    try:
        instance = ask(denied, pynvml.nvmlDeviceGetGpuInstanceById, card, gi)
        info = None if instance is None else ask(denied, pynvml.nvmlGpuInstanceGetInfo, instance)
    except NvmlError:
        return None  # a card that is out will say so to the next call
    return (None, None) if info is None else (info.profileId, info.placement.start)
