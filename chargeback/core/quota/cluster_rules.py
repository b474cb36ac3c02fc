"""Rules about what surrounds a quota: nodes, plans and the namespaces themselves."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from decimal import Decimal

from chargeback.core.plans.sources import Plan, plans
from chargeback.core.quota.found import Found
from chargeback.core.quota.limit_ranges import amount, is_gpu
from chargeback.core.quota.resources import CAP, GUARANTEED
from chargeback.core.quota.specs import GPU, REQUESTS, QuotaObjects

# What NVIDIA's device plugin offers; anything else under its name is more likely a slip than a resource.
_OFFERED = re.compile(r"nvidia\.com/(gpu|mig-\d+g\.\d+gb(\.me|\.me\.all|\.gfx|-me)?)(\.shared)?")
_NVIDIAS = "nvidia"
# Amounts that other schedulers (HAMi) count, and links between cards: no devices, and no slips.
_OF_SCHEDULERS = frozenset(
    {"nvidia.com/gpumem", "nvidia.com/gpumem-percentage", "nvidia.com/gpucores", "nvidia.com/priority"}
)


def oversold_guarantees(objects: QuotaObjects, plans_from: str) -> Iterator[Found]:
    if objects.allocatable is None:
        return
    there = objects.allocatable.get(GPU, Decimal(0))
    promised = {plan.namespace: plan.guaranteed for plan in _plans(objects, plans_from) if plan.guaranteed}
    total = sum(promised.values(), Decimal(0))
    if total > there:
        most = sorted(promised, key=lambda namespace: -promised[namespace])[:3]
        named = ", ".join(f"{namespace} {promised[namespace]}" for namespace in most)
        yield Found(
            object="Cluster",
            field=GUARANTEED,
            what=f"{total} {GPU} are guaranteed, the nodes have {there}: not all can be there at once ({named})",
            mend="lower guarantees, or add nodes",
        )


def guarantees_above_cap(objects: QuotaObjects, plans_from: str) -> Iterator[Found]:
    quotas_of = objects.quotas_by_namespace()
    for plan in _plans(objects, plans_from):
        quotas = quotas_of.get(plan.namespace, [])
        own = [quota for quota in quotas if quota.name == plan.quota] or [q for q in quotas if not q.all_terms]
        hards = [hard for hard in (amount(quota.hard.get(REQUESTS + GPU, "")) for quota in own) if hard is not None]
        bounds = [*hards, *([] if plan.cap is None else [plan.cap])]
        if plan.guaranteed is None or not bounds or plan.guaranteed <= min(bounds):
            continue
        by_quota = bool(hards) and min(hards) == min(bounds)
        yield Found(
            object=own[0].label if by_quota and len(own) == 1 else f"Namespace {plan.namespace}",
            field=GUARANTEED,
            what=f"{plan.guaranteed} are guaranteed, but "
            + (f"Kubernetes refuses pods beyond {min(hards)}" if by_quota else f"{plan.cap} are the most it may use"),
            mend=f"raise {REQUESTS + GPU if by_quota else CAP}, or lower the guarantee",
        )


def unclear_plans(objects: QuotaObjects, plans_from: str) -> Iterator[Found]:
    found, problems = plans(objects.quotas, objects.namespaces or (), plans_from)
    # Of both numbers known, the one problem left is the order of them, which has a rule of its own.
    ordered = {plan.namespace for plan in found if plan.guaranteed is not None and plan.cap is not None}
    for problem in problems:
        if problem.namespace not in ordered:
            yield Found(
                object=problem.object,
                field=problem.field,
                what=problem.what,
                mend="one whole number of devices, in one place",
            )


def ceilings_only(objects: QuotaObjects, plans_from: str) -> Iterator[Found]:
    planned = {plan.namespace for plan in _plans(objects, plans_from)}
    for quota in objects.quotas:
        key = REQUESTS + GPU
        if amount(quota.hard.get(key, "0")) and quota.namespace not in planned:
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


def _plans(objects: QuotaObjects, plans_from: str) -> list[Plan]:
    return plans(objects.quotas, objects.namespaces or (), plans_from)[0]
