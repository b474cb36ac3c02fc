"""A card's health as the driver tells it: values only. Absent means "cannot say", never zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One card's, at one instant.

    ecc_…       memory errors since the driver was loaded; ecc_…_ever: over the card's life
    rows_…      memory rows replaced for good, by what kind of error they had
    remap_…     a row waits for the next reset to be replaced; a row could not be replaced
    throttled   by reason, whether it slows the clocks
    """

    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    ecc_corrected_ever: int | None = None
    ecc_uncorrected_ever: int | None = None
    rows_remapped_corrected: int | None = None
    rows_remapped_uncorrected: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    throttled: Mapping[str, bool] | None = None
    persistence: bool | None = None
    power_limit_watts: float | None = None
    sm_clock_hertz: int | None = None
    memory_clock_hertz: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """One card's traffic. pcie_…: over the last 20 ms; nvlink_…: data since the driver was loaded, all links."""

    pcie_sent_bytes_per_second: int | None = None
    pcie_received_bytes_per_second: int | None = None
    nvlink_sent_bytes: int | None = None
    nvlink_received_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class XidReading:
    """How often an XID was raised since the reading before. device: a MIG instance's UUID if it is that one's alone,
    else the card's, as `gpu`."""

    gpu: str
    device: str
    xid: int
    count: int
