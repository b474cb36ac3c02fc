"""How much of what a namespace holds lies idle: held time in which its processes kept the device busy, or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import HOLDERS, WAIVED, Line

# What a plan or the basis makes of held time is held all the same. A faulted card could not be kept busy.
_COUNTED = HOLDERS - WAIVED


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleShare:
    """Of one namespace, in whole-card milliseconds.

    known_ms  the part of held_ms whose usage is known
    idle_ms   the part of known_ms in which its processes did not keep the device busy
    """

    held_ms: Fraction
    known_ms: Fraction
    idle_ms: Fraction

    @property
    def ratio(self) -> Fraction | None:
        """Of what is known; None where nothing is, which is not the same as nothing idle."""
        return self.idle_ms / self.known_ms if self.known_ms else None


def recent_idle(lines: Iterable[Line], cluster: str, now_ms: int) -> dict[str, IdleShare]:
    """Of the running hour and the one before it, as far as the lines have them."""
    first = now_ms // HOUR_MS - 1
    return idle_shares(line for line in lines if line.cluster == cluster and line.hour >= first)


def idle_shares(lines: Iterable[Line]) -> dict[str, IdleShare]:
    """By namespace, from the lines of some hours, whatever plans and bases made of them."""
    held: dict[str, list[Fraction]] = {}
    for line in lines:
        if line.kind not in _COUNTED or not line.namespace:
            continue
        sums = held.setdefault(line.namespace, [Fraction(0)] * 3)
        part = Fraction(line.gpu_ms_num, line.ms_den)
        sums[0] += part
        if line.used_num is not None:
            sums[1] += part
            sums[2] += part - Fraction(line.used_num, line.ms_den)
    return {name: IdleShare(held_ms=all_, known_ms=known, idle_ms=idle) for name, (all_, known, idle) in held.items()}
