"""What the quota lint and fit need, as the cluster's tables have it now."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeVar

from chargeback.core.owners.rules import OwnerRules
from chargeback.core.quota.specs import QuotaObjects
from chargeback.tasks.follow_cluster import ClusterTables
from chargeback.tasks.reflect import Table

V = TypeVar("V")

# Tables by the kinds in them; quotas come first, for without them there is nothing to look at.
TABLES = {
    "ResourceQuota": "resourcequotas",
    "LimitRange": "limitranges",
    "PriorityClass": "priorityclasses",
    "Namespace": "namespaces",
    "Node": "nodes",
    "DeviceClass": "deviceclasses",
}


def known_objects(tables: ClusterTables, rules: OwnerRules) -> QuotaObjects:
    """A kind whose table was never whole is not known, and named with the reason. Runtime classes never are."""
    by_name = tables.by_name()
    namespaces = _known(tables.namespaces)
    return QuotaObjects(
        quotas=tuple(tables.resourcequotas.values()),
        limit_ranges=tuple(tables.limitranges.values()),
        priority_classes=_known(tables.priorityclasses),
        namespaces=None if namespaces is None else tuple(map(rules.apply, namespaces)),
        allocatable=_allocatable(tables),
        device_classes=_known(tables.deviceclasses),
        unknown={
            kind: by_name[name].lack or "not read yet, or there is no API to ask"
            for kind, name in TABLES.items()
            if by_name[name].read_ms is None
        },
    )


def _known(table: Table[V]) -> tuple[V, ...] | None:
    return None if table.read_ms is None else tuple(table.values())


def _allocatable(tables: ClusterTables) -> dict[str, Decimal] | None:
    """Devices of each GPU resource on all nodes together; without a node nothing is known of them."""
    if not (nodes := _known(tables.nodes)):
        return None
    total: dict[str, Decimal] = {}
    for node in nodes:
        for resource, count in node.gpus.items():
            total[resource] = total.get(resource, Decimal(0)) + count
    return total
