"""What the cluster's API tells of one node and its pods over time: the second meter's side of the account."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from chargeback.core.hours import HOUR_MS
from chargeback.core.pods import NO_LABELS, Ask, GroupPart, OwnerLabels
from chargeback.core.spans import Spans
from chargeback.core.values import value


@value
class PodSlot:
    """A slot that an agent saw a pod's container hold. The kubelet gives it for the pod's whole life."""

    container: str
    device: str
    shares: tuple[int, ...]
    resource: str
    source: str = "device-plugin"
    claim: str | None = None


@value
class PodLife:
    """A pod on its node. Times: unix ms, by the API server's clock.

    bound_ms  when it was given the node
    alive_ms  up to when it is known to have lived
    ended_ms  from when it is known to be over; None: it lives, as far as the API was followed
    seen_ms   when an agent first saw it hold something, and what; None: never
    watches   claims (namespace/name) by which it holds no GPU: it only sees devices (adminAccess), or they are others
    """

    namespace: str
    pod: str
    uid: str
    bound_ms: int
    alive_ms: int
    ended_ms: int | None = None
    seen_ms: int | None = None
    slots: tuple[PodSlot, ...] = ()
    asks: tuple[Ask, ...] = ()
    uses_claims: bool = False
    part: GroupPart | None = None
    labels: OwnerLabels = NO_LABELS
    priority_class: str | None = None
    watches: tuple[str, ...] = ()

    @property
    def name(self) -> tuple[str, str]:
        return (self.namespace, self.pod)


def lived(life: PodLife, hour: int, names: Collection[str]) -> bool:
    """Whether a pod lived in an hour; one of these names also if it was over before."""
    start_ms = hour * HOUR_MS
    if life.bound_ms >= start_ms + HOUR_MS:
        return False
    return life.ended_ms is None or life.ended_ms > start_ms or life.pod in names


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterWord:
    """What the API says of one node in one hour. Spans: ms from the hour's start.

    lives        pods that used GPUs on it in this hour, and earlier ones of the same names
    followed_ms  up to when the API was followed (unix ms)
    present      when the API had the node; None: it never knew it, so its silence means nothing
    cordoned     when no new pods might come
    """

    lives: tuple[PodLife, ...] = ()
    followed_ms: int = 0
    present: Spans | None = None
    cordoned: Spans = ()
