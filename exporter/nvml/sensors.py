"""What sensors say of a device: memory, temperature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pynvml

from exporter.nvml.calls import ask, figure

Ask = Callable[..., Any]  # `ask` or `figure`


def memory_of(denied: set[str], handle: Any, *, by: Ask = ask) -> Any:
    """Before driver 510 there is no version 2; version 1 counts what the driver keeps for itself as used.

    None, too, where there is none: a card that works in the host's memory has nothing to say, or 0 bytes in all.
    """
    memory = by(denied, pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    memory = memory or by(denied, pynvml.nvmlDeviceGetMemoryInfo, handle)
    return memory if memory is not None and memory.total else None


def temperature_of(denied: set[str], handle: Any) -> int | None:
    """The old call is on its way out, the new one not yet everywhere."""
    celsius = figure(denied, pynvml.nvmlDeviceGetTemperatureV, handle, pynvml.NVML_TEMPERATURE_GPU)
    if celsius is None:
        celsius = figure(denied, pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    return celsius
