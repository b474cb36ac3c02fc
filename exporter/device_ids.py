"""How device plugins name what they hand out: pure readings of a device id, no I/O.

An id that nobody here knows (another plugin's scheme) stays as it is: it is still a key, and guessing would
put one pod's device on another's bill.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# NVML UUIDs, whole or MIG, also the old drivers' MIG-GPU-<uuid>/<gi>/<ci>; and the index scheme of GKE's plugin.
_GPU_ID = re.compile(r"(?:GPU|MIG)-|nvidia[0-9]+(?:/|$)")

# Time slicing and MPS: `<id>::<n>`. Nine digits are more shares than any card has, and always a small int.
_REPLICA_ID = re.compile(r"(.+)::([0-9]{1,9})", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceId:
    """A device id taken apart.

    uuid     the device, or the whole id where its scheme is unknown
    share    which of the device's shares, 0 where it is not shared
    replica  whether the id names a share; `GPU-…::0` does, `GPU-…` does not
    """

    uuid: str
    share: int = 0
    replica: bool = False


def parse_device_id(text: str) -> DeviceId:
    """Split off the share number, `GPU-…::3` or `MIG-…::3`; any other text is the device itself."""
    match = _REPLICA_ID.fullmatch(text)
    if match is None:
        return DeviceId(uuid=text)
    return DeviceId(uuid=match[1], share=int(match[2]), replica=True)


def looks_like_gpu(text: str) -> bool:
    """Whether a device id names an NVIDIA GPU or MIG device, whatever resource it was asked for under."""
    return _GPU_ID.match(text) is not None
