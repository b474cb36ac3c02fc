"""A real card through exporter/nvml.py: what the fake driver can only claim. Run by `make test-gpu`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from exporter.nvml import Nvml

pytestmark = pytest.mark.gpu


@pytest.fixture
def nvml() -> Iterator[Nvml]:
    nvml = Nvml()
    yield nvml
    nvml.close()


def test_a_real_card_says_who_it_is(nvml: Nvml) -> None:
    """A driver's version, and cards with a UUID, a model and memory."""
    reading = nvml.read()
    assert reading.driver_version
    assert reading.gpus
    for gpu in reading.gpus:
        assert gpu.uuid.startswith("GPU-")
        assert gpu.model != "unknown"
        assert 0 <= (gpu.memory_used_bytes or 0) <= gpu.memory_total_bytes
        assert all(instance.uuid.startswith("MIG-") for instance in gpu.instances)


def test_a_real_card_stays_who_it_is_and_its_energy_grows(nvml: Nvml) -> None:
    """Two readings a second apart have the same cards; energy counters, where there are any, have grown."""
    first = nvml.read()
    time.sleep(1)
    second = nvml.read()
    assert [gpu.uuid for gpu in first.gpus] == [gpu.uuid for gpu in second.gpus]
    for before, after in zip(first.gpus, second.gpus, strict=True):
        if before.energy_mj is not None:
            assert after.energy_mj is not None
            assert after.energy_mj > before.energy_mj


def test_a_real_driver_opens_again_after_close(nvml: Nvml) -> None:
    """Letting go and coming back finds the same cards."""
    before = nvml.read()
    nvml.close()
    assert [gpu.uuid for gpu in nvml.read().gpus] == [gpu.uuid for gpu in before.gpus]


def test_the_process_list_of_a_real_driver_is_read(nvml: Nvml) -> None:
    """Records have a length that we know: the list is not refused."""
    assert all("nvmlDeviceGetComputeRunningProcesses_v3" not in gpu.denied for gpu in nvml.read().gpus)
