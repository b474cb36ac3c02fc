"""Whose processes keep a device busy: usage of holders where it is certain, and use by those who hold nothing. Pure.

The kubelet names pods without a UID, and cgroups name UIDs without a pod. The two meet only on a device that one
pod alone holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from exporter.reading import CgroupOwner, GpuReading, ProcessReading
from exporter.sight import PPM, Card, SeenHolding, SeenUse

# Where the driver may not list processes, their absence says nothing.
PROCESS_LIST_CALLS = "nvmlDeviceGetComputeRunningProcesses"
# Nor where memory is in use, or may be, and nobody is listed: the driver lists no process of a pid namespace outside
# our own, and none that only draws. An idle card has next to nothing in use, the smallest process seen (an MPS
# server) 66 MiB.
HIDDEN_BYTES_MIN = 32 * 1024 * 1024

# More than this no MPS server takes (66 MiB on an H100): one that does is a workload that borrowed the name.
MPS_SERVER_BYTES_MAX = 512 * 1024 * 1024

Owners = Mapping[int, CgroupOwner | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class HolderUsage:
    """What is known of the only holder of a device."""

    pod_uid: str | None
    busy_ppm: int | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageByDevice:
    """of_holders: by device with a single holder. pod_uids: by pod, those remembered included."""

    of_holders: dict[str, HolderUsage] = field(default_factory=dict)
    uses: tuple[SeenUse, ...] = ()
    pod_uids: dict[str, str] = field(default_factory=dict)


def pod_key(record: SeenHolding) -> str:
    return f"{record.holder.namespace}/{record.holder.pod}"


def of_holders_of_now(gpu: GpuReading, handed_on: Set[str]) -> GpuReading:
    """A reading without the busy ratios of those MIG instances that somebody else held when they were busy so.

    handed_on  devices that had another holder at the last beat
    """
    if not any(each.uuid in handed_on and each.sm_ratio is not None for each in gpu.instances):
        return gpu
    instances = (replace(each, sm_ratio=None) if each.uuid in handed_on else each for each in gpu.instances)
    return replace(gpu, instances=tuple(instances))


def usage_of_devices(
    records: Iterable[SeenHolding],
    card_of: Mapping[str, Card],
    readings: Mapping[str, GpuReading],
    owners: Owners | None,
    pod_uids: Mapping[str, str],
) -> UsageByDevice:
    """Usage of every device whose card answers; a silent card's is unknown, and all where nobody looked for owners.

    readings  by card UUID
    owners    by pid; None where a process is gone or may not be looked at
    pod_uids  by pod, from the beats before
    """
    if owners is None:
        return UsageByDevice(pod_uids=dict(pod_uids))
    on_device: dict[str, list[SeenHolding]] = {}
    for record in records:
        on_device.setdefault(record.device, []).append(record)
    running: dict[str, list[ProcessReading]] = {}
    for each in readings.values():
        for process in each.processes:
            running.setdefault(process.device, []).append(process)
    usage = UsageByDevice(pod_uids=dict(pod_uids))
    uses: list[SeenUse] = []
    for device in sorted(on_device.keys() | running.keys()):
        card = card_of.get(device)
        gpu = None if card is None else readings.get(card.uuid)
        if gpu is None:
            continue
        processes = running.get(device, [])
        holders = on_device.get(device, [])
        if not holders:
            uses += _uses(device, processes, processes, owners)
        elif len({pod_key(record) for record in holders}) == 1 and holders[0].holder.pod:
            uses += _of_one_pod(device, holders, processes, gpu, owners, usage)
        else:
            strangers = _strangers(holders, processes, owners, usage.pod_uids)
            uses += _uses(device, strangers, processes, owners)
    return UsageByDevice(of_holders=usage.of_holders, uses=tuple(uses), pod_uids=usage.pod_uids)


def _of_one_pod(
    device: str,
    holders: Sequence[SeenHolding],
    processes: Sequence[ProcessReading],
    gpu: GpuReading,
    owners: Owners,
    usage: UsageByDevice,
) -> list[SeenUse]:
    """Note the pod's UID, and its usage where only one of its containers is here. Returns the use by others.

    An MPS server that is not the pod's own is nobody's use: what the driver credits it with its clients did.
    """
    pod = pod_key(holders[0])
    clients = [process for process in processes if not _is_mps_server(process, owners)]
    seen = {owner.pod_uid for process in clients if (owner := owners.get(process.pid)) and owner.pod_uid}
    not_others = seen - {uid for other, uid in usage.pod_uids.items() if other != pod}
    uid = _pod_uid(usage.pod_uids.get(pod), not_others)
    if uid is not None:
        usage.pod_uids[pod] = uid
    elif not_others:
        # Which of these UIDs is the holder's, and which a stranger's, cannot be said.
        return _uses(device, _strangers(holders, processes, owners, usage.pod_uids), processes, owners)
    mine: list[ProcessReading] = []
    foreign: list[ProcessReading] = []
    servers: list[ProcessReading] = []
    for process in processes:
        owner = owners.get(process.pid)
        if owner is None or (uid is not None and owner.pod_uid == uid):
            mine.append(process)
        else:
            (foreign if process in clients else servers).append(process)
    # Before its first process a pod's UID is not known, nor then whether a server in a pod is its own.
    own_server = uid is None and any((owner := owners.get(each.pid)) and owner.pod_uid for each in servers)
    certain = len(holders) == 1 and seen <= {uid} and (mine or not clients) and not own_server
    if not certain or (not mine and _may_be_hidden(device, gpu, servers)):
        usage.of_holders[device] = HolderUsage(pod_uid=uid if seen else None)
    else:
        worked = [*mine, *servers] if mine else []  # a server works for those who are there
        busy_ppm = _instance_busy_ppm(device, gpu) if gpu.mig_enabled else _busy_ppm(worked, processes)
        usage.of_holders[device] = HolderUsage(
            pod_uid=uid if seen else None,
            busy_ppm=busy_ppm,
            memory_bytes=_memory_bytes(mine),
            memory_peak_bytes=_memory_peak_bytes(mine),
        )
    return _uses(device, foreign, processes, owners)


def _strangers(
    holders: Iterable[SeenHolding], processes: Iterable[ProcessReading], owners: Owners, pod_uids: Mapping[str, str]
) -> list[ProcessReading]:
    """The processes that are no holder's for certain: outside pods, or of a pod that holds other devices only."""
    here = {pod_key(record) for record in holders}
    elsewhere = {None, *(uid for pod, uid in pod_uids.items() if pod not in here)}
    return [each for each in processes if (owner := owners.get(each.pid)) is not None and owner.pod_uid in elsewhere]


