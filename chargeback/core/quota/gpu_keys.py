"""Which keys of a ResourceQuota are about GPUs, what they count, and who counts it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chargeback.core.quota.resources import gpu_resource

# The device classes that NVIDIA's DRA driver brings.
NVIDIA_CLASSES = frozenset({"gpu.nvidia.com", "mig.nvidia.com", "vfio.gpu.nvidia.com"})

_DEVICES = ".deviceclass.resource.k8s.io/devices"
_ASKED = "requests.deviceclass.resource.kubernetes.io/"
_CLAIMS = "count/resourceclaims.resource.k8s.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuKey:
    """A quota's key that limits GPUs, or says so.

    resource      as pods name it; None: devices that are claimed (DRA)
    device_class  of claimed devices; None: a resource that pods name, or claims of any class
    enforced      Kubernetes counts it and refuses what goes beyond; else it stores the key and ignores it
    """

    key: str
    resource: str | None = None
    device_class: str | None = None
    enforced: bool = True


def gpu_key(key: str, classes: frozenset[str] = NVIDIA_CLASSES) -> GpuKey | None:
    """What a key says of GPUs; None: nothing. classes: the device classes of GPUs, as `gpu_classes` finds them."""
    resource, enforced = gpu_resource(key)
    if resource is not None:
        return GpuKey(key=key, resource=resource, enforced=enforced)
    for device_class in (key.removesuffix(_DEVICES), key.removeprefix(_ASKED)):
        if device_class != key:
            return GpuKey(key=key, device_class=device_class) if device_class in classes else None
    return None


def gpu_keys(keys: Iterable[str], classes: frozenset[str] = NVIDIA_CLASSES) -> list[GpuKey]:
    """The GPU keys of one quota, by name. The number of claims is one beside a key that names a class of GPUs."""
    keys = sorted(keys)
    found = [each for each in (gpu_key(key, classes) for key in keys) if each is not None]
    if _CLAIMS in keys and any(each.device_class for each in found):
        found.append(GpuKey(key=_CLAIMS))
    return sorted(found, key=lambda each: each.key)


def is_number_of_claims(key: str) -> bool:
    return key == _CLAIMS


def is_claimed(key: GpuKey) -> bool:
    """Whether it counts claims alone; `requests.deviceclass…` counts pods that name the class, too."""
    return key.key == _CLAIMS or key.key.endswith(_DEVICES)


def gpu_classes(extended: Iterable[tuple[str, str | None]]) -> frozenset[str]:
    """Device classes of GPUs. extended: each class of the cluster, and the resource name that it stands in for."""
    named = {name for name, resource in extended if resource and gpu_resource(f"requests.{resource}")[0]}
    return NVIDIA_CLASSES | named
