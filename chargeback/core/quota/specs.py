"""What people wrote about GPUs on a cluster: quotas with their scopes, LimitRanges, PriorityClasses, namespaces.

Values only, and the few questions that Kubernetes itself asks of them. No rule of the lint lives here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from chargeback.core.claims import DeviceClass
from chargeback.core.owners.owners import Namespace
from chargeback.core.quota.limit_ranges import LimitRange, label
from chargeback.core.quota.limit_ranges import amount as amount
from chargeback.core.quota.limit_ranges import is_gpu as is_gpu
from chargeback.core.quota.pod_template import PodTemplate
from chargeback.core.quota.resources import gpu_resource

PRIORITY_CLASS = "PriorityClass"
# Scopes that are about pods; a quota with one counts nothing but pods.
POD_SCOPES = frozenset(
    {"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", PRIORITY_CLASS, "CrossNamespacePodAffinity"}
)
# Every cluster has these, and kube-system is where they belong.
SYSTEM_CLASSES = frozenset({"system-cluster-critical", "system-node-critical"})

# Of device claims; claims match no scope, so only a quota without one counts them.
DEVICES, CLAIMS = ".deviceclass.resource.k8s.io/devices", "count/resourceclaims.resource.k8s.io"
_GPU_DRIVERS = ("gpu.nvidia.com", "mig.nvidia.com")

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

    @property
    def in_force(self) -> Mapping[str, str]:
        """hard, by its status; before the controller has written one, what is written is all there is."""
        return self.status_hard or self.hard


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityClass:
    name: str
    global_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A pod, or what makes `pods` pods of a template."""

    label: str
    namespace: str
    pod: PodTemplate
    pods: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaObjects:
    """All that a look at quotas needs. None: not known, which is not the same as none.

    allocatable  devices of each GPU resource on all nodes together
    overheads    what each runtime class adds to a pod
    unknown      kinds that should have been asked for and were not to be had, and why
    """

    quotas: tuple[QuotaSpec, ...] = ()
    limit_ranges: tuple[LimitRange, ...] = ()
    priority_classes: tuple[PriorityClass, ...] | None = None
    namespaces: tuple[Namespace, ...] | None = None
    allocatable: Mapping[str, Decimal] | None = None
    device_classes: tuple[DeviceClass, ...] | None = None
    overheads: Mapping[str, Mapping[str, Decimal]] | None = None
    workloads: tuple[Workload, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)

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
    def namespace_names(self) -> set[str]:
        """Namespaces that are there, or that something belongs to."""
        named = {each.name for each in self.namespaces or ()} | {each.namespace for each in self.quotas}
        return named | {each.namespace for each in self.limit_ranges}

    @property
    def default_class(self) -> str | None:
        """The class that Kubernetes gives to pods that name none."""
        return next((each.name for each in self.priority_classes or () if each.global_default), None)

    def gpu_quotas(self) -> Iterator[tuple[str, list[QuotaSpec]]]:
        """Each namespace with quotas that limit GPUs, and these."""
        for namespace, quotas in sorted(self.quotas_by_namespace().items()):
            if limiting := [quota for quota in quotas if quota.gpu_resources]:
                yield namespace, limiting

    def quotas_by_namespace(self) -> dict[str, list[QuotaSpec]]:
        found: dict[str, list[QuotaSpec]] = {}
        for quota in self.quotas:
            found.setdefault(quota.namespace, []).append(quota)
        return found

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


def class_text(name: str | None) -> str:
    return "no class" if name is None else name


def is_counted(key: str) -> bool:
    """Whether Kubernetes counts a quota's key at all. It accepts every name with a slash, counted or not."""
    if "/" not in key or _COUNTED.fullmatch(key):
        return True
    return key.startswith(REQUESTS)


def is_gpu_class(found: DeviceClass) -> bool:
    """Whether devices of the class are GPUs, by what it says of itself."""
    if found.extended_resource is not None and is_gpu(found.extended_resource):
        return True
    return any(driver in text for text in (found.name, *found.selectors) for driver in _GPU_DRIVERS)


def is_claims(key: str) -> bool:
    """Whether a quota's key counts device claims, which no pod takes."""
    return key == CLAIMS or key.endswith(DEVICES)


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
