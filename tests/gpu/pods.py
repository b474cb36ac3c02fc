"""Cgroups named as the kubelet and containerd name a pod's, for processes that play pods. Needs root."""

from __future__ import annotations

import contextlib
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path

ROOTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/pids")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of one container, `main`."""

    namespace: str
    name: str
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    container_id: str = field(default_factory=lambda: uuid.uuid4().hex * 2)

    @property
    def cgroup(self) -> str:
        pod = f"kubepods-pod{self.uid.replace('-', '_')}.slice"
        return f"kubepods.slice/{pod}/cri-containerd-{self.container_id}.scope"


def adopt(pod: Pod, pid: int, scratch: Path) -> Path:
    """Move a process into the pod's cgroup; returns the hierarchy used. scratch: where to mount one if need be."""
    mount = scratch / "cgroup"
    for root in (*map(Path, ROOTS), mount):
        if root == mount:
            mount.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "cgroup2", "none", str(mount)], check=False)
        procs = root / pod.cgroup / "cgroup.procs"
        if not (root / "cgroup.procs").exists():
            continue
        try:
            procs.parent.mkdir(parents=True, exist_ok=True)
            procs.write_text(f"{pid}\n")
        except OSError:
            continue
        if pod.cgroup in Path(f"/proc/{pid}/cgroup").read_text():
            return root
    raise OSError("no cgroup hierarchy takes a process: run as root on Linux")


def remove(pod: Pod, root: Path) -> None:
    """Take away the pod's cgroups, once its processes have gone."""
    scope = root / pod.cgroup
    for each in (scope, scope.parent, scope.parent.parent):
        with contextlib.suppress(OSError):  # other pods, or a process that is not quite gone
            each.rmdir()
