"""Rules about a quota's own text: keys that nothing counts, scopes that match nobody, numbers that are none."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chargeback.core.quota.found import Found
from chargeback.core.quota.limit_ranges import amount
from chargeback.core.quota.resources import GUARANTEED, gpu_resource
from chargeback.core.quota.specs import (
    GPU,
    LIMITS,
    PRIORITY_CLASS,
    REQUESTS,
    QuotaObjects,
    QuotaSpec,
    class_text,
    is_counted,
)

# What a quota with a pod scope may carry of the names without a slash.
_OF_PODS = frozenset(
    {"pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"},
)
# The names without a slash that a quota may have at all.
_STANDARD = re.compile(
    r"(?:(?:requests|limits)\.)?(?:cpu|memory|ephemeral-storage)|(?:requests\.)?hugepages-.+|requests\.storage"
    r"|pods|resourcequotas|replicationcontrollers|secrets|configmaps|persistentvolumeclaims"
    r"|services(?:\.nodeports|\.loadbalancers)?"
)
# Counts that leave no room, and for what: the least that makes sense, and who takes them.
_LOW = {
    "configmaps": (2, "kube-root-ca.crt, which Kubernetes puts into every namespace, takes one of them"),
    "secrets": (10, "Helm keeps ten revisions of each release, and each is a secret"),
}


def dead_keys(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for quota in objects.quotas:
        for key in sorted(quota.hard):
            if is_counted(key):
                continue
            resource = named_resource(key)
            what = f"accepted and shown, but not enforced by Kubernetes: it counts {REQUESTS}{resource} only"
            requests = quota.hard.get(REQUESTS + resource)
            if key == LIMITS + resource and requests is not None:
                what += f"; the namespace stops at {requests}, and nothing above it exists"
            mend = f"write the cap as {REQUESTS}{resource}"
            if resource == GPU:
                mend += f", the guarantee as annotation {GUARANTEED}"
            yield Found(object=quota.label, field=f"spec.hard[{key}]", what=what, mend=mend)


def named_resource(key: str) -> str:
    """What a dead key is about: `request.nvidia.com/gpu` and `limits.nvidia.com/gpu` mean nvidia.com/gpu."""
    slip = re.fullmatch(r"(?:req|lim)[a-z]*\.(.+/.+)", key, re.IGNORECASE)
    return slip[1] if slip else key


def no_keys(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for quota in objects.quotas:
        for key in sorted(key for key in quota.hard if "/" not in key and not _STANDARD.fullmatch(key)):
            yield Found(
                object=quota.label,
                field=f"spec.hard[{key}]",
                what=f"the API server refuses the whole object (422): {key} is no resource that a quota can have. "
                "The namespace is left without this quota",
                mend=f"the resource's whole name, such as {REQUESTS}{GPU}",
            )


def refused_keys(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for quota, scopes in _pod_scoped(objects):
        if refused := [key for key in sorted(quota.hard) if not scope_carries(scopes, key) and "/" not in key]:
            yield Found(
                object=quota.label,
                field="spec.scopeSelector" if quota.terms else "spec.scopes",
                what=f"the API server refuses the whole object (422, unsupported scope): {', '.join(refused)} cannot "
                f"stand in a quota with scope {', '.join(scopes)}. The namespace is left without this quota",
                mend="two quotas: one with the scope and the keys of pods, one without a scope for the rest",
            )


def uncounted_keys(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for quota, scopes in _pod_scoped(objects):
        for key in sorted(quota.hard):
            if "/" in key and is_counted(key) and not scope_carries(scopes, key):
                yield Found(
                    object=quota.label,
                    field=f"spec.hard[{key}]",
                    what=f"accepted, but a quota with scope {', '.join(scopes)} counts pods only: this stays at 0",
                    mend="move it to a quota without a scope",
                )


def scope_carries(scopes: list[str], key: str) -> bool:
    """Whether a quota with these pod scopes may carry the key, and counts it."""
    if "/" in key:
        return key == "count/pods" or (key.startswith(REQUESTS) and "kubernetes.io/" not in key)
    return key == "pods" if "BestEffort" in scopes else key in _OF_PODS


def unknown_classes(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for quota, operator, values in _unknown_values(objects):
        if operator == "In":
            yield Found(
                object=quota.label,
                field="spec.scopeSelector",
                what=f"no PriorityClass is called {', '.join(values)}: the quota counts no pod by that name, and a "
                "pod that names it is refused (403). Pods of other classes are not limited by it",
                mend=_classes_there_are(objects),
            )


def unknown_excluded_classes(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for quota, operator, values in _unknown_values(objects):
        if operator == "NotIn":
            yield Found(
                object=quota.label,
                field="spec.scopeSelector",
                what=f"no PriorityClass is called {', '.join(values)}: nothing is left out by that name",
                mend=_classes_there_are(objects),
            )


def uncovered_classes(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for namespace, quotas in objects.gpu_quotas():
        for resource in sorted({resource for quota in quotas for resource in quota.gpu_resources}):
            if classes := objects.uncovered(quotas, resource):
                named = ", ".join(map(class_text, classes))
                yield Found(
                    object=f"Namespace {namespace}",
                    field=REQUESTS + resource,
                    what=f"no quota counts pods of: {named}. They may take any number of {resource}",
                    mend="a quota without a scope, or a second one with NotIn the classes of the first",
                )


def fractional_gpus(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for quota in objects.quotas:
        for key, text in sorted(quota.hard.items()):
            resource, enforced = gpu_resource(key)
            number = amount(text)
            if resource and enforced and number is not None and number % 1:
                yield Found(
                    object=quota.label,
                    field=f"spec.hard[{key}]",
                    what=f"{text} is accepted, but pods ask for whole devices: it allows {int(number)}",
                    mend=f"{int(number)} or {int(number) + 1}; parts of a card are MIG devices or shares",
                )


def unreadable_numbers(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for quota in objects.quotas:
        for key, text in sorted(quota.hard.items()):
            if amount(text) is None:
                what = f"{text!r} cannot be read: want a Kubernetes quantity such as 8"
                yield Found(object=quota.label, field=f"spec.hard[{key}]", what=what, mend="write a number")


def low_counts(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for quota in objects.quotas:
        for name, (least, what) in _LOW.items():
            for key in (name, f"count/{name}"):
                number = amount(quota.hard.get(key, ""))
                if number is not None and number < least:
                    yield Found(object=quota.label, field=f"spec.hard[{key}]", what=what, mend=f"{least} or more")


def _pod_scoped(objects: QuotaObjects) -> Iterator[tuple[QuotaSpec, list[str]]]:
    for quota in objects.quotas:
        if scopes := quota.pod_scopes:
            yield quota, scopes


def _unknown_values(objects: QuotaObjects) -> Iterator[tuple[QuotaSpec, str, list[str]]]:
    """Terms of PriorityClass that name classes which are not there; nothing, where classes are not known."""
    known = objects.class_names
    for quota in objects.quotas:
        for term in quota.terms:
            values = [] if known is None else [value for value in term.values if value not in known]
            if term.scope == PRIORITY_CLASS and values:
                yield quota, term.operator, values


def _classes_there_are(objects: QuotaObjects) -> str:
    names = objects.own_classes
    return f"one of: {', '.join(names)}" if names else "create the PriorityClass first"
