"""One account out of several agents' bodies of the same node and hour.

At an instant that several observed, the instance that started last speaks (tie: the greater id); what none
observed is unobserved. The order in which bodies came does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from chargeback.core.money import split
from chargeback.core.node_hour import Gpu, Instance, Layout, NodeHour, cut
from chargeback.core.spans import Spans, intersect, length, subtract, union

Timed = TypeVar("Timed", Layout, Instance)


def merge(bodies: Sequence[NodeHour]) -> NodeHour:
    """Merge the bodies of one node-hour; at least one, each checked."""
    if len(bodies) == 1:
        return bodies[0]
    speaking = speakers(bodies)
    parts = [_clip(body, speaks) for body, speaks in speaking]
    return replace(
        speaking[0][0],
        through=max(body.through for body in bodies),
        final=any(body.final for body in bodies),
        gpus=_join_gpus(parts),
        instances=tuple(sorted((i for part in parts for i in part.instances), key=lambda i: (i.start, i.uuid))),
        holdings=tuple(
            sorted(
                (h for part in parts for h in part.holdings),
                key=lambda h: (h.start, h.device, h.shares, h.holder),
            )
        ),
    )


def speakers(bodies: Sequence[NodeHour]) -> list[tuple[NodeHour, dict[str, Spans]]]:
    """The bodies, latest instance first, each with the time for which it speaks of each of its cards."""
    claimed: dict[str, Spans] = {}
    found: list[tuple[NodeHour, dict[str, Spans]]] = []
    for body in sorted(bodies, key=lambda body: (body.started, body.instance), reverse=True):
        speaks = {gpu.uuid: subtract(union(gpu.observed), claimed.get(gpu.uuid, ())) for gpu in body.gpus}
        found.append((body, speaks))
        for uuid, spans in speaks.items():
            claimed[uuid] = union(claimed.get(uuid, ()) + spans)
    return found


def _clip(body: NodeHour, speaks: dict[str, Spans]) -> NodeHour:
    """The body, cut to the time for which it speaks, card by card."""
    card_of = {gpu.uuid: gpu.uuid for gpu in body.gpus} | {i.uuid: i.gpu for i in body.instances}
    return replace(
        body,
        gpus=tuple(
            replace(
                gpu,
                observed=speaks[gpu.uuid],
                unhealthy=intersect(union(gpu.unhealthy), speaks[gpu.uuid]),
                layouts=tuple(_clip_timed(gpu.layouts, speaks[gpu.uuid])),
                idle_energy_mj=_clip_energy(gpu, speaks[gpu.uuid]),
            )
            for gpu in body.gpus
        ),
        instances=tuple(part for i in body.instances for part in _clip_timed((i,), speaks[i.gpu])),
        holdings=tuple(part for h in body.holdings for part in cut(h, speaks[card_of[h.device]])),
    )


def _clip_timed(records: Iterable[Timed], spans: Spans) -> Iterator[Timed]:
    for record in records:
        for start, end in intersect(((record.start, record.end),), spans):
            yield replace(record, start=start, end=end)


def _clip_energy(gpu: Gpu, spans: Spans) -> int | None:
    """Idle energy within the spans, prorated by observed time; none of it where the body does not speak."""
    if gpu.idle_energy_mj is None or not spans:
        return None
    inside, all_ms = length(spans), length(union(gpu.observed))
    return split(gpu.idle_energy_mj, [inside, all_ms - inside])[0]


def _plus(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else first + second


def _join_gpus(parts: Iterable[NodeHour]) -> tuple[Gpu, ...]:
    """One record a card; what does not change with time is as the latest instance says."""
    gpus: dict[str, Gpu] = {}
    for part in parts:
        for gpu in part.gpus:
            first = gpus.get(gpu.uuid)
            gpus[gpu.uuid] = (
                gpu
                if first is None
                else replace(
                    first,
                    slices_max=first.slices_max if first.slices_max is not None else gpu.slices_max,
                    observed=union(first.observed + gpu.observed),
                    unhealthy=union(first.unhealthy + gpu.unhealthy),
                    layouts=tuple(sorted(first.layouts + gpu.layouts, key=lambda layout: layout.start)),
                    idle_energy_mj=_plus(first.idle_energy_mj, gpu.idle_energy_mj),
                )
            )
    return tuple(gpus[uuid] for uuid in sorted(gpus))
