"""Whose a card's energy is: what its counter grew by, in whole millijoules, in parts that add up to it. Pure.

While holders are busy the energy is theirs, each by how busy it was; the rest goes by what each holds, and what
nobody holds is idle. Two of seven slices held, one of them busy half of the time: 1/14 is for that work, of the
other 13/14 each holder gets 1/7 and 5/7 are idle. Where one holder's busy time is unknown all goes by what is held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm

from exporter.sight import PPM, Card, SeenHolding, Sight

# No card draws as much (the largest of 2026 take 1,400 W), so a counter that grew faster has jumped, not counted.
WATTS_MAX = 10_000
STEP_MS = 1_000  # the counter moves in steps (every 100 ms on an H100), so a short interval may have a whole one


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Millijoules of one interval; a card that is not in `cards` has unknown energy, and so have its holdings.

    cards     by UUID: the whole of it
    idle      by UUID: its part that nobody held
    holdings  in the order of the sight's; None where unknown
    """

    cards: Mapping[str, int] = field(default_factory=dict)
    idle: Mapping[str, int] = field(default_factory=dict)
    holdings: Sequence[int | None] = ()

    def of_holding(self, position: int) -> int | None:
        return self.holdings[position] if self.holdings else None


UNKNOWN = Energy()


def grown(before: Sight, after: Sight, length_ms: int) -> dict[str, int]:
    """What each card's counter grew by between two sights. Absent: a counter is silent, fell back, or jumped."""
    counters = {card.uuid: card.energy_mj for card in before.cards if card.energy_mj is not None}
    found = {}
    for card in after.cards:
        if card.energy_mj is None or card.uuid not in counters:
            continue
        growth_mj = card.energy_mj - counters[card.uuid]
        if 0 <= growth_mj <= WATTS_MAX * (length_ms + STEP_MS):
            found[card.uuid] = growth_mj
    return found


def between(growths: Mapping[str, int], start_ms: int, end_ms: int, length_ms: int) -> dict[str, int]:
    """The part of each growth in [start, end) of an interval of `length_ms`: those that tile it add up to it."""
    return {
        uuid: growth_mj * end_ms // length_ms - growth_mj * start_ms // length_ms
        for uuid, growth_mj in growths.items()
    }


def share_out(sight: Sight, growths: Mapping[str, int]) -> Energy:
    """Share what each card took, by the sight that held meanwhile. All is unknown while holders were not observed."""
    if not sight.observed or not growths:
        return UNKNOWN
    positions: dict[str, list[int]] = {}
    for position, holding in enumerate(sight.holdings):
        positions.setdefault(holding.device, []).append(position)
    of_holdings: list[int | None] = [None] * len(sight.holdings)
    cards: dict[str, int] = {}
    idle: dict[str, int] = {}
    for card in sight.cards:
        if card.uuid not in growths:
            continue
        of_device = _device_weights(card, whole_is_held=card.uuid in positions)
        on_card = [at for uuid in of_device for at in positions.get(uuid, [])]
        held, free = _weights(card, [sight.holdings[at] for at in on_card], of_device)
        *parts, idle[card.uuid] = split(growths[card.uuid], [*held, free])
        cards[card.uuid] = growths[card.uuid]
        for at, part in zip(on_card, parts, strict=True):
            of_holdings[at] = part
    return Energy(cards=cards, idle=idle, holdings=of_holdings)


def split(total: int, weights: Sequence[Fraction]) -> list[int]:
    """Split into whole parts by largest remainder (the first of equals): they add up to the total.

    total    0 or more
    weights  each 0 or more, at least one of them more than 0
    """
    common = lcm(*(weight.denominator for weight in weights))
    scaled = [weight.numerator * (common // weight.denominator) for weight in weights]
    whole = sum(scaled)
    parts = [total * weight // whole for weight in scaled]
    by_remainder = sorted(range(len(scaled)), key=lambda at: -(total * scaled[at] % whole))
    for at in by_remainder[: total - sum(parts)]:
        parts[at] += 1
    return parts


def _weights(
    card: Card, holdings: Sequence[SeenHolding], of_device: Mapping[str, Fraction]
) -> tuple[list[Fraction], Fraction]:
    """Of each holding, and of what nobody holds."""
    held = _held_weights(card, holdings, of_device)
    free = 1 - sum(held, Fraction(0))
    busy = [
        of_device[holding.device] * Fraction(holding.busy_ppm, PPM)
        for holding in holdings
        if holding.busy_ppm is not None
    ]
    if len(busy) < len(holdings):
        return held, free
    rest = max(Fraction(0), 1 - sum(busy, Fraction(0)))  # windows of busy time may overlap a little
    return [work + rest * part for work, part in zip(busy, held, strict=True)], rest * free


def _device_weights(card: Card, *, whole_is_held: bool) -> dict[str, Fraction]:
    """Each device's part of the card, by compute slices."""
    if not card.mig:
        return {card.uuid: Fraction(1)}
    slices = {each.uuid: each.c for each in card.instances}
    if whole_is_held:  # given away whole, and then cut
        slices[card.uuid] = card.slices_max or 1
    whole = max(card.slices_max or 1, sum(slices.values()))
    return {uuid: Fraction(count, whole) for uuid, count in slices.items()}


def _held_weights(card: Card, holdings: Sequence[SeenHolding], of_device: Mapping[str, Fraction]) -> list[Fraction]:
    """By shares; who holds a share together has equal parts of it."""
    holders: dict[tuple[str, int], int] = {}
    for holding in holdings:
        for share in holding.shares:
            holders[holding.device, share] = holders.get((holding.device, share), 0) + 1
    shares: dict[str, int] = {}
    for device, _ in holders:
        shares[device] = shares.get(device, 0) + 1
    return [
        of_device[holding.device]
        * sum((Fraction(1, holders[holding.device, share]) for share in holding.shares), Fraction(0))
        / max(shares[holding.device], card.shares_of(holding.device))
        for holding in holdings
    ]
