"""What the tests of the quota lint write into quotas and LimitRanges, and how they ask it."""

from __future__ import annotations

from functools import partial
from typing import Any

from chargeback.core.quota.fix import mend
from chargeback.core.quota.limit_ranges import LimitItem, LimitRange
from chargeback.core.quota.lint import Finding, lint
from chargeback.core.quota.specs import PriorityClass, QuotaObjects, QuotaSpec, ScopeTerm

GPU = "nvidia.com/gpu"
REQUESTS, LIMITS = f"requests.{GPU}", f"limits.{GPU}"
CLASSES = tuple(PriorityClass(name=name) for name in ("ml-critical", "ml-high", "ml-low"))

quota = partial(QuotaSpec, namespace="team", name="gpu")


def in_classes(*values: str, operator: str = "In") -> tuple[ScopeTerm, ...]:
    return (ScopeTerm(scope="PriorityClass", operator=operator, values=values),)


def limits(type: str, **bounds: dict[str, str]) -> QuotaObjects:
    item = LimitItem(type=type, bounds=bounds)
    return QuotaObjects(limit_ranges=(LimitRange(namespace="team", name="gpu", items=(item,)),))


def found(objects: QuotaObjects, plans_from: str = "annotations") -> list[Finding]:
    """Errors and warnings."""
    return [finding for finding in lint(objects, plans_from) if finding.severity != "info"]


def rules(*quotas: QuotaSpec, plans_from: str = "annotations", **known: Any) -> list[str]:
    return [finding.rule for finding in found(QuotaObjects(quotas=quotas, **known), plans_from)]


def after_fix(objects: QuotaObjects) -> QuotaObjects:
    """The objects as they are once people have put the corrected ones in place."""
    mended = [each.object for each in mend(objects)]
    quotas = {each.label: each for each in objects.quotas} | {q.label: q for q in mended if isinstance(q, QuotaSpec)}
    ranges = {each.label: each for each in objects.limit_ranges}
    ranges |= {each.label: each for each in mended if isinstance(each, LimitRange)}
    return QuotaObjects(
        quotas=tuple(quotas.values()),
        limit_ranges=tuple(ranges.values()),
        priority_classes=objects.priority_classes,
        namespaces=objects.namespaces,
        allocatable=objects.allocatable,
    )
