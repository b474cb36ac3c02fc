"""A real card through exporter/nvml: what the fake driver can only claim. Run by `make test-gpu`.

The process list needs the host's pids: in a container, run it with the host's pid namespace.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.nvml import Nvml
from exporter.reading import ProcessReading
from tests.gpu.work import Work

pytestmark = pytest.mark.gpu

MIB = 1024 * 1024
BEAT_S = 1.0
LOOK_S = 0.2  # how often the driver looks at the card


@pytest.fixture
def nvml() -> Iterator[Nvml]:
    nvml = Nvml()
    yield nvml
    nvml.close()


@pytest.fixture
def work() -> Iterator[Work]:
    """A process on the first card that holds 1 GiB and rests."""
    with Work() as work:
        work.do("open")
        work.do("take", 1024)
        yield work


def of(work: Work, nvml: Nvml) -> ProcessReading:
    """What the driver says of the process."""
    (found,) = (process for gpu in nvml.read().gpus for process in gpu.processes if process.pid == work.process.pid)
    return found


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


def test_a_closed_nvml_leaves_no_device_open(nvml: Nvml) -> None:
    """Neither a file nor a mapping: the next who asks for the card has it to himself."""
    nvml.read()
    assert open_devices()
    nvml.close()
    assert open_devices() == set()


def open_devices() -> set[str]:
    """The driver's devices that this process has open or mapped."""
    files = {os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()}
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    return {path for path in files | mapped if path.startswith("/dev/nvidia")}


def test_a_real_card_stays_who_it_is_and_its_energy_grows(nvml: Nvml) -> None:
    """Two readings a second apart have the same cards; energy counters, where there are any, have grown."""
    first = nvml.read()
    time.sleep(BEAT_S)
    second = nvml.read()
    assert [gpu.uuid for gpu in first.gpus] == [gpu.uuid for gpu in second.gpus]
    for before, after in zip(first.gpus, second.gpus, strict=True):
        if before.energy_mj is not None:
            assert after.energy_mj is not None
            assert after.energy_mj > before.energy_mj


def test_the_energy_counter_agrees_with_the_power(nvml: Nvml, work: Work) -> None:
    """Joules over three seconds of work lie within a third of what the power readings of those seconds say."""
    work.order("busy", 5, 1)
    time.sleep(1.5)
    before, began_s, watts = nvml.read().gpus[0], time.monotonic(), []
    while time.monotonic() - began_s < 3:
        watts.append(nvml.read().gpus[0].power_watts)
        time.sleep(0.2)
    after, seconds = nvml.read().gpus[0], time.monotonic() - began_s
    if before.energy_mj is None or after.energy_mj is None or None in watts:
        pytest.skip("this card has no energy counter or no power sensor")
    by_counter = (after.energy_mj - before.energy_mj) / 1000
    by_power = sum(each for each in watts if each is not None) / len(watts) * seconds
    assert by_counter == pytest.approx(by_power, rel=1 / 3)


def test_a_real_card_is_watched_and_says_how_it_is(nvml: Nvml) -> None:
    """Its XIDs are told from the first reading on, also after the driver was let go; clocks and limits are known."""
    for _ in range(2):
        reading = nvml.read()
        assert reading.xids_watched == {gpu.uuid for gpu in reading.gpus}
        for gpu in reading.gpus:
            assert gpu.health.throttled is not None
            assert (gpu.health.power_limit_watts or 0) >= 50
            assert (gpu.health.memory_clock_hertz or 0) >= 100_000_000
        nvml.close()


def test_a_real_driver_opens_again_after_close(nvml: Nvml) -> None:
    """Letting go and coming back finds the same cards."""
    before = nvml.read()
    nvml.close()
    assert [gpu.uuid for gpu in nvml.read().gpus] == [gpu.uuid for gpu in before.gpus]


def test_the_process_list_of_a_real_driver_is_read(nvml: Nvml, work: Work) -> None:
    """A process is listed by its pid on the card it uses, with at least the memory it took; nothing is refused."""
    found = of(work, nvml)
    assert found.device == nvml.read().gpus[0].uuid
    assert found.memory_used_bytes is not None
    assert found.memory_used_bytes >= 1024 * MIB
    assert all(gpu.denied == frozenset() for gpu in nvml.read().gpus)


def test_a_process_that_ended_is_listed_no_more(nvml: Nvml, work: Work) -> None:
    """Killed in the middle of its work, it has left the list a beat later."""
    work.order("busy", 30, 1)
    time.sleep(BEAT_S)
    of(work, nvml)
    work.process.kill()
    work.process.wait()
    time.sleep(BEAT_S)
    assert work.process.pid not in {each.pid for gpu in nvml.read().gpus for each in gpu.processes}


def test_busy_time_of_a_process_is_what_it_worked(nvml: Nvml, work: Work) -> None:
    """The ratios of beats a second apart, summed up, come within a quarter of the time it really ran kernels."""
    of(work, nvml)
    time.sleep(BEAT_S)
    work.order("busy", 8, 0.5)
    busy_s, at_s = 0.0, time.monotonic()
    for _ in range(12):
        time.sleep(BEAT_S)
        ratio, now_s = of(work, nvml).sm_ratio, time.monotonic()
        if ratio is None:
            pytest.skip("this card has no utilisation of processes: it is in MIG mode")
        busy_s, at_s = busy_s + ratio * (now_s - at_s), now_s
    assert busy_s == pytest.approx(work.answer()["busy_ms"] / 1000, rel=0.25)


def test_the_driver_credits_each_moment_to_one_process(nvml: Nvml, work: Work) -> None:
    """Of two processes at work all the time, a look at the card names one: why usage.py trusts only their sum."""
    with Work() as other:
        other.do("open")
        work.order("busy", 8, 1)
        other.order("busy", 8, 1)
        time.sleep(2)
        credited = []
        for _ in range(20):
            gpu = nvml.read().gpus[0]
            ratios = [each.sm_ratio or 0 for each in gpu.processes]
            credited.append(sum(ratio > 0.05 for ratio in ratios))
            assert sum(ratios) <= 1.01
            time.sleep(LOOK_S)
        assert min(work.answer()["busy_ms"], other.answer()["busy_ms"]) > 7000
    assert credited.count(1) > len(credited) / 2
