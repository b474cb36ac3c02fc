"""GPM: how busy the SMs of MIG instances were between two readings. Hopper and later; elsewhere nobody can say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pynvml

from exporter.nvml.calls import NvmlError, ask, call
from exporter.reading import MigReading

WINDOW_MIN_S = 0.1  # between two samples: the driver makes new figures no more often


@dataclass(slots=True)
class _Window:
    """Two buffers in turn: the last sample, taken at `taken_s`, and one to write the next to."""

    last: Any = None
    spare: Any = None
    taken_s: float = 0.0


class Gpm:
    """The GPM of one card: keeps the last sample of each GPU instance. Close it before NVML is closed."""

    def __init__(self) -> None:
        self._supported: bool | None = None
        self._windows: dict[tuple[int, str], _Window] = {}  # by GPU instance and UUID
        self._get: Any = None

    def sm_ratios(
        self, denied: set[str], card: Any, instances: Iterable[MigReading], *, now_s: float
    ) -> dict[str, float]:
        """Share (0 to 1) of its SMs that each instance kept busy since the last call, by UUID.

        Absent is what cannot be said: the first time, and where an instance is only a part of its GPU instance, whose
        SMs GPM counts as one.

        card   its handle
        now_s  monotonic
        """
        if not self._supports(denied, card):
            return {}
        wanted = {(each.gpu_instance_id, each.uuid) for each in instances if _covers_its_gpu_instance(each)}
        for key in self._windows.keys() - wanted:
            _free(self._windows.pop(key))
        found: dict[str, float] = {}
        for key in sorted(wanted):
            # A card in trouble says so at other calls too; for want of this one it is not lost.
            with contextlib.suppress(NvmlError):
                if (ratio := self._sm_ratio(denied, card, key, now_s)) is not None:
                    found[key[1]] = ratio
        return found

    def close(self) -> None:
        """Give all samples back. Safe to run twice."""
        for window in self._windows.values():
            _free(window)
        self._windows.clear()
        self._supported = None

    def _supports(self, denied: set[str], card: Any) -> bool:
        if self._supported is None:
            refused: set[str] = set()
            try:
                answer = ask(refused, pynvml.nvmlGpmQueryDeviceSupport, card)
            except NvmlError:
                return False
            denied |= refused
            if not refused:
                self._supported = answer is not None and bool(answer.isSupportedDevice)
        return bool(self._supported)

    def _sm_ratio(self, denied: set[str], card: Any, key: tuple[int, str], now_s: float) -> float | None:
        window = self._windows.setdefault(key, _Window())
        if window.last is not None and now_s - window.taken_s < WINDOW_MIN_S:
            return None
        if window.spare is None:
            window.spare = call(pynvml.nvmlGpmSampleAlloc)
        if ask(denied, pynvml.nvmlGpmMigSampleGet, card, key[0], window.spare) is None:
            return None
        before = window.last
        window.last, window.spare, window.taken_s = window.spare, before, now_s
        return None if before is None else self._between(denied, before, window.last)

    def _between(self, denied: set[str], before: Any, after: Any) -> float | None:
        get = self._get = self._get or pynvml.c_nvmlGpmMetricsGet_t()  # 19 KB
        get.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        get.numMetrics = 1
        get.sample1, get.sample2 = before, after
        get.metrics[0].metricId = pynvml.NVML_GPM_METRIC_SM_UTIL
        answer = ask(denied, pynvml.nvmlGpmMetricsGet, get)
        if answer is None or get.metrics[0].nvmlReturn != pynvml.NVML_SUCCESS:
            return None
        ratio = float(get.metrics[0].value) / 100
        return ratio if 0 <= ratio <= 1 else None  # also what is no number


def _covers_its_gpu_instance(instance: MigReading) -> bool:
    return instance.compute_slices == instance.gpu_instance_slices


def _free(window: _Window) -> None:
    for sample in (window.last, window.spare):
        if sample is not None:
            with contextlib.suppress(NvmlError):  # it goes with the process at the latest
                call(pynvml.nvmlGpmSampleFree, sample)
