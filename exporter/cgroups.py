"""From a process to its pod, by the cgroup the kernel keeps it in.

Only `/proc/<pid>/cgroup` is asked: a workload can forge its mountinfo, but not this. The pod's UID survives every
runtime, cgroup driver and cgroup namespace of the reader; the container's id survives nearly all.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

from exporter.reading import CgroupOwner

# Processes remembered at once: a node has some hundred on its GPUs, and an entry takes about 300 bytes.
PROCESSES_MAX = 8192

# The kubelet writes a UID with dashes (cgroupfs) or underscores (systemd); a static pod's is 32 bare hex digits.
_POD = re.compile(r"(?:^|[/-])pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?![0-9a-f])")

# Exactly 64 hex digits, wherever they stand: systemd in a container and crun add levels behind them. A conmon is the
# monitor beside a container and not the workload.
_CONTAINER = re.compile(r"(?<![0-9a-f])(?<!conmon-)[0-9a-f]{64}(?![0-9a-f])")

# What stands right before a container's id, and the runtime that writes it so, in the kubelet's words where it has
# one (`containerd://…`, `cri-o://…`, `docker://…`). A bare id, as the cgroupfs driver leaves it, names no runtime.
_RUNTIMES = (
    ("cri-containerd-", "containerd"),
    ("cri-containerd:", "containerd"),  # a systemd name given to a runc that was told to use cgroupfs
    ("nerdctl-", "containerd"),
    ("crio-", "cri-o"),
    ("docker-", "docker"),
    ("/docker/", "docker"),
    ("libpod-", "podman"),
)


def parse_cgroup(text: str) -> CgroupOwner:
    """Read the text of /proc/<pid>/cgroup: one line a hierarchy under v1, a single one under v2.

    A line with a pod wins over lines without, which on hybrid hosts may name only the runtime's own service. What the
    lines disagree on is unknown, not guessed.
    """
    # Not splitlines(): a workload may name a cgroup of its own with any character but the newline.
    owners = {_parse_path(line.split(":", 2)[-1]) for line in text.split("\n")}
    if any(owner.pod_uid for owner in owners):
        owners = {owner for owner in owners if owner.pod_uid}
    if len({owner.pod_uid for owner in owners}) > 1:
        return CgroupOwner()
    container_id = _only({owner.container_id for owner in owners})
    return CgroupOwner(
        pod_uid=next(iter(owners)).pod_uid,
        container_id=container_id,
        runtime=_only({owner.runtime for owner in owners}) if container_id else None,
    )


def _parse_path(path: str) -> CgroupOwner:
    """The outermost pod and the first container behind it: pods inside a pod (Kind) are not this cluster's."""
    pod = _POD.search(path)
    container = _CONTAINER.search(path, pod.end() if pod else 0)
    return CgroupOwner(
        pod_uid=pod[1].replace("_", "-") if pod else None,
        container_id=container[0] if container else None,
        runtime=_runtime(path[: container.start()]) if container else None,
    )


def _runtime(before: str) -> str | None:
    return next((runtime for prefix, runtime in _RUNTIMES if before.endswith(prefix)), None)


def _only(values: set[str | None]) -> str | None:
    """The one value that is said; None where nothing is, or more than one."""
    said = [value for value in values if value is not None]
    return said[0] if len(said) == 1 else None


# The kernel keeps 15 characters of `nvidia-cuda-mps-server`; the control daemon, so called too, never opens a card.
_MPS_SERVER = b"nvidia-cuda-mps"
_ENDED = b"ZX"  # states of a process that only waits to be taken note of: cgroup v1 has moved it to the root


@dataclass(frozen=True, slots=True)
class _Stat:
    name: bytes
    state: bytes
    started: int


def _may_move(stat: _Stat, owner: CgroupOwner) -> bool:
    """Whether a process may be another's than when it was asked about."""
    return owner.pod_uid is None and stat.state not in _ENDED


class CgroupReader:
    """Owners of processes, remembered by (pid, start time): a pid alone may be another process tomorrow.

    One that is in no pod is asked anew each time, for it may still be moved into its pod. One that has gone since it
    was asked about is whose it was: what it did last is not somebody else's.
    """

    def __init__(self, proc: Path) -> None:
        """proc: where the node's procfs is mounted; it must show host pids."""
        self._proc = proc
        self._owners: dict[int, tuple[int, CgroupOwner]] = {}

    def owner_of(self, pid: int) -> CgroupOwner | None:
        """Whom a process belongs to, or belonged. None: it went before anybody asked, or we may not read it."""
        try:
            stat = self._stat(pid)
        except (FileNotFoundError, ProcessLookupError):
            gone = self._owners.get(pid)
            return None if gone is None else gone[1]
        except PermissionError:
            return None
        try:
            remembered = self._owners.pop(pid, None)
            if remembered is None or remembered[0] != stat.started or _may_move(stat, remembered[1]):
                # As bytes: as text, a carriage return in a workload's cgroup name would be a new line.
                text = self._read(pid, "cgroup").decode(errors="replace")
                owner = parse_cgroup(text)
                if self._stat(pid).started != stat.started:  # the pid changed hands between the two files
                    return None
                if stat.state in _ENDED and owner == CgroupOwner():
                    return None
                remembered = stat.started, owner
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        if len(self._owners) >= PROCESSES_MAX:
            del self._owners[next(iter(self._owners))]  # the one that was not asked about for longest
        self._owners[pid] = remembered
        return replace(remembered[1], mps_server=True) if stat.name == _MPS_SERVER else remembered[1]

    def prune(self, live_pids: Set[int]) -> None:
        """Forget all processes but these."""
        self._owners = {pid: entry for pid, entry in self._owners.items() if pid in live_pids}

    def _stat(self, pid: int) -> _Stat:
        """Fields 2, 3 and 22 of stat; the start is in clock ticks since boot. A name may hold any character."""
        stat = self._read(pid, "stat")
        name_end = stat.rindex(b")")
        fields = stat[name_end + 1 :].split()
        return _Stat(name=stat[stat.index(b"(") + 1 : name_end], state=fields[0], started=int(fields[19]))

    def _read(self, pid: int, name: str) -> bytes:
        """Without pathlib and a buffer: there are some hundred of these a beat, and it took three times as long."""
        with open(f"{self._proc}/{pid}/{name}", "rb", buffering=0) as file:
            return file.read()
