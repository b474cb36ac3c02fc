"""Whose the processes on the cards are, from /proc or a simulation."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

from exporter.reading import CgroupOwner, NodeReading


class OwnerSource(Protocol):
    """Knows whose a process is (None: gone, or hidden), and forgets all processes but the live ones."""

    def owner_of(self, pid: int) -> CgroupOwner | None: ...
    def prune(self, live_pids: Set[int]) -> None: ...


class Processes:
    """Collects the owners of all processes of a reading."""

    name = "processes"

    def __init__(self, source: OwnerSource) -> None:
        self._source = source

    def collect(self, reading: NodeReading) -> dict[int, CgroupOwner | None]:
        pids = {process.pid for gpu in reading.gpus for process in gpu.processes}
        owners = {pid: self._source.owner_of(pid) for pid in pids}
        self._source.prune(pids)
        return owners
