"""What the metrics are made of, and the readings of it that a metric family can be: values and functions only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from exporter import VERSION
from exporter.reading import CollectorResult, GpuReading, MigReading, NodeReading
from exporter.sight import Card, SeenHolding, Sight
from exporter.totals import DeviceTotals, Holder, HolderTotals, Totals, names_of

Labels = tuple[str, ...]
Sample = tuple[Labels, float]
Samples = Iterator[Sample]

UNATTRIBUTED = "platform:unattributed"  # as the account; no namespace may be called so


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolFigures:
    """How the spool fares."""

    bytes_used: int = 0
    waiting: int = 0
    write_failures: int = 0
    corrupt_files: int = 0
    hours_lost: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the metrics are made of: one beat and the totals since the start."""

    node: str
    reading: NodeReading | None
    sight: Sight
    totals: Totals
    collectors: tuple[CollectorResult, ...] = ()
    released: bool = False
    beats: int = 0
    beat_lag_s: float = 0.0
    beat_at_ms: int = 0
    steps_back: int = 0
    spool: SpoolFigures = field(default_factory=SpoolFigures)
    pushes: Mapping[str, int] = field(default_factory=dict)
    refused_hours: int = 0
    taken_at_ms: int | None = None  # when the aggregator last took a body
    process: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A card or a MIG instance. gpu, instance: its reading, None where it does not answer."""

    labels: Labels
    card: Card
    gpu: GpuReading | None = None
    instance: MigReading | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A standing with its devices, and the labels of all devices that have totals."""

    standing: Standing
    devices: tuple[Device, ...]
    labels: Mapping[str, Labels]


def devices_of(standing: Standing) -> Iterator[Device]:
    """The cards of a standing, each before its instances."""
    answering = {} if standing.reading is None else {gpu.uuid: gpu for gpu in standing.reading.gpus}
    for card in standing.sight.cards:
        gpu = answering.get(card.uuid)
        shown = (str(card.index), card.model, standing.node)
        yield Device(labels=(card.uuid, *shown, "", ""), card=card, gpu=gpu)
        readings = {} if gpu is None else {each.uuid: each for each in gpu.instances}
        for instance in card.instances:
            labels = (instance.uuid, *shown, instance.profile, card.uuid)
            yield Device(labels=labels, card=card, gpu=gpu, instance=readings.get(instance.uuid))


def cards(read: Callable[[Device], float | None]) -> Callable[[View], Samples]:
    """A sample of every whole card, in MIG mode or not."""

    def samples(view: View) -> Samples:
        for device in view.devices:
            if device.labels[0] == device.card.uuid and (value := read(device)) is not None:
                yield device.labels, value

    return samples


def gpus(read: Callable[[GpuReading], float | None]) -> Callable[[View], Samples]:
    """A sample of every card that answers."""
    return cards(lambda device: None if device.gpu is None else read(device.gpu))


def devices(
    of_gpu: Callable[[GpuReading], float | None], of_instance: Callable[[MigReading], float | None]
) -> Callable[[View], Samples]:
    """A sample of every card and every instance that answers."""

    def samples(view: View) -> Samples:
        yield from gpus(of_gpu)(view)
        for device in view.devices:
            if device.instance is not None and (value := of_instance(device.instance)) is not None:
                yield device.labels, value

    return samples


def totals(read: Callable[[DeviceTotals], float]) -> Callable[[View], Samples]:
    """A sample of every device that can be held, or could until a moment ago."""

    def samples(view: View) -> Samples:
        for uuid, device in view.standing.totals.devices.items():
            if uuid in view.labels:
                yield view.labels[uuid], read(device)

    return samples


def holders(read: Callable[[HolderTotals], float | None]) -> Callable[[View], Samples]:
    """A sample of every holder on every device."""

    def samples(view: View) -> Samples:
        for (uuid, holder), held in view.standing.totals.holders.items():
            if uuid in view.labels and (value := read(held)) is not None:
                yield (*view.labels[uuid], *_named(holder)), value

    return samples


def evidence(view: View) -> Samples:
    """A sample of every holder on every device now, for each way that it is known."""
    found = {(*_holder_labels(view, each), each.evidence) for each in view.standing.sight.holdings}
    return ((labels, 1) for labels in sorted(found))


def busy_known(view: View) -> Samples:
    """A sample of every holder on every device now."""
    known: dict[Labels, bool] = {}
    for each in view.standing.sight.holdings:
        labels = _holder_labels(view, each)
        known[labels] = known.get(labels, True) and each.busy_ppm is not None
    return ((labels, float(value)) for labels, value in known.items())


def idle_joules(view: View) -> Samples:
    """A sample of every card whose energy is known."""
    for uuid, energy_mj in view.standing.totals.idle_energy_mj.items():
        if uuid in view.labels:
            yield view.labels[uuid], energy_mj / 1000


def unknown(view: View) -> Samples:
    """A sample of every holder of a device that no card here has."""
    for (device, resource, holder), held in view.standing.totals.unknown.items():
        yield (device, resource, view.standing.node, *_named(holder)), held.held_s


def one(read: Callable[[Standing], float | None]) -> Callable[[View], Samples]:
    """The only sample of its family, or none."""

    def samples(view: View) -> Samples:
        if (value := read(view.standing)) is not None:
            yield (), value

    return samples


def process(name: str) -> Callable[[View], Samples]:
    """A figure of the agent's own process."""
    return one(lambda standing: standing.process.get(name))


def taken_at_s(standing: Standing) -> float | None:
    return None if standing.taken_at_ms is None else standing.taken_at_ms / 1000


def info(view: View) -> Samples:
    driver = (view.standing.reading and view.standing.reading.driver_version) or ""
    return (((*device.labels, driver), 1) for device in view.devices)


def denied(view: View) -> Samples:
    for device in view.devices:
        if device.gpu is not None and device.instance is None:
            for call in sorted(device.gpu.denied):
                yield (*device.labels, call), 1


def up(device: Device) -> float:
    return float(device.gpu is not None)


def joules(gpu: GpuReading) -> float | None:
    return None if gpu.energy_mj is None else gpu.energy_mj / 1000


def held_joules(held: HolderTotals) -> float | None:
    return None if held.energy_mj is None else held.energy_mj / 1000


def durations(view: View) -> Samples:
    return (((each.name,), each.duration_s) for each in view.standing.collectors)


def successes(view: View) -> Samples:
    return (((each.name,), float(each.success)) for each in view.standing.collectors)


def pushes(view: View) -> Samples:
    return (((result,), count) for result, count in view.standing.pushes.items())


def build(view: View) -> Samples:
    yield (VERSION,), 1


def _holder_labels(view: View, seen: SeenHolding) -> Labels:
    return (*view.labels[seen.device], *_named(names_of(seen.holder)))


def _named(holder: Holder) -> Holder:
    """Said, not left empty: without honor_labels Prometheus fills an empty namespace in with that of the agent."""
    return holder if any(holder) else (UNATTRIBUTED, "", "")
