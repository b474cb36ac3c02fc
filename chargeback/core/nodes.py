"""Nodes as the API shows them now: what GPUs they offer, and whether new pods may come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the cluster. Times: unix ms, by the API server's clock.

    gpus         devices of each GPU resource that it offers (allocatable)
    cordoned     no new pods may come
    cordoned_ms  when that was last written; None where the API does not say
    driver_work  what it announces that needs the driver without clients; empty: nothing
    """

    name: str
    uid: str
    created_ms: int
    gpus: Mapping[str, int] = field(default_factory=dict)
    cordoned: bool = False
    cordoned_ms: int | None = None
    driver_work: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnmeteredNode:
    """A node whose agent never pushed. devices: of GPUs that it offers now; pods: that used GPUs on it so far."""

    cluster: str
    node: str
    devices: int = 0
    pods: int = 0
