"""NVIDIA's MPS server: on an H100 the driver lists it beside its clients and credits it with their work."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.cgroups import CgroupReader
from exporter.nvml.process_tables import SmSample, sm_ratios
from exporter.reading import CgroupOwner, ProcessReading
from exporter.sight import Memory, Sight
from exporter.usage import MPS_SERVER_BYTES_MAX
from tests.exporter.builders import MIB, POD_A, POD_B, given, gpu, in_pod, kubelet, look, process

SURVEY = json.loads((Path(__file__).with_name("data") / "h100_survey.json").read_text())["mps"]
HOST_SERVER = CgroupOwner(mps_server=True)
DAEMON_SERVER = replace(in_pod(POD_B), mps_server=True)  # of the device plugin's control daemon, a pod of its own
HOLDER_IS_A = Memory(pod_uids={"team/p": POD_A})
START_TIMEOUT_S = 10


def server(pid: int = 827, **changes: object) -> ProcessReading:
    return process(pid, **({"memory_used_bytes": 66 * MIB, "sm_ratio": 0.0} | changes))


def held(*processes: ProcessReading, owners: dict[int, CgroupOwner | None], memory: Memory = HOLDER_IS_A) -> Sight:
    """Pod p holds the card."""
    used = sum(each.memory_used_bytes or 0 for each in processes)
    card = gpu(processes=processes, memory_used_bytes=used)
    return look(card, kubelet=kubelet(given("p")), owners=owners, memory=memory)[0]


def test_what_a_real_server_was_credited_with_is_its_clients_work() -> None:
    """Two clients worked 6.1 s of the last 14.4: all credits together are the holder's, and the server is no use."""
    pids = [pid for pid, _ in SURVEY["listed"]]
    samples = [SmSample(pid=row[0], timestamp_us=row[1], sm_percent=row[2]) for row in SURVEY["sampled"]]
    ratios, _ = sm_ratios(samples, pids, since_us=0, now_us=max(each.timestamp_us for each in samples))
    processes = [process(pid, memory_used_bytes=used, sm_ratio=ratios[pid]) for pid, used in SURVEY["listed"]]
    owners: dict[int, CgroupOwner | None] = {int(pid): in_pod(POD_A) for pid in SURVEY["clients"]}
    sight = held(*processes, owners=owners | {SURVEY["server"]: HOST_SERVER}, memory=Memory())
    (holding,) = sight.holdings
    worked = SURVEY["clients"]["824"]["busy_ms"] / 14_400
    assert holding.busy_ppm == pytest.approx(worked * 1_000_000, rel=0.1)
    assert holding.memory_bytes == sum(used for pid, used in SURVEY["listed"] if pid != SURVEY["server"])
    assert sight.uses == ()


@pytest.mark.parametrize("owner", [HOST_SERVER, DAEMON_SERVER])
def test_an_idle_server_is_nobodys_use(owner: CgroupOwner) -> None:
    """Neither beside a holder without a process, who used nothing, nor on a card that nobody holds."""
    sight = held(server(), owners={827: owner})
    assert [(each.busy_ppm, each.memory_bytes) for each in sight.holdings] == [(0, 0)]
    assert sight.uses == ()
    free, _ = look(gpu(processes=(server(),)), kubelet=kubelet(), owners={827: owner})
    assert free.uses == ()


def test_credit_of_a_server_whose_clients_have_gone_is_nobodys_for_certain() -> None:
    """Whose they were cannot be said any more."""
    sight = held(server(sm_ratio=0.3), owners={827: HOST_SERVER})
    assert (sight.holdings[0].busy_ppm, sight.uses) == (None, ())


def test_a_strangers_client_beside_the_holders_makes_the_credit_unknown() -> None:
    """The server worked for both: for whom how long the driver does not say."""
    owners = {827: DAEMON_SERVER, 1: in_pod(POD_A), 2: CgroupOwner()}
    sight = held(server(sm_ratio=0.5), process(1, sm_ratio=0.0), process(2, sm_ratio=0.0), owners=owners)
    assert sight.holdings[0].busy_ppm is None
    assert [(use.container, use.busy_ppm) for use in sight.uses] == [("host", None)]


