"""Pods and the workloads that make them, from manifests: to values of the core, and to what the API server takes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from chargeback.cluster.objects import ObjectsError
from chargeback.core.quota.limit_ranges import label
from chargeback.core.quota.pod_template import Container, PodTemplate
from chargeback.core.quota.resources import parse_quantity
from chargeback.core.quota.specs import Workload

# Where each kind keeps the template of its pods.
WORKLOADS: dict[str, tuple[str, ...]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "ReplicationController": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
_REPLICATED = frozenset({"ReplicationController", "ReplicaSet", "Deployment", "StatefulSet"})

Quantities = dict[str, str | int | float]


class Resources(msgspec.Struct, frozen=True):
    requests: Quantities | None = None
    limits: Quantities | None = None


class ContainerFields(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    resources: Resources | None = None
    restart_policy: str = ""


class AffinityTerm(msgspec.Struct, frozen=True, rename="camel"):
    """Of a pod's (anti-)affinity: required terms stand bare, preferred ones below `podAffinityTerm`."""

    namespaces: list[str] | None = None
    namespace_selector: dict[str, Any] | None = None
    pod_affinity_term: AffinityTerm | None = None

    @property
    def crosses_namespaces(self) -> bool:
        inner = self.pod_affinity_term
        return (
            bool(self.namespaces) or self.namespace_selector is not None or bool(inner and inner.crosses_namespaces)
        )


class PodAffinity(msgspec.Struct, frozen=True):
    required: list[AffinityTerm] | None = msgspec.field(
        default=None, name="requiredDuringSchedulingIgnoredDuringExecution"
    )
    preferred: list[AffinityTerm] | None = msgspec.field(
        default=None, name="preferredDuringSchedulingIgnoredDuringExecution"
    )

    @property
    def terms(self) -> list[AffinityTerm]:
        return [*(self.required or ()), *(self.preferred or ())]


class Affinity(msgspec.Struct, frozen=True, rename="camel"):
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class Claim(msgspec.Struct, frozen=True, rename="camel"):
    resource_claim_template_name: str | None = None


class PodFields(msgspec.Struct, frozen=True, rename="camel"):
    containers: list[ContainerFields]
    init_containers: list[ContainerFields] | None = None
    resources: Resources | None = None
    overhead: Quantities | None = None
    runtime_class_name: str | None = None
    priority_class_name: str | None = None
    active_deadline_seconds: int | None = None
    affinity: Affinity | None = None
    resource_claims: list[Claim] | None = None


class TemplateFields(msgspec.Struct, frozen=True):
    spec: PodFields


class Counts(msgspec.Struct, frozen=True):
    """Of a workload's spec."""

    replicas: int | None = None
    parallelism: int | None = None
    completions: int | None = None


def to_workload(item: dict[str, Any]) -> Workload:
    """A manifest of one of WORKLOADS. Raises ObjectsError, which names the field."""
    kind = item.get("kind", "")
    try:
        metadata = msgspec.convert(item.get("metadata") or {"name": "unnamed"}, type=_Named, strict=False)
        where = label(kind, metadata.namespace, metadata.name or metadata.generate_name)
        fields = msgspec.convert(template_of(item), type=TemplateFields, strict=False).spec
        if not fields.containers:
            raise ObjectsError(f"{where}: spec.containers: []: want at least one container")
        return Workload(
            label=where, namespace=metadata.namespace, pod=_to_pod(where, fields), pods=_pods_of(kind, item)
        )
    except msgspec.ValidationError as error:
        raise ObjectsError(f"{kind} {_name_of(item)}: {error}") from error


def template_of(item: dict[str, Any]) -> dict[str, Any]:
    """The manifest's template of a pod: metadata and spec. Raises ObjectsError."""
    kind = item.get("kind")
    if kind not in WORKLOADS:
        raise ObjectsError(f"kind: {kind!r}: want one of {', '.join(WORKLOADS)}")
    found: Any = item
    for step in WORKLOADS[kind]:
        found = found.get(step) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise ObjectsError(f"{kind} {_name_of(item)}: {'.'.join(WORKLOADS[kind])}: want the template of a pod")
    return found


def to_pod_manifest(item: dict[str, Any]) -> dict[str, Any]:
    """A pod as the workload's controller would create it, under a name that the API server makes up."""
    template = template_of(item)
    metadata = template.get("metadata") or {}
    kept = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "quota-fit-", **kept},
        "spec": template["spec"],
    }


def gpu_pod(gpus: int, resource: str, priority_class: str | None) -> dict[str, Any]:
    """A pod with one container that has some devices; its image is never pulled, for it is never stored."""
    container = {"name": "main", "image": "none", "resources": {"limits": {resource: str(gpus)}}}
    spec = {"containers": [container], **({"priorityClassName": priority_class} if priority_class else {})}
    return to_pod_manifest({"kind": "Pod", "spec": spec})


class _Named(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""


def _name_of(item: dict[str, Any]) -> str:
    metadata = item.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _pods_of(kind: str, item: dict[str, Any]) -> int:
    """How many pods at once, as the manifest says; 1 where it does not, or where the nodes decide."""
    spec = item.get("spec") or {}
    if kind == "CronJob":
        spec = spec["jobTemplate"].get("spec") or {}
    counts = msgspec.convert(spec, type=Counts, strict=False)
    if kind in _REPLICATED:
        return 1 if counts.replicas is None else counts.replicas
    if kind in ("Job", "CronJob"):
        parallel = 1 if counts.parallelism is None else counts.parallelism
        return parallel if counts.completions is None else min(parallel, counts.completions)
    return 1


def _to_pod(where: str, fields: PodFields) -> PodTemplate:
    affinity = fields.affinity or Affinity()
    terms = [term for side in (affinity.pod_affinity, affinity.pod_anti_affinity) if side for term in side.terms]
    whole = fields.resources or Resources()
    return PodTemplate(
        containers=tuple(_to_container(where, each) for each in fields.containers),
        init=tuple(_to_container(where, each) for each in fields.init_containers or ()),
        requests=_amounts(where, "resources.requests", whole.requests),
        limits=_amounts(where, "resources.limits", whole.limits),
        overhead=_amounts(where, "overhead", fields.overhead),
        runtime_class=fields.runtime_class_name or None,
        priority_class=fields.priority_class_name or None,
        is_terminating=fields.active_deadline_seconds is not None,
        crosses_namespaces=any(term.crosses_namespaces for term in terms),
        makes_claims=any(claim.resource_claim_template_name for claim in fields.resource_claims or ()),
    )


def _to_container(where: str, fields: ContainerFields) -> Container:
    resources = fields.resources or Resources()
    where = f"{where}: container {fields.name}"
    return Container(
        name=fields.name,
        requests=_amounts(where, "resources.requests", resources.requests),
        limits=_amounts(where, "resources.limits", resources.limits),
        is_sidecar=fields.restart_policy == "Always",
    )


def _amounts(where: str, field: str, quantities: Quantities | None) -> dict[str, Decimal]:
    found = {}
    for name, quantity in (quantities or {}).items():
        try:
            found[name] = parse_quantity(str(quantity))
        except ValueError as error:
            raise ObjectsError(f"{where}: {field}[{name}]: {error}") from error
    return found
