"""The node-hour as the ledger sees it, and the rules a body must keep beyond its types.

Times are ms from the hour's start. `exporter/wire.py` says what each field means.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from chargeback.core.hours import HOUR_MS
from chargeback.core.money import split
from chargeback.core.pods import NO_LABELS, OwnerLabels
from chargeback.core.spans import Span, Spans, covers, union
from chargeback.core.values import value

MEMORY_SLICES = 8
WHOLE = Fraction(1)


class Refused(ValueError):
    """A body that cannot be true. Names the field, what was seen and what is wanted."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


@value
class Layout:
    start: int
    end: int
    mig: bool
    shares: int = 1


@value
class Gpu:
    uuid: str
    model: str
    memory_mib: int
    slices_max: int | None = None
    memory_slices: int = MEMORY_SLICES
    observed: Spans = ()
    unhealthy: Spans = ()
    layouts: tuple[Layout, ...] = ()
    # In the part of the observed time in which it was known: what nobody held of the card's energy.
    idle_energy_mj: int | None = None


@value
class Instance:
    uuid: str
    gpu: str
    profile: str
    start: int
    end: int
    gi: int
    ci: int
    c: int
    g: int
    m: int
    shares: int = 1


@value
class Holding:
    device: str
    shares: tuple[int, ...]
    start: int
    end: int
    namespace: str
    pod: str
    container: str
    resource: str = ""
    source: str = "device-plugin"
    evidence: str = "exclusive"
    pod_uid: str | None = None
    claim: str | None = None
    busy_ms: int | None = None
    memory_byte_seconds: int | None = None
    memory_peak_bytes: int | None = None
    energy_mj: int | None = None
    # Of the slot: less than all only where a scheduler shares a card out. No agent says this.
    portion: Fraction = WHOLE
    # What the pod's own labels say of its owner, where they may.
    labels: OwnerLabels = NO_LABELS
    # Of the pod, as the API says: prices may give its pods a tier.
    priority_class: str | None = None

    @property
    def is_part(self) -> bool:
        """Whether it is less than the whole slot."""
        return self.portion is not WHOLE and self.portion != WHOLE

    @property
    def holder(self) -> tuple[str, str, str]:
        return (self.namespace, self.pod, self.container)


@value
class NodeHour:
    """One agent's body, or several merged. hour: number since the epoch. started: unix ms of the instance."""

    cluster: str
    node: str
    hour: int
    instance: str = ""
    started: int = 0
    seq: int = 1
    through: int = HOUR_MS
    final: bool = True
    gpus: tuple[Gpu, ...] = ()
    instances: tuple[Instance, ...] = ()
    holdings: tuple[Holding, ...] = ()


def cut(holding: Holding, at: Spans) -> list[Holding]:
    """The parts of a holding that lie in the spans; usage is prorated by time, largest remainder.

    Where the spans do not cover the whole holding, the usage outside them is left out.
    """
    if len(at) == 1 and at[0][0] <= holding.start and holding.end <= at[0][1]:
        return [holding]
    inside = [
        (max(holding.start, start), min(holding.end, end))
        for start, end in at
        if max(holding.start, start) < min(holding.end, end)
    ]
    if not inside:
        return []
    if inside == [(holding.start, holding.end)]:
        return [holding]
    covered = sum(end - start for start, end in inside)
    lengths = [end - start for start, end in inside] + [holding.end - holding.start - covered]

    def parts(total: int | None) -> list[int | None]:
        return [None] * len(inside) if total is None else list(split(total, lengths))

    usage = zip(
        inside,
        parts(holding.busy_ms),
        parts(holding.memory_byte_seconds),
        parts(holding.energy_mj),
        strict=False,  # the last part of each is what lies outside
    )
    return [
        replace(holding, start=start, end=end, busy_ms=busy, memory_byte_seconds=memory, energy_mj=energy)
        for (start, end), busy, memory, energy in usage
    ]


def check(body: NodeHour) -> None:
    """Raise Refused for the first thing that cannot be true, named by its field."""
    if body.seq < 1:
        raise Refused("seq", f"{body.seq}: want 1 or more")
    gpus = _check_gpus(body)
    devices = _check_instances(body, gpus)
    for i, holding in enumerate(body.holdings):
        field = f"holdings[{i}]"
        _check_span(field, (holding.start, holding.end), body.through)
        gpu = devices.get(holding.device)
        if gpu is None:
            raise Refused(f"{field}.device", f"{holding.device!r}: want the uuid of a listed gpu or instance")
        if not covers(gpu[0], holding.start, holding.end):
            raise Refused(f"{field}", f"{_show(holding)}: want an interval within the device's own")
        if not covers(gpu[1], holding.start, holding.end):
            raise Refused(f"{field}", f"{_show(holding)}: want an interval within observed time")
        if len(set(holding.shares)) != len(holding.shares):
            raise Refused(f"{field}.shares", f"{list(holding.shares)}: want each share once")
        names = (holding.namespace, holding.pod, holding.container)
        if any(names) and not all(names):
            raise Refused(f"{field}.namespace", f"{names}: want namespace, pod and container, or none of them")
    _check_held_once(body.holdings)


