"""A driver of which a part fails: what fails costs its own figure, and what cannot be true is not believed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.host_memory import host_memory_bytes
from exporter.nvml import Nvml
from exporter.nvml.process_tables import UnknownRecord, decode_records
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml

PROCESS_LIST = "nvmlDeviceGetComputeRunningProcesses_v3"
MEMORY = ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetMemoryInfo_v2")
SENSORS = {
    "nvmlDeviceGetPowerUsage": "power_watts",
    "nvmlDeviceGetTotalEnergyConsumption": "energy_mj",
    "nvmlDeviceGetUtilizationRates": "utilization_ratio",
    "nvmlDeviceGetTemperatureV": None,  # the older call says it
}


@pytest.fixture
def nvml(fake: FakeNvml) -> Iterator[Nvml]:
    nvml = Nvml()
    yield nvml
    nvml.close()


@pytest.mark.parametrize("call", SENSORS)
def test_a_sensor_that_fails_costs_its_figure_and_no_card(fake: FakeNvml, nvml: Nvml, call: str) -> None:
    """As `nvidia-smi` shows it: `[Unknown Error]` for one of a card's fields."""
    fake.add_gpu()
    fake.force(call, driver.UNKNOWN)
    (reading,) = nvml.read().gpus
    for field in filter(None, SENSORS.values()):
        assert (getattr(reading, field) is None) == (field == SENSORS[call]), field
    assert reading.temperature_celsius == 35
    assert reading.denied == frozenset()


@pytest.mark.parametrize("code", [driver.RESET_REQUIRED, driver.UNINITIALIZED])
def test_a_sensor_that_says_the_card_is_out_is_believed(fake: FakeNvml, nvml: Nvml, code: int) -> None:
    fake.add_gpu()
    other = fake.add_gpu()
    fake.force("nvmlDeviceGetPowerUsage", code, gpu=0)
    reading = nvml.read()
    assert [gpu.uuid for gpu in reading.gpus] == [other.uuid]
    assert len(reading.lost) == 1


def test_an_instance_that_cannot_say_its_memory_costs_its_neighbours_nothing(fake: FakeNvml, nvml: Nvml) -> None:
    """The first of two is asked in both versions, in vain; the card is asked before it."""
    cut = fake.add_gpu(mig=["1g.10gb", "2g.20gb"])
    for instance in cut.instances:
        instance.set(used_bytes=instance.gi)
    nvml.read()
    first, second = cut.instances
    fake.force("nvmlDeviceGetMemoryInfo_v2", driver.UNKNOWN, gpu=cut.index, skip=1, times=1)
    fake.force("nvmlDeviceGetMemoryInfo", driver.UNKNOWN, gpu=cut.index, times=1)
    (reading,) = nvml.read().gpus
    found = {each.uuid: each.memory_used_bytes for each in reading.instances}
    assert found == {first.uuid: None, second.uuid: second.gi}


def test_a_card_that_works_in_the_hosts_memory_has_all_of_that(fake: FakeNvml, nvml: Nvml) -> None:
    """As a GB10 (driver 580.173): neither version of the call is supported. How much is in use it cannot say."""
    fake.add_gpu()
    for call in MEMORY:
        fake.force(call, driver.NOT_SUPPORTED)
    (reading,) = nvml.read().gpus
    assert reading.memory_total_bytes == host_memory_bytes()
    assert reading.memory_used_bytes is None
    assert reading.denied == frozenset()


def test_so_has_one_that_says_zero(fake: FakeNvml, nvml: Nvml) -> None:
    fake.add_gpu(memory_mib=0)
    (reading,) = nvml.read().gpus
    assert reading.memory_total_bytes == host_memory_bytes()
    assert reading.memory_used_bytes is None


@pytest.mark.parametrize(("mig", "code"), [(["1g.10gb"], driver.NOT_SUPPORTED), (None, driver.NO_PERMISSION)])
def test_no_other_card_is_given_the_hosts_memory(
    fake: FakeNvml, nvml: Nvml, mig: list[str] | None, code: int
) -> None:
    """One in MIG mode is divided by its own, and one that we may not ask has its own: both are lost, not guessed."""
    fake.add_gpu(mig=mig)
    for call in MEMORY:
        fake.force(call, code)
    reading = nvml.read()
    assert reading.gpus == ()
    assert "how much memory the card has is not known" in reading.lost[0].error


@pytest.mark.parametrize("pid", [0, 4_194_305, 0xFFFFFFFF])
def test_a_process_list_with_a_pid_that_cannot_be_is_not_believed(fake: FakeNvml, nvml: Nvml, pid: int) -> None:
    """Records of another form than we think: each other pid in them is as wrong, and may be another pod's."""
    card = fake.add_gpu()
    card.add_process(1000, memory_mib=100)
    card.add_process(pid, memory_mib=100)
    (reading,) = nvml.read().gpus
    assert reading.processes == ()
    assert reading.denied == {PROCESS_LIST}


def test_it_is_logged_once(fake: FakeNvml, nvml: Nvml, caplog: pytest.LogCaptureFixture) -> None:
    fake.add_gpu().add_process(0x7FFFFFFF)
    for _ in range(3):
        nvml.read()
    assert [record.message for record in caplog.records] == [
        "process list of an unknown form: processes are not read"
    ]


def test_what_was_not_believed_is_said() -> None:
    record = (4711).to_bytes(4, "little") + bytes(4) + (1).to_bytes(8, "little") + b"\xff" * 8
    wrong = bytes(8) + (1).to_bytes(8, "little") + b"\xff" * 8
    with pytest.raises(UnknownRecord, match="the pid 0: want 1 to 4194304"):
        decode_records(record + wrong + b"\xa5" * 80, count=2, capacity=2)
