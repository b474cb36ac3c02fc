"""Pods that see devices and hold none: claims with adminAccess, of which an agent cannot know that they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chargeback.core.lives import PodLife
from chargeback.core.node_hour import Holding


def without_watching(holdings: Sequence[Holding], lives: Iterable[PodLife], start_ms: int) -> Sequence[Holding]:
    """The holdings, without those by claims that only watch. start_ms: of the hour, in unix ms."""
    watching: dict[tuple[str, str, str], list[PodLife]] = {}
    for life in lives:
        for claim in life.watches:
            watching.setdefault((*life.name, claim), []).append(life)
    if not watching:
        return holdings

    def watches(holding: Holding) -> bool:
        those = watching.get((holding.namespace, holding.pod, holding.claim or ""), ())
        start, end = start_ms + holding.start, start_ms + holding.end
        return any(life.bound_ms < end and (life.ended_ms is None or start < life.ended_ms) for life in those)

    return tuple(holding for holding in holdings if not watches(holding))
