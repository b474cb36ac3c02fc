"""How device plugins name what they hand out: pure readings of a device id, no I/O.

An id that nobody here knows (another plugin's scheme) stays as it is: it is still a key, and guessing would
put one pod's device on another's bill. Which device a name means is `device_names.py`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# NVML UUIDs, whole or MIG, also the old drivers' MIG-GPU-<uuid>/<gi>/<ci>; and the minor numbers of GKE's plugin.
_GPU_ID = re.compile(r"(?:GPU|MIG)-|nvidia[0-9]+(?:/|$)")

# Time slicing and MPS: `<id>::<n>`, and GKE's `nvidia0/vgpu<n>`, `nvidia0/gi1/vgpu<n>`. Nine digits are more shares
# than any card has, and always a small int.
_REPLICA_IDS = (
    re.compile(r"(.+)::([0-9]{1,9})", re.DOTALL),
    re.compile(r"(nvidia[0-9]+(?:/gi[0-9]+)?)/vgpu([0-9]{1,9})"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceId:
    """A device id taken apart.

    device   its UUID, another name of it, or the whole id where its scheme is unknown
    share    which of the device's shares, 0 where it is not shared
    replica  whether the id names a share; `GPU-…::0` does, `GPU-…` does not
    """

    device: str
    share: int = 0
    replica: bool = False


def parse_device_id(text: str) -> DeviceId:
    """Split off the share number, `GPU-…::3` or `nvidia0/vgpu3`; any other text is the device itself."""
    for form in _REPLICA_IDS:
        if match := form.fullmatch(text):
            return DeviceId(device=match[1], share=int(match[2]), replica=True)
    return DeviceId(device=text)


def looks_like_gpu(text: str) -> bool:
    """Whether a device id names an NVIDIA GPU or MIG device, whatever resource it was asked for under."""
    return _GPU_ID.match(text) is not None
