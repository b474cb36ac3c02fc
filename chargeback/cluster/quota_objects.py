"""What the quota commands read and print: objects as Kubernetes writes them, to and from values of the core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from chargeback.cluster.objects import KubernetesObject, Metadata, to_namespace
from chargeback.core.claims import DeviceClass
from chargeback.core.owners.owners import LabelKeys, Namespace
from chargeback.core.quota.limit_ranges import LimitItem, LimitRange, amount, is_gpu
from chargeback.core.quota.specs import (
    PriorityClass,
    QuotaObjects,
    QuotaSpec,
    ScopeTerm,
    Workload,
)

# Their kinds, and where the API lists them.
KINDS = {
    "ResourceQuota": "/api/v1/resourcequotas",
    "LimitRange": "/api/v1/limitranges",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "Namespace": "/api/v1/namespaces",
    "Node": "/api/v1/nodes",
    "DeviceClass": "/apis/resource.k8s.io/v1/deviceclasses",
    "RuntimeClass": "/apis/node.k8s.io/v1/runtimeclasses",
}

Quantities = dict[str, str | int | float]


class Expression(msgspec.Struct, frozen=True, rename="camel"):
    scope_name: str
    operator: str
    values: list[str] | None = None


class ScopeSelector(msgspec.Struct, frozen=True, rename="camel"):
    match_expressions: list[Expression] | None = None


class Cel(msgspec.Struct, frozen=True):
    expression: str = ""


class Selector(msgspec.Struct, frozen=True):
    cel: Cel = Cel()


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    """Of a ResourceQuota (hard, scopes), a LimitRange (limits) or a DeviceClass (the rest)."""

    hard: Quantities | None = None
    scopes: list[str] | None = None
    scope_selector: ScopeSelector | None = None
    limits: list[dict[str, str | Quantities]] | None = None
    extended_resource_name: str | None = None
    selectors: list[Selector] | None = None


class Status(msgspec.Struct, frozen=True):
    """Of a ResourceQuota (hard, used) or a Node (allocatable)."""

    hard: Quantities | None = None
    used: Quantities | None = None
    allocatable: Quantities | None = None


class Overhead(msgspec.Struct, frozen=True, rename="camel"):
    """Of a RuntimeClass."""

    pod_fixed: Quantities | None = None


class QuotaObject(msgspec.Struct, frozen=True, rename="camel"):
    metadata: Metadata
    kind: str = ""
    spec: Spec = Spec()
    status: Status = Status()
    global_default: bool = False
    overhead: Overhead | None = None


def to_objects(
    found: Mapping[str, Iterable[QuotaObject]],
    keys: LabelKeys,
    *,
    workloads: Iterable[Workload] = (),
    unknown: Mapping[str, str] | None = None,
) -> QuotaObjects:
    """found: objects by kind. A kind that is absent is not known; unknown: kinds that could not be read, and why."""
    return QuotaObjects(
        quotas=tuple(map(to_quota_spec, found.get("ResourceQuota", ()))),
        limit_ranges=tuple(map(to_limit_range, found.get("LimitRange", ()))),
        priority_classes=_known(found, "PriorityClass", to_priority_class),
        namespaces=_known(found, "Namespace", lambda each: _to_namespace(each, keys)),
        allocatable=_allocatable(found.get("Node", ())),
        device_classes=_known(found, "DeviceClass", to_device_class),
        overheads=dict(map(_overhead, found["RuntimeClass"])) if "RuntimeClass" in found else None,
        workloads=tuple(workloads),
        unknown=unknown or {},
    )


def to_manifest(found: QuotaSpec | LimitRange) -> dict[str, Any]:
    """As one would write it: no status, nothing that the cluster adds."""
    if isinstance(found, QuotaSpec):
        kind, spec = "ResourceQuota", _quota_spec(found)
    else:
        kind, spec = "LimitRange", {"limits": [_limit(item) for item in found.items]}
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": found.name,
            **({"namespace": found.namespace} if found.namespace else {}),
            **({"labels": dict(found.labels)} if found.labels else {}),
            **({"annotations": dict(found.annotations)} if found.annotations else {}),
        },
        "spec": spec,
    }


def _quota_spec(quota: QuotaSpec) -> dict[str, Any]:
    terms = [
        {"scopeName": term.scope, "operator": term.operator, **({"values": list(term.values)} if term.values else {})}
        for term in quota.terms
    ]
    return {
        "hard": dict(quota.hard),
        **({"scopes": list(quota.scopes)} if quota.scopes else {}),
        **({"scopeSelector": {"matchExpressions": terms}} if terms else {}),
    }


def _limit(item: LimitItem) -> dict[str, Any]:
    return {"type": item.type, **{name: dict(values) for name, values in item.bounds.items()}}


def to_quota_spec(found: QuotaObject) -> QuotaSpec:
    meta, spec, status = found.metadata, found.spec, found.status
    selector = spec.scope_selector.match_expressions if spec.scope_selector else None
    return QuotaSpec(
        namespace=meta.namespace,
        name=meta.name,
        hard=_texts(spec.hard or status.hard),
        scopes=tuple(spec.scopes or ()),
        terms=tuple(
            ScopeTerm(scope=term.scope_name, operator=term.operator, values=tuple(term.values or ()))
            for term in selector or ()
        ),
        labels=meta.labels or {},
        annotations=meta.annotations or {},
        status_hard=_texts(status.hard),
        used=_texts(status.used),
    )


def to_limit_range(found: QuotaObject) -> LimitRange:
    return LimitRange(
        namespace=found.metadata.namespace,
        name=found.metadata.name,
        items=tuple(
            LimitItem(
                type=str(item.get("type", "")),
                bounds={name: _texts(values) for name, values in item.items() if isinstance(values, dict)},
            )
            for item in found.spec.limits or ()
        ),
        labels=found.metadata.labels or {},
        annotations=found.metadata.annotations or {},
    )


def to_priority_class(found: QuotaObject) -> PriorityClass:
    return PriorityClass(name=found.metadata.name, global_default=found.global_default)


def to_device_class(found: QuotaObject) -> DeviceClass:
    return DeviceClass(
        name=found.metadata.name,
        extended_resource=found.spec.extended_resource_name,
        selectors=tuple(each.cel.expression for each in found.spec.selectors or ()),
    )


def _overhead(found: QuotaObject) -> tuple[str, dict[str, Decimal]]:
    """A runtime class, and what it adds to a pod."""
    texts = _texts(found.overhead.pod_fixed if found.overhead else None)
    numbers = {name: amount(text) for name, text in texts.items()}
    return found.metadata.name, {name: number for name, number in numbers.items() if number is not None}


def _to_namespace(found: QuotaObject, keys: LabelKeys) -> Namespace:
    return to_namespace(KubernetesObject(metadata=found.metadata), keys)


def _allocatable(nodes: Iterable[QuotaObject]) -> dict[str, Decimal] | None:
    """Devices of each GPU resource on all nodes together; without a node nothing is known of them."""
    total: dict[str, Decimal] = {}
    nodes = tuple(nodes)
    for node in nodes:
        for key, text in _texts(node.status.allocatable).items():
            number = amount(text) if is_gpu(key) else None
            if number is not None:
                total[key] = total.get(key, Decimal(0)) + number
    return total if nodes else None


def _known(found: Mapping[str, Iterable[QuotaObject]], kind: str, read: Any) -> tuple[Any, ...] | None:
    return tuple(map(read, found[kind])) if kind in found else None


def _texts(quantities: Quantities | None) -> dict[str, str]:
    return {key: str(quantity) for key, quantity in (quantities or {}).items()}
