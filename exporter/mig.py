"""The arithmetic of MIG: memory slices and profile names. Pure; what the driver says is in nvml.py.

Prices follow slices, never a name or MiB: both change with the driver.
"""

from __future__ import annotations

import re

MEMORY_SLICES = 8  # of every card, whatever its model: NVIDIA's own rule counts in eighths
MIB_PER_GIB = 1024
_PROFILE_AT_END = re.compile(r" MIG ((?:\d+c\.)?\d+g\.\d+gb[-+.\w]*)$")


def memory_slices(mib: int, total_mib: int) -> int:
    """Memory slices (eighths of the card) of a GPU instance with `mib` of a card's `total_mib`."""
    assert mib >= 0, mib
    assert total_mib > 0, total_mib
    return -(-MEMORY_SLICES * mib // total_mib)  # rounded up: the driver keeps a part of each slice for itself


def profile_of(device_name: str) -> str | None:
    """The profile at the end of a MIG device's name: `NVIDIA H100 80GB HBM3 MIG 1g.10gb+me` has `1g.10gb+me`."""
    found = _PROFILE_AT_END.search(device_name)
    return found[1] if found else None


def profile_name(*, compute_slices: int, gpu_instance_slices: int, memory_mib: int, total_mib: int) -> str:
    """Work out a profile's name where the driver has none to read. Its attributes (`+me`) cannot be known so.

    Halves are rounded up: four eighths of an H200's 141 GiB are 70.5, and NVIDIA calls them 71gb.
    """
    total_gib = -(-total_mib // MIB_PER_GIB)
    gib = (2 * memory_slices(memory_mib, total_mib) * total_gib + MEMORY_SLICES) // (2 * MEMORY_SLICES)
    shape = f"{gpu_instance_slices}g.{gib}gb"
    return shape if compute_slices == gpu_instance_slices else f"{compute_slices}c.{shape}"
