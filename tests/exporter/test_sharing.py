"""Every way to be given a card or a part of it, from the driver and the kubelet's socket to what is booked for it.

Over the C driver, a real PodResources socket and files of /proc; what is booked is the aggregator's own rating.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from exporter import wire
from tests.exporter.whole_node import BEAT_MS, WholeNode, ledger
from tests.nvml import fake as driver
from tests.nvml.fake import MIB, FakeGpu, FakeNvml

BEATS = 4
TIME = BEATS * BEAT_MS
SEVENTH = Fraction(1, 7)
UID, CONTAINER = "0c" * 16, "1d" * 32


@pytest.fixture(scope="module")
def library_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("driver")


@pytest.fixture
def node(fake: FakeNvml, tmp_path: Path) -> Iterator[WholeNode]:
    with WholeNode(fake, tmp_path) as node:
        yield node


def start(tmp_path: Path, pid: int, cgroup: str) -> None:
    """A process of the host's /proc."""
    directory = tmp_path / "proc" / str(pid)
    directory.mkdir()
    fields = ["S", *"0" * 18, "100", *"0" * 30]
    (directory / "stat").write_text(f"{pid} (python3) {' '.join(fields)}\n")
    (directory / "cgroup").write_text(f"0::{cgroup}\n")


async def booked(node: WholeNode, card: FakeGpu) -> dict[str, Fraction]:
    """What parts of the card's time went to whom in a few beats."""
    await node.beat(BEATS + 1)
    return {key: ms / TIME for key, ms in ledger(node.body())[card.uuid].items()}


def unknown_devices(node: WholeNode) -> str:
    (line,) = [each for each in node.agent.page.decode().splitlines() if each.startswith("gpu_exporter_unknown_dev")]
    return line.split()[-1]


# Shares


async def test_replicas_of_a_renamed_resource_several_in_one_container(node: WholeNode) -> None:
    """Two of four shares are half the card, whatever the resource is called."""
    card = node.fake.add_gpu(minor=7)
    node.kubelet.offer("example.com/training-gpu.shared", [f"{card.uuid}::{n}" for n in range(4)])
    shares = [f"{card.uuid}::3", f"{card.uuid}::0"]
    node.kubelet.give("team", "both", "main", "example.com/training-gpu.shared", shares)
    node.kubelet.give("team", "one", "main", "example.com/training-gpu.shared", [f"{card.uuid}::1"])
    assert await booked(node, card) == {"both": Fraction(1, 2), "one": Fraction(1, 4), "unsold": Fraction(1, 4)}


async def test_gke_names_by_minor_number(node: WholeNode) -> None:
    """The third card of the node is /dev/nvidia9: whole cards, shares, instances and shares of instances."""
    shared, cut = node.fake.add_gpu(minor=9), node.fake.add_gpu(minor=8, mig=["1g.10gb", "3g.40gb"])
    small, large = (f"nvidia8/gi{instance.gi}" for instance in cut.instances)
    node.kubelet.offer(
        "nvidia.com/gpu", ["nvidia9/vgpu0", "nvidia9/vgpu1", small, f"{large}/vgpu0", f"{large}/vgpu1"]
    )
    node.kubelet.give("team", "a", "main", "nvidia.com/gpu", ["nvidia9/vgpu1"])
    node.kubelet.give("team", "b", "main", "nvidia.com/gpu", [small])
    node.kubelet.give("team", "c", "main", "nvidia.com/gpu", [f"{large}/vgpu0"])
    assert await booked(node, shared) == {"a": Fraction(1, 2), "unsold": Fraction(1, 2)}
    of_cut = {key: ms / TIME for key, ms in ledger(node.body())[cut.uuid].items()}
    half_large = 3 * SEVENTH / 2
    assert of_cut == {"b": SEVENTH, "c": half_large, "unsold": half_large, "unpartitioned": 3 * SEVENTH}
    assert unknown_devices(node) == "0.0"


async def test_ids_of_old_drivers(node: WholeNode) -> None:
    cut = node.fake.add_gpu(mig=["1g.10gb"])
    node.kubelet.give("team", "a", "main", "nvidia.com/mig-1g.10gb", [f"MIG-{cut.uuid}/{cut.instances[0].gi}/0"])
    assert await booked(node, cut) == {"a": SEVENTH, "unpartitioned": 6 * SEVENTH}


# MIG


