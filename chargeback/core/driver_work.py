"""Whether a node announces driver work: another driver, other MIG instances, a card handed to a virtual machine.

What NVIDIA's operator and its managers write on the node before they begin, for their own clients to leave; ours
does not live by their labels, so it is told.
"""

from __future__ import annotations

from collections.abc import Mapping

# Each manager's own state: from when it has begun until it says success or failed.
_CHANGING = {"nvidia.com/mig.config.state": "pending", "nvidia.com/vgpu.config.state": "pending"}

# The steps of a driver upgrade in which the driver is not touched: it waits its turn, perhaps for days, or for jobs
# that still use the cards, or it is over. Any other, one that is new to us too, takes the driver.
_UPGRADE = "nvidia.com/gpu-driver-upgrade-state"
_UNTOUCHED = frozenset(
    {
        "",
        "upgrade-required",
        "cordon-required",
        "wait-for-jobs-required",
        "validation-required",
        "uncordon-required",
        "upgrade-done",
        "upgrade-failed",
    }
)

# Clients of the driver are evicted by this value (paused-for-driver-upgrade, paused-for-mig-change …), which is set
# also where cards change hands without an upgrade, as for passthrough.
_CLIENT = "nvidia.com/gpu.deploy."
_PAUSED = "paused-for-"


def announced(labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """What a node announces, as `key=value`; empty where it is nothing."""
    written = {**annotations, **labels}
    for key, state in sorted(written.items()):
        if (
            _CHANGING.get(key) == state
            or (key == _UPGRADE and state not in _UNTOUCHED)
            or (key.startswith(_CLIENT) and _PAUSED in state)
        ):
            return f"{key}={state}"
    return ""