def test_a_strangers_clients_alone_on_a_free_card_did_what_the_server_is_credited_with() -> None:
    owners = {827: HOST_SERVER, 2: in_pod(POD_B)}
    card = gpu(processes=(server(sm_ratio=0.5), process(2, sm_ratio=0.1)))
    sight, _ = look(card, kubelet=kubelet(), owners=owners)
    assert [(use.container, use.busy_ppm) for use in sight.uses] == [(POD_B * 2, 600_000)]


def test_a_server_in_the_holders_own_pod_is_the_pods() -> None:
    """With the memory that it takes."""
    owners = {827: replace(in_pod(POD_A), mps_server=True), 1: in_pod(POD_A)}
    sight = held(server(sm_ratio=0.5), process(1, sm_ratio=0.1, memory_used_bytes=MIB), owners=owners)
    assert (sight.holdings[0].busy_ppm, sight.holdings[0].memory_bytes) == (600_000, 67 * MIB)


def test_before_its_first_process_it_is_not_known_whether_a_server_is_the_pods_own() -> None:
    sight = held(server(), owners={827: DAEMON_SERVER}, memory=Memory())
    assert (sight.holdings[0].busy_ppm, sight.holdings[0].memory_bytes) == (None, None)


def test_a_borrowed_name_does_not_hide_a_workload() -> None:
    """Any process may call itself so; one with a workload's memory is use without allocation."""
    greedy = server(sm_ratio=0.9, memory_used_bytes=MPS_SERVER_BYTES_MAX + 1)
    sight = held(greedy, owners={827: HOST_SERVER})
    assert [(use.container, use.memory_bytes) for use in sight.uses] == [("host", MPS_SERVER_BYTES_MAX + 1)]
    free, _ = look(gpu(processes=(greedy,)), kubelet=kubelet(), owners={827: DAEMON_SERVER})
    assert [(use.container, use.busy_ppm) for use in free.uses] == [(POD_B * 2, 900_000)]


def test_memory_beside_a_servers_own_still_hides_a_process() -> None:
    """A driver lists no process of another pid namespace: what the server does not account for gives it away."""
    card = gpu(processes=(server(),), memory_used_bytes=66 * MIB + 2048 * MIB)
    sight, _ = look(card, kubelet=kubelet(given("p")), owners={827: HOST_SERVER}, memory=HOLDER_IS_A)
    assert sight.holdings[0].memory_bytes is None


def test_a_real_process_is_known_by_its_name(tmp_path: Path) -> None:
    """As the kernel cuts it, from the moment that it is executed."""
    for name in ("nvidia-cuda-mps-server", "train"):
        (tmp_path / name).write_text("#!/bin/sh\nread forever\n")
        (tmp_path / name).chmod(0o755)
    reader = CgroupReader(Path("/proc"))
    with (
        subprocess.Popen([tmp_path / "nvidia-cuda-mps-server"], stdin=subprocess.PIPE) as running,
        subprocess.Popen([tmp_path / "train"], stdin=subprocess.PIPE) as other,
    ):
        try:
            until = time.monotonic() + START_TIMEOUT_S
            while not ((owner := reader.owner_of(running.pid)) and owner.mps_server):
                assert time.monotonic() < until
            plain = reader.owner_of(other.pid)
            assert plain is not None
            assert not plain.mps_server
        finally:
            running.kill()
            other.kill()


@pytest.mark.parametrize(
    ("cgroup", "owner"),
    [
        ("0::/", None),
        (f"0::/kubepods/pod{POD_A}/{POD_A * 2}", CgroupOwner(pod_uid=POD_A, container_id=POD_A * 2)),
    ],
)
def test_a_zombie_outside_its_cgroup_is_not_the_hosts(tmp_path: Path, cgroup: str, owner: CgroupOwner | None) -> None:
    """Under cgroup v1 a process that has ended is in the root: whose it was is not known any more."""
    directory = tmp_path / "7"
    directory.mkdir()
    fields = ["Z", *"0" * 18, "100", *"0" * 30]
    (directory / "stat").write_text(f"7 (python3) {' '.join(fields)}\n")
    (directory / "cgroup").write_text(cgroup + "\n")
    assert CgroupReader(tmp_path).owner_of(7) == owner
