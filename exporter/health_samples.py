"""The readings of a card's health that a metric family can be: as samples.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exporter.health import Health, Links
from exporter.reading import GpuReading
from exporter.samples import Device, Samples, View, gpus

Labelled = Mapping[str, float | None]


def of_health(read: Callable[[Health], float | None]) -> Callable[[View], Samples]:
    """A sample of every card that can say."""
    return gpus(lambda gpu: read(gpu.health))


def by_kind(read: Callable[[Health], Labelled]) -> Callable[[View], Samples]:
    """Samples of every card, one for each kind it can say; the kind is the last label."""
    return _labelled(lambda gpu: read(gpu.health))


def of_links(read: Callable[[Links], Labelled]) -> Callable[[View], Samples]:
    """Samples of every card whose links are read, one for each direction it can say."""
    return _labelled(lambda gpu: {} if gpu.links is None else read(gpu.links))


def throttled(health: Health) -> Labelled:
    return health.throttled or {}


def xid_counts(view: View) -> Samples:
    for (uuid, xid), total in view.standing.totals.xids.items():
        if uuid in view.labels:
            yield (*view.labels[uuid], str(xid)), total.count


def xid_times(view: View) -> Samples:
    for (uuid, xid), total in view.standing.totals.xids.items():
        if uuid in view.labels:
            yield (*view.labels[uuid], str(xid)), total.last_ms / 1000


def xids_watched(view: View) -> Samples:
    """A card that does not answer may be watched: its driver can still tell why."""
    reading = view.standing.reading
    for device in _cards(view):
        yield device.labels, float(reading is not None and device.card.uuid in reading.xids_watched)


def expected_cards(view: View) -> Samples:
    node, reading = view.standing.node, view.standing.reading
    yield (node, "known"), len(view.standing.sight.cards)
    if reading is not None:
        yield (node, "driver"), len(reading.gpus) + len(reading.lost)
        if reading.on_bus is not None:
            yield (node, "bus"), reading.on_bus


def answering_cards(view: View) -> Samples:
    """None while NVML is let go, for no card is asked."""
    reading = view.standing.reading
    if not view.standing.released:
        yield (view.standing.node,), 0 if reading is None else len(reading.gpus)


def _labelled(read: Callable[[GpuReading], Labelled]) -> Callable[[View], Samples]:
    def samples(view: View) -> Samples:
        for device in _cards(view):
            for label, value in ({} if device.gpu is None else read(device.gpu)).items():
                if value is not None:
                    yield (*device.labels, label), value

    return samples


def _cards(view: View) -> list[Device]:
    return [device for device in view.devices if device.labels[0] == device.card.uuid]
