"""Whose a card's busy time and memory are, where a real driver says less than it seems to: data/real_h100.json."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.reading import CgroupOwner, GpuReading
from exporter.sight import Memory, Sight
from tests.exporter.builders import (
    GIB,
    MIB,
    POD_A,
    POD_B,
    given,
    gpu,
    in_pod,
    kubelet,
    look,
    mig_device,
    mig_gpu,
    process,
)

HOST = CgroupOwner()
HOLDER_IS_A = Memory(pod_uids={"team/p": POD_A})


def held(card: GpuReading, device: str = "GPU-a", owners: dict[int, CgroupOwner | None] | None = None) -> Sight:
    """Pod p holds the device, and is known by its UID."""
    return look(card, kubelet=kubelet(given("p", device)), owners=owners, memory=HOLDER_IS_A)[0]


@pytest.mark.parametrize("other", [in_pod(POD_B), HOST])
def test_busy_time_beside_another_is_nobodys_for_certain(other: CgroupOwner) -> None:
    """The driver credits a moment to one process only: with work beside it neither's part is known, and memory is."""
    card = gpu(processes=(process(1, sm_ratio=0.0), process(2, sm_ratio=0.9)))
    sight = held(card, owners={1: in_pod(POD_A), 2: other})
    assert sight.holdings[0].busy_ppm is None
    assert [(use.busy_ppm, use.memory_bytes) for use in sight.uses] == [(None, GIB)]


def test_an_mps_server_takes_the_credit_for_its_clients() -> None:
    """The server is the host's, the work its client's: not idle, but unknown."""
    card = gpu(processes=(process(827, sm_ratio=0.19, memory_used_bytes=66 * MIB), process(824, sm_ratio=0.0)))
    (holding,) = held(card, owners={827: HOST, 824: in_pod(POD_A)}).holdings
    assert (holding.busy_ppm, holding.memory_bytes) == (None, GIB)


def test_nobody_credited_is_nobody_busy() -> None:
    """Where all processes of a card have nothing, each has nothing."""
    card = gpu(processes=(process(1, sm_ratio=0.0), process(2, sm_ratio=0.0)))
    sight = held(card, owners={1: in_pod(POD_A), 2: HOST})
    assert (sight.holdings[0].busy_ppm, sight.uses[0].busy_ppm) == (0, 0)


def test_strangers_of_one_container_are_busy_together() -> None:
    """Alone on a card nobody holds, a container's processes have the whole sum."""
    card = gpu(processes=(process(1, sm_ratio=0.1), process(2, sm_ratio=0.6)))
    sight, _ = look(card, kubelet=kubelet(), owners={1: in_pod(POD_B), 2: in_pod(POD_B)})
    assert [use.busy_ppm for use in sight.uses] == [700_000]


@pytest.mark.parametrize(
    ("used_bytes", "memory_bytes"), [(0, 0), (1 * MIB, 0), (66 * MIB, None), (2 * GIB, None), (None, None)]
)
def test_memory_in_use_without_a_process_hides_one(used_bytes: int | None, memory_bytes: int | None) -> None:
    """A driver lists no process of another pid namespace: the card's memory gives it away, and usage is unknown.

    So it is on a card that cannot say how much is in use."""
    (holding,) = held(gpu(memory_used_bytes=used_bytes)).holdings
    assert holding.memory_bytes == memory_bytes
    assert holding.busy_ppm == (None if memory_bytes is None else 0)


def test_a_mig_device_hides_its_own_processes_only() -> None:
    """What is in use on a neighbour says nothing of an idle instance."""
    idle = mig_device("MIG-a")
    busy = replace(mig_device("MIG-b", ordinal=1), memory_used_bytes=GIB)
    card = mig_gpu(idle, busy, memory_used_bytes=GIB)
    assert held(card, "MIG-a").holdings[0].memory_bytes == 0
    assert held(card, "MIG-b").holdings[0].memory_bytes is None


def test_strangers_on_a_shared_card_are_those_who_are_no_holders_for_certain() -> None:
    """The host's, and a pod's that holds another card; whose the other pods are cannot be said."""
    offered = ["GPU-a::0", "GPU-a::1", "GPU-b"]
    shared = gpu(processes=tuple(process(pid, memory_used_bytes=pid * MIB) for pid in (1, 2, 3, 4)))
    answer = kubelet(given("p", "GPU-a::0"), given("q", "GPU-a::1"), given("r", "GPU-b"), offered=offered)
    owners: dict[int, CgroupOwner | None] = {1: HOST, 2: in_pod(POD_B), 3: in_pod(POD_A), 4: None}
    sight, _ = look(shared, gpu("GPU-b"), kubelet=answer, owners=owners, memory=Memory(pod_uids={"team/r": POD_B}))
    found = [(use.container, use.busy_ppm, use.memory_bytes) for use in sight.uses]
    assert found == [(POD_B * 2, None, 2 * MIB), ("host", None, MIB)]


def test_a_host_process_is_a_stranger_also_where_no_pod_can_be_told_from_the_other() -> None:
    card = gpu(processes=(process(1), process(2), process(3)))
    owners: dict[int, CgroupOwner | None] = {1: in_pod(POD_A), 2: in_pod(POD_B), 3: HOST}
    sight, _ = look(card, kubelet=kubelet(given("p")), owners=owners)
    assert [use.container for use in sight.uses] == ["host"]


@pytest.mark.parametrize(("used_bytes", "memory_bytes"), [(GIB + 10 * MIB, 0), (3 * GIB, None)])
def test_an_idle_compute_instance_is_idle_beside_a_busy_one(used_bytes: int, memory_bytes: int | None) -> None:
    """They share the memory of their GPU instance: what the neighbour's processes have hides nobody on this one."""
    idle, busy = mig_device("MIG-a"), replace(mig_device("MIG-b"), compute_instance_id=1)
    pool = [replace(each, memory_used_bytes=used_bytes) for each in (idle, busy)]
    card = mig_gpu(*pool, processes=(process(1, "MIG-b", memory_used_bytes=GIB, sm_ratio=None),))
    assert held(card, "MIG-a", owners={1: in_pod(POD_B)}).holdings[0].memory_bytes == memory_bytes
