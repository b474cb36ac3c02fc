"""One card through one rating interval, cut into segments in which nothing changes.

Each segment says whether the card is observed and healthy, which devices it has and what part of it each is,
and who holds which share of them. Weights are exact fractions of the whole card.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from chargeback.core.node_hour import WHOLE, Gpu, Holding, Instance, Layout
from chargeback.core.policy import Policy
from chargeback.core.spans import Spans, covers


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a pod can hold, within a segment. weight: of the card; shares: how many it is offered in."""

    uuid: str
    profile: str | None
    weight: Fraction
    shares: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A share held in a segment. holding: its number in the card's list; weight: what its holder has of the card."""

    holding: int
    device: str
    share: int
    weight: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """[start, end) in ms from the hour's start. sold: the part of each device that is held, by uuid."""

    start: int
    end: int
    observed: bool
    healthy: bool
    cordoned: bool
    devices: tuple[Device, ...]
    held: tuple[Held, ...]
    sold: dict[str, Fraction]


def fraction(instance: Instance, gpu: Gpu, mig_weight: Fraction) -> Fraction:
    """A compute instance's part of its card: w·c/C + (1−w)·(m·c/g)/M."""
    assert gpu.slices_max is not None  # checked when the body came
    compute = Fraction(instance.c, gpu.slices_max)
    if mig_weight == 1:
        return compute
    memory = Fraction(instance.m * instance.c, instance.g * gpu.memory_slices)
    return mig_weight * compute + (1 - mig_weight) * memory


def segments(
    gpu: Gpu,
    lives: Spans,
    instances: Sequence[Instance],
    holdings: Sequence[Holding],
    policy: Policy,
    start: int,
    end: int,
    *,
    counted: Sequence[Holding] = (),
    cordoned: Spans = (),
) -> list[Segment]:
    """The segments of the card's existence within [start, end), in order. Holdings: those on this card.

    counted   what agents saw held: a device has at least as many shares, whoever is billed for them
    cordoned  when no new pods might come
    """
    if is_steady(gpu, lives, instances, (*holdings, *counted), cordoned, start, end):
        return [_steady(gpu, holdings, start, end)]
    cuts = _cuts(gpu, (lives, gpu.observed, gpu.unhealthy, cordoned), (*instances, *holdings, *counted), start, end)
    made: list[Segment] = []
    for a, b in itertools.pairwise(cuts):
        if not _at(lives, a):
            continue
        holding = [(i, h) for i, h in enumerate(holdings) if h.start <= a < h.end]
        at = _known_at(gpu, a)
        present = _devices(gpu, instances, policy, at)
        present = _with_counted(present, [h for h in counted if h.start <= at < h.end])
        present = _with_held(present, gpu, instances, [h for _, h in holding], policy, a)
        held = _held(present, holding, policy)
        made.append(
            Segment(
                start=a,
                end=b,
                observed=_at(gpu.observed, a),
                healthy=not _at(gpu.unhealthy, a),
                cordoned=_at(cordoned, a),
                devices=present,
                held=held,
                sold=_sold(present, held, holding, policy),
            )
        )
    return made


def is_steady(
    gpu: Gpu,
    lives: Spans,
    instances: Sequence[Instance],
    holdings: Sequence[Holding],
    cordoned: Spans,
    start: int,
    end: int,
) -> bool:
    """Whether it is one whole card for all the time, healthy and observed, with one holder or none.

    Most cards are, most of the time: what follows from it need not be worked out.
    """
    return (
        not gpu.unhealthy
        and not cordoned
        and not instances
        and len(gpu.layouts) == 1
        and not gpu.layouts[0].mig
        and gpu.layouts[0].shares == 1
        and gpu.layouts[0].start <= start
        and end <= gpu.layouts[0].end
        and covers(lives, start, end)
        and covers(gpu.observed, start, end)
        and _is_one(holdings, start, end)
    )


def _is_one(holdings: Sequence[Holding], start: int, end: int) -> bool:
    """Whether all are of one holder, on share 0, for all the time."""
    first: Holding | None = None
    for holding in holdings:
        if holding is first:
            continue
        if holding.start > start or holding.end < end or holding.shares != (0,):
            return False
        if first is None:
            first = holding
        elif (holding.holder, holding.claim) != (first.holder, first.claim):
            return False
    return True


def _steady(gpu: Gpu, holdings: Sequence[Holding], start: int, end: int) -> Segment:
    whole = Device(uuid=gpu.uuid, profile=None, weight=WHOLE, shares=1)
    held = tuple(Held(holding=i, device=gpu.uuid, share=0, weight=h.portion) for i, h in enumerate(holdings))
    return Segment(
        start=start,
        end=end,
        observed=True,
        healthy=True,
        cordoned=False,
        devices=(whole,),
        held=held,
        sold={gpu.uuid: WHOLE} if held else {},
    )


