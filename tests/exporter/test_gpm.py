"""How busy MIG instances are, by GPM on the fake driver: exporter/nvml/gpm.py, and whose it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.attribution import attribute
from exporter.clock import ReplayClock
from exporter.nvml import Nvml
from exporter.reading import Allocation, KubeletReading
from exporter.sight import Memory
from tests.exporter.builders import NOON_MS, given, in_pod, kubelet
from tests.nvml import fake as driver
from tests.nvml.fake import FakeGpu, FakeNvml

BEAT_S = 10.0


@pytest.fixture
def clock() -> ReplayClock:
    return ReplayClock(NOON_MS)


@pytest.fixture
def nvml(fake: FakeNvml, clock: ReplayClock) -> Iterator[Nvml]:
    nvml = Nvml(clock)
    yield nvml
    nvml.close()
    assert fake.gpm_samples == 0


def hopper(fake: FakeNvml, *profiles: str) -> FakeGpu:
    gpu = fake.add_gpu(mig=profiles)
    gpu.set(gpm=1)
    return gpu


def ratios(nvml: Nvml) -> list[float | None]:
    (gpu,) = nvml.read().gpus
    return [each.sm_ratio for each in gpu.instances]


async def test_an_instance_is_as_busy_as_its_sms_were_between_two_readings(
    fake: FakeNvml, nvml: Nvml, clock: ReplayClock
):
    """Windows tile: each figure is of the time since the last reading, and of its own instance."""
    small, large = hopper(fake, "1g.10gb", "3g.40gb").instances
    assert ratios(nvml) == [None, None]
    for first, second in ((25, 100), (0, 7)):
        small.work(first)
        large.work(second)
        await clock.sleep(BEAT_S)
        assert ratios(nvml) == [first / 100, second / 100]


async def test_before_hopper_nobody_can_say_and_nobody_is_asked_again(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    """Absent, not zero: an A100 in MIG mode."""
    fake.add_gpu(mig=["1g.10gb"])
    fake.force("nvmlGpmMigSampleGet", driver.UNKNOWN)
    assert ratios(nvml) == [None]
    await clock.sleep(BEAT_S)
    fake.gpus[0].set(gpm=1)
    assert ratios(nvml) == [None]
    fake.relent()
    for expected in ([None], [None]):
        await clock.sleep(BEAT_S)
        assert ratios(nvml) == expected


async def test_a_card_that_could_not_say_whether_it_has_gpm_is_asked_again(
    fake: FakeNvml, nvml: Nvml, clock: ReplayClock
):
    (instance,) = hopper(fake, "1g.10gb").instances
    fake.force("nvmlGpmQueryDeviceSupport", driver.UNKNOWN, times=1)
    found = []
    for _ in range(3):
        found += ratios(nvml)
        instance.work(50)
        await clock.sleep(BEAT_S)
    assert found == [None, None, 0.5]


async def test_a_part_of_a_gpu_instance_has_no_figure_of_its_own(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    gpu = hopper(fake)
    for ci in (0, 1):
        gpu.add_instance("1c.3g.40gb", gi=2, ci=ci)
    gpu.add_instance("1g.10gb")
    for each in gpu.instances:
        each.work(50)
    ratios(nvml)
    for each in gpu.instances:
        each.work(50)
    await clock.sleep(BEAT_S)
    assert ratios(nvml) == [None, None, 0.5]


@pytest.mark.parametrize("call", ["nvmlGpmSampleAlloc", "nvmlGpmMigSampleGet", "nvmlGpmMetricsGet"])
async def test_trouble_with_gpm_costs_its_figure_and_no_card(
    fake: FakeNvml, nvml: Nvml, clock: ReplayClock, call: str
):
    (instance,) = hopper(fake, "1g.10gb").instances
    ratios(nvml)
    instance.work(50)
    await clock.sleep(BEAT_S)
    fake.force(call, driver.UNKNOWN, times=1)
    assert ratios(nvml) == [None]
    for _ in range(2):
        instance.work(50)
        await clock.sleep(BEAT_S)
        found = ratios(nvml)
    assert found == [0.5]


async def test_a_refusal_for_want_of_permission_is_shown(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    hopper(fake, "1g.10gb")
    fake.force("nvmlGpmMigSampleGet", driver.NO_PERMISSION)
    (gpu,) = nvml.read().gpus
    assert "nvmlGpmMigSampleGet" in gpu.denied


async def test_instances_made_anew_under_old_names_begin_with_nothing_known(
    fake: FakeNvml, nvml: Nvml, clock: ReplayClock
):
    gpu = hopper(fake, "1g.10gb")
    ratios(nvml)
    gpu.remake_mig(["1g.10gb"])
    gpu.instances[0].work(50)
    await clock.sleep(BEAT_S)
    assert ratios(nvml) == [None]
    gpu.instances[0].work(30)
    await clock.sleep(BEAT_S)
    assert ratios(nvml) == [0.3]


async def test_two_readings_within_the_drivers_own_step_are_one(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    (instance,) = hopper(fake, "1g.10gb").instances
    ratios(nvml)
    instance.work(100)
    await clock.sleep(0.05)
    assert ratios(nvml) == [None]
    instance.work(0)
    await clock.sleep(BEAT_S)
    assert ratios(nvml) == [0.5]


async def test_a_reading_costs_two_calls_an_instance(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    gpu = hopper(fake, *["1g.10gb"] * 7)
    costs = []
    for gpm in (0, 1):
        gpu.set(gpm=gpm)
        nvml.close()  # what a card can is asked once
        for _ in range(3):
            await clock.sleep(BEAT_S)
            first = fake.calls
            nvml.read()
        costs.append(fake.calls - first)
    assert costs[1] - costs[0] == 2 * 7


async def test_samples_are_given_back_when_instances_go(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    gpu = hopper(fake, "1g.10gb", "1g.10gb", "1g.10gb")
    ratios(nvml)
    assert fake.gpm_samples == 3
    gpu.instances[1].destroy()
    await clock.sleep(BEAT_S)
    ratios(nvml)
    assert fake.gpm_samples == 2 * 2
    gpu.set(mig_current=0)
    nvml.read()
    assert fake.gpm_samples == 0


# Whose it is


async def busy_ppm(
    fake: FakeNvml, nvml: Nvml, clock: ReplayClock, *allocations: Allocation, then: KubeletReading | None = None
) -> list[int | None]:
    """Of each holding at the second of two beats, between which the SMs were busy for a quarter of the time."""
    first = kubelet(*allocations)
    owners = {pid: in_pod(uid) for pid, uid in ((1, "0a" * 16), (2, "0b" * 16))}
    _, memory = attribute(nvml.read(), first, owners, Memory())
    fake.gpus[0].instances[0].work(25)
    await clock.sleep(BEAT_S)
    sight, _ = attribute(nvml.read(), then or first, owners, memory)
    return [each.busy_ppm for each in sight.holdings]


async def test_who_holds_an_instance_alone_was_as_busy_as_it(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    (instance,) = hopper(fake, "1g.10gb").instances
    instance.add_process(1, memory_mib=500)
    assert await busy_ppm(fake, nvml, clock, given("a", instance.uuid)) == [250_000]


async def test_a_stranger_on_the_instance_makes_it_unknown(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    (instance,) = hopper(fake, "1g.10gb").instances
    instance.add_process(1, memory_mib=500)
    instance.add_process(2, memory_mib=500)
    assert await busy_ppm(fake, nvml, clock, given("a", instance.uuid)) == [None]


async def test_holders_of_shares_of_an_instance_have_no_part_of_it(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    (instance,) = hopper(fake, "1g.10gb").instances
    instance.add_process(1, memory_mib=500)
    given_to = [given("a", f"{instance.uuid}::0"), given("b", f"{instance.uuid}::1")]
    assert await busy_ppm(fake, nvml, clock, *given_to) == [None, None]


async def test_a_new_holder_does_not_inherit_what_the_one_before_did(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    """The figure is of the time before the beat: where another pod held the instance then, it is nobody's now."""
    (instance,) = hopper(fake, "1g.10gb").instances
    assert await busy_ppm(fake, nvml, clock, given("a", instance.uuid), then=kubelet(given("b", instance.uuid))) == [
        None
    ]


async def test_who_takes_a_free_instance_was_as_busy_as_it(fake: FakeNvml, nvml: Nvml, clock: ReplayClock):
    (instance,) = hopper(fake, "1g.10gb").instances
    assert await busy_ppm(fake, nvml, clock, then=kubelet(given("b", instance.uuid))) == [250_000]
