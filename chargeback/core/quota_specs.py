"""What people wrote about GPUs on a cluster: quotas with their scopes, LimitRanges, PriorityClasses, namespaces.

Values only, and the few questions that Kubernetes itself asks of them. No rule of the lint lives here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from chargeback.core.owners import Namespace
from chargeback.core.quotas import ResourceQuota, gpu_resource, parse_quantity

PRIORITY_CLASS = "PriorityClass"
# Scopes that are about pods; a quota with one counts nothing but pods.
POD_SCOPES = frozenset(
    {"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", PRIORITY_CLASS, "CrossNamespacePodAffinity"}
)
# Every cluster has these, and kube-system is where they belong.
SYSTEM_CLASSES = frozenset({"system-cluster-critical", "system-node-critical"})

GPU = "nvidia.com/gpu"
REQUESTS, LIMITS = "requests.", "limits."
# Keys with a slash that Kubernetes counts: objects by kind, and storage, volumes and devices by their class.
_COUNTED = re.compile(
    r"count/.+|.+\.(?:storageclass|volumeattributesclass)\.storage\.k8s\.io/.+|.+\.deviceclass\.resource\.k8s\.io/devices"
    r"|requests\.deviceclass\.resource\.kubernetes\.io/.+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeTerm:
    """One expression of a scope selector; an entry of `scopes` is one with the operator Exists."""

    scope: str
    operator: str = "Exists"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSpec:
    """A ResourceQuota as written (hard), and what the controller made of it (status_hard, used)."""

    namespace: str
    name: str
    hard: Mapping[str, str] = field(default_factory=dict)
    scopes: tuple[str, ...] = ()
    terms: tuple[ScopeTerm, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    status_hard: Mapping[str, str] = field(default_factory=dict)
    used: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return label("ResourceQuota", self.namespace, self.name)

    @property
    def all_terms(self) -> tuple[ScopeTerm, ...]:
        """A pod must match every one of them."""
        return tuple(ScopeTerm(scope=scope) for scope in self.scopes) + self.terms

    @property
    def pod_scopes(self) -> list[str]:
        return sorted({term.scope for term in self.all_terms} & POD_SCOPES)

    @property
    def gpu_resources(self) -> list[str]:
        """GPU resources that this quota limits."""
        found = {resource for resource, enforced in map(gpu_resource, self.hard) if resource and enforced}
        return sorted(found)

    def takes_class(self, name: str | None) -> bool:
        """Whether pods of a priority class (None: without one) match, as far as classes are concerned."""
        return all(_takes(term, name) for term in self.all_terms if term.scope == PRIORITY_CLASS)

    def as_written(self) -> ResourceQuota:
        return ResourceQuota(
            namespace=self.namespace, name=self.name, hard=self.hard, used=self.used, annotations=self.annotations
        )

    def as_enforced(self) -> ResourceQuota:
        """By its status; before the controller has written one, what is written is all there is."""
        return replace(self, hard=self.status_hard or self.hard).as_written()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitItem:
    """bounds: by their names in the manifest: max, min, default, defaultRequest, maxLimitRequestRatio."""

    type: str
    bounds: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def gpus(self, bound: str) -> dict[str, Decimal]:
        """The GPU resources of one bound; what cannot be read is absent."""
        found = {key: amount(text) for key, text in self.bounds.get(bound, {}).items() if is_gpu(key)}
        return {key: value for key, value in found.items() if value is not None}

    def gives(self, resource: str) -> Decimal | None:
        """What containers get that say nothing of a GPU resource: the default, for which Kubernetes takes max."""
        return self.gpus("max" if resource not in self.bounds.get("default", {}) else "default").get(resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRange:
    namespace: str
    name: str
    items: tuple[LimitItem, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return label("LimitRange", self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityClass:
    name: str
    global_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaObjects:
    """All that a look at quotas needs. None: not known, which is not the same as none.

    allocatable  devices of each GPU resource on all nodes together
    """

    quotas: tuple[QuotaSpec, ...] = ()
    limit_ranges: tuple[LimitRange, ...] = ()
    priority_classes: tuple[PriorityClass, ...] | None = None
    namespaces: tuple[Namespace, ...] | None = None
    allocatable: Mapping[str, Decimal] | None = None

    @property
    def class_names(self) -> frozenset[str] | None:
        """Every class a pod can name; None: not known."""
        if self.priority_classes is None:
            return None
        return SYSTEM_CLASSES.union(each.name for each in self.priority_classes)

    @property
    def own_classes(self) -> list[str]:
        """Classes that people made, by name."""
        return sorted({each.name for each in self.priority_classes or ()} - SYSTEM_CLASSES)

    @property
    def default_class(self) -> str | None:
        """The class that Kubernetes gives to pods that name none."""
        return next((each.name for each in self.priority_classes or () if each.global_default), None)

    def gpu_quotas(self) -> Iterator[tuple[str, list[QuotaSpec]]]:
        """Each namespace with quotas that limit GPUs, and these."""
        limiting = [quota for quota in self.quotas if quota.gpu_resources]
        for namespace in sorted({quota.namespace for quota in limiting}):
            yield namespace, [quota for quota in limiting if quota.namespace == namespace]

    def uncovered(self, quotas: list[QuotaSpec], resource: str) -> list[str | None]:
        """Priority classes (None: no class) whose pods none of a namespace's quotas limits in a resource.

        A quota that other scopes narrow further covers nothing for certain. Classes of the system are left out.
        """
        whole = [q for q in quotas if resource in q.gpu_resources and q.pod_scopes in ([], [PRIORITY_CLASS])]
        named = {value for quota in quotas for term in quota.all_terms for value in term.values}
        names = (named if self.class_names is None else self.class_names) - SYSTEM_CLASSES
        classes: list[str | None] = sorted(names)  # type: ignore[assignment]  # a list of names is one of both
        if self.default_class is None:
            classes.append(None)
        return [name for name in classes if not any(quota.takes_class(name) for quota in whole)]


def label(kind: str, namespace: str, name: str) -> str:
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


def class_text(name: str | None) -> str:
    return "no class" if name is None else name


def is_gpu(resource: str) -> bool:
    """Whether a resource name as pods write it is one of GPUs."""
    return gpu_resource(REQUESTS + resource)[0] is not None


def is_counted(key: str) -> bool:
    """Whether Kubernetes counts a quota's key at all. It accepts every name with a slash, counted or not."""
    if "/" not in key or _COUNTED.fullmatch(key):
        return True
    return key.startswith(REQUESTS)


def amount(text: str) -> Decimal | None:
    """A quantity of devices; None where it cannot be read."""
    try:
        return parse_quantity(text)
    except ValueError:
        return None


def _takes(term: ScopeTerm, name: str | None) -> bool:
    """As a label selector over the one label `PriorityClass`: NotIn and DoesNotExist take pods without a class."""
    match term.operator:
        case "In":
            return name in term.values
        case "NotIn":
            return name not in term.values
        case "DoesNotExist":
            return name is None
        case _:
            return name is not None
