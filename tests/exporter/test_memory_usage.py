"""Whose memory it is under MIG and on shared devices, read through the fake driver."""

from __future__ import annotations

import pytest

from exporter.attribution import attribute
from exporter.clock import ReplayClock
from exporter.nvml import Nvml
from exporter.reading import Allocation
from exporter.sight import Memory
from tests.exporter.builders import MIB, NOON_MS, given, in_pod, kubelet
from tests.nvml.fake import FakeNvml

OWNERS = {pid: in_pod(uid) for pid, uid in ((1, "0a" * 16), (2, "0b" * 16), (3, "0a" * 16))}


def memory_mib(*allocations: Allocation) -> dict[str, int | None]:
    """Of each holding, by pod and shares."""
    nvml = Nvml(ReplayClock(NOON_MS))
    sight, _ = attribute(nvml.read(), kubelet(*allocations), OWNERS, Memory())
    nvml.close()
    return {
        f"{each.holder.pod}/{each.holder.container}{list(each.shares)}": each.memory_bytes
        and each.memory_bytes // MIB
        for each in sight.holdings
    }


def test_compute_instances_of_one_gpu_instance_share_its_memory_and_each_counts_its_own_processes(fake: FakeNvml):
    gpu = fake.add_gpu(mig=[])
    first, second = (gpu.add_instance("1c.3g.40gb", gi=2, ci=ci) for ci in (0, 1))
    for each in (first, second):
        each.set(used_bytes=1_200 * MIB)  # of both together, as the driver says it
    first.add_process(1, memory_mib=500)
    second.add_process(2, memory_mib=700)
    found = memory_mib(given("a", first.uuid), given("b", second.uuid))
    assert found == {"a/main[0]": 500, "b/main[0]": 700}


@pytest.mark.parametrize(("used_mib", "idle_mib"), [(500, 0), (900, None)])
def test_a_compute_instance_without_processes_uses_nothing_where_its_neighbours_explain_all(
    fake: FakeNvml, used_mib: int, idle_mib: int | None
):
    """What they do not explain is somebody's whom the driver does not list: unknown, not zero."""
    gpu = fake.add_gpu(mig=[])
    first, second = (gpu.add_instance("1c.3g.40gb", gi=2, ci=ci) for ci in (0, 1))
    for each in (first, second):
        each.set(used_bytes=used_mib * MIB)
    first.add_process(1, memory_mib=500)
    assert memory_mib(given("a", first.uuid), given("b", second.uuid))["b/main[0]"] == idle_mib


def test_memory_that_the_driver_does_not_say_is_unknown(fake: FakeNvml):
    (instance,) = fake.add_gpu(mig=["1g.10gb"]).instances
    instance.add_process(1, memory_mib=None)
    assert memory_mib(given("a", instance.uuid)) == {"a/main[0]": None}


def test_who_has_several_shares_counts_its_memory_once(fake: FakeNvml):
    gpu = fake.add_gpu()
    gpu.add_process(1, memory_mib=500)
    gpu.add_process(3, memory_mib=250)
    found = memory_mib(*(given("a", f"{gpu.uuid}::{share}") for share in (0, 2)))
    assert found == {"a/main[0, 2]": 750}


def test_containers_of_one_pod_on_one_device_have_none_that_is_certain(fake: FakeNvml):
    gpu = fake.add_gpu()
    gpu.add_process(1, memory_mib=500)
    found = memory_mib(given("a", f"{gpu.uuid}::0", container="main"), given("a", f"{gpu.uuid}::1", container="side"))
    assert found == {"a/main[0]": None, "a/side[1]": None}
