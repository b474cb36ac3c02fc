"""A card's health and links, from the fake driver to readings; and how many cards should answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.bus import cards_on_bus
from exporter.clock import ReplayClock, SystemClock
from exporter.config import read_settings
from exporter.health import Health, Links
from exporter.nvml import Nvml
from exporter.reading import GpuReading
from exporter.sources import open_collectors
from tests.exporter.builders import NOON_MS
from tests.exporter.whole_node import WholeNode
from tests.nvml import fake as driver
from tests.nvml.fake import FakeGpu, FakeNvml

# What is asked only for health, each call alone, and the figures that are absent without it.
CALLS = {
    "nvmlDeviceGetFieldValues": {
        "ecc_corrected", "ecc_uncorrected", "ecc_corrected_ever", "ecc_uncorrected_ever",
        "rows_remapped_corrected", "rows_remapped_uncorrected", "remap_pending", "remap_failed",
    },
    "nvmlDeviceGetCurrentClocksEventReasons": {"throttled"},
    "nvmlDeviceGetPersistenceMode": {"persistence"},
    "nvmlDeviceGetEnforcedPowerLimit": {"power_limit_watts"},
    "nvmlDeviceGetClockInfo": {"sm_clock_hertz", "memory_clock_hertz"},
}  # fmt: skip


@pytest.fixture
def gpu(fake: FakeNvml) -> FakeGpu:
    return fake.add_gpu()


def read(*, links: bool = False) -> GpuReading:
    """The only card, by a driver opened for it."""
    nvml = Nvml(ReplayClock(NOON_MS), links=links)
    (gpu,) = nvml.read().gpus
    nvml.close()
    return gpu


def absent(health: Health) -> set[str]:
    return {name for name in Health.__slots__ if getattr(health, name) is None}


def test_health_is_read_in_our_units(gpu: FakeGpu) -> None:
    """Each figure in its place; watts and hertz; flags are flags."""
    gpu.set_health(
        ecc_errors=(11, 2, 33, 4), remaps=(5, 6, 1, 0), power_limit_mw=650_500, sm_mhz=1_755, memory_mhz=2_619,
        persistence=0, clocks_reasons=0x1 | 0x4 | 0x40,
    )  # fmt: skip
    throttled = dict.fromkeys(
        ("power_cap", "hw_slowdown", "sync_boost", "sw_thermal", "hw_thermal", "power_brake", "board_limit",
         "reliability"), False,
    )  # fmt: skip
    assert read().health == Health(
        ecc_corrected=11,
        ecc_uncorrected=2,
        ecc_corrected_ever=33,
        ecc_uncorrected_ever=4,
        rows_remapped_corrected=5,
        rows_remapped_uncorrected=6,
        remap_pending=True,
        remap_failed=False,
        throttled=throttled | {"power_cap": True, "hw_thermal": True},
        persistence=False,
        power_limit_watts=650.5,
        sm_clock_hertz=1_755_000_000,
        memory_clock_hertz=2_619_000_000,
    )


def test_a_card_without_ecc_has_no_figures_and_no_zeros(gpu: FakeGpu) -> None:
    """Not supported is absent, field by field, in an answer that is otherwise fine."""
    gpu.set_health(has_ecc=0)
    assert absent(read().health) == CALLS["nvmlDeviceGetFieldValues"]


def test_remaps_are_absent_while_a_card_has_instances(fake: FakeNvml) -> None:
    """The driver does not say then; errors it still counts."""
    fake.add_gpu(mig=["1g.10gb"])
    assert absent(read().health) == {
        "rows_remapped_corrected", "rows_remapped_uncorrected", "remap_pending", "remap_failed"
    }  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", [driver.NOT_SUPPORTED, driver.NO_PERMISSION, driver.UNKNOWN])
def test_what_fails_costs_its_own_figures_and_never_the_reading(
    fake: FakeNvml, gpu: FakeGpu, call: str, code: int
) -> None:
    """Not supported, denied (then by name) or an error of any kind: absent, and the card is read."""
    fake.force(call, code)
    reading = read()
    assert absent(reading.health) == CALLS[call]
    assert reading.denied == ({call} if code == driver.NO_PERMISSION else frozenset())


def test_links_are_read_only_when_asked_for(fake: FakeNvml, gpu: FakeGpu) -> None:
    """They block; bytes, not the driver's kilobytes. A card without NVLink has no such figure."""
    gpu.set_health(pcie_kib_s=(7, 9), nvlink_kib=(3, 4), has_nvlink=1)
    assert read().links is None
    assert read(links=True).links == Links(
        pcie_sent_bytes_per_second=7_000,
        pcie_received_bytes_per_second=9_000,
        nvlink_sent_bytes=3 * 1024,
        nvlink_received_bytes=4 * 1024,
    )
    gpu.set_health(has_nvlink=0)
    fake.force("nvmlDeviceGetPcieThroughput", driver.NOT_SUPPORTED)
    assert read(links=True).links == Links()


