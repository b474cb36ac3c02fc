"""Cards that a scheduler shares out (KAI-Scheduler, Run:ai): the pod that holds one for others never owns the charge.

Its slot goes to the pods that name its GPU group, by their portions; what none of them names is unattributed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import Problem
from chargeback.core.lives import PodLife
from chargeback.core.money import split
from chargeback.core.node_hour import Holding, cut
from chargeback.core.pods import RESERVATION_NAMESPACES

EVIDENCE = "reservation"
OVERCOMMITTED = "overcommitted"


def resolve_reservations(
    hour: int, holdings: Iterable[Holding], lives: Sequence[PodLife], memory_mib: Mapping[str, int]
) -> tuple[list[Holding], list[Problem]]:
    """Every reservation's holding as those of the pods behind it. memory_mib: of each device, by uuid."""
    resolved: list[Holding] = []
    problems: list[Problem] = []
    for holding in holdings:
        if holding.namespace not in RESERVATION_NAMESPACES:
            resolved.append(holding)
            continue
        users = list(_users(holding, lives))
        for piece in _pieces(holding, users, hour * HOUR_MS):
            # Of one name the last: when a pod went is heard a moment after its name was bound again, to the second.
            there = {life.name: life for life in users if _lives_at(life, hour * HOUR_MS + piece.start)}
            parts, wrong = _share_out(piece, list(there.values()), memory_mib.get(piece.device))
            resolved += parts
            problems += wrong
    return resolved, problems


def _users(holding: Holding, lives: Iterable[PodLife]) -> Iterator[PodLife]:
    """The pods that name the reservation's group, in an order of their own."""
    own = [life for life in lives if life.name == (holding.namespace, holding.pod) and life.part]
    groups = {group for life in own if life.part for group in life.part.groups}
    users = [
        life
        for life in lives
        if life.namespace not in RESERVATION_NAMESPACES and life.part and groups.intersection(life.part.groups)
    ]
    yield from sorted(users, key=lambda life: (*life.name, life.bound_ms, life.alive_ms, life.uid))


def _pieces(holding: Holding, users: Iterable[PodLife], start_ms: int) -> list[Holding]:
    """The holding, cut wherever a user comes or goes."""
    borders = {holding.start, holding.end}
    for life in users:
        borders |= {life.bound_ms - start_ms, life.alive_ms - start_ms}
    inner = sorted(at for at in borders if holding.start <= at <= holding.end)
    return cut(holding, tuple(itertools.pairwise(inner)))


def _lives_at(life: PodLife, at_ms: int) -> bool:
    return life.bound_ms <= at_ms < life.alive_ms


def _share_out(
    piece: Holding, users: Sequence[PodLife], memory_mib: int | None
) -> tuple[list[Holding], list[Problem]]:
    """One piece through which the same pods are there. More than the whole is shared out in proportion."""
    # What a process did on the card is the user's who ran it, and the reservation's holding cannot say who that was.
    bare = replace(piece, evidence=EVIDENCE, busy_ms=None, memory_byte_seconds=None, energy_mj=None)
    portions = [(life, _portion(life, memory_mib)) for life in users]
    known = [(life, portion) for life, portion in portions if portion]
    total = sum((portion for _, portion in known), Fraction(0))
    scale = max(total, Fraction(1))
    parts = [
        replace(
            bare,
            namespace=life.namespace,
            pod=life.pod,
            container=life.part.container if life.part else "",
            pod_uid=life.uid,
            portion=portion / scale,
            labels=life.labels,
            priority_class=life.priority_class,
        )
        for life, portion in known
    ]
    if total < 1:
        # It says whose it would be, for there may be two on a slot, and each line needs a key of its own.
        reservation = f"{piece.namespace}/{piece.pod}"
        nobody = replace(bare, namespace="", pod=reservation, container="", pod_uid=None, portion=1 - total)
        parts.append(nobody if parts else replace(nobody, portion=Fraction(1)))
    if piece.energy_mj is not None:  # goes by what each holds, as that of slots whose busy time is unknown
        energies = split(piece.energy_mj, [part.portion for part in parts])
        parts = [replace(part, energy_mj=energy) for part, energy in zip(parts, energies, strict=True)]
    if total <= 1:
        return parts, []
    ms = (total - 1) * (piece.end - piece.start)
    return parts, [Problem(kind=OVERCOMMITTED, subject=f"{piece.pod} on {piece.device}", ms=ms)]


def _portion(life: PodLife, memory_mib: int | None) -> Fraction | None:
    """None: it cannot be said, or is more than there is: users write what they like, and none is given that."""
    if life.part is None:
        return None
    portion = life.part.portion
    if life.part.memory_mib is not None:
        portion = Fraction(life.part.memory_mib, memory_mib) if memory_mib else None
    return None if portion is None or portion > 1 else portion
