"""Rules about device claims (DRA): a way to GPUs that the usual quotas do not count."""

from __future__ import annotations

from collections.abc import Iterator

from chargeback.core.claims import DeviceClass
from chargeback.core.quota_found import Found
from chargeback.core.quota_specs import DEVICES, REQUESTS, QuotaObjects, QuotaSpec, is_gpu_class


def uncounted_claims(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for namespace, _quotas in objects.gpu_quotas():
        for found in uncounted_classes(objects, namespace):
            what = f"users may claim any number of GPUs of DeviceClass {found.name}: no quota counts them"
            if scoped := _scoped(objects, namespace):
                what += f" ({', '.join(quota.name for quota in scoped)} has a scope, and claims match none)"
            if found.extended_resource and _counts(objects, namespace, REQUESTS + found.extended_resource):
                what += f"; an API server with DRAExtendedResource does, as {REQUESTS}{found.extended_resource}"
            yield Found(
                object=f"Namespace {namespace}",
                field=found.name + DEVICES,
                what=what,
                mend="this key in a quota without a scope",
            )


def uncounted_classes(objects: QuotaObjects, namespace: str) -> list[DeviceClass]:
    """Classes of GPUs that no quota of a namespace counts; none, where classes are not known."""
    gpus = [found for found in objects.device_classes or () if is_gpu_class(found)]
    return [found for found in gpus if not _counts(objects, namespace, found.name + DEVICES)]


def _counts(objects: QuotaObjects, namespace: str, key: str) -> bool:
    """Whether a quota counts a key for claims: one with a scope, of whatever kind, counts none."""
    return any(key in quota.hard and not quota.all_terms for quota in objects.quotas if quota.namespace == namespace)


def _scoped(objects: QuotaObjects, namespace: str) -> list[QuotaSpec]:
    quotas = [quota for quota in objects.quotas if quota.namespace == namespace]
    return [quota for quota in quotas if quota.gpu_resources and quota.all_terms]
