"""Accounting mode, where root has switched it on: the greatest memory of a process, also between two readings.

We never switch it on: that is the node's owner's to decide. Under MIG the driver has it off.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pynvml

from exporter.nvml.calls import NvmlError, ask


class Accounting:
    """The accounting of one card."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[int, int]] | None = None  # by pid: when it began, its greatest memory so far

    def peaks(self, denied: set[str], card: Any, pids: Collection[int]) -> dict[int, int]:
        """The greatest memory in bytes that processes had since the last call, of those that had never had as much.

        Of all others it is what they have now that counts, and of all at the first call.

        card  its handle
        pids  that the card lists now
        """
        before, self._before = self._before, {}
        if not pids:
            return {}
        if not self._is_on(denied, card):
            self._before = None
            return {}
        now = {}
        for pid in pids:
            if (stats := _stats(denied, card, pid)) is not None:
                now[pid] = stats
        self._before = now
        if before is None:
            return {}
        # A process that was not there before had all its memory since.
        return {pid: peak for pid, (began, peak) in now.items() if peak > _peak_of(before, pid, began)}

    def _is_on(self, denied: set[str], card: Any) -> bool:
        try:
            return bool(ask(denied, pynvml.nvmlDeviceGetAccountingMode, card) == pynvml.NVML_FEATURE_ENABLED)
        except NvmlError:
            return False


def _stats(denied: set[str], card: Any, pid: int) -> tuple[int, int] | None:
    """When it began, its greatest memory. None: it is older than the mode, or its entry has been overwritten."""
    try:
        stats = ask(denied, pynvml.nvmlDeviceGetAccountingStats, card, pid)
    except NvmlError:
        return None  # a card in trouble says so at other calls too
    if stats is None or stats.maxMemoryUsage is None or not stats.isRunning:
        return None  # what does not run is another process that had this pid
    return stats.startTime, stats.maxMemoryUsage


def _peak_of(before: dict[int, tuple[int, int]], pid: int, began: int) -> int:
    known = before.get(pid)
    return known[1] if known is not None and known[0] == began else 0
