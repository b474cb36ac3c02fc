"""When a card exists: from an observation until the API drops its node, or a body omits it.

Without an API that knows the node, it exists until 72 h have passed without another observation.

Worked out hour by hour: what an hour leaves to the next is the list of its cards that still exist, each with
its last observation. So the account of a node is a fold over its hours, whatever the order of the pushes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from chargeback.core.hours import HOUR_MS, rating_intervals
from chargeback.core.node_hour import MEMORY_SLICES, Gpu, Holding, Instance, Layout, NodeHour
from chargeback.core.spans import Spans, covers, intersect, length, union
from chargeback.core.values import value

# Without a Kubernetes API nobody tells us that a node has gone: a silent card stays on the account so long.
SILENT_MS = 72 * HOUR_MS


@value
class KnownInstance:
    uuid: str
    profile: str
    gi: int
    ci: int
    c: int
    g: int
    m: int
    shares: int = 1


@value
class KnownGpu:
    """A card that exists at the end of an hour. last_observed_ms: unix ms; the rest as it was last seen."""

    uuid: str
    model: str
    memory_mib: int
    slices_max: int | None
    memory_slices: int = MEMORY_SLICES
    last_observed_ms: int
    mig: bool = False
    shares: int = 1
    instances: tuple[KnownInstance, ...] = ()


@value
class Existence:
    """The cards of a node in one hour.

    gpus       with the layout that was known before in front, until the card is observed again
    instances  of the bodies, and before them those that were known before
    spans      when each card existed within the hour, by uuid
    known      what exists at its end, by uuid
    """

    gpus: tuple[Gpu, ...]
    instances: tuple[Instance, ...]
    spans: dict[str, Spans]
    known: tuple[KnownGpu, ...]

    def by_month(self, hour: int, timezone: str) -> dict[str, int]:
        """How long its cards existed, in ms of each local month that the hour has a part of."""
        found: dict[str, int] = {}
        for interval in rating_intervals(hour, timezone):
            within = ((interval.start, interval.end),)
            ms = sum(
                within[0][1] - within[0][0] if covers(spans, *within[0]) else length(intersect(spans, within))
                for spans in self.spans.values()
            )
            found[interval.month] = found.get(interval.month, 0) + ms
        return found


def exist(
    hour: int,
    bodies: Sequence[NodeHour],
    merged: NodeHour | None,
    before: Sequence[KnownGpu],
    until: int = HOUR_MS,
    present: Spans | None = None,
) -> Existence:
    """The cards of one node in one hour.

    bodies   as they came: a body omits a card that exists and that it does not list
    merged   of them, None where no agent spoke
    before   what existed at the end of the hour before
    until    ms from the hour's start up to which the account goes (less than an hour: it still runs)
    present  when the API had the node; None: it never knew it
    """
    start_ms = hour * HOUR_MS
    listed = {gpu.uuid: gpu for gpu in (merged.gpus if merged else ())}
    carried = {known.uuid: known for known in before}
    instances = list(merged.instances if merged else ())
    held_on: dict[str, list[Holding]] = {}
    for holding in merged.holdings if merged else ():
        held_on.setdefault(holding.device, []).append(holding)
    spans: dict[str, Spans] = {}
    known_after: list[KnownGpu] = []
    gpus: list[Gpu] = []
    always: Spans = ((0, until),)
    for uuid in sorted(listed.keys() | carried.keys()):
        gpu = listed.get(uuid) or _unobserved(carried[uuid])
        last = carried[uuid].last_observed_ms - start_ms if uuid in carried else None
        observed = union(gpu.observed)
        if observed == always:  # most are
            lives, last = observed, until
        else:
            omitted = sorted(first for uuids, first in _listings(bodies) if uuid not in uuids)
            lives, last = _lives(observed, last, omitted, until, present)
        if not lives:
            continue
        if uuid in carried and (first := observed[0][0] if observed else until) > 0:
            gpu, earlier = _with_layout_before(gpu, carried[uuid], first)
            instances = earlier + instances
        gpus.append(gpu)
        spans[uuid] = lives
        silent = last is not None and last + SILENT_MS <= until
        if lives[-1][1] == until and last is not None and (present is not None or not silent):
            own = [i for i in instances if i.gpu == uuid]
            known_after.append(_known(gpu, own, held_on, start_ms, last))
    return Existence(gpus=tuple(gpus), instances=tuple(instances), spans=spans, known=tuple(known_after))


def _lives(
    observed: Spans, last: int | None, omitted: Sequence[int], until: int, present: Spans | None
) -> tuple[Spans, int | None]:
    """When the card lives in [0, until), and its last observation. last: before this hour (≤ 0), or None."""
    lives: list[tuple[int, int]] = []
    for start, end in (*observed, (until, until)):
        if last is not None and last < start:
            dies = min([at for at in omitted if last <= at < start] + [_silence_ends(last, present), start])
            lives.append((max(last, 0), dies))
        if start < end:
            lives.append((start, end))
            last = end
    return union((a, b) for a, b in lives if a < b), last


def _silence_ends(last: int, present: Spans | None) -> int:
    """Until when a card lives on that nobody observes: as long as the API has its node."""
    if present is None:
        return last + SILENT_MS
    since = max(last, 0)  # what was before this hour, the hours before have settled
    return next((end for start, end in present if start <= since <= end), since)


def _listings(bodies: Sequence[NodeHour]) -> Iterator[tuple[set[str], int]]:
    """The cards that each body lists, and from when on it omits all others: its first observation."""
    for body in bodies:
        seen = [span[0] for gpu in body.gpus for span in gpu.observed]
        if seen:
            yield {gpu.uuid for gpu in body.gpus}, min(seen)


def _unobserved(known: KnownGpu) -> Gpu:
    return Gpu(
        uuid=known.uuid,
        model=known.model,
        memory_mib=known.memory_mib,
        slices_max=known.slices_max,
        memory_slices=known.memory_slices,
    )


def _with_layout_before(gpu: Gpu, known: KnownGpu, first: int) -> tuple[Gpu, list[Instance]]:
    """The card with its last known layout until it is observed first, and the instances of that layout.

    Those are parts of its slices, which a driver says only while MIG is on: they are kept as well.
    """
    layout = Layout(start=0, end=first, mig=known.mig, shares=known.shares)
    instances = [
        Instance(
            uuid=i.uuid, gpu=gpu.uuid, profile=i.profile, start=0, end=first,
            gi=i.gi, ci=i.ci, c=i.c, g=i.g, m=i.m, shares=i.shares,
        )
        for i in known.instances
    ]  # fmt: skip
    if gpu.slices_max is None:
        gpu = replace(gpu, slices_max=known.slices_max, memory_slices=known.memory_slices)
    return replace(gpu, layouts=(layout, *gpu.layouts)), instances


def _known(
    gpu: Gpu, instances: Sequence[Instance], held_on: Mapping[str, Sequence[Holding]], start_ms: int, last: int
) -> KnownGpu:
    """The card as it was when it was last observed. last: ms from the hour's start."""
    at = max(last, 1) - 1
    layout = next((each for each in gpu.layouts if each.start <= at < each.end), None)
    return KnownGpu(
        uuid=gpu.uuid,
        model=gpu.model,
        memory_mib=gpu.memory_mib,
        slices_max=gpu.slices_max,
        memory_slices=gpu.memory_slices,
        last_observed_ms=start_ms + last,
        mig=layout.mig if layout else False,
        shares=_shares(held_on.get(gpu.uuid, ()), layout.shares if layout else 1, at),
        instances=tuple([_known_instance(i, held_on, at) for i in instances if i.start <= at < i.end]),
    )


def _known_instance(i: Instance, held_on: Mapping[str, Sequence[Holding]], at: int) -> KnownInstance:
    return KnownInstance(
        uuid=i.uuid,
        profile=i.profile,
        gi=i.gi,
        ci=i.ci,
        c=i.c,
        g=i.g,
        m=i.m,
        shares=_shares(held_on.get(i.uuid, ()), i.shares, at),
    )


def _shares(held: Sequence[Holding], offered: int, at: int) -> int:
    """As many as are held, though a plugin that is away offers fewer."""
    if not held or (len(held) == 1 and len(held[0].shares) <= offered):
        return offered
    return max(offered, len({share for h in held if h.start <= at < h.end for share in h.shares}))
