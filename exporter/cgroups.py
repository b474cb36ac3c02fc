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


@dataclass(frozen=True, slots=True)
class _Known:
    """A process as it was when it was last asked about. started: a pid alone may be another process tomorrow."""

    started: int
    owner: CgroupOwner

    def stays(self, stat: _Stat) -> bool:
        """Whether it is whose it was: one in no pod may still be moved into its pod, unless it has ended."""
        return self.started == stat.started and (self.owner.pod_uid is not None or stat.state in _ENDED)


class CgroupReader:
    """Owners of processes, each remembered for as long as the driver speaks of it.

    One that has gone since it was asked about is whose it was: what it did last is not somebody else's.
    """

    def __init__(self, proc: Path) -> None:
        """proc: where the node's procfs is mounted; it must show host pids."""
        self._proc = proc
        self._known: dict[int, _Known] = {}

    def owner_of(self, pid: int) -> CgroupOwner | None:
        """Whom a process belongs to, or belonged. None: it went before anybody asked, or we may not read it."""
        known = self._known.pop(pid, None)
        try:
            found = self._look(pid, known)
        except (FileNotFoundError, ProcessLookupError):
            found = known
        except PermissionError:
            found = None
        if found is None:
            return None
        if len(self._known) >= PROCESSES_MAX:
            del self._known[next(iter(self._known))]  # the one that was not asked about for longest
        self._known[pid] = found
        return found.owner

    def prune(self, live_pids: Set[int]) -> None:
        """Forget all processes but these."""
        self._known = {pid: known for pid, known in self._known.items() if pid in live_pids}

    def _look(self, pid: int, known: _Known | None) -> _Known | None:
        """None: its owner cannot be said. Raises FileNotFoundError, ProcessLookupError where it has gone."""
        stat = self._stat(pid)
        if known is not None and known.stays(stat):
            owner = known.owner
        else:
            # As bytes: as text, a carriage return in a workload's cgroup name would be a new line.
            owner = parse_cgroup(self._read(pid, "cgroup").decode(errors="replace"))
            if self._stat(pid).started != stat.started:  # the pid changed hands between the two files
                return None
            if stat.state in _ENDED and owner == CgroupOwner():
                return None
        is_server = stat.name == _MPS_SERVER  # a process may call itself otherwise tomorrow
        return _Known(stat.started, owner if owner.mps_server == is_server else replace(owner, mps_server=is_server))

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
