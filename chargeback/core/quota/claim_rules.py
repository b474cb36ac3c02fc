"""Rules about device claims (DRA): a way to GPUs that the usual quotas do not count."""

from __future__ import annotations

from collections.abc import Iterator

from chargeback.core.claims import DeviceClass
from chargeback.core.quota.found import Found
from chargeback.core.quota.specs import DEVICES, REQUESTS, QuotaObjects, QuotaSpec, is_gpu_class


def uncounted_claims(objects: QuotaObjects, _: str) -> Iterator[Found]:
    for namespace, quotas, classes in uncounted_classes(objects):
        scoped = [quota.name for quota in quotas if quota.gpu_resources and quota.all_terms]
        for found in classes:
            what = f"users may claim any number of GPUs of DeviceClass {found.name}: no quota counts them"
            if scoped:
                what += f" ({', '.join(scoped)} has a scope, and claims match none)"
            if found.extended_resource and _counts(quotas, REQUESTS + found.extended_resource):
                what += f"; an API server with DRAExtendedResource does, as {REQUESTS}{found.extended_resource}"
            yield Found(
                object=f"Namespace {namespace}",
                field=found.name + DEVICES,
                what=what,
                mend="this key in a quota without a scope",
            )


def uncounted_classes(objects: QuotaObjects) -> Iterator[tuple[str, list[QuotaSpec], list[DeviceClass]]]:
    """Each namespace with a GPU quota, its quotas, and the classes of GPUs that none of them counts.

    Nothing, where classes are not known.
    """
    gpus = [found for found in objects.device_classes or () if is_gpu_class(found)]
    for namespace, quotas in sorted(objects.quotas_by_namespace().items()):
        missing = [found for found in gpus if not _counts(quotas, found.name + DEVICES)]
        if missing and any(quota.gpu_resources for quota in quotas):
            yield namespace, quotas, missing


def _counts(quotas: list[QuotaSpec], key: str) -> bool:
    """Whether a quota counts a key for claims: one with a scope, of whatever kind, counts none."""
    return any(key in quota.hard and not quota.all_terms for quota in quotas)
