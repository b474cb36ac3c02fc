"""A card's health: ECC, remapped rows, what slows its clocks, its limits; and its links, if asked for.

Nothing here is billed, so what fails costs its own figure only, never the card's reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pynvml

from exporter.health import Health, Links
from exporter.nvml.calls import NvmlError, ask

T = TypeVar("T")

# Names as in `nvidia-smi -q`, shortened. That a card idles or runs at the clocks it was set to does not slow it.
_THROTTLES = {
    pynvml.nvmlClocksEventReasonSwPowerCap: "power_cap",
    pynvml.nvmlClocksEventReasonHwSlowdown: "hw_slowdown",
    pynvml.nvmlClocksEventReasonSyncBoost: "sync_boost",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "sw_thermal",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "hw_thermal",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power_brake",
    pynvml.nvmlClocksThrottleReasonBoardLimit: "board_limit",
    pynvml.nvmlClocksThrottleReasonReliability: "reliability",
}

_FIELDS = (
    pynvml.NVML_FI_DEV_ECC_SBE_VOL_TOTAL,
    pynvml.NVML_FI_DEV_ECC_DBE_VOL_TOTAL,
    pynvml.NVML_FI_DEV_ECC_SBE_AGG_TOTAL,
    pynvml.NVML_FI_DEV_ECC_DBE_AGG_TOTAL,
    pynvml.NVML_FI_DEV_REMAPPED_COR,
    pynvml.NVML_FI_DEV_REMAPPED_UNC,
    pynvml.NVML_FI_DEV_REMAPPED_PENDING,
    pynvml.NVML_FI_DEV_REMAPPED_FAILURE,
)
_ALL_LINKS = 0xFFFFFFFF  # as a field's scope
_LINK_FIELDS = (
    (pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, _ALL_LINKS),
    (pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, _ALL_LINKS),
)
_MEMBERS = {
    pynvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
    pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    pynvml.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
}


def read_health(denied: set[str], card: Any) -> Health:
    """card: its handle."""
    corrected, uncorrected, corrected_ever, uncorrected_ever, *remaps = _fields(denied, card, _FIELDS)
    rows_corrected, rows_uncorrected, pending, failed = remaps
    reasons = _maybe(denied, pynvml.nvmlDeviceGetCurrentClocksEventReasons, card)
    persistence = _maybe(denied, pynvml.nvmlDeviceGetPersistenceMode, card)
    limit_milliwatts = _maybe(denied, pynvml.nvmlDeviceGetEnforcedPowerLimit, card)
    return Health(
        ecc_corrected=corrected,
        ecc_uncorrected=uncorrected,
        ecc_corrected_ever=corrected_ever,
        ecc_uncorrected_ever=uncorrected_ever,
        rows_remapped_corrected=rows_corrected,
        rows_remapped_uncorrected=rows_uncorrected,
        remap_pending=_flag(pending),
        remap_failed=_flag(failed),
        throttled=None if reasons is None else _throttled(reasons),
        persistence=_flag(persistence),
        power_limit_watts=None if limit_milliwatts is None else limit_milliwatts / 1000,
        sm_clock_hertz=_hertz(denied, card, pynvml.NVML_CLOCK_SM),
        memory_clock_hertz=_hertz(denied, card, pynvml.NVML_CLOCK_MEM),
    )


def read_links(denied: set[str], card: Any) -> Links:
    """Blocks for 20 ms a direction, in which the driver measures PCIe. card: its handle.

    The driver's counters of PCIe bytes (fields 197 and 198) do not block, but have 32 bits: 4 GiB, which a busy link
    moves many times a beat.
    """
    sent_kib, received_kib = _fields(denied, card, _LINK_FIELDS)
    return Links(
        pcie_sent_bytes_per_second=_pcie(denied, card, pynvml.NVML_PCIE_UTIL_TX_BYTES),
        pcie_received_bytes_per_second=_pcie(denied, card, pynvml.NVML_PCIE_UTIL_RX_BYTES),
        nvlink_sent_bytes=None if sent_kib is None else sent_kib * 1024,
        nvlink_received_bytes=None if received_kib is None else received_kib * 1024,
    )


def _maybe(denied: set[str], query: Callable[..., T], *args: Any) -> T | None:
    try:
        return ask(denied, query, *args)
    except NvmlError:  # a card that is lost says so to the calls that matter
        return None


def _fields(denied: set[str], card: Any, wanted: tuple[Any, ...]) -> list[int | None]:
    """The driver's fields, in the order asked for; each has a return code of its own."""
    found = _maybe(denied, pynvml.nvmlDeviceGetFieldValues, card, wanted)
    if found is None:
        return [None] * len(wanted)
    values: list[int | None] = []
    for each in found:
        if each.nvmlReturn == pynvml.NVML_ERROR_NO_PERMISSION:
            denied.add(pynvml.nvmlDeviceGetFieldValues.__name__)
        member = _MEMBERS.get(each.valueType) if each.nvmlReturn == pynvml.NVML_SUCCESS else None
        values.append(None if member is None else getattr(each.value, member))
    return values


def _throttled(reasons: int) -> dict[str, bool]:
    return {name: bool(reasons & bit) for bit, name in _THROTTLES.items()}


def _hertz(denied: set[str], card: Any, clock: int) -> int | None:
    megahertz = _maybe(denied, pynvml.nvmlDeviceGetClockInfo, card, clock)
    return None if megahertz is None else megahertz * 1_000_000


def _pcie(denied: set[str], card: Any, counter: int) -> int | None:
    kilobytes = _maybe(denied, pynvml.nvmlDeviceGetPcieThroughput, card, counter)
    return None if kilobytes is None else kilobytes * 1000


def _flag(value: int | None) -> bool | None:
    return None if value is None else value != 0
