"""Who pays for a device of several shares: under the policy `active` those who hold some, each share as much."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from tests.proof.witness.testimony import Hold, Policy, Told


def is_active(told: Iterable[Told]) -> bool:
    """By the last that was told: a policy holds for all of a testimony."""
    policies = [each.sharing for each in told if isinstance(each, Policy)]
    return policies[-1:] == ["active"]


def divided(holds: Iterable[Hold]) -> list[Hold]:
    """By `active`: each hold cut where others come to its device or go, and 1/k of it while k shares are held.

    In order of time. What the holds were of their cards before stays with them as what they were offered.
    """
    by_device: dict[str, list[Hold]] = {}
    for hold in holds:
        by_device.setdefault(hold.device, []).append(hold)
    found = [piece for mine in by_device.values() for hold in mine for piece in _pieces(hold, mine)]
    return sorted(found, key=lambda hold: (hold.from_ms, hold.device, hold.share, hold.holder))


def _pieces(hold: Hold, on_device: Sequence[Hold]) -> Iterator[Hold]:
    borders = {at_ms for each in on_device for at_ms in (each.from_ms, each.until_ms)}
    inner = sorted(at_ms for at_ms in borders if hold.from_ms <= at_ms <= hold.until_ms)
    parts = [(a, b, hold.whole / _held(on_device, a)) for a, b in itertools.pairwise(inner)]
    for part, alike in itertools.groupby(parts, key=lambda each: each[2]):
        spans = list(alike)
        yield replace(hold, part=part, offered=hold.drawn, from_ms=spans[0][0], until_ms=spans[-1][1])


def _held(on_device: Iterable[Hold], at_ms: int) -> Fraction:
    """How many shares are held at an instant, by however many holders each."""
    return Fraction(len({each.share for each in on_device if each.from_ms <= at_ms < each.until_ms}))
