"""What sensors say of a device: memory, temperature."""

from __future__ import annotations

from typing import Any

import pynvml

from exporter.nvml.calls import ask


def memory_of(denied: set[str], handle: Any) -> Any:
    """Before driver 510 there is no version 2; version 1 counts what the driver keeps for itself as used."""
    memory = ask(denied, pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    return memory or ask(denied, pynvml.nvmlDeviceGetMemoryInfo, handle)


def temperature_of(denied: set[str], handle: Any) -> int | None:
    """The old call is on its way out, the new one not yet everywhere."""
    celsius = ask(denied, pynvml.nvmlDeviceGetTemperatureV, handle, pynvml.NVML_TEMPERATURE_GPU)
    if celsius is None:
        celsius = ask(denied, pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU)
    return celsius
