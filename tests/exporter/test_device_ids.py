"""Device ids of all the plugins met so far."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.device_ids import DeviceId, looks_like_gpu, parse_device_id

GPU = "GPU-7d0f2c1e-41aa-4e0f-9d6b-0c8f2a9be351"
MIG = "MIG-5b1c9f60-2f0e-5d7a-8f6c-e4b7a1d20c93"
OLD_MIG = f"MIG-{GPU}/7/0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GPU, DeviceId(device=GPU)),
        (MIG, DeviceId(device=MIG)),
        (OLD_MIG, DeviceId(device=OLD_MIG)),
        (f"{GPU}::0", DeviceId(device=GPU, share=0, replica=True)),
        (f"{GPU}::12", DeviceId(device=GPU, share=12, replica=True)),
        (f"{MIG}::7", DeviceId(device=MIG, share=7, replica=True)),
        (f"{OLD_MIG}::3", DeviceId(device=OLD_MIG, share=3, replica=True)),
        ("nvidia0", DeviceId(device="nvidia0")),
        ("nvidia0/gi1", DeviceId(device="nvidia0/gi1")),
        ("nvidia0/vgpu0", DeviceId(device="nvidia0", share=0, replica=True)),
        ("nvidia0/gi1/vgpu2", DeviceId(device="nvidia0/gi1", share=2, replica=True)),
        ("nvidia0/gi1/vgpu", DeviceId(device="nvidia0/gi1/vgpu")),
        ("sda0/vgpu1", DeviceId(device="sda0/vgpu1")),
        (f"{GPU}-4", DeviceId(device=f"{GPU}-4")),
        (f"{GPU}::", DeviceId(device=f"{GPU}::")),
        (f"{GPU}::x", DeviceId(device=f"{GPU}::x")),
        ("::3", DeviceId(device="::3")),
        ("", DeviceId(device="")),
        ("GPU-1::٣", DeviceId(device="GPU-1::٣")),
    ],
)
def test_parse_device_id(text: str, expected: DeviceId) -> None:
    """Only a plain number behind `::` is a share; what is not understood stays whole."""
    assert parse_device_id(text) == expected


@given(st.text(min_size=1), st.integers(min_value=0, max_value=10**9 - 1))
def test_a_share_is_split_off_any_device(device: str, share: int) -> None:
    """The number behind the last `::` is the share, all before it the device."""
    assert parse_device_id(f"{device}::{share}") == DeviceId(device=device, share=share, replica=True)


@given(st.text())
def test_other_text_stays_whole(text: str) -> None:
    """Any text is read, and what is no share is the device."""
    found = parse_device_id(text)
    assert found.replica or found == DeviceId(device=text)


@pytest.mark.parametrize("text", [GPU, MIG, OLD_MIG, f"{GPU}::1", "nvidia0", "nvidia3/gi1/vgpu0"])
def test_what_looks_like_a_gpu(text: str) -> None:
    assert looks_like_gpu(text)


@pytest.mark.parametrize("text", ["", "0000:3b:00.1", "nvidia-caps", "nvidia0x", "my-GPU-1", "mlx5_0"])
def test_what_does_not_look_like_a_gpu(text: str) -> None:
    assert not looks_like_gpu(text)
