"""A pod as people write it, and what Kubernetes makes of it: defaults, the effective request, the quota's keys.

The rules are those of the API server (SetDefaults_Pod, LimitRanger, PodRequests and PodLimits, podEvaluator).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from chargeback.core.quota.limit_ranges import LimitRange

Amounts = Mapping[str, Decimal]

# What a pod may say as a whole, and then replaces the sum of its containers; GPUs it cannot.
POD_LEVEL = ("cpu", "memory")
HUGEPAGES = "hugepages-"
# What quotas count of limits too.
LIMITED = ("cpu", "memory", "ephemeral-storage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Amounts by resource name. is_sidecar: an init container that goes on running."""

    name: str
    requests: Amounts = field(default_factory=dict)
    limits: Amounts = field(default_factory=dict)
    is_sidecar: bool = False

    def says(self, key: str) -> bool:
        """Whether it names the resource of a quota's key, as quotas of cpu and memory demand."""
        if key.startswith("limits."):
            return key.removeprefix("limits.") in self.limits
        return key.removeprefix("requests.") in self.requests


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTemplate:
    """A pod, or what a workload makes its pods of.

    init              in their order, sidecars among them
    requests, limits  of the pod as a whole, where it says so
    overhead          of its runtime class, as far as the manifest says
    is_terminating    it has a deadline
    makes_claims      devices that are claimed for it once it is there (DRA)
    """

    containers: tuple[Container, ...]
    init: tuple[Container, ...] = ()
    requests: Amounts = field(default_factory=dict)
    limits: Amounts = field(default_factory=dict)
    overhead: Amounts = field(default_factory=dict)
    runtime_class: str | None = None
    priority_class: str | None = None
    is_terminating: bool = False
    crosses_namespaces: bool = False
    makes_claims: bool = False

    @property
    def all_containers(self) -> tuple[Container, ...]:
        return self.containers + self.init

    @property
    def is_best_effort(self) -> bool:
        """No cpu and no memory, asked or limited; GPUs do not matter."""
        wholes = (self.requests, self.limits)
        each = wholes if any(wholes) else tuple(a for c in self.all_containers for a in (c.requests, c.limits))
        return not any(amounts.get(name) for amounts in each for name in ("cpu", "memory"))

    def admitted(self, ranges: Iterable[LimitRange]) -> PodTemplate:
        """With the defaults of the API server and of the namespace's LimitRanges."""
        pod = replace(
            self, containers=tuple(map(_own_defaults, self.containers)), init=tuple(map(_own_defaults, self.init))
        )
        pod = replace(pod, requests=pod._requests_of_the_whole())
        for limits in ranges:
            pod = replace(
                pod,
                containers=tuple(_defaults(each, limits) for each in pod.containers),
                init=tuple(_defaults(each, limits) for each in pod.init),
            )
        return pod

    def effective(self, *, limits: bool = False, overhead: Amounts | None = None) -> dict[str, Decimal]:
        """Requests (or limits) of the whole: the containers that run together, or the hungriest moment before."""
        total = _sum(_side(each, limits) for each in self.containers)
        sidecars: dict[str, Decimal] = {}
        peak: dict[str, Decimal] = {}
        for each in self.init:
            own = _side(each, limits)
            if each.is_sidecar:
                total, sidecars = _sum((total, own)), _sum((sidecars, own))
            else:
                peak = _most(peak, _sum((own, sidecars)))
        total = _most(total, peak)
        whole = self.limits if limits else self.requests
        total |= {name: number for name, number in whole.items() if is_pod_level(name)}
        for name, number in (overhead or {}).items():
            if not limits or total.get(name):
                total[name] = total.get(name, Decimal(0)) + number
        return total

    def usage(self, overhead: Amounts | None = None) -> dict[str, Decimal]:
        """What one such pod takes of each key that a ResourceQuota may have."""
        used = {"pods": Decimal(1), "count/pods": Decimal(1)}
        for name, number in self.effective(overhead=overhead).items():
            if name in LIMITED or name.startswith(HUGEPAGES):
                used[name] = number
            if name in LIMITED or name.startswith(HUGEPAGES) or is_extended(name):
                used[f"requests.{name}"] = number
        limits = self.effective(limits=True, overhead=overhead)
        return used | {f"limits.{name}": limits[name] for name in LIMITED if name in limits}

    def _requests_of_the_whole(self) -> Amounts:
        """Where only its limits are said: what the containers ask together, else the limit."""
        if not self.limits:
            return self.requests
        asked = replace(self, requests={}).effective()
        known = {name: asked.get(name, limit) for name, limit in self.limits.items() if is_pod_level(name)}
        asked = {name: number for name, number in asked.items() if is_pod_level(name)}
        return known | asked | dict(self.requests)


def of_gpus(gpus: int, resource: str = "nvidia.com/gpu", priority_class: str | None = None) -> PodTemplate:
    """A pod with one container that has some devices of a resource, and says nothing else."""
    asked = {resource: Decimal(gpus)}
    main = Container(name="main", requests=asked, limits=asked)
    return PodTemplate(containers=(main,), priority_class=priority_class)


def is_pod_level(name: str) -> bool:
    return name in POD_LEVEL or name.startswith(HUGEPAGES)


def is_extended(name: str) -> bool:
    """A resource that a device plugin offers: in whole numbers, its request equal to its limit."""
    return "/" in name and "kubernetes.io/" not in name


def _side(container: Container, limits: bool) -> Amounts:
    return container.limits if limits else container.requests


def _own_defaults(container: Container) -> Container:
    return replace(container, requests=dict(container.limits) | dict(container.requests))


def _defaults(container: Container, limits: LimitRange) -> Container:
    """Later items of a LimitRange win over earlier ones, and what the container says over all."""
    given_limits: dict[str, Decimal] = {}
    given_requests: dict[str, Decimal] = {}
    for item in limits.items:
        given_limits |= item.default_limits()
        given_requests |= item.default_requests()
    return replace(
        container,
        limits=given_limits | dict(container.limits),
        requests=given_requests | dict(container.requests),
    )


def _sum(parts: Iterable[Amounts]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for part in parts:
        for name, number in part.items():
            total[name] = total.get(name, Decimal(0)) + number
    return total


def _most(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in {**one, **other}}
