"""The driver's lists of processes and their credits for SM time: the calls. process_tables.py decodes them."""

from __future__ import annotations

import ctypes
import logging
from functools import lru_cache
from typing import Any

import pynvml

from exporter.nvml.calls import NvmlError, ask, call, refusal
from exporter.nvml.process_tables import (
    RECORD_ROOM_BYTES,
    SENTINEL,
    ProcessRecord,
    SmSample,
    UnknownRecord,
    decode_records,
)

log = logging.getLogger(__name__)

PROCESS_LIST = "nvmlDeviceGetComputeRunningProcesses_v3"
RECORDS_FIRST = 32  # enough for most cards, so that their process list costs one call
GROWTHS_MAX = 4  # how often a list may have grown between two calls before we give up


def records_of(denied: set[str], library: Any, device: Any) -> tuple[ProcessRecord, ...] | None:
    """The processes on a device; None: the driver cannot say, or in a form that we do not know."""
    try:
        return ask(denied, _process_records, library, device)
    except UnknownRecord as error:
        _complain(str(error))
        denied.add(PROCESS_LIST)
        return None


@lru_cache(maxsize=16)
def _complain(error: str) -> None:
    """Once, not each beat; the metric stays."""
    log.error("process list of an unknown form: processes are not read", extra={"error": error})


def _process_records(library: Any, device: Any) -> tuple[ProcessRecord, ...]:
    """Read the list without pynvml: it trusts that records are 24 bytes long, and they were not always."""
    query = getattr(library, PROCESS_LIST, None)
    if query is None:
        raise refusal(PROCESS_LIST, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    capacity = RECORDS_FIRST
    for _ in range(GROWTHS_MAX):
        size = capacity * RECORD_ROOM_BYTES
        buffer = ctypes.create_string_buffer(bytes([SENTINEL]) * size, size)
        count = ctypes.c_uint(capacity)
        code = query(device, ctypes.byref(count), buffer)
        if code == pynvml.NVML_SUCCESS:
            return decode_records(buffer.raw, count=count.value, capacity=capacity)
        if code != pynvml.NVML_ERROR_INSUFFICIENT_SIZE:
            raise refusal(PROCESS_LIST, code)
        capacity = 2 * max(capacity, count.value)
    raise refusal(PROCESS_LIST, pynvml.NVML_ERROR_INSUFFICIENT_SIZE)


def sm_samples(handle: Any, since_us: int) -> list[SmSample]:
    for _ in range(GROWTHS_MAX):
        try:
            samples = call(pynvml.nvmlDeviceGetProcessUtilization, handle, since_us)
        except NvmlError as error:
            # Nobody was busy. pynvml raises even where the driver says so by a list of none.
            if error.code in (pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_SUCCESS):
                return []
            if error.code != pynvml.NVML_ERROR_INSUFFICIENT_SIZE:
                raise
        else:
            return [SmSample(pid=each.pid, timestamp_us=each.timeStamp, sm_percent=each.smUtil) for each in samples]
    raise refusal("nvmlDeviceGetProcessUtilization", pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
