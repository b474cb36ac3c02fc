"""Rules about what surrounds a quota: nodes, plans and the namespaces themselves."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from decimal import Decimal

from chargeback.core.limit_ranges import amount, is_gpu
from chargeback.core.quota_found import Found
from chargeback.core.quota_specs import GPU, REQUESTS, QuotaObjects
from chargeback.core.quotas import GUARANTEED, quota_uses

# What NVIDIA's device plugin offers; anything else under its name is more likely a slip than a resource.
_OFFERED = re.compile(r"nvidia\.com/(gpu|mig-\d+g\.\d+gb(\.me)?)(\.shared)?")
_NVIDIAS = "nvidia"
# Amounts that other schedulers (HAMi) count, and links between cards: no devices, and no slips.
_OF_SCHEDULERS = frozenset(
    {"nvidia.com/gpumem", "nvidia.com/gpumem-percentage", "nvidia.com/gpucores", "nvidia.com/priority"}
)


def oversold_guarantees(objects: QuotaObjects, plans_from: str) -> Iterator[Found]:
    if objects.allocatable is None:
        return
    there = objects.allocatable.get(GPU, Decimal(0))
    uses, _ = quota_uses([quota.as_written() for quota in objects.quotas], plans_from)
    promised = [use for use in uses if use.guaranteed]
    total = sum((use.guaranteed for use in promised if use.guaranteed), Decimal(0))
    if total > there:
        most = sorted(promised, key=lambda use: -(use.guaranteed or 0))[:3]
        named = ", ".join(f"{use.namespace}/{use.quota} {use.guaranteed}" for use in most)
        yield Found(
            object="Cluster",
            field=GUARANTEED,
            what=f"{total} {GPU} are guaranteed, the nodes have {there}: not all can be there at once ({named})",
            mend="lower guarantees, or add nodes",
        )


def guarantees_above_cap(objects: QuotaObjects, plans_from: str) -> Iterator[Found]:
    uses, _ = quota_uses([quota.as_written() for quota in objects.quotas], plans_from)
    labels = {(quota.namespace, quota.name): quota.label for quota in objects.quotas}
    for use in uses:
        if use.guaranteed is not None and use.guaranteed > use.hard:
            yield Found(
                object=labels[use.namespace, use.quota],
                field=GUARANTEED,
                what=f"{use.guaranteed} are guaranteed, but Kubernetes refuses pods beyond {use.hard}",
                mend=f"raise {use.resource}, or lower the guarantee",
            )


def ceilings_only(objects: QuotaObjects, plans_from: str) -> Iterator[Found]:
    for quota in objects.quotas:
        key = REQUESTS + GPU
        if amount(quota.hard.get(key, "0")) and GUARANTEED not in quota.annotations and plans_from != "quota":
            yield Found(
                object=quota.label,
                field=f"spec.hard[{key}]",
                what=f"a ceiling of {quota.hard[key]}: nothing is reserved, and nothing is charged for it",
                mend=f"if a guarantee is meant, annotation {GUARANTEED}, and a scheduler that reserves it",
            )


def no_cost_center(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for namespace in objects.namespaces or ():
        if not _of_system(namespace.name) and namespace.cost_center is None:
            yield Found(
                object=f"Namespace {namespace.name}",
                field="metadata.labels",
                what="no cost center: what it holds is billed to `unowned`",
                mend="label it with its cost center",
            )


def no_gpu_quota(objects: QuotaObjects, _: str) -> Iterator[Found]:
    limited = {namespace for namespace, _ in objects.gpu_quotas()}
    for namespace in objects.namespaces or ():
        if not _of_system(namespace.name) and namespace.name not in limited:
            yield Found(
                object=f"Namespace {namespace.name}",
                field="ResourceQuota",
                what="no quota limits its GPUs: it may take all of them",
                mend=f'a quota with {REQUESTS}{GPU}; "0" where it should have none',
            )


def uncounted_resources(objects: QuotaObjects, _: str) -> Iterator[Found]:
    offered = sorted(key for key, number in (objects.allocatable or {}).items() if is_gpu(key) and number)
    for namespace, quotas in objects.gpu_quotas():
        counted = {resource for quota in quotas for resource in quota.gpu_resources}
        if missing := [resource for resource in offered if resource not in counted]:
            yield Found(
                object=f"Namespace {namespace}",
                field="ResourceQuota",
                what=f"nodes offer {', '.join(missing)}, which no quota of it counts: each name is its own counter",
                mend=", ".join(REQUESTS + resource for resource in missing) + " as well",
            )


def unknown_resources(objects: QuotaObjects, _: str) -> Iterator[Found]:
    # Without a single GPU there, they may come when somebody asks: usual names pass.
    offered = objects.allocatable or None
    for quota in objects.quotas:
        for key in sorted(key for key in quota.hard if key.startswith(REQUESTS) and _NVIDIAS in key.lower()):
            resource = key.removeprefix(REQUESTS)
            is_usual = _OFFERED.fullmatch(resource) and (offered is None or amount(quota.hard[key]) == 0)
            if is_usual or resource in _OF_SCHEDULERS or resource in (offered or ()):
                continue
            near = difflib.get_close_matches(resource, offered or (GPU,), n=1)
            yield Found(
                object=quota.label,
                field=f"spec.hard[{key}]",
                what=f"no node offers {resource}" if offered else f"{resource} is not what devices are called",
                mend=f"{REQUESTS}{near[0]}, if that is meant" if near else "a resource that nodes offer",
            )


def _of_system(namespace: str) -> bool:
    return namespace.startswith("kube-")
