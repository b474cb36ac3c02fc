"""What agents saw a pod hold, as the pod's own slot, and a slot of its own as what it held."""

from __future__ import annotations

from dataclasses import replace

from chargeback.core.lives import PodLife, PodSlot
from chargeback.core.metered import API
from chargeback.core.node_hour import Holding
from chargeback.core.spans import Span

# Device, container, shares.
Place = tuple[str, str, tuple[int, ...]]


def as_bound(holding: Holding, life: PodLife) -> Holding:
    """With what the API says of the pod that decides who pays."""
    if (life.labels, life.priority_class) == (holding.labels, holding.priority_class):
        return holding
    return replace(holding, labels=life.labels, priority_class=life.priority_class)


def place_of(what: Holding | PodSlot) -> Place:
    return (what.device, what.container, what.shares)


def slot_of(holding: Holding) -> PodSlot:
    return PodSlot(
        container=holding.container,
        device=holding.device,
        shares=holding.shares,
        resource=holding.resource,
        source=holding.source,
        claim=holding.claim,
    )


def holding_of(life: PodLife, what: PodSlot, slot: tuple[str, int], span: Span) -> Holding:
    return Holding(
        device=slot[0],
        shares=(slot[1],),
        start=span[0],
        end=span[1],
        namespace=life.namespace,
        pod=life.pod,
        container=what.container,
        resource=what.resource,
        source=what.source,
        claim=what.claim,
        evidence=API,
        pod_uid=life.uid,
        labels=life.labels,
        priority_class=life.priority_class,
    )
