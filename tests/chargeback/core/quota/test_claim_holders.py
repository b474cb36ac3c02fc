"""Who holds claimed devices."""

from __future__ import annotations

from chargeback.core.claims import Claim, ClaimRequest
from chargeback.core.quota.claim_holders import claim_holders
from chargeback.core.quota.gpu_keys import GpuKey
from chargeback.core.quota.holders import Holder, HolderPod
from chargeback.core.quota.specs import QuotaSpec

QUOTA = QuotaSpec(namespace="team", name="gpu")
DEVICES = GpuKey(key="gpu.nvidia.com.deviceclass.resource.k8s.io/devices", device_class="gpu.nvidia.com")
NUMBER = GpuKey(key="count/resourceclaims.resource.k8s.io")


def claim(name: str, *counts: int, classes: tuple[str, ...] = ("gpu.nvidia.com",), node: str | None = None) -> Claim:
    requests = tuple(ClaimRequest(classes=classes, count=count) for count in counts)
    devices = (("gpu.nvidia.com", node, "gpu-0"),) if node else ()
    return Claim(namespace="team", name=name, uid=name, requests=requests, devices=devices)


def test_claims_of_the_class() -> None:
    """All of their requests, the greatest first; allocated ones are bound to their pool, a node."""
    claims = [claim("small", 1, node="n1"), claim("big", 2, 3), claim("nic", 1, classes=("nics",)), claim("none")]
    assert claim_holders(QUOTA, DEVICES, claims) == [
        Holder(workload="big", pods=(HolderPod(name="big", devices=5, waits="not allocated"),)),
        Holder(workload="small", pods=(HolderPod(name="small", devices=1, node="n1"),)),
    ]


def test_a_number_of_claims_is_of_all_of_them() -> None:
    """Whatever they ask for."""
    found = claim_holders(QUOTA, NUMBER, [claim("b", 8), claim("a", 1, classes=("nics",))])
    assert found is not None
    assert [(holder.workload, holder.pending) for holder in found] == [("a", 1), ("b", 1)]


def test_the_first_available_of_two_classes() -> None:
    """Kubernetes counts the worst case of each, which we do not know; of other classes it does not matter."""
    either = claim("either", 4, classes=("gpu.nvidia.com", "mig.nvidia.com"))
    assert claim_holders(QUOTA, DEVICES, [either]) is None
    assert claim_holders(QUOTA, DEVICES, [claim("either", 4, classes=("a", "b"))]) == []


def test_a_scoped_quota_counts_no_claim() -> None:
    """Claims match no scope."""
    scoped = QuotaSpec(namespace="team", name="gpu", scopes=("NotTerminating",))
    assert claim_holders(scoped, DEVICES, [claim("a", 1)]) == []
