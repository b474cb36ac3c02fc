"""Stretches: the parts of a holding in which its weight does not change, with the past of its slots.

A slot's past is what it has been, held or not, since the rating interval began. Under `active` sharing, a claim or a
scheduler's parts a holder's own time on the slot counts instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm

from chargeback.core.money import split
from chargeback.core.node_hour import WHOLE, Holding, cut
from chargeback.core.policy import Policy
from chargeback.core.rating.timeline import Device, Held, Segment

# Whose time on a slot counts: nobody's in particular, or a holder's: namespace, pod, container, claim.
Who = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alike:
    """Shares of a stretch that have the same weight and the same past; all numbers are per share, over one den.

    card, device                what a share is of the card, and of its device
    card_before, device_before  its ms of them before the stretch
    used_before                 the busy part of card_before that was the same holder's
    """

    shares: tuple[int, ...]
    den: int
    card: int
    device: int
    card_before: int
    device_before: int
    used_before: int = 0

    def after(self, ms: int, busy_ms: int | None) -> Alike:
        """The same shares so much later, when they were busy for so long of it."""
        return Alike(
            shares=self.shares,
            den=self.den,
            card=self.card,
            device=self.device,
            card_before=self.card_before + self.card * ms,
            device_before=self.device_before + self.device * ms,
            used_before=self.used_before + self.card * (busy_ms or 0),
        )


@dataclass(slots=True, kw_only=True)
class Stretch:
    """holding: what of it lies here, with what was measured of that. busy_ms: None where it is not known what was
    used, or where that is more than was held. faulted: its card was unhealthy."""

    holding: Holding
    device: Device
    faulted: bool
    busy_ms: int | None
    alike: tuple[Alike, ...]

    def cut(self, spans: Sequence[tuple[int, int]]) -> list[Stretch]:
        """Cut further, at instants at which nothing about its slots changes."""
        if len(spans) == 1:
            return [self]
        found = []
        alike = self.alike
        for piece in cut(self.holding, tuple(spans)):
            busy_ms = None if self.busy_ms is None else piece.busy_ms
            found.append(replace(self, holding=piece, busy_ms=busy_ms, alike=alike))
            alike = tuple(each.after(piece.end - piece.start, busy_ms) for each in alike)
        return found

    def measured(self, total: int | None) -> list[int | None]:
        """What was measured of the holding, shared out among its groups of shares."""
        if total is None or len(self.alike) == 1:
            return [total] * len(self.alike)
        return list(split(total, [len(each.shares) for each in self.alike]))


@dataclass(slots=True)
class _Open:
    """A stretch of one holding while it goes on. weights: (card, device) by share, as past."""

    start: int
    end: int
    device: Device
    faulted: bool
    weights: dict[int, tuple[int, int]]
    past: dict[int, tuple[int, int]] = field(default_factory=dict)

    def goes_on(self, other: _Open) -> bool:
        return (self.end, self.device, self.faulted, self.weights) == (
            other.start, other.device, other.faulted, other.weights,
        )  # fmt: skip


def stretches(holdings: Sequence[Holding], policy: Policy, segments: Sequence[Segment]) -> list[Stretch]:
    """Of all holdings of one card in one rating interval, in their order and each in order of time."""
    if not holdings:
        return []
    if (steady := _steady(holdings, policy, segments)) is not None:
        return [steady]
    return _Slots(holdings, policy, segments).stretches()


# What one share of a card that nobody shares is, from the first moment on.
_WHOLE = (Alike(shares=(0,), den=1, card=1, device=1, card_before=0, device_before=0),)


def _steady(holdings: Sequence[Holding], policy: Policy, segments: Sequence[Segment]) -> Stretch | None:
    """Of one holding of a whole card for all the time: what follows from it need not be worked out. Else None."""
    if len(segments) != 1 or len(holdings) != 1 or len(segments[0].devices) != 1 or len(segments[0].held) != 1:
        return None
    holding, segment = holdings[0], segments[0]
    device, held = segment.devices[0], segment.held[0]
    is_whole = device.weight is held.weight is WHOLE and device.shares == 1 and held.share == 0
    if not is_whole or (holding.start, holding.end) != (segment.start, segment.end) or holding.shares != (0,):
        return None
    return Stretch(
        holding=holding,
        device=device,
        faulted=policy.faulted == "credit" and not segment.healthy,
        busy_ms=holding.busy_ms if _is_usage_known(holding) else None,
        alike=_WHOLE,
    )


class _Slots:
    """The slots of one card while its segments go by."""

    def __init__(self, holdings: Sequence[Holding], policy: Policy, segments: Sequence[Segment]) -> None:
        self._holdings = holdings
        self._credits_faults = policy.faulted == "credit"
        self._own = [policy.sharing == "active" or bool(h.claim) or h.is_part for h in holdings]
        self._pasts: dict[tuple[str, int, Who], tuple[int, int]] = {}
        self._found: list[list[_Open]] = [[] for _ in holdings]
        self._den = _common(segments)
        for segment in segments:
            self._add(segment)

    def stretches(self) -> list[Stretch]:
        used: dict[tuple[str, int, Who], int] = {}
        made: dict[int, list[Stretch]] = {}
        for number in sorted(range(len(self._holdings)), key=lambda number: self._holdings[number].start):
            made[number] = self._stretches_of(number, used)
        return [stretch for number in range(len(self._holdings)) for stretch in made[number]]

    def _add(self, segment: Segment) -> None:
        if segment.held:
            self._extend(segment)
        ms, den = segment.end - segment.start, self._den
        for device in segment.devices:
            # What every share of it is, held or not.
            card, part = _over(device.weight, den) // device.shares, den // device.shares
            self._pass((device.uuid, 0, ()), card * ms, part * ms)
        for held in segment.held:
            if self._own[held.holding]:
                card, device_part = self._weights(held, _device(segment, held.device))
                self._pass(self._stream(held.holding, held.share), card * ms, device_part * ms)

    def _extend(self, segment: Segment) -> None:
        faulted = self._credits_faults and not segment.healthy
        now: dict[int, _Open] = {}
        for held in segment.held:
            device = _device(segment, held.device)
            if held.holding not in now:
                now[held.holding] = _Open(segment.start, segment.end, device, faulted, {})
            now[held.holding].weights[held.share] = self._weights(held, device)
        for number, each in now.items():
            found = self._found[number]
            if found and found[-1].goes_on(each):
                found[-1].end = each.end
            else:
                each.past = {share: self._pasts.get(self._stream(number, share), (0, 0)) for share in each.weights}
                found.append(each)

    def _weights(self, held: Held, device: Device) -> tuple[int, int]:
        card = _over(held.weight, self._den)
        return card, card * device.weight.denominator // device.weight.numerator

    def _stream(self, number: int, share: int) -> tuple[str, int, Who]:
        holding = self._holdings[number]
        if self._own[number]:
            return (holding.device, share, _who(holding))
        return (holding.device, 0, ())

    def _pass(self, stream: tuple[str, int, Who], card_ms: int, device_ms: int) -> None:
        card_before, device_before = self._pasts.get(stream, (0, 0))
        self._pasts[stream] = (card_before + card_ms, device_before + device_ms)

    def _stretches_of(self, number: int, used: dict[tuple[str, int, Who], int]) -> list[Stretch]:
        """used: by slot and holder, what of it was used so far."""
        holding = self._holdings[number]
        known = _is_usage_known(holding)
        found = self._found[number]
        made = []
        for each, piece in zip(found, cut(holding, tuple((e.start, e.end) for e in found)), strict=True):
            busy_ms = piece.busy_ms if known else None
            groups: dict[tuple[int, ...], list[int]] = {}
            for share in sorted(each.weights):
                slot = (holding.device, share, _who(holding))
                before = used.get(slot, 0)
                groups.setdefault((*each.weights[share], *each.past[share], before), []).append(share)
                used[slot] = before + each.weights[share][0] * (busy_ms or 0)
            alike = tuple(
                Alike(
                    shares=tuple(shares),
                    den=self._den,
                    card=card,
                    device=device,
                    card_before=card_before,
                    device_before=device_before,
                    used_before=used_before,
                )
                for (card, device, card_before, device_before, used_before), shares in groups.items()
            )
            made.append(
                Stretch(holding=piece, device=each.device, faulted=each.faulted, busy_ms=busy_ms, alike=alike)
            )
        return made


def _is_usage_known(holding: Holding) -> bool:
    return holding.busy_ms is not None and holding.busy_ms <= holding.end - holding.start


def _over(weight: Fraction, den: int) -> int:
    """The numerator of a weight over a denominator that it goes into."""
    return weight.numerator * (den // weight.denominator)


def _who(holding: Holding) -> Who:
    return (*holding.holder, holding.claim or "")


def _device(segment: Segment, uuid: str) -> Device:
    return next(device for device in segment.devices if device.uuid == uuid)


def _common(segments: Iterable[Segment]) -> int:
    """A denominator of all weights of slots and holders, of the card and of their devices."""
    dens = set()
    for segment in segments:
        weights = {device.uuid: device.weight for device in segment.devices}
        for device in segment.devices:
            dens.add(device.weight.denominator * device.shares)
        for held in segment.held:
            # So that what it is of its device, its weight by the device's, can be said as well.
            dens.add(held.weight.denominator * weights[held.device].numerator)
    return lcm(*dens)
