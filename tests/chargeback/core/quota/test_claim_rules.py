"""Rules about device claims, and what --fix makes of them; no cluster needed."""

from __future__ import annotations

import pytest

from chargeback.core.claims import DeviceClass
from chargeback.core.quota.specs import QuotaObjects
from tests.chargeback.core.quota.linting import GPU, REQUESTS, after_fix, found, in_classes, quota, rules


@pytest.mark.parametrize(
    ("found", "is_so"),
    [
        (DeviceClass(name="gpu.nvidia.com"), True),
        (DeviceClass(name="mig.nvidia.com"), True),
        (DeviceClass(name="h100", selectors=("device.driver == 'gpu.nvidia.com'",)), True),
        (DeviceClass(name="h100", extended_resource=GPU), True),
        (DeviceClass(name="compute-domain-default-channel.nvidia.com"), False),
        (DeviceClass(name="nic", extended_resource="example.com/nic"), False),
    ],
)
def test_classes_of_devices_whose_claims_no_quota_counts(found: DeviceClass, is_so: bool) -> None:
    """Of GPUs only, and only where a quota limits GPUs."""
    expected = ["uncounted-claims"] if is_so else []
    assert rules(quota(hard={REQUESTS: "8"}), device_classes=(found,)) == expected
    assert rules(quota(hard={"pods": "8"}), device_classes=(found,)) == []


def test_claims_are_counted_by_a_key_of_their_own_without_a_scope() -> None:
    """`requests.` of what the class stands for is named, for some API servers count it; --fix allows none."""
    found_class = DeviceClass(name="gpu.nvidia.com", extended_resource=GPU)
    key = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices"
    assert rules(quota(hard={REQUESTS: "8", key: "2"}), device_classes=(found_class,)) == []
    scoped = quota(hard={REQUESTS: "8", key: "2"}, terms=in_classes("ml-high"), labels={"a": "b"})
    objects = QuotaObjects(quotas=(scoped,), device_classes=(found_class,))
    about = {finding.rule: finding for finding in found(objects)}
    assert set(about) == {"uncounted-key", "uncounted-claims", "uncovered-class"}
    assert "gpu has a scope, and claims match none" in about["uncounted-claims"].what
    (finding,) = found(QuotaObjects(quotas=(quota(hard={REQUESTS: "8"}),), device_classes=(found_class,)))
    assert finding.what.endswith(f"an API server with DRAExtendedResource does, as {REQUESTS}")
    mended = after_fix(QuotaObjects(quotas=(quota(hard={REQUESTS: "8"}),), device_classes=(found_class,)))
    assert mended.quotas[1] == quota(name="gpu-claims", hard={key: "0"})
    assert found(mended) == []
