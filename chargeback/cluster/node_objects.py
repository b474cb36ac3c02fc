"""Nodes as the API writes them, decoded into what metering asks for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from chargeback.cluster.objects import MetadataFields, Name, unix_ms
from chargeback.core.driver_work import announced
from chargeback.core.nodes import NODE_KEYS, Node, NodeKeys
from chargeback.core.quota.specs import amount, is_gpu


class SpecFields(msgspec.Struct, frozen=True):
    unschedulable: Any = msgspec.field(default=None, name="f:unschedulable")


class NodeFields(msgspec.Struct, frozen=True):
    spec: SpecFields | None = msgspec.field(default=None, name="f:spec")
    metadata: MetadataFields | None = msgspec.field(default=None, name="f:metadata")


class ManagedNode(msgspec.Struct, frozen=True):
    time: datetime | None = None
    fields: NodeFields | None = msgspec.field(default=None, name="fieldsV1")


class NodeMetadata(msgspec.Struct, frozen=True, rename="camel"):
    name: Name
    uid: str
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    managed_fields: list[ManagedNode] | None = None


class NodeSpec(msgspec.Struct, frozen=True):
    unschedulable: bool = False


class NodeStatus(msgspec.Struct, frozen=True):
    allocatable: dict[str, str] | None = None


class NodeObject(msgspec.Struct, frozen=True):
    metadata: NodeMetadata
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


def to_node(found: NodeObject, keys: NodeKeys = NODE_KEYS) -> Node:
    meta = found.metadata
    labels = meta.labels or {}
    offered = {key: amount(text) for key, text in (found.status.allocatable or {}).items() if is_gpu(key)}
    return Node(
        name=meta.name,
        uid=meta.uid,
        created_ms=unix_ms(meta.creation_timestamp) or 0,
        gpus={key: int(count) for key, count in offered.items() if count is not None},
        cordoned=found.spec.unschedulable,
        cordoned_ms=_cordoned_ms(meta),
        driver_work=announced(labels, meta.annotations or {}),
        pool=next((labels[key] for key in keys.pool if key in labels), ""),
        labels=tuple((key, labels[key]) for key in sorted(keys.priced) if key in labels),
        labelled_ms=_labelled_ms(meta, keys),
    )


def _cordoned_ms(meta: NodeMetadata) -> int | None:
    """When somebody last wrote whether it is cordoned."""
    times = [
        unix_ms(entry.time)
        for entry in meta.managed_fields or ()
        if entry.fields and entry.fields.spec and entry.fields.spec.unschedulable is not None
    ]
    return max((at for at in times if at is not None), default=None)


def _labelled_ms(meta: NodeMetadata, keys: NodeKeys) -> int | None:
    """When somebody last wrote a label of these."""
    ours = {f"f:{key}" for key in (*keys.pool, *keys.priced)}
    times = [
        unix_ms(entry.time)
        for entry in meta.managed_fields or ()
        if entry.fields and entry.fields.metadata and ours & (entry.fields.metadata.labels or {}).keys()
    ]
    return max((at for at in times if at is not None), default=None)
