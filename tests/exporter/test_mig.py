"""The arithmetic of MIG, against NVIDIA's own names and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.mig import MEMORY_SLICES, memory_slices, profile_name, profile_of

A100_40, A100_80, H100, H200, B200 = 40_960, 81_920, 81_559, 143_771, 183_359  # MiB of a card


@pytest.mark.parametrize(
    ("mib", "total_mib", "slices"),
    [
        (4_864, A100_40, 1),
        (9_984, H100, 1),
        (20_096, H100, 2),
        (40_448, H100, 4),
        (81_152, H100, 8),
        (5_836, 24_125, 2),
    ],
)
def test_memory_slices_are_rounded_up(mib: int, total_mib: int, slices: int) -> None:
    """The driver keeps a part of each slice, so a little less than an eighth is an eighth."""
    assert memory_slices(mib, total_mib) == slices


@given(total_mib=st.integers(1, 2**20), data=st.data())
def test_an_instance_never_has_more_slices_than_its_card(total_mib: int, data: st.DataObject) -> None:
    """Any part of a card is 0 to 8 slices, and the whole is 8."""
    mib = data.draw(st.integers(0, total_mib))
    assert 0 <= memory_slices(mib, total_mib) <= MEMORY_SLICES
    assert memory_slices(total_mib, total_mib) == MEMORY_SLICES


@pytest.mark.parametrize(
    ("c", "g", "mib", "total_mib", "name"),
    [
        (1, 1, 9_984, H100, "1g.10gb"),
        (1, 3, 40_448, H100, "1c.3g.40gb"),
        (3, 3, 71_168, H200, "3g.71gb"),  # 70.5: NVIDIA rounds halves up, Python would round to even
        (1, 1, 22_528, B200, "1g.23gb"),  # 22.5
        (7, 7, 40_192, A100_40, "7g.40gb"),
    ],
)
def test_a_worked_out_name_is_nvidias(c: int, g: int, mib: int, total_mib: int, name: str) -> None:
    """The rule of NVIDIA's own tools, with its rounding."""
    assert profile_name(compute_slices=c, gpu_instance_slices=g, memory_mib=mib, total_mib=total_mib) == name


@pytest.mark.parametrize(
    ("device_name", "profile"),
    [
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "1g.10gb"),
        ("NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb", "1c.3g.40gb"),
        ("NVIDIA RTX PRO 6000 Blackwell MIG 1g.24gb+me.all", "1g.24gb+me.all"),
        ("NVIDIA RTX PRO 6000 Blackwell MIG 1g.24gb-me", "1g.24gb-me"),
        ("NVIDIA H100 80GB HBM3", None),
        ("", None),
    ],
)
def test_a_profile_is_read_off_a_device_name(device_name: str, profile: str | None) -> None:
    """With all its attributes; a name without one has none."""
    assert profile_of(device_name) == profile
