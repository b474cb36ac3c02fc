"""Who holds which device, from the kubelet or a simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from exporter.reading import KubeletReading


class HoldingSource(Protocol):
    """Lists what the kubelet gave to whom. Not for two threads at once."""

    def list_pods(self) -> KubeletReading: ...


class Holdings:
    """Collects who holds what. reopen: as for `gpus.Gpus`."""

    name = "holdings"

    def __init__(self, first: HoldingSource, *, reopen: Callable[[], HoldingSource] | None = None) -> None:
        self._source = first
        self._reopen = reopen

    def collect(self) -> KubeletReading:
        return self._source.list_pods()

    def abandon(self) -> None:
        """Have the next call use a source of its own."""
        if self._reopen is not None:
            self._source = self._reopen()
