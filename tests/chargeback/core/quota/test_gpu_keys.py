"""Which keys of a quota are about GPUs."""

from __future__ import annotations

import pytest

from chargeback.core.quota.gpu_keys import NVIDIA_CLASSES, GpuKey, gpu_classes, gpu_key, gpu_keys

CLAIMS = "count/resourceclaims.resource.k8s.io"


def devices(name: str) -> str:
    return f"{name}.deviceclass.resource.k8s.io/devices"


def test_resources_that_pods_name() -> None:
    """Kubernetes counts `requests.` only."""
    assert gpu_key("requests.nvidia.com/mig-1g.10gb") == GpuKey(
        key="requests.nvidia.com/mig-1g.10gb", resource="nvidia.com/mig-1g.10gb"
    )
    assert gpu_key("limits.nvidia.com/gpu") == GpuKey(
        key="limits.nvidia.com/gpu", resource="nvidia.com/gpu", enforced=False
    )


@pytest.mark.parametrize("name", sorted(NVIDIA_CLASSES))
def test_devices_that_are_claimed(name: str) -> None:
    """By NVIDIA's classes, both ways to write it."""
    for key in (devices(name), f"requests.deviceclass.resource.kubernetes.io/{name}"):
        assert gpu_key(key) == GpuKey(key=key, device_class=name)


def test_classes_that_stand_in_for_a_gpu_resource() -> None:
    """Named by the cluster; others are not GPUs."""
    classes = gpu_classes(
        [
            ("shared-gpus", "nvidia.com/gpu.shared"),
            ("nics", "example.com/nic"),
            ("plain", None),
            ("m", "nvidia.com/gpumem"),
        ]
    )
    assert classes == NVIDIA_CLASSES | {"shared-gpus"}
    assert gpu_key(devices("shared-gpus")) is None
    assert gpu_key(devices("shared-gpus"), classes) == GpuKey(key=devices("shared-gpus"), device_class="shared-gpus")
    assert gpu_key(devices("nics"), classes) is None


def test_a_number_of_claims() -> None:
    """Is about GPUs only beside a key that names their class."""
    assert [each.key for each in gpu_keys(["pods", CLAIMS, "requests.nvidia.com/gpu"])] == ["requests.nvidia.com/gpu"]
    found = gpu_keys([devices("gpu.nvidia.com"), "pods", CLAIMS])
    assert found == [GpuKey(key=CLAIMS), GpuKey(key=devices("gpu.nvidia.com"), device_class="gpu.nvidia.com")]
