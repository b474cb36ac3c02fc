"""What both meters say together of a node-hour, and how much they differ."""

from __future__ import annotations

from dataclasses import dataclass, field

from chargeback.core.lines import Problem
from chargeback.core.lives import PodSlot
from chargeback.core.node_hour import Holding

API = "api"
# Kinds of difference, in ms of slots: the agent saw it held after its end; only the API knows of it, before the first
# sight, between two sights, while nobody observed, or of a pod that no agent saw; the API knows of it, and no slot
# can be named for it; the API has the pod alive, and the agent no longer saw it hold what it had (here the agent is
# believed).
LATE, EARLY, MISSED, UNOBSERVED, UNSEEN = "late", "early", "missed", "unobserved", "unseen"
UNPLACED, FREED = "unplaced", "freed"
DIFFERENCES = (LATE, EARLY, MISSED, UNOBSERVED, UNSEEN, UNPLACED, FREED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What an agent saw a pod hold in this hour, for the first time in it. at_ms: unix ms."""

    uid: str
    at_ms: int
    slots: tuple[PodSlot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered:
    """What both meters together say.

    holdings     who held what
    held         the slots that known pods hold at the hour's end, with their uids
    differences  ms of slots by kind
    """

    holdings: tuple[Holding, ...]
    held: tuple[tuple[str, int, str], ...] = ()
    sights: tuple[Sight, ...] = ()
    differences: dict[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
