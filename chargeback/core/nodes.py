"""Nodes as the API shows them now: what GPUs they offer, whether new pods may come, and what prices may name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chargeback.core.prices.entries import Labels

# What a cloud's nodes say of their pool; of several the first that is there.
POOL_LABELS = (
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
    "kubernetes.azure.com/agentpool",
    "karpenter.sh/nodepool",
)
PRICE_LABELS = ("node.kubernetes.io/instance-type",)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKeys:
    """Which labels of a node say its pool (the first that is there), and which prices may name."""

    pool: Sequence[str] = POOL_LABELS
    priced: Sequence[str] = PRICE_LABELS


NODE_KEYS = NodeKeys()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the cluster. Times: unix ms, by the API server's clock.

    gpus         devices of each GPU resource that it offers (allocatable)
    cordoned     no new pods may come
    cordoned_ms  when that was last written; None where the API does not say
    driver_work  what it announces that needs the driver without clients; empty: nothing
    pool         the node pool it is of; empty: none that its labels say
    labels       those that prices may name, in bytewise order of keys
    labelled_ms  when one of the labels of these was last written; None where the API does not say
    """

    name: str
    uid: str
    created_ms: int
    gpus: Mapping[str, int] = field(default_factory=dict)
    cordoned: bool = False
    cordoned_ms: int | None = None
    driver_work: str = ""
    pool: str = ""
    labels: Labels = ()
    labelled_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmeteredNode:
    """A node whose agent never pushed. devices: of GPUs that it offers now; pods: that used GPUs on it so far."""

    cluster: str
    node: str
    devices: int = 0
    pods: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlaces:
    """The pools and labels of one node over time. since: (from_ms, pool, labels), oldest first."""

    since: Sequence[tuple[int, str, Labels]] = ()

    def at(self, at_ms: int) -> tuple[str, Labels]:
        """Pool and labels at an instant; before the first that are known, those; "" and none without an API."""
        found: tuple[str, Labels] = ("", ()) if not self.since else self.since[0][1:]
        for from_ms, pool, labels in self.since:
            if from_ms <= at_ms:
                found = (pool, labels)
        return found


# Of a node that no API ever had.
NO_PLACES = NodePlaces()
