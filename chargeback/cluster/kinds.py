"""The kinds of objects that we follow."""

from __future__ import annotations

from typing import Any

from chargeback.cluster.dra_objects import ClaimObject, SliceObject, to_claim, to_slice
from chargeback.cluster.event_objects import EventObject, to_refusal
from chargeback.cluster.kind import Kind
from chargeback.cluster.node_objects import NodeObject, to_node
from chargeback.cluster.objects import KubernetesObject, to_namespace
from chargeback.cluster.pod_objects import PodObject, to_pod
from chargeback.cluster.quota_objects import (
    QuotaObject,
    to_device_class,
    to_limit_range,
    to_priority_class,
    to_quota_spec,
)
from chargeback.core.nodes import NODE_KEYS, NodeKeys
from chargeback.core.owners.owners import LabelKeys

DRA = "/apis/resource.k8s.io/v1"


def kinds(
    keys: LabelKeys, own_labels: frozenset[str] = frozenset(), node_keys: NodeKeys = NODE_KEYS
) -> tuple[Kind[Any], ...]:
    """All of them. own_labels: the owner's fields that a pod's labels may say."""
    return (
        Kind(
            name="namespaces",
            path="/api/v1/namespaces",
            of=KubernetesObject,
            read=lambda found: to_namespace(found, keys),
        ),
        Kind(name="resourcequotas", path="/api/v1/resourcequotas", of=QuotaObject, read=to_quota_spec),
        Kind(name="nodes", path="/api/v1/nodes", of=NodeObject, read=lambda found: to_node(found, node_keys)),
        Kind(name="pods", path="/api/v1/pods", of=PodObject, read=lambda found: to_pod(found, keys, own_labels)),
        Kind(name="limitranges", path="/api/v1/limitranges", of=QuotaObject, read=to_limit_range),
        Kind(
            name="priorityclasses",
            path="/apis/scheduling.k8s.io/v1/priorityclasses",
            of=QuotaObject,
            read=to_priority_class,
        ),
        Kind(name="resourceclaims", path=f"{DRA}/resourceclaims", of=ClaimObject, read=to_claim),
        Kind(name="resourceslices", path=f"{DRA}/resourceslices", of=SliceObject, read=to_slice),
        Kind(name="deviceclasses", path=f"{DRA}/deviceclasses", of=QuotaObject, read=to_device_class),
        Kind(
            name="events",
            path="/api/v1/events",
            of=EventObject,
            read=to_refusal,
            query=(("fieldSelector", "reason=FailedCreate"),),
        ),
    )