@pytest.mark.parametrize("links", ["on", "off"])
async def test_the_setting_reaches_the_driver(fake: FakeNvml, gpu: FakeGpu, tmp_path: Path, links: str) -> None:
    """--links=on has them read, of a node opened as the agent opens it."""
    socket = str(tmp_path / "no-kubelet.sock")
    collectors = open_collectors(read_settings({"links": links, "kubelet-socket": socket}, {}), SystemClock())
    seen = await collectors.collect()
    await collectors.close()
    assert seen.node is not None
    assert (seen.node.gpus[0].links is not None) == (links == "on")


# How many should answer


def put_on_bus(sysfs: Path, slot: str, *, vendor: str = "0x10de", kind: str = "0x030200", driver: str | None) -> None:
    device = sysfs / "bus/pci/devices" / slot
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")
    if driver is not None:
        (device / "driver").symlink_to(f"../../../bus/pci/drivers/{driver}")


def test_cards_on_the_bus_are_those_the_driver_should_show(tmp_path: Path) -> None:
    """With NVIDIA's driver, or with none at all; not those given to virtual machines, nor what is no card."""
    put_on_bus(tmp_path, "0000:01:00.0", driver="nvidia")
    put_on_bus(tmp_path, "0000:02:00.0", driver=None)
    put_on_bus(tmp_path, "0000:03:00.0", kind="0x030000", driver="nvidia")
    put_on_bus(tmp_path, "0000:04:00.0", driver="vfio-pci")
    put_on_bus(tmp_path, "0000:05:00.0", kind="0x068000", driver="nvidia-nvswitch")
    put_on_bus(tmp_path, "0000:06:00.0", vendor="0x8086", driver="i915")
    assert cards_on_bus(tmp_path) == 3


def test_the_virtual_functions_of_a_card_are_no_cards(tmp_path: Path) -> None:
    """A host of vGPUs has sixteen of each card beside it, with the same driver, and NVML shows the card alone."""
    put_on_bus(tmp_path, "0000:41:00.0", driver="nvidia")
    for slot in ("0000:41:00.4", "0000:41:00.5"):
        put_on_bus(tmp_path, slot, driver="nvidia")
        (tmp_path / "bus/pci/devices" / slot / "physfn").symlink_to("../0000:41:00.0")
    assert cards_on_bus(tmp_path) == 1


def test_a_bus_that_cannot_be_seen_says_nothing(tmp_path: Path) -> None:
    assert cards_on_bus(tmp_path) is None


async def test_a_lost_card_is_expected_and_does_not_answer(fake: FakeNvml, tmp_path: Path) -> None:
    """gpu_up stays, at 0; the driver still counts the card, and we remember one that it counts no more."""
    with WholeNode(fake, tmp_path) as node:
        await node.agent.beat()
        assert cards(node) == {"known": 3, "driver": 3, "answering": 3}
        node.held.lose()
        await beat(node)
        assert cards(node) == {"known": 3, "driver": 3, "answering": 2}
        assert re.search(rf'^gpu_up{{.*uuid="{node.held.uuid}"}} 0.0$', node.agent.page.decode(), re.MULTILINE)
        fake.set(gpu_count=2)
        node.held.come_back()
        await beat(node)
        assert cards(node) == {"known": 3, "driver": 2, "answering": 2}


async def beat(node: WholeNode) -> None:
    await node.clock.sleep(10)
    await node.agent.beat()


def cards(node: WholeNode) -> dict[str, int]:
    """By who expects them, the bus aside: it is this machine's. And how many answered."""
    page = node.agent.page.decode()
    found = re.findall(r'^gpu_exporter_expected_gpus{by="(\w+)",node="n1"} (\S+)$', page, re.MULTILINE)
    (answering,) = re.findall(r'^gpu_exporter_answering_gpus{node="n1"} (\S+)$', page, re.MULTILINE)
    return {by: int(float(count)) for by, count in found if by != "bus"} | {"answering": int(float(answering))}
