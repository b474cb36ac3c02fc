"""When a card exists: from an observation until 72 h have passed without another, or a body omits it.

Worked out hour by hour: what an hour leaves to the next is the list of its cards that still exist, each with
its last observation. So the account of a node is a fold over its hours, whatever the order of the pushes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chargeback.core.hours import HOUR_MS
from chargeback.core.node_hour import MEMORY_SLICES, Gpu, NodeHour
from chargeback.core.spans import Spans, union

# Without a Kubernetes API nobody tells us that a node has gone: a silent card stays on the account so long.
SILENT_MS = 72 * HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGpu:
    """A card that exists at the end of an hour. last_observed_ms: unix ms; layout as it was last seen."""

    uuid: str
    model: str
    memory_mib: int
    slices_max: int | None
    memory_slices: int = MEMORY_SLICES
    last_observed_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Existence:
    """spans: when each card existed within the hour, by uuid. known: what exists at its end, by uuid."""

    gpus: tuple[Gpu, ...]
    spans: dict[str, Spans]
    known: tuple[KnownGpu, ...]


def exist(
    hour: int,
    bodies: Sequence[NodeHour],
    merged: NodeHour | None,
    before: Sequence[KnownGpu],
    until: int = HOUR_MS,
) -> Existence:
    """The cards of one node in one hour.

    bodies  as they came: a body omits a card that exists and that it does not list
    merged  of them, None where no agent spoke
    before  what existed at the end of the hour before
    until   ms from the hour's start up to which the account goes (less than an hour: it still runs)
    """
    start_ms = hour * HOUR_MS
    listed = {gpu.uuid: gpu for gpu in (merged.gpus if merged else ())}
    carried = {known.uuid: known for known in before}
    spans: dict[str, Spans] = {}
    known_after: list[KnownGpu] = []
    gpus: list[Gpu] = []
    for uuid in sorted(listed.keys() | carried.keys()):
        gpu = listed.get(uuid) or _unobserved(carried[uuid])
        last = carried[uuid].last_observed_ms - start_ms if uuid in carried else None
        omitted = sorted(_omissions(bodies, uuid))
        lives, last = _lives(union(gpu.observed), last, omitted, until)
        if not lives:
            continue
        gpus.append(gpu)
        spans[uuid] = lives
        if lives[-1][1] == until and last is not None and last + SILENT_MS > until:
            known_after.append(
                KnownGpu(
                    uuid=uuid,
                    model=gpu.model,
                    memory_mib=gpu.memory_mib,
                    slices_max=gpu.slices_max,
                    memory_slices=gpu.memory_slices,
                    last_observed_ms=start_ms + last,
                )
            )
    return Existence(gpus=tuple(gpus), spans=spans, known=tuple(known_after))


def _lives(observed: Spans, last: int | None, omitted: Sequence[int], until: int) -> tuple[Spans, int | None]:
    """When the card lives in [0, until), and its last observation. last: before this hour (≤ 0), or None."""
    lives: list[tuple[int, int]] = []
    for start, end in (*observed, (until, until)):
        if last is not None and last < start:
            dies = min([at for at in omitted if last <= at < start] + [last + SILENT_MS, start])
            lives.append((max(last, 0), dies))
        if start < end:
            lives.append((start, end))
            last = end
    return union((a, b) for a, b in lives if a < b), last


def _omissions(bodies: Sequence[NodeHour], uuid: str) -> list[int]:
    """The first observation of every body that does not list the card."""
    firsts = []
    for body in bodies:
        if all(gpu.uuid != uuid for gpu in body.gpus):
            seen = [span[0] for gpu in body.gpus for span in gpu.observed]
            firsts += [min(seen)] if seen else []
    return firsts


def _unobserved(known: KnownGpu) -> Gpu:
    return Gpu(
        uuid=known.uuid,
        model=known.model,
        memory_mib=known.memory_mib,
        slices_max=known.slices_max,
        memory_slices=known.memory_slices,
    )