def _cuts(gpu: Gpu, spans: Iterable[Spans], records: Iterable[Instance | Holding], start: int, end: int) -> list[int]:
    cuts = {start, end}
    cuts.update(at for each in spans for span in each for at in span)
    cuts.update(at for layout in gpu.layouts for at in (layout.start, layout.end))
    cuts.update(at for record in records for at in (record.start, record.end))
    return sorted(at for at in cuts if start <= at <= end)


def _at(spans: Spans, at: int) -> bool:
    return any(start <= at < end for start, end in spans)


def _layout(gpu: Gpu, at: int) -> Layout | None:
    return next((layout for layout in gpu.layouts if layout.start <= at < layout.end), None)


def _known_at(gpu: Gpu, at: int) -> int:
    """An instant at which the layout is known that holds at `at`.

    Unobserved time keeps the layout that was known before it, or else the first that is known after.
    """
    if _at(gpu.observed, at) or _layout(gpu, at) is not None:
        return at
    before = [end - 1 for _, end in gpu.observed if end <= at]
    after = [start for start, _ in gpu.observed if start > at]
    return max(before) if before else min(after, default=at)


def _devices(gpu: Gpu, instances: Iterable[Instance], policy: Policy, at: int) -> tuple[Device, ...]:
    """What the card is made of at an instant at which that is known; nothing is known of a card never observed."""
    if not gpu.observed and not gpu.layouts:
        return ()
    layout = _layout(gpu, at)
    if layout is not None and layout.mig:
        return tuple(
            Device(uuid=i.uuid, profile=i.profile, weight=fraction(i, gpu, policy.mig_weight), shares=i.shares)
            for i in instances
            if i.start <= at < i.end
        )
    return (Device(uuid=gpu.uuid, profile=None, weight=WHOLE, shares=layout.shares if layout else 1),)


def _with_counted(devices: tuple[Device, ...], counted: Sequence[Holding]) -> tuple[Device, ...]:
    """The devices, each with at least as many shares as agents saw held."""
    seen: dict[str, set[int]] = {}
    for holding in counted:
        seen.setdefault(holding.device, set()).update(holding.shares)
    return tuple(
        replace(device, shares=len(seen[device.uuid])) if len(seen.get(device.uuid, ())) > device.shares else device
        for device in devices
    )


def _with_held(
    devices: tuple[Device, ...],
    gpu: Gpu,
    instances: Iterable[Instance],
    holdings: Sequence[Holding],
    policy: Policy,
    at: int,
) -> tuple[Device, ...]:
    """The devices, each with at least as many shares as are held; one that is held but not there is added.

    Such a device covers more than the card has: odd but possible for a moment, and visible as a difference.
    """
    held: dict[str, set[int]] = {}
    for holding in holdings:
        held.setdefault(holding.device, set()).update(holding.shares)
    if not held:
        return devices
    present = {device.uuid: device for device in devices}
    for uuid, shares in held.items():
        device = present.get(uuid)
        if device is None:
            instance = next((i for i in instances if i.uuid == uuid and i.start <= at < i.end), None)
            weight = Fraction(1) if instance is None else fraction(instance, gpu, policy.mig_weight)
            profile = None if instance is None else instance.profile
            offered = 1 if instance is None else instance.shares
            present[uuid] = Device(uuid=uuid, profile=profile, weight=weight, shares=max(offered, len(shares)))
        elif len(shares) > device.shares:
            present[uuid] = Device(uuid=uuid, profile=device.profile, weight=device.weight, shares=len(shares))
    return tuple(present.values())


def _held(devices: Iterable[Device], holding: Sequence[tuple[int, Holding]], policy: Policy) -> tuple[Held, ...]:
    """Every held share with what its holder has of it: holders by claim split the slot equally, of one or not."""
    if not holding:
        return ()
    by_slot: dict[tuple[str, int], list[tuple[int, Holding]]] = {}
    for i, h in holding:
        for share in h.shares:
            by_slot.setdefault((h.device, share), []).append((i, h))
    sold = {device.uuid: len({share for d, share in by_slot if d == device.uuid}) for device in devices}
    of = {device.uuid: device for device in devices}
    made: list[Held] = []
    for (uuid, share), holders in by_slot.items():
        device = of[uuid]
        shares = sold[uuid] if policy.sharing == "active" else device.shares
        slot = device.weight if shares == 1 else device.weight / shares
        for i, h in holders:
            weight = slot if h.portion is WHOLE else slot * h.portion
            if h.claim:
                weight /= len({(o.holder, o.claim) for _, o in holders if o.claim})
            made.append(Held(holding=i, device=uuid, share=share, weight=weight))
    return tuple(made)


def _sold(
    devices: Iterable[Device], held: Sequence[Held], holding: Sequence[tuple[int, Holding]], policy: Policy
) -> dict[str, Fraction]:
    """What part of the card is sold on each device: by slots, however many holders a slot has."""
    slots: dict[str, set[int]] = {}
    for h in held:
        slots.setdefault(h.device, set()).add(h.share)
    return {
        device.uuid: (
            device.weight
            if policy.sharing == "active" or len(slots[device.uuid]) == device.shares
            else device.weight * len(slots[device.uuid]) / device.shares
        )
        for device in devices
        if device.uuid in slots
    }
