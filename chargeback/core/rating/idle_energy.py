"""Energy that is no holder's: what a card took beyond its holders' part lies on the lines of its free capacity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

from chargeback.core.existence import Existence
from chargeback.core.lines import CORDONED, FREE, UNPARTITIONED, UNSOLD, Line
from chargeback.core.money import split
from chargeback.core.node_hour import Holding

KINDS = frozenset({FREE, UNSOLD, UNPARTITIONED, CORDONED})  # not `unhealthy`: a card that is silent says no energy


def with_idle_energy(
    lines: Sequence[Line], existence: Existence, seen: Iterable[Holding], held: Iterable[Holding]
) -> list[Line]:
    """The lines of a node-hour, with each card's idle energy spread over its free capacity by time and weight.

    seen  what agents saw held
    held  what is left of it after the second meter: energy of what that takes away is idle, too

    Where a card has no idle energy that is known its lines are as they were, and likewise where all its capacity was
    taken for held by the second meter alone.
    """
    found = list(lines)
    rest = {gpu.uuid: gpu.idle_energy_mj for gpu in existence.gpus if gpu.idle_energy_mj is not None}
    if not rest:
        return found
    card_of = {each.uuid: each.uuid for each in existence.gpus} | {
        each.uuid: each.gpu for each in existence.instances
    }
    for sign, holdings in ((1, seen), (-1, held)):
        for holding in holdings:
            card = card_of.get(holding.device)
            if card in rest and holding.energy_mj is not None:
                rest[card] += sign * holding.energy_mj
    for card, energy_mj in rest.items():
        free = [at for at, line in enumerate(lines) if line.parent == card and line.kind in KINDS and line.gpu_ms_num]
        if not free:
            continue
        weights = [Fraction(lines[at].gpu_ms_num, lines[at].ms_den) for at in free]
        for at, part in zip(free, split(energy_mj, weights), strict=True):
            found[at] = replace(lines[at], energy_mj=part)
    return found