def _check_held_once(holdings: Iterable[Holding]) -> None:
    """A holder who has one slot twice at once would be billed twice, under one line's key."""
    held: dict[tuple[str, int, tuple[str, str, str], str | None], list[tuple[int, int, int]]] = {}
    for i, holding in enumerate(holdings):
        for share in holding.shares:
            slot = (holding.device, share, holding.holder, holding.claim)
            held.setdefault(slot, []).append((holding.start, holding.end, i))
    for (device, share, _, _), records in held.items():
        for (_, before, first), (start, end, second) in itertools.pairwise(sorted(records)):
            if start < before:
                raise Refused(
                    f"holdings[{max(first, second)}]",
                    f"[{start}, {end}) on {device}: its holder has share {share} then already, want it once",
                )


def _check_gpus(body: NodeHour) -> dict[str, Gpu]:
    gpus: dict[str, Gpu] = {}
    for i, gpu in enumerate(body.gpus):
        field = f"gpus[{i}]"
        if gpu.uuid in gpus:
            raise Refused(f"{field}.uuid", f"{gpu.uuid!r} again: want one record a card")
        gpus[gpu.uuid] = gpu
        for name, spans in (("observed", gpu.observed), ("unhealthy", gpu.unhealthy)):
            before = 0
            for j, span in enumerate(spans):
                _check_span(f"{field}.{name}[{j}]", span, body.through)
                if span[0] < before:
                    raise Refused(f"{field}.{name}[{j}]", f"{list(span)}: want sorted intervals, none overlapping")
                before = span[1]
        before = 0
        for j, layout in enumerate(gpu.layouts):
            _check_span(f"{field}.layouts[{j}]", (layout.start, layout.end), body.through)
            if layout.start < before:
                raise Refused(f"{field}.layouts[{j}]", f"from {layout.start}: want sorted layouts, none overlapping")
            before = layout.end
    return gpus


def _check_instances(body: NodeHour, gpus: dict[str, Gpu]) -> dict[str, tuple[Spans, Spans]]:
    """Device uuid → (the device's own time, its card's observed time)."""
    lives: dict[str, list[Span]] = {}
    parents: dict[str, Gpu] = {}
    for i, instance in enumerate(body.instances):
        field = f"instances[{i}]"
        _check_span(field, (instance.start, instance.end), body.through)
        gpu = gpus.get(instance.gpu)
        if gpu is None:
            raise Refused(f"{field}.gpu", f"{instance.gpu!r}: want the uuid of a listed gpu")
        if gpu.slices_max is None:
            raise Refused(f"{field}.gpu", f"{instance.gpu!r} has no C: want the card's maximal MIG device count")
        if parents.setdefault(instance.uuid, gpu) is not gpu or instance.uuid in gpus:
            raise Refused(f"{field}.uuid", f"{instance.uuid!r} is used for another device: want one device a uuid")
        for name, slices, most in (
            ("g", instance.g, gpu.slices_max),
            ("c", instance.c, instance.g),
            ("m", instance.m, gpu.memory_slices),
        ):
            if slices > most:
                raise Refused(f"{field}.{name}", f"{slices} slices: larger than its card, want at most {most}")
        if any(instance.start < end and start < instance.end for start, end in lives.get(instance.uuid, ())):
            raise Refused(f"{field}", f"{instance.uuid!r} overlaps another record of this uuid")
        lives.setdefault(instance.uuid, []).append((instance.start, instance.end))
    devices = {uuid: (union(spans), union(parents[uuid].observed)) for uuid, spans in lives.items()}
    whole_hour: Spans = ((0, HOUR_MS),)
    return devices | {uuid: (whole_hour, union(gpu.observed)) for uuid, gpu in gpus.items()}


def _check_span(field: str, span: Span, through: int) -> None:
    start, end = span
    if start < 0 or end > HOUR_MS:
        raise Refused(field, f"[{start}, {end}): want an interval within the hour, 0 to {HOUR_MS}")
    if start >= end:
        raise Refused(field, f"[{start}, {end}): want from before to")
    if end > through:
        raise Refused(field, f"[{start}, {end}): want an end no later than through, {through}")


def _show(holding: Holding) -> str:
    return f"[{holding.start}, {holding.end}) on {holding.device}"
