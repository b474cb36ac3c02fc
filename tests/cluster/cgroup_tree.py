"""A cgroup of our own, in every hierarchy the machine has, for all that a test node runs."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

MOUNT = Path("/sys/fs/cgroup")
EMPTY_WITHIN_S = 10.0
_PREFIX = "gpu-chargeback-test-"


class CgroupTree:
    """Made on construction. Raises OSError where the machine does not let us."""

    def __init__(self) -> None:
        _remove_stale()
        self.name = f"{_PREFIX}{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._roots: list[Path] = []
        try:
            for hierarchy in _hierarchies():
                (hierarchy / self.name).mkdir()
                self._roots.append(hierarchy / self.name)
        except OSError:
            self.remove()
            raise

    def pids(self, part: str) -> list[int]:
        """Processes in the cgroups whose path holds this text, such as a container's id; pids as seen from here."""
        found: set[int] = set()
        for root in self._roots:
            for folder, _, _ in os.walk(root):
                if part in folder:
                    with suppress(OSError):  # it went while we looked
                        found.update(map(int, (Path(folder) / "cgroup.procs").read_text().split()))
        return sorted(found)

    def remove(self) -> None:
        """Take it away, once its processes have ended. Raises OSError where they do not."""
        deadline = time.monotonic() + EMPTY_WITHIN_S
        for root in self._roots:
            while True:
                try:
                    _remove(root)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)


def own_cgroups() -> CgroupTree:
    """Skips where the machine does not let us."""
    try:
        return CgroupTree()
    except OSError as error:
        pytest.skip(f"no cgroups for a node: {error}: run as root, where {MOUNT} may be written")


def _hierarchies() -> list[Path]:
    """One a controller under v1; under v2 the only one, whose root hands its controllers down."""
    if not (MOUNT / "cgroup.controllers").exists():
        return sorted(path for path in MOUNT.iterdir() if path.is_dir() and not path.is_symlink())
    for controller in (MOUNT / "cgroup.controllers").read_text().split():
        (MOUNT / "cgroup.subtree_control").write_text(f"+{controller}")
    return [MOUNT]


def _remove(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        Path(folder).rmdir()


def _remove_stale() -> None:
    """What runs of tests left that were killed: their processes went with them, cgroups do not.

    Where processes are still about to go, or another run is at it, that is left to the next run.
    """
    for root in trees_of_tests():
        if not Path(f"/proc/{root.name.removeprefix(_PREFIX).split('-')[0]}").exists():
            with suppress(OSError):
                _remove(root)


def trees_of_tests() -> Iterator[Path]:
    """The cgroups of all runs, one a hierarchy: gpu-chargeback-test-PID-SOMETHING by name."""
    yield from MOUNT.glob(f"{_PREFIX}*")
    yield from MOUNT.glob(f"*/{_PREFIX}*")
