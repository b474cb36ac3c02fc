"""MIG devices: compute instances in GPU instances, by the card's sparse slots."""

from __future__ import annotations

from typing import Any

import pynvml

from exporter.mig import profile_name, profile_of
from exporter.nvml.calls import NvmlError, ask, call
from exporter.nvml.sensors import memory_of
from exporter.reading import MigReading

MIB = 1024 * 1024

# By UUID: the attributes a MIG device had, and its profile and ids. UUIDs are reused, so attributes are compared.
KnownInstances = dict[str, tuple[bytes, str, int, int]]


def read_instances(
    denied: set[str], card: Any, slots: int, known: KnownInstances, total_bytes: int
) -> list[tuple[Any, MigReading]]:
    """The handle and reading of every MIG device of a card. card: its handle."""
    instances = []
    for slot in range(slots):
        try:
            handle = ask(denied, pynvml.nvmlDeviceGetMigDeviceHandleByIndex, card, slot)
        except NvmlError as error:
            if error.code != pynvml.NVML_ERROR_NOT_FOUND:
                raise
            continue  # an empty slot: others may follow it
        if handle is not None:
            instances.append((handle, _read_instance(denied, handle, known, total_bytes)))
    return instances


def _read_instance(denied: set[str], handle: Any, known_instances: KnownInstances, total_bytes: int) -> MigReading:
    uuid = call(pynvml.nvmlDeviceGetUUID, handle)
    attributes = call(pynvml.nvmlDeviceGetAttributes_v2, handle)
    shape = {
        "compute_slices": attributes.computeInstanceSliceCount,
        "gpu_instance_slices": attributes.gpuInstanceSliceCount,
        "memory_mib": attributes.memorySizeMB,
    }
    known = known_instances.get(uuid)
    if known is None or known[0] != bytes(attributes):
        name = ask(denied, pynvml.nvmlDeviceGetName, handle) or ""
        known = (
            bytes(attributes),
            profile_of(name) or profile_name(**shape, total_mib=total_bytes // MIB),
            call(pynvml.nvmlDeviceGetGpuInstanceId, handle),
            call(pynvml.nvmlDeviceGetComputeInstanceId, handle),
        )
        known_instances[uuid] = known
    memory = memory_of(denied, handle)
    return MigReading(
        uuid=uuid,
        profile=known[1],
        gpu_instance_id=known[2],
        compute_instance_id=known[3],
        memory_used_bytes=None if memory is None else memory.used,
        **shape,
    )