async def test_compute_instances_of_one_gpu_instance_pay_their_slices(node: WholeNode) -> None:
    """Three of one slice in a GPU instance of three, in sparse slots: each its own, and what is left is idle."""
    cut = node.fake.add_gpu(mig=[])
    for position, ci in enumerate((0, 2, 5)):
        cut.add_instance("1c.3g.40gb", slot=2 * position, gi=2, ci=ci, start=4)
    first, second, _ = cut.instances
    node.kubelet.give("team", "a", "main", "nvidia.com/mig-1c.3g.40gb", [first.uuid])
    node.kubelet.give("team", "b", "main", "nvidia.com/mig-1c.3g.40gb", [second.uuid])
    expected = {"a": SEVENTH, "b": SEVENTH, "free": SEVENTH, "unpartitioned": 4 * SEVENTH}
    assert await booked(node, cut) == expected


async def test_an_instance_made_anew_with_the_same_uuid_is_another(node: WholeNode) -> None:
    """Its ids and UUID are used again, for something larger: each paid for what it was."""
    cut = node.fake.add_gpu(mig=[])
    small = cut.add_instance("1g.10gb", slot=0, gi=5)
    node.kubelet.give("team", "a", "main", "nvidia.com/gpu", [small.uuid])
    await node.beat(2)
    small.destroy()
    node.kubelet.take("team", "a")
    large = cut.add_instance("3g.40gb", slot=1, gi=5)
    assert large.uuid == small.uuid
    node.kubelet.give("team", "b", "main", "nvidia.com/gpu", [large.uuid])
    await node.beat(3)
    of_card = ledger(node.body())[cut.uuid]
    assert (of_card["a"], of_card["b"]) == (2 * BEAT_MS * SEVENTH, 2 * BEAT_MS * 3 * SEVENTH)
    profiles = [(each.profile, each.start, each.end) for each in node.body().instances if each.uuid == small.uuid]
    assert profiles == [("1g.10gb", 0, 2 * BEAT_MS), ("3g.40gb", 2 * BEAT_MS, 4 * BEAT_MS)]


async def test_a_card_is_shown_also_when_it_is_cut(node: WholeNode) -> None:
    """With its own figures, once; its instances have theirs, and never the card's power."""
    cut = node.fake.add_gpu(mig=["1g.10gb", "1g.10gb"])
    cut.draw(300, energy_mj=1)
    await node.beat()
    page = node.agent.page.decode().splitlines()
    watts = [line for line in page if line.startswith("gpu_power_watts{") and cut.uuid in line]
    assert [line.split()[-1] for line in watts] == ["300.0"]
    up = [line for line in page if line.startswith("gpu_up{") and cut.uuid in line]
    assert [line.split()[-1] for line in up] == ["1.0"]


async def test_each_card_says_what_it_can(node: WholeNode) -> None:
    """An old card beside a new one: what one does not have is absent there, and only there."""
    old = node.fake.add_gpu(memory_mib=15_360, mig_capable=False)
    new = node.fake.add_gpu(mig=["1g.10gb"])
    for call in ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"):
        node.fake.force(call, driver.NOT_SUPPORTED, gpu=old.index)
    node.kubelet.give("team", "a", "main", "nvidia.com/gpu", [old.uuid])
    assert await booked(node, old) == {"a": 1}
    page = node.agent.page.decode().splitlines()
    for family in ("gpu_power_watts", "gpu_energy_joules_total"):
        shown = [line for line in page if line.startswith(family + "{")]
        assert [old.uuid in line for line in shown].count(True) == 0
        assert [new.uuid in line for line in shown].count(True) == 1
    assert [line for line in page if line.startswith("gpu_exporter_denied_calls{")] == []


# Claims


async def test_claims_of_cards_and_of_instances_that_are_made_for_them(node: WholeNode) -> None:
    """Named by minor number, profile id and placement; the CDI names, which tell of earlier devices, say nothing."""
    whole, cut = node.fake.add_gpu(minor=11), node.fake.add_gpu(minor=10, mig=[])
    low, high = cut.add_instance("1g.10gb", start=2), cut.add_instance("1g.10gb", start=6)
    node.kubelet.claim("team", "a", "main", "two", "gpu-11", cdi=["k8s.gpu.nvidia.com/claim=x"])
    node.kubelet.claim("team", "a", "main", "two", "gpu-10-mig-1g10gb-19-6", cdi=["…claim=x", "…claim=y"])
    assert await booked(node, whole) == {"a": 1}
    holdings = {each.device: each for each in node.body().holdings if each.pod == "a"}
    assert set(holdings) == {whole.uuid, high.uuid}
    assert {(each.source, each.claim) for each in holdings.values()} == {("dra", "team/two")}
    assert low.uuid not in holdings


async def test_an_extended_resource_that_is_given_by_dra(node: WholeNode) -> None:
    """From Kubernetes 1.36 on `nvidia.com/gpu` may come so: no devices, and a claim that the scheduler made."""
    card = node.fake.add_gpu(minor=15)
    node.kubelet.give("team", "train-0", "main")
    node.kubelet.claim("team", "train-0", "main", "train-0-extended-resources-x7k2p", "gpu-15")
    assert await booked(node, card) == {"train-0": 1}


