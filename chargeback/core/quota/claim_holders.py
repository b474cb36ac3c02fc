"""Who holds what a quota counts of devices that are claimed (DRA): claims, allocated or not."""

from __future__ import annotations

from collections.abc import Iterable

from chargeback.core.claims import Claim
from chargeback.core.quota.gpu_keys import GpuKey, is_number_of_claims
from chargeback.core.quota.holders import Holder, HolderPod
from chargeback.core.quota.specs import QuotaSpec


def claim_holders(quota: QuotaSpec, key: GpuKey, claims: Iterable[Claim]) -> list[Holder] | None:
    """The claims that count against a key, the greatest first; None where we cannot tell.

    claims: all of the namespace. A claim matches no scope, so a quota with one counts none. A request that takes the
    first available of several classes counts its worst case of each, which we are not told.
    """
    found: list[HolderPod] = []
    for claim in claims if not quota.all_terms else ():
        count = 1
        if not is_number_of_claims(key.key):
            asked = [request for request in claim.requests if key.device_class in request.classes]
            if any(len(request.classes) > 1 for request in asked):
                return None
            count = sum(request.count for request in asked)
        if count:
            pool = claim.devices[0][1] if claim.devices else None  # a node's name, as NVIDIA's driver names them
            waits = None if claim.devices else "not allocated"
            found.append(HolderPod(name=claim.name, devices=count, node=pool, waits=waits))
    found.sort(key=lambda each: (-each.devices, each.name))
    return [Holder(workload=each.name, pods=(each,)) for each in found]
