"""What plugins call a node's devices by, as the driver says it: over the fake driver (tests/nvml/fake_nvml.c)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.nvml import Nvml
from exporter.reading import GpuReading
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml

REFUSALS = [driver.NOT_FOUND, driver.INVALID_ARGUMENT, driver.NOT_SUPPORTED, driver.NO_PERMISSION, driver.UNKNOWN]


@pytest.fixture(scope="module", autouse=True)
def library(tmp_path_factory: pytest.TempPathFactory) -> None:
    driver.load(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    with FakeNvml(tmp_path / "state") as fake:
        monkeypatch.setenv("FAKE_NVML_STATE", str(fake.path))
        yield fake


@pytest.fixture
def nvml(fake: FakeNvml) -> Iterator[Nvml]:
    nvml = Nvml()
    yield nvml
    nvml.close()


def only(nvml: Nvml) -> GpuReading:
    (gpu,) = nvml.read().gpus
    return gpu


def test_a_card_is_named_by_its_minor_number_and_an_instance_by_its_placement(fake: FakeNvml, nvml: Nvml) -> None:
    """What plugins call them by; the minor number is asked for again when MIG mode is switched."""
    gpu = fake.add_gpu(minor=5)
    assert only(nvml).minor == 5
    gpu.set(minor=6)
    gpu.remake_mig([])
    gpu.add_instance("3g.40gb", start=4)
    gpu.add_instance("1g.10gb+me", start=0)
    reading = only(nvml)
    assert reading.minor == 6
    assert [(each.profile_id, each.placement_start) for each in reading.instances] == [(9, 4), (20, 0)]


@pytest.mark.parametrize(
    "code", [driver.NOT_FOUND, driver.INVALID_ARGUMENT, driver.NOT_SUPPORTED, driver.NO_PERMISSION]
)
def test_an_instance_whose_placement_is_not_to_be_had_is_read_all_the_same(
    fake: FakeNvml, nvml: Nvml, code: int
) -> None:
    """It is absent, and a refusal is named; nobody's memory or processes depend on it."""
    gpu = fake.add_gpu(mig=["1g.10gb"])
    gpu.instances[0].add_process(4711)
    fake.force("nvmlDeviceGetGpuInstanceById", code)
    reading = only(nvml)
    (instance,) = reading.instances
    assert (instance.profile_id, instance.placement_start, instance.memory_mib) == (None, None, 9_984)
    assert [each.pid for each in reading.processes] == [4711]
    assert reading.denied == ({"nvmlDeviceGetGpuInstanceById"} if code == driver.NO_PERMISSION else set())


def test_a_placement_that_could_not_be_had_is_asked_for_again(fake: FakeNvml, nvml: Nvml) -> None:
    fake.add_gpu(mig=["1g.10gb"])
    fake.force("nvmlDeviceGetGpuInstanceById", driver.NOT_FOUND, times=1)
    assert [only(nvml).instances[0].placement_start for _ in range(2)] == [None, 0]


def test_a_placement_is_that_of_the_instance_there_now(fake: FakeNvml, nvml: Nvml) -> None:
    """Destroyed, seen gone, and made again elsewhere with the same ids and the same UUID."""
    gpu = fake.add_gpu(mig=[])
    first = gpu.add_instance("1g.10gb", gi=9, start=2)
    assert only(nvml).instances[0].placement_start == 2
    first.destroy()
    assert only(nvml).instances == ()
    again = gpu.add_instance("1g.10gb", gi=9, start=6)
    assert again.uuid == first.uuid
    assert only(nvml).instances[0].placement_start == 6
