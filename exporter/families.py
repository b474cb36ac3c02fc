"""The agent's metrics: one table of families, rendered once a beat. A scrape copies bytes.

What a device cannot say gives no sample, never a zero. Whole cards and MIG instances share the same labels: an
instance has mig_profile and parent_uuid, a card has neither. A card in MIG mode is not held; its instances are.
"""

from __future__ import annotations

from collections.abc import Iterable

from exporter import samples
from exporter.family import COUNTER, DEVICE_LABELS, GAUGE, HOLDER_LABELS, Family
from exporter.health_families import HEALTH_FAMILIES
from exporter.samples import Labels, Standing, View
from exporter.text_page import TextPage

MIB = 1024 * 1024

_G, _C = GAUGE, COUNTER
_D, _H = DEVICE_LABELS, HOLDER_LABELS

FAMILIES = (
    Family(_G, "gpu_info", (*_D, "driver_version"), "A card or MIG instance of this node; always 1.", samples.info),
    Family(_G, "gpu_up", _D, "Whether the card answers.", samples.cards(samples.up)),
    Family(
        _G,
        "gpu_memory_used_bytes",
        _D,
        "Device memory in use; compute instances of one GPU instance share it, and each shows all of it.",
        samples.devices(lambda g: g.memory_used_bytes, lambda i: i.memory_used_bytes),
    ),
    Family(
        _G,
        "gpu_memory_total_bytes",
        _D,
        "Device memory.",
        samples.devices(lambda g: g.memory_total_bytes, lambda i: i.memory_mib * MIB),
    ),
    Family(
        _G,
        "gpu_utilization_ratio",
        _D,
        "Share of time in which a kernel ran.",
        samples.gpus(lambda g: g.utilization_ratio),
    ),
    Family(_G, "gpu_power_watts", _D, "Power drawn right now.", samples.gpus(lambda g: g.power_watts)),
    Family(_C, "gpu_energy_joules_total", _D, "Energy since the driver was loaded.", samples.gpus(samples.joules)),
    Family(
        _G, "gpu_temperature_celsius", _D, "Temperature of the card.", samples.gpus(lambda g: g.temperature_celsius)
    ),
    Family(
        _C,
        "gpu_observed_seconds_total",
        _D,
        "Time in which the device and its holders were observed.",
        samples.totals(lambda d: d.observed_s),
    ),
    Family(
        _C,
        "gpu_idle_seconds_total",
        _D,
        "Observed healthy time in which nobody held the device; a share counts for its part.",
        samples.totals(lambda d: d.idle_s),
    ),
    Family(
        _C,
        "gpu_held_seconds_total",
        _H,
        "Observed time in which the container held the device; a share counts for its part.",
        samples.holders(lambda h: h.held_s),
    ),
    Family(
        _G,
        "gpu_held_info",
        (*_H, "evidence"),
        "On what evidence the container is taken to hold the device now; always 1.",
        samples.evidence,
    ),
    Family(
        _C,
        "gpu_busy_seconds_total",
        _H,
        "Time in which the holder's processes kept the device busy, where known; a share counts for its part.",
        samples.holders(lambda h: h.busy_s),
    ),
    Family(
        _G,
        "gpu_busy_known",
        _H,
        "Whether the holder's busy time was known in the last beat; while it is not, it does not count.",
        samples.busy_known,
    ),
    Family(
        _C,
        "gpu_held_energy_joules_total",
        _H,
        "The holder's part of the card's energy, where that is known.",
        samples.holders(samples.held_joules),
    ),
    Family(
        _C,
        "gpu_idle_energy_joules_total",
        _D,
        "The part of the card's energy that is no holder's, while holders are observed.",
        samples.idle_joules,
    ),
    Family(
        _C,
        "gpu_use_without_allocation_seconds_total",
        _D,
        "Time in which a process that holds no part of the device was on it.",
        samples.totals(lambda d: d.unallocated_use_s),
    ),
    *HEALTH_FAMILIES,
    Family(
        _G,
        "gpu_exporter_denied_calls",
        (*_D, "call"),
        "A driver call that is refused for want of permission, or whose answer cannot be read; always 1.",
        samples.denied,
    ),
    Family(
        _G,
        "gpu_exporter_unknown_devices",
        (),
        "Device ids that the kubelet has given away and no card here has.",
        samples.one(lambda s: s.sight.unknown_devices),
    ),
    Family(
        _C,
        "gpu_unknown_device_held_seconds_total",
        ("device", "resource", "node", "namespace", "pod", "container"),
        "Time in which the container held a device that no card here has (passthrough, vGPU): in no account.",
        samples.unknown,
    ),
    Family(
        _G,
        "gpu_exporter_collector_duration_seconds",
        ("collector",),
        "How long the collector took in the last beat.",
        samples.durations,
    ),
    Family(
        _G,
        "gpu_exporter_collector_success",
        ("collector",),
        "Whether the collector succeeded in the last beat.",
        samples.successes,
    ),
    Family(
        _G,
        "gpu_exporter_released",
        (),
        "Whether NVML is let go for driver work: then no card answers, and that is no fault.",
        samples.one(lambda s: s.released),
    ),
    Family(_C, "gpu_exporter_beats_total", (), "Beats since the start.", samples.one(lambda s: s.beats)),
    Family(
        _G, "gpu_exporter_beat_lag_seconds", (), "How late the last beat began.", samples.one(lambda s: s.beat_lag_s)
    ),
    Family(
        _G,
        "gpu_exporter_last_beat_timestamp_seconds",
        (),
        "When the last beat began: the age of all other figures.",
        samples.one(lambda s: s.beat_at_ms / 1000),
    ),
    Family(
        _C,
        "gpu_exporter_clock_steps_back_total",
        (),
        "Beats dropped because the clock had been set back.",
        samples.one(lambda s: s.steps_back),
    ),
    Family(_G, "gpu_exporter_spool_bytes", (), "Size of the spool.", samples.one(lambda s: s.spool.bytes_used)),
    Family(
        _G,
        "gpu_exporter_spool_bodies",
        (),
        "Finished node-hours that the aggregator has not acknowledged.",
        samples.one(lambda s: s.spool.waiting),
    ),
    Family(
        _C,
        "gpu_exporter_spool_write_failures_total",
        (),
        "Failed writes of the spool.",
        samples.one(lambda s: s.spool.write_failures),
    ),
    Family(
        _C,
        "gpu_exporter_spool_corrupt_files_total",
        (),
        "Spool files that could not be read and were set aside.",
        samples.one(lambda s: s.spool.corrupt_files),
    ),
    Family(
        _C,
        "gpu_exporter_lost_bodies_total",
        (),
        "Finished node-hours lost because neither disk nor memory had room.",
        samples.one(lambda s: s.spool.hours_lost),
    ),
    Family(
        _C,
        "gpu_exporter_refused_bodies_total",
        (),
        "Finished node-hours set aside because the aggregator refused them for good.",
        samples.one(lambda s: s.refused_hours),
    ),
    Family(
        _C,
        "gpu_exporter_pushes_total",
        ("result",),
        "Answers to pushes: taken, refused for good, or failed so far.",
        samples.pushes,
    ),
    Family(
        _G,
        "gpu_exporter_last_push_timestamp_seconds",
        (),
        "When the aggregator last took a body; begins with the first.",
        samples.one(samples.taken_at_s),
    ),
    Family(
        _C,
        "process_cpu_seconds_total",
        (),
        "CPU time of the agent, of user and kernel.",
        samples.process("process_cpu_seconds_total"),
    ),
    Family(
        _G,
        "process_resident_memory_bytes",
        (),
        "Memory of the agent that is in RAM, libraries that it shares with others included.",
        samples.process("process_resident_memory_bytes"),
    ),
    Family(
        _G,
        "process_virtual_memory_bytes",
        (),
        "Address space of the agent.",
        samples.process("process_virtual_memory_bytes"),
    ),
    Family(
        _G, "process_start_time_seconds", (), "When the agent started.", samples.process("process_start_time_seconds")
    ),
    Family(
        _G, "process_open_fds", (), "Files and sockets that the agent has open.", samples.process("process_open_fds")
    ),
    Family(_G, "process_max_fds", (), "How many it may have open.", samples.process("process_max_fds")),
    Family(_G, "gpu_exporter_build_info", ("version",), "Version of the agent; always 1.", samples.build),
)


class Page:
    """Renders a standing. Keeps the labels of devices that are gone while they still have totals.

    families  the table it renders: another, with the names of another exporter, would be over the same readings
    """

    def __init__(self, families: Iterable[Family] = FAMILIES) -> None:
        self._labels: dict[str, Labels] = {}
        self._text = TextPage(families)

    def render(self, standing: Standing) -> bytes:
        """The whole page, in Prometheus' text format."""
        listed = tuple(samples.devices_of(standing))
        current = {device.labels[0]: device.labels for device in listed}
        kept = {uuid: labels for uuid, labels in self._labels.items() if uuid in standing.totals.devices}
        self._labels = kept | current
        return self._text.write(View(standing=standing, devices=listed, labels=self._labels))
