"""The rows of the agent's table of metrics that are of a card's health: see families.py."""

from __future__ import annotations

from exporter import health_samples as samples
from exporter.family import COUNTER, DEVICE_LABELS, GAUGE, Family

_G, _C = GAUGE, COUNTER
_D = DEVICE_LABELS

HEALTH_FAMILIES = (
    Family(
        _C,
        "gpu_xid_errors_total",
        (*_D, "xid"),
        "Errors that the driver raised, by XID; begins with the first of its kind.",
        samples.xid_counts,
    ),
    Family(
        _G,
        "gpu_xid_last_timestamp_seconds",
        (*_D, "xid"),
        "When the XID was last seen: the beat after it was raised.",
        samples.xid_times,
    ),
    Family(
        _C,
        "gpu_ecc_errors_total",
        (*_D, "kind"),
        "Memory errors since the driver was loaded, corrected and uncorrected.",
        samples.by_kind(lambda h: {"corrected": h.ecc_corrected, "uncorrected": h.ecc_uncorrected}),
    ),
    Family(
        _C,
        "gpu_ecc_lifetime_errors_total",
        (*_D, "kind"),
        "Memory errors in the life of the card, corrected and uncorrected.",
        samples.by_kind(lambda h: {"corrected": h.ecc_corrected_ever, "uncorrected": h.ecc_uncorrected_ever}),
    ),
    Family(
        _G,
        "gpu_row_remaps",
        (*_D, "kind"),
        "Memory rows replaced for good, after corrected and after uncorrected errors.",
        samples.by_kind(
            lambda h: {"corrected": h.rows_remapped_corrected, "uncorrected": h.rows_remapped_uncorrected}
        ),
    ),
    Family(
        _G,
        "gpu_row_remap_pending",
        _D,
        "Whether a memory row waits for a reset to be replaced.",
        samples.of_health(lambda h: h.remap_pending),
    ),
    Family(
        _G,
        "gpu_row_remap_failed",
        _D,
        "Whether a memory row could not be replaced.",
        samples.of_health(lambda h: h.remap_failed),
    ),
    Family(
        _G,
        "gpu_throttled",
        (*_D, "reason"),
        "Whether the reason slows the clocks.",
        samples.by_kind(samples.throttled),
    ),
    Family(
        _G,
        "gpu_persistence_mode",
        _D,
        "Whether the driver stays loaded while nobody uses the card.",
        samples.of_health(lambda h: h.persistence),
    ),
    Family(
        _G,
        "gpu_power_limit_watts",
        _D,
        "Most power that the card may draw.",
        samples.of_health(lambda h: h.power_limit_watts),
    ),
    Family(_G, "gpu_sm_clock_hertz", _D, "Clock of the SMs.", samples.of_health(lambda h: h.sm_clock_hertz)),
    Family(
        _G, "gpu_memory_clock_hertz", _D, "Clock of the memory.", samples.of_health(lambda h: h.memory_clock_hertz)
    ),
    Family(
        _G,
        "gpu_pcie_bytes_per_second",
        (*_D, "direction"),
        "PCIe traffic over 20 ms; only with --links=on.",
        samples.of_links(
            lambda each: {
                "sent": each.pcie_sent_bytes_per_second,
                "received": each.pcie_received_bytes_per_second,
            }
        ),
    ),
    Family(
        _C,
        "gpu_nvlink_bytes_total",
        (*_D, "direction"),
        "Data over all NVLinks since the driver was loaded; only with --links=on.",
        samples.of_links(lambda each: {"sent": each.nvlink_sent_bytes, "received": each.nvlink_received_bytes}),
    ),
    Family(
        _G,
        "gpu_exporter_xids_watched",
        _D,
        "Whether the driver tells us the card's XIDs; where not, none is counted, not none was raised.",
        samples.xids_watched,
    ),
    Family(
        _G,
        "gpu_exporter_expected_gpus",
        ("node", "by"),
        "Cards that should answer: those seen since the start, those the driver lists, those on the bus.",
        samples.expected_cards,
    ),
    Family(
        _G,
        "gpu_exporter_answering_gpus",
        ("node",),
        "Cards that answered; none is asked while NVML is let go for driver work.",
        samples.answering_cards,
    ),
)
