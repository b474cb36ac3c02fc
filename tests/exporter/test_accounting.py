"""The greatest memory of processes by the driver's accounting mode, on the fake driver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.attribution import attribute
from exporter.clock import ReplayClock
from exporter.nvml import Nvml
from exporter.sight import Memory
from tests.exporter.builders import MIB, NOON_MS, given, in_pod, kubelet
from tests.nvml import fake as driver
from tests.nvml.fake import FakeGpu, FakeNvml


@pytest.fixture
def card(fake: FakeNvml) -> FakeGpu:
    """A whole card on which root has switched accounting on."""
    gpu = fake.add_gpu()
    gpu.set(accounting=1)
    return gpu


@pytest.fixture
def nvml(fake: FakeNvml) -> Iterator[Nvml]:
    nvml = Nvml(ReplayClock(NOON_MS))
    yield nvml
    nvml.close()


def peaks_mib(nvml: Nvml) -> dict[int, int | None]:
    (gpu,) = nvml.read().gpus
    return {each.pid: each.memory_peak_bytes and each.memory_peak_bytes // MIB for each in gpu.processes}


def listed(card: FakeGpu, **peaks: int) -> None:
    """These processes, `p7=900` is pid 7 with 100 MiB now and 900 at the most."""
    card.clear_processes()
    for name, peak_mib in peaks.items():
        card.add_process(int(name[1:]), memory_mib=100, peak_mib=peak_mib)


def test_a_peak_between_two_readings_is_known_once(card: FakeGpu, nvml: Nvml):
    """Who was there at the first reading may have peaked long before; who came since has peaked since."""
    listed(card, p7=900)
    assert peaks_mib(nvml) == {7: None}
    listed(card, p7=950, p8=300)
    assert peaks_mib(nvml) == {7: 950, 8: 300}
    assert peaks_mib(nvml) == {7: None, 8: None}


def test_who_comes_to_an_empty_card_has_peaked_since(card: FakeGpu, nvml: Nvml):
    nvml.read()
    listed(card, p7=900)
    assert peaks_mib(nvml) == {7: 900}


def test_a_pid_that_is_another_process_now_begins_anew(card: FakeGpu, nvml: Nvml):
    card.add_process(7, memory_mib=100, peak_mib=900, started_us=1)
    nvml.read()
    card.clear_processes()
    card.add_process(7, memory_mib=100, peak_mib=300, started_us=2)
    assert peaks_mib(nvml) == {7: 300}


def test_a_process_that_accounting_does_not_know_has_no_peak(card: FakeGpu, nvml: Nvml):
    nvml.read()
    listed(card, p7=0, p8=300)
    assert peaks_mib(nvml) == {7: None, 8: 300}


def test_where_it_is_off_nobody_is_asked_for_a_process(fake: FakeNvml, card: FakeGpu, nvml: Nvml):
    card.set(accounting=0)
    nvml.read()
    listed(card, p7=900)
    fake.force("nvmlDeviceGetAccountingStats", driver.UNKNOWN)
    assert peaks_mib(nvml) == {7: None}
    card.set(accounting=1)
    fake.relent()
    assert peaks_mib(nvml) == {7: None}  # it may have peaked while it was off


@pytest.mark.parametrize("call", ["nvmlDeviceGetAccountingMode", "nvmlDeviceGetAccountingStats"])
def test_trouble_with_accounting_costs_peaks_and_no_card(fake: FakeNvml, card: FakeGpu, nvml: Nvml, call: str):
    nvml.read()
    listed(card, p7=900)
    fake.force(call, driver.UNKNOWN)
    assert peaks_mib(nvml) == {7: None}


def test_a_holders_peak_is_the_greatest_it_is_known_to_have_had(card: FakeGpu, nvml: Nvml):
    """Of two processes with 100 MiB each: 200 together, and 900 when one of them had that alone."""
    nvml.read()
    found = []
    for peaks in ({"p7": 100, "p8": 100}, {"p7": 100, "p8": 900}):
        listed(card, **peaks)
        owners = {pid: in_pod("0a" * 16) for pid in (7, 8)}
        sight, _ = attribute(nvml.read(), kubelet(given("train-0", card.uuid)), owners, Memory())
        (held,) = sight.holdings
        assert held.memory_bytes == 200 * MIB
        assert held.memory_peak_bytes is not None
        found.append(held.memory_peak_bytes // MIB)
    assert found == [200, 900]