async def test_consumers_of_a_shared_claim_split_it(node: WholeNode) -> None:
    card = node.fake.add_gpu(minor=12)
    for pod in ("a", "b", "c", "d"):
        node.kubelet.claim("team", pod, "main", "shared", "gpu-12")
    assert await booked(node, card) == dict.fromkeys("abcd", Fraction(1, 4))


async def test_a_claim_beside_another_never_makes_a_card_count_twice(node: WholeNode) -> None:
    """One of them only watches (adminAccess), which the kubelet does not say: the card's time is booked once."""
    card = node.fake.add_gpu(minor=12)
    node.kubelet.claim("team", "train", "main", "mine", "gpu-12")
    node.kubelet.claim("monitoring", "dcgm", "main", "all", "gpu-12")
    assert await booked(node, card) == {"train": Fraction(1, 2), "dcgm": Fraction(1, 2)}
    assert {each.claim for each in node.body().holdings if each.device == card.uuid} == {
        "team/mine",
        "monitoring/all",
    }


async def test_a_claim_older_than_a_reconfiguration_is_nobody_elses_device(node: WholeNode) -> None:
    """What lies where its instance lay is another's; it counts as a device that nobody here has."""
    cut = node.fake.add_gpu(minor=13, mig=[])
    cut.add_instance("3g.40gb", start=0)
    node.kubelet.claim("team", "stale", "main", "old", "gpu-13-mig-1g10gb-19-0")
    assert await booked(node, cut) == {"free": 3 * SEVENTH, "unpartitioned": 4 * SEVENTH}
    assert unknown_devices(node) == "1.0"


# What NVML does not see


async def test_a_card_bound_to_vfio_is_held_on_the_kubelets_word(node: WholeNode) -> None:
    """The driver showed it once; what it never showed does not exist for the account, and is counted."""
    card = node.fake.add_gpu(minor=14)
    node.kubelet.give("team", "vm", "compute", "nvidia.com/gpu", [card.uuid])
    await node.beat(2)
    node.fake.set(gpu_count=card.index)
    node.kubelet.claim("team", "other-vm", "compute", "passthrough", "gpu-vfio-0")
    node.kubelet.give("team", "third-vm", "compute", "nvidia.com/GH100_H100_PCIE", ["12"])
    assert await booked(node, card) == {"vm": Fraction(BEATS + 2, BEATS)}
    records = [each for each in node.body().holdings if each.pod == "vm"]
    seen = sum(each.end - each.start for each in records if each.evidence == "exclusive")
    told = [each for each in records if each.evidence == "kubelet"]
    assert (seen, sum(each.end - each.start for each in told)) == (2 * BEAT_MS, TIME)
    assert {(each.busy_ms, each.memory_byte_seconds, each.energy_mj) for each in told} == {(None, None, None)}
    assert unknown_devices(node) == "2.0"
    lines = node.agent.page.decode().splitlines()
    told_by_metric = {
        (line.partition('device="')[2].partition('"')[0], line.partition('pod="')[2].partition('"')[0]): line.split()[
            -1
        ]
        for line in lines
        if line.startswith("gpu_unknown_device_held_seconds_total{")
    }
    seconds = str(TIME / 1000)
    assert told_by_metric == {
        ("gpu.nvidia.com/node-1/gpu-vfio-0", "other-vm"): seconds,
        ("12", "third-vm"): seconds,
    }


# Use without allocation


async def test_strangers_on_a_free_card_are_named_as_well_as_their_cgroups_say(
    node: WholeNode, tmp_path: Path
) -> None:
    """A pod without an allocation, a container outside Kubernetes, the host, one that has gone; none is billed."""
    card = node.fake.add_gpu()
    start(tmp_path, 1, f"/kubepods/pod{UID}/{CONTAINER}")
    start(tmp_path, 2, f"/system.slice/docker-{CONTAINER}.scope")
    start(tmp_path, 3, "/user.slice/session-1.scope")
    for pid in (1, 2, 3, 4):
        card.add_process(pid, memory_mib=pid)
    assert await booked(node, card) == {"free": 1}
    pushed = node.agent.running()
    assert pushed is not None
    uses = {
        (each.runtime, each.container): each.memory_byte_seconds
        for each in wire.decode(gzip.decompress(pushed.data)).unallocated_use
        if each.device == card.uuid
    }
    assert uses == {
        key: pid * MIB * TIME // 1000
        for key, pid in {
            (None, CONTAINER): 1,
            ("docker", CONTAINER): 2,
            (None, "host"): 3,
            (None, None): 4,
        }.items()
    }
