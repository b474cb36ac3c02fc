"""Mount and pid namespaces in which a test node lives: when it goes, so do its processes and its mounts.

Whatever a kubelet and a container runtime write to fixed places is written to memory here, so that a node of tests
neither meets a real one on the machine nor leaves anything behind.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.cluster.daemon import Daemon

READY_WITHIN_S = 10.0

# The kubelet's folder is one of ours, so that its sockets are reached from outside; /proc/driver is where NVIDIA's
# driver says which device files MIG instances have. The shell stays as process 1 and buries orphans.
_SETUP = """
set -e
for folder in /run /var/lib /var/log /proc/driver; do mount -t tmpfs tmpfs $folder; done
mkdir /run/containerd /var/lib/kubelet /proc/driver/nvidia-caps
mount --bind "$1" /var/lib/kubelet
touch "$2"
sleep infinity &
wait
"""


class Sandbox:
    """Started on entry; on leaving everything in it is killed."""

    def __init__(self, folder: Path) -> None:
        """folder: gets `kubelet`, which is /var/lib/kubelet inside."""
        self.kubelet_folder = folder / "kubelet"
        self._ready = folder / "sandbox.ready"
        self._shell = Daemon(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"),
                *("sh", "-c", _SETUP, "sandbox", str(self.kubelet_folder), str(self._ready)),
            ],
            folder / "sandbox.log",
        )

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            pytest.skip("a real node takes root: cgroups, mounts and namespaces")
        for program in ("unshare", "nsenter", "setpriv", "mount"):
            if shutil.which(program) is None:
                pytest.skip(f"no {program} here: install the packages util-linux and mount")
        self.kubelet_folder.mkdir()
        self._shell.start()
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._ready.exists() and self._shell.alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        if not self._ready.exists():
            self._shell.stop(kill=True)
            pytest.skip(f"no namespaces for a node, run as root of a whole machine: {self._shell.said()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shell.stop(kill=True)

    @property
    def root(self) -> Path:
        """The root folder as seen inside."""
        return Path(f"/proc/{self._first()}/root")

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs a command inside."""
        return ["nsenter", "--target", str(self._first()), "--mount", "--pid", "--", *command]

    def daemon(self, command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None) -> Daemon:
        return Daemon(self.inside(command), log, env=env)

    def _first(self) -> int:
        """Process 1 of the sandbox, by its pid outside."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            children = Path(f"/proc/{self._shell.pid}/task/{self._shell.pid}/children").read_text().split()
            if children:
                return int(children[0])
        raise AssertionError(f"the node's namespaces are gone: {self._shell.said()}")
