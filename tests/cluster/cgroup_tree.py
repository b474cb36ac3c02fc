"""A cgroup of our own, in every hierarchy the machine has, for all that a test node runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
EMPTY_WITHIN_S = 10.0


class CgroupTree:
    """Made on construction. Raises OSError where the machine does not let us."""

    def __init__(self, name: str) -> None:
        """name: of the cgroup, right below the root."""
        self.name = name
        unified = (MOUNT / "cgroup.controllers").exists()
        separate = (path for path in MOUNT.iterdir() if path.is_dir() and not path.is_symlink())
        hierarchies = [MOUNT] if unified else sorted(separate)
        if unified:
            for controller in (MOUNT / "cgroup.controllers").read_text().split():
                (MOUNT / "cgroup.subtree_control").write_text(f"+{controller}")
        self._roots: list[Path] = []
        try:
            for hierarchy in hierarchies:
                (hierarchy / name).mkdir()
                self._roots.append(hierarchy / name)
        except OSError:
            self.remove()
            raise

    def pids(self, part: str) -> list[int]:
        """Processes in the cgroups whose path holds this text, such as a container's id; pids as seen from here."""
        found: set[int] = set()
        for root in self._roots:
            for folder, _, _ in os.walk(root):
                if part in folder:
                    found.update(map(int, (Path(folder) / "cgroup.procs").read_text().split()))
        return sorted(found)

    def remove(self) -> None:
        """Take it away, once its processes have ended."""
        deadline = time.monotonic() + EMPTY_WITHIN_S
        for root in self._roots:
            for folder, _, _ in os.walk(root, topdown=False):
                while True:
                    try:
                        Path(folder).rmdir()
                        break
                    except OSError:
                        if time.monotonic() > deadline:
                            raise
                        time.sleep(0.05)
