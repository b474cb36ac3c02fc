"""Rules about LimitRanges and pod templates: who gets GPUs unasked, and whom the API server refuses."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from chargeback.core.quota.found import Found
from chargeback.core.quota.limit_ranges import LimitItem, is_gpu
from chargeback.core.quota.limits_fit import MUST_SAY, invalid
from chargeback.core.quota.specs import QuotaObjects


def injected_gpus(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for where, found_in, item in _limit_items(objects, "Container"):
        for resource, most in sorted(item.gpus("max").items()):
            if most and item.gives(resource) == most:
                yield Found(
                    object=where,
                    field=f"{found_in}.max[{resource}]",
                    what="without a default, Kubernetes writes max as the default: every container that says nothing "
                    f"of {resource} gets {most} of them, sidecars and web pods too",
                    mend=f'default: {{{resource}: "0"}} beside it',
                )


def default_gpus(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for where, found_in, item in _limit_items(objects, "Container"):
        for resource, number in sorted(item.gpus("default").items()):
            if number and number != item.gpus("max").get(resource):
                yield Found(
                    object=where,
                    field=f"{found_in}.default[{resource}]",
                    what=f"every container that says nothing of {resource} gets {number} of them, sidecars too",
                    mend=f'default: {{{resource}: "0"}}',
                )


def refused_pods(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for where, found_in, item in _limit_items(objects, "Pod"):
        for bound in ("max", "min", "maxLimitRequestRatio"):
            for resource in sorted(item.gpus(bound)):
                yield Found(
                    object=where,
                    field=f"{found_in}.{bound}[{resource}]",
                    what=f"every pod that asks for no {resource} is refused (403)",
                    mend='a max of type Container with default "0", or a ValidatingAdmissionPolicy',
                )


def refused_containers(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for where, found_in, item in _limit_items(objects, "Container"):
        for bound in ("min", "defaultRequest", "maxLimitRequestRatio"):
            for resource, number in sorted(item.gpus(bound).items()):
                if what := _refused(bound, resource, number, item):
                    yield Found(object=where, field=f"{found_in}.{bound}[{resource}]", what=what, mend="leave it out")


def _refused(bound: str, resource: str, number: Decimal, item: LimitItem) -> str | None:
    given = item.gives(resource)
    if bound == "maxLimitRequestRatio":  # a request of 0 has no ratio
        return None if given else f"every container without {resource} is refused (403): a request of 0 has no ratio"
    says_nothing = f"it becomes the request of every container that says nothing of {resource}"
    if given is None:
        return f"{says_nothing}; without a limit that is refused (422), be it 0"
    if bound == "defaultRequest" and number != given:
        return f"the API server refuses the whole object (422): the default limit is {given}, and both must be equal"
    return None


def unequal_gpus(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for workload in objects.workloads:
        for line in invalid(workload.pod.admitted(())):
            if is_gpu(line.field):
                yield Found(
                    object=workload.label,
                    field=f"{line.object}: {line.field}",
                    what=f"the API server refuses it (422): {line.what}",
                    mend="a limit, a whole number, and no request beside it",
                )


def must_say(objects: QuotaObjects, _: str) -> Iterator[Found]:
    given: dict[str, set[str]] = {}
    for limits in objects.limit_ranges:
        given.setdefault(limits.namespace, set()).update(limits.gives)
    for quota in objects.quotas:
        said = given.get(quota.namespace, set())
        for key in sorted(key for key in quota.hard if key in MUST_SAY and key not in said):
            yield Found(
                object=quota.label,
                field=f"spec.hard[{key}]",
                what=f"every container must say {key}, or its pod is refused (403); with GPUs too",
                mend="a LimitRange with a default, so that nobody has to",
            )


def _limit_items(objects: QuotaObjects, kind: str) -> Iterator[tuple[str, str, LimitItem]]:
    for limits in objects.limit_ranges:
        for number, item in enumerate(limits.items):
            if item.type == kind:
                yield limits.label, f"spec.limits[{number}]", item
