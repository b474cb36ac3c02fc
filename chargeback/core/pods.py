"""Pods that use GPUs, as the API shows them now: what they ask for, where they run, whether they are over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core.rating.dimensions import Labels

# Namespaces of the pods that hold a card for others, who name its GPU group (KAI-Scheduler, Run:ai).
RESERVATION_NAMESPACES = frozenset({"kai-resource-reservation", "runai-reservation"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Devices of one resource that one container asks for.

    init  an ordinary init container: over before the others start, who go on with its devices
    """

    container: str
    resource: str
    count: int
    init: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPart:
    """A pod's part of cards that its scheduler shares out: a portion of each, or so much of its memory.

    groups  of each card, as its scheduler names them
    Neither portion nor memory: the pod of the reservation itself, which holds the card for its group.
    """

    groups: tuple[str, ...]
    container: str
    portion: Fraction | None = None
    memory_mib: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLabels:
    """What a pod's own labels say of its owner, as far as they may; None: nothing.

    dimensions  the configured labels of pods that it has, by key
    """

    cost_center: str | None = None
    team: str | None = None
    tier: str | None = None
    dimensions: Labels = ()


NO_LABELS = OwnerLabels()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod that uses GPUs. Times: unix ms, by the API server's clock and to its second.

    bound_ms      when it was given its node; None: not yet
    terminal      all its containers have ended for good
    finished_ms   when the last of them did; None where the API does not say
    uses_claims   of devices (DRA)
    has_deadline, best_effort  as scopes of quotas ask for them
    waits         why the scheduler has not placed it
    lingers_from_ms  it is being deleted and is still there after this, when all grace is over; None: it is not
    """

    namespace: str
    name: str
    uid: str
    node: str | None = None
    created_ms: int = 0
    bound_ms: int | None = None
    terminal: bool = False
    finished_ms: int | None = None
    asks: tuple[Ask, ...] = ()
    uses_claims: bool = False
    part: GroupPart | None = None
    priority_class: str | None = None
    has_deadline: bool = False
    best_effort: bool = False
    waits: str | None = None
    lingers_from_ms: int | None = None
    labels: OwnerLabels = NO_LABELS

    @property
    def requests(self) -> dict[str, int]:
        return requests_of(self.asks)


def requests_of(asks: Iterable[Ask]) -> dict[str, int]:
    """Devices by resource as Kubernetes counts them. asks: as the pod declares them, init containers first.

    All containers together, or the greediest init container with the sidecars that were started before it.
    """
    running: dict[str, int] = {}
    peak: dict[str, int] = {}
    for ask in asks:
        beside = running.get(ask.resource, 0) + ask.count
        peak[ask.resource] = max(peak.get(ask.resource, 0), beside)
        if not ask.init:
            running[ask.resource] = beside
    return peak


def devices_asked_for(asks: Iterable[Ask]) -> Iterator[tuple[str, str, int]]:
    """Container, resource and count. What an init container asks beyond the others is held for the pod's life.

    asks: as the pod declares them: a sidecar keeps its devices from the init containers after it.
    """
    asks = tuple(asks)
    held: dict[str, int] = {}
    for ask in asks:
        if not ask.init:
            held[ask.resource] = held.get(ask.resource, 0) + ask.count
            yield ask.container, ask.resource, ask.count
    sidecars: dict[str, int] = {}
    for ask in asks:
        beside = sidecars.get(ask.resource, 0) + ask.count
        if not ask.init:
            sidecars[ask.resource] = beside
        elif beside > held.get(ask.resource, 0):
            yield ask.container, ask.resource, beside - held.get(ask.resource, 0)
            held[ask.resource] = beside
