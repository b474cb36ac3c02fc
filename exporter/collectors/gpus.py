"""The cards of this node, from NVML or a simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from exporter.reading import NodeReading


class GpuSource(Protocol):
    """Reads all cards. Not for two threads at once."""

    def read(self) -> NodeReading: ...
    def close(self) -> None: ...


class Gpus:
    """Collects all cards.

    first   an open source
    reopen  makes another, where a call to the first never returned: the thread in it may come back any time
    """

    name = "gpus"

    def __init__(self, first: GpuSource, *, reopen: Callable[[], GpuSource] | None = None) -> None:
        self._source: GpuSource | None = first
        self._reopen = reopen

    def collect(self) -> NodeReading:
        if self._source is None:
            assert self._reopen is not None
            self._source = self._reopen()
        return self._source.read()

    def abandon(self) -> None:
        """Have the next call open a source of its own."""
        if self._reopen is not None:
            self._source = None

    def close(self) -> None:
        """Let go of the source."""
        if self._source is not None:
            self._source.close()
