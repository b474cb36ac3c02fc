"""Would some GPUs fit into a namespace now? Arithmetic over its quotas and LimitRanges, line by line: an estimate.

It cannot know webhooks, other pods that come meanwhile, or whether a node has room. Every quota that a pod matches
must admit it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from chargeback.core.quota_rules import named_resource
from chargeback.core.quota_specs import (
    POD_SCOPES,
    PRIORITY_CLASS,
    REQUESTS,
    LimitRange,
    QuotaObjects,
    QuotaSpec,
    amount,
    class_text,
    is_counted,
)

# What a quota may ask of pods beside GPUs; how much of it they want is not known here.
_BESIDE = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_UNIT = {"Container": "container", "Pod": "pod"}
_OVER = {"max": "at most", "min": "at least"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Pods alike, each with one container that has `gpus` of a resource. priority_class: None: they name none."""

    namespace: str
    gpus: int
    resource: str = "nvidia.com/gpu"
    pods: int = 1
    priority_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitLine:
    """One reason. fits: None: it cannot be said from here."""

    object: str
    field: str
    what: str
    fits: bool | None


def fit(objects: QuotaObjects, ask: Ask) -> list[FitLine]:
    """All reasons for and against, in the order in which Kubernetes asks: limits, class, quotas."""
    lines = [line for limits in objects.limit_ranges for line in _limits(limits, ask)]
    known = objects.class_names
    if ask.priority_class is not None and known is not None and ask.priority_class not in known:
        what = "no PriorityClass is called so: pods that name it are refused"
        lines.append(FitLine(object=f"PriorityClass {ask.priority_class}", field="", what=what, fits=False))
    priority_class = ask.priority_class or objects.default_class
    quotas = [quota for quota in objects.quotas if quota.namespace == ask.namespace]
    lines += [line for quota in quotas for line in _quota(quota, ask, priority_class)]
    key = REQUESTS + ask.resource
    if not any(line.field == key for line in lines):
        what = "no quota counts it for these pods: none refuses them"
        lines.append(FitLine(object=f"Namespace {ask.namespace}", field=key, what=what, fits=True))
    return lines


def verdict(lines: Sequence[FitLine]) -> bool | None:
    """False if one line refuses; None if one cannot say; else True."""
    answers = [line.fits for line in lines]
    return False if False in answers else None if None in answers else True


def _limits(limits: LimitRange, ask: Ask) -> Iterator[FitLine]:
    for item in limits.items if limits.namespace == ask.namespace else ():
        for bound in ("max", "min") if item.type in _UNIT else ():
            number = item.gpus(bound).get(ask.resource)
            if number is None:
                continue
            fits = ask.gpus <= number if bound == "max" else ask.gpus >= number
            what = f"{_OVER[bound]} {number} a {_UNIT[item.type]}, {ask.gpus} asked"
            if item.type == "Container" and bound == "max" and (given := item.gives(ask.resource)):
                what += f"; any other container of the pod must say 0, or it gets {given} as well"
            yield FitLine(object=limits.label, field=f"{item.type} {bound}", what=what, fits=fits)


def _quota(quota: QuotaSpec, ask: Ask, priority_class: str | None) -> Iterator[FitLine]:
    matches = _matches(quota, priority_class)
    if matches is False:
        what = f"its scope leaves out such pods ({class_text(priority_class)})"
        yield FitLine(object=quota.label, field="scope", what=what, fits=True)
        return
    hard = quota.status_hard or quota.hard
    wanted = {REQUESTS + ask.resource: ask.gpus * ask.pods, "pods": ask.pods, "count/pods": ask.pods}
    for key in sorted(hard):
        if key in wanted:
            fits, what = _room(quota, hard[key], key, wanted[key])
        elif key in _BESIDE:
            fits, what = _room(quota, hard[key], key, 0)
            what += "; pods must say how much they want, which is not part of this estimate"
        elif not is_counted(key) and named_resource(key) == ask.resource:
            fits, what = True, f"{hard[key]} is not enforced by Kubernetes: it refuses nobody"
        else:
            continue
        if matches is None:
            fits = fits or None
            what += f"; only if the pods match {', '.join(quota.pod_scopes)}"
        yield FitLine(object=quota.label, field=key, what=what, fits=fits)


def _room(quota: QuotaSpec, hard_text: str, key: str, wanted: int) -> tuple[bool | None, str]:
    hard, used = amount(hard_text), amount(quota.used.get(key, ""))
    if hard is None:
        return None, f"{hard_text} is no number we can read"
    if used is None:
        fits = None if wanted <= hard else False
        return fits, f"{hard_text} allowed, {wanted} asked; how much is used is not known"
    left = max(hard - used, Decimal(0))
    if not wanted:  # something is asked, but not how much
        return True if left else None, f"{quota.used[key]} of {hard_text} used"
    return used + wanted <= hard, f"{used} of {hard} used, {wanted} asked: {left} left"


def _matches(quota: QuotaSpec, priority_class: str | None) -> bool | None:
    """Whether the pods match every scope; None where that hangs on what we do not know of them."""
    if not quota.takes_class(priority_class):
        return False
    others = {term.scope for term in quota.all_terms} - {PRIORITY_CLASS}
    return False if others - POD_SCOPES else None if others else True
