"""Quantities as Kubernetes writes them, and which keys are about GPUs."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.quota.resources import gpu_resource, parse_quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("8", "8"),
        ("+8", "8"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("8.", "8"),
        ("500m", "0.5"),
        ("100n", "0.0000001"),
        ("1500u", "0.0015"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("5e-1", "0.5"),
        ("1E", "1000000000000000000"),
        ("1.5Gi", "1610612736"),
        ("10Ti", "10995116277760"),
        ("2Ei", "2305843009213693952"),
        ("9223372036854775807", "9223372036854775807"),
    ],
)
def test_quantities(text: str, number: str) -> None:
    """Every suffix and form that the API server writes or takes."""
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", "many", "-1", "NaN", "Infinity", "1e99", "1e3Ki", "8 ", "1ki", "1K", "٣", ".", "1_000"]
)
def test_what_is_no_quantity(text: str) -> None:
    """Said with what was seen and what is wanted."""
    with pytest.raises(ValueError, match="want a Kubernetes quantity such as 8"):
        parse_quantity(text)


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_whole_numbers_are_exact(number: int) -> None:
    """Bytes of any size, without a float in between."""
    assert parse_quantity(str(number)) == number


@pytest.mark.parametrize(
    ("key", "resource", "enforced"),
    [
        ("requests.nvidia.com/gpu", "nvidia.com/gpu", True),
        ("requests.nvidia.com/gpu.shared", "nvidia.com/gpu.shared", True),
        ("requests.nvidia.com/mig-1g.10gb", "nvidia.com/mig-1g.10gb", True),
        ("requests.nvidia.com/mig-1g.10gb.me.shared", "nvidia.com/mig-1g.10gb.me.shared", True),
        ("limits.nvidia.com/gpu", "nvidia.com/gpu", False),
        ("nvidia.com/gpu", "nvidia.com/gpu", False),
        ("requests.nvidia.com/gpumem", None, False),
        ("limits.nvidia.com/gpucores", None, False),
        ("requests.nvidia.com/gpumem-percentage", None, False),
        ("requests.nvidia.com/priority", None, False),
        ("requests.cpu", None, False),
        ("pods", None, False),
    ],
)
def test_keys_of_gpus(key: str, resource: str | None, enforced: bool) -> None:
    """Cards, renamed shares and MIG devices, by their whole name; other schedulers' amounts are none."""
    assert gpu_resource(key) == (resource, enforced)