def _is_mps_server(process: ProcessReading, owners: Owners) -> bool:
    owner = owners.get(process.pid)
    return owner is not None and owner.mps_server and (process.memory_used_bytes or 0) <= MPS_SERVER_BYTES_MAX


def _may_be_hidden(device: str, gpu: GpuReading, listed: Iterable[ProcessReading]) -> bool:
    """Whether there may be processes on a device beside those listed, all of whose memory counts as theirs.

    Compute instances of one GPU instance share its memory: what is listed on its neighbours is theirs too.
    """
    if any(call.startswith(PROCESS_LIST_CALLS) for call in gpu.denied):
        return True
    used = {each.uuid: each.memory_used_bytes for each in gpu.instances} | {gpu.uuid: gpu.memory_used_bytes}
    if (used_bytes := used.get(device)) is None:
        return True
    of_gi = {each.uuid: each.gpu_instance_id for each in gpu.instances}
    beside = [each for each in gpu.processes if device in of_gi and of_gi.get(each.device) == of_gi[device]]
    theirs = {each.pid: each.memory_used_bytes or 0 for each in (*beside, *listed)}
    return used_bytes - sum(theirs.values()) >= HIDDEN_BYTES_MIN


def _pod_uid(before: str | None, seen: set[str]) -> str | None:
    """The UID of a pod, by those that may be its own: of several it is the one it was before."""
    if not seen or before in seen:
        return before
    return next(iter(seen)) if len(seen) == 1 else None


def _uses(
    device: str, processes: Iterable[ProcessReading], everyone: Sequence[ProcessReading], owners: Owners
) -> list[SeenUse]:
    """One entry for each container whose processes use a device that their pod does not hold.

    everyone  all processes on the device, the holder's too
    """
    servers = [process for process in everyone if _is_mps_server(process, owners)]
    grouped: dict[tuple[str, str], list[ProcessReading]] = {}
    for process in processes:
        if process in servers:
            continue
        owner = owners.get(process.pid)
        grouped.setdefault((_container(owner) or "", (owner and owner.runtime) or ""), []).append(process)
    return [
        SeenUse(
            device=device,
            container=container or None,
            runtime=runtime or None,
            busy_ppm=_busy_ppm([*each, *servers], everyone),
            memory_bytes=_memory_bytes(each),
        )
        for (container, runtime), each in sorted(grouped.items())
    ]


def _container(owner: CgroupOwner | None) -> str | None:
    if owner is None:
        return None
    if owner.container_id is None and owner.pod_uid is not None:
        return f"pod{owner.pod_uid}"
    return owner.container_id or "host"


def _busy_ppm(processes: Sequence[ProcessReading], everyone: Sequence[ProcessReading]) -> int | None:
    """In millionths; None where it cannot be said.

    The driver credits each of its samples, 0.2 s of the whole card's work, to a single process. So the sum over all
    processes is true, and so is nothing at all; but what some are credited with is not what these some did.
    """
    ratios = [process.sm_ratio for process in everyone if process.sm_ratio is not None]
    if len(ratios) < len(everyone) or (len(processes) < len(everyone) and sum(ratios) > 0):
        return None
    return min(PPM, round(PPM * sum(ratios)))  # windows of their own may overlap


def _instance_busy_ppm(device: str, gpu: GpuReading) -> int | None:
    """Of a whole MIG instance: the driver has no busy time of processes under MIG, not even of none at all."""
    ratio = next((each.sm_ratio for each in gpu.instances if each.uuid == device), None)
    return None if ratio is None else round(PPM * ratio)


def _memory_bytes(processes: Sequence[ProcessReading]) -> int | None:
    used = [process.memory_used_bytes for process in processes if process.memory_used_bytes is not None]
    return sum(used) if len(used) == len(processes) else None


def _memory_peak_bytes(processes: Sequence[ProcessReading]) -> int | None:
    """Of all together since the last reading, as far as it is known: what they have now, or one of them had alone."""
    now = _memory_bytes(processes)
    if now is None:
        return None
    return max(now, *(process.memory_peak_bytes or 0 for process in processes), 0)
