"""The cards of this node, from NVML or a simulation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from exporter.reading import NodeReading


class GpuSource(Protocol):
    """Reads all cards. Not for two threads at once. After close(), read() opens it again."""

    def read(self) -> NodeReading: ...
    def close(self) -> None: ...


class StillHeld(Exception):
    """A call that hangs in the driver holds it: driver work must wait for that, or for the end of this process."""


class Gpus:
    """Collects all cards.

    first   an open source
    reopen  makes another, where a call to the first never returned: the thread in it may come back any time
    """

    name = "gpus"

    def __init__(self, first: GpuSource, *, reopen: Callable[[], GpuSource] | None = None) -> None:
        self._source: GpuSource | None = first
        self._reopen = reopen
        self._lock = threading.Lock()  # of what follows and of `_source`; never held during a call
        self._turn = 0  # a call of an earlier one was left behind
        self._inside = 0  # calls that have not returned, those left behind too

    def collect(self) -> NodeReading:
        with self._entered() as (turn, known):
            source = known or self._open(turn)
            try:
                return source.read()
            finally:
                if turn != self._turn:  # back after all, and another source has taken its place
                    source.close()

    def let_go(self) -> None:
        """Close the driver; the next `collect` opens it. Raises StillHeld where that is not all it takes."""
        with self._entered() as (_, source):
            if source is not None:
                source.close()
        if self._inside:
            raise StillHeld(f"{self._inside} calls have not returned: they hold the driver")

    def abandon(self) -> None:
        """Have the next call open a source of its own."""
        with self._lock:
            if self._reopen is not None:
                self._turn += 1
                self._source = None

    def close(self) -> None:
        """Let go of the source."""
        if self._source is not None:
            self._source.close()

    @contextmanager
    def _entered(self) -> Iterator[tuple[int, GpuSource | None]]:
        with self._lock:
            self._inside += 1
            turn, source = self._turn, self._source
        try:
            yield turn, source
        finally:
            with self._lock:
                self._inside -= 1

    def _open(self, turn: int) -> GpuSource:
        assert self._reopen is not None
        source = self._reopen()
        with self._lock:
            if turn == self._turn:  # else this call was left behind while it opened
                self._source = source
        return source
