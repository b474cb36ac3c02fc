"""The kubelet's door against a real server on a real socket."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from exporter.kubelet import TRIES_MAX, Kubelet, KubeletError
from exporter.reading import Allocation, KubeletReading
from tests.kubelet_server import PodResourcesServer

GPU_A = "GPU-7d0f2c1e-41aa-4e0f-9d6b-0c8f2a9be351"
GPU_B = "GPU-e1b05a77-90c4-47d2-b1f3-6a2d8c5e7f04"
MIG = "MIG-5b1c9f60-2f0e-5d7a-8f6c-e4b7a1d20c93"


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    return tmp_path / "kubelet.sock"


@pytest.fixture
def server(socket_path: Path) -> Iterator[PodResourcesServer]:
    with PodResourcesServer(socket_path) as server:
        yield server


@pytest.fixture
def kubelet(socket_path: Path) -> Kubelet:
    return Kubelet(socket_path, timeout_s=10.0)


def held(device_id: str, *, container: str = "main", resource: str = "nvidia.com/gpu") -> Allocation:
    return Allocation(namespace="team-a", pod="train-0", container=container, resource=resource, device_id=device_id)


def test_a_node_without_pods(server: PodResourcesServer, kubelet: Kubelet) -> None:
    assert kubelet.list_pods() == KubeletReading()


def test_two_gpus_of_one_container(server: PodResourcesServer, kubelet: Kubelet) -> None:
    """Two entries of one resource with one id each, as the kubelet writes them."""
    server.give("team-a", "train-0", "main", "nvidia.com/gpu", [GPU_A, GPU_B])
    assert kubelet.list_pods().allocations == (held(GPU_A), held(GPU_B))


def test_a_sidecar_without_devices_holds_nothing(server: PodResourcesServer, kubelet: Kubelet) -> None:
    server.give("team-a", "train-0", "proxy")
    server.give("team-a", "train-0", "main", "nvidia.com/gpu", [GPU_A])
    assert kubelet.list_pods().allocations == (held(GPU_A),)


def test_shares_of_one_card_stay_apart_and_verbatim(server: PodResourcesServer, kubelet: Kubelet) -> None:
    server.give("team-a", "train-0", "main", "nvidia.com/gpu.shared", [f"{GPU_A}::2", f"{GPU_A}::0"])
    resource = "nvidia.com/gpu.shared"
    assert kubelet.list_pods().allocations == (
        held(f"{GPU_A}::2", resource=resource),
        held(f"{GPU_A}::0", resource=resource),
    )


def test_mig_and_renamed_resources(server: PodResourcesServer, kubelet: Kubelet) -> None:
    """Under NVIDIA's name any id is kept, under another's only what looks like a GPU."""
    server.give("team-a", "train-0", "main", "nvidia.com/mig-1g.10gb", [MIG])
    server.give("team-a", "train-0", "main", "nvidia.com/gpu", ["nvidia0/vgpu1"])
    server.give("team-a", "train-0", "main", "example.com/training-gpu", [GPU_B])
    server.give("team-a", "train-0", "main", "rdma/hca", ["0000:3b:00.1"])
    assert kubelet.list_pods().allocations == (
        held(MIG, resource="nvidia.com/mig-1g.10gb"),
        held("nvidia0/vgpu1"),
        held(GPU_B, resource="example.com/training-gpu"),
    )


def test_devices_claimed_by_dra(server: PodResourcesServer, kubelet: Kubelet) -> None:
    """The second device carries the CDI name of the first too, as in 1.36; other drivers' devices are no GPUs."""
    server.claim("team-a", "train-0", "main", "two-gpus", "gpu-0", cdi=["k8s.gpu.nvidia.com/claim=a"])
    server.claim("team-a", "train-0", "main", "two-gpus", "gpu-1-mig-1g10gb-19-0", cdi=["…=a", "…=b"])
    server.claim("team-a", "train-0", "main", "domain", "channel-0", driver="compute-domain.nvidia.com")
    expected = [
        Allocation(
            namespace="team-a",
            pod="train-0",
            container="main",
            resource="gpu.nvidia.com",
            device_id=f"gpu.nvidia.com/node-1/{device}",
            source="dra",
            claim="team-a/two-gpus",
        )
        for device in ("gpu-0", "gpu-1-mig-1g10gb-19-0")
    ]
    assert list(kubelet.list_pods().allocations) == expected


def test_a_shared_claim_has_two_holders(server: PodResourcesServer, kubelet: Kubelet) -> None:
    server.claim("team-a", "train-0", "main", "shared", "gpu-0")
    server.claim("team-a", "train-1", "main", "shared", "gpu-0")
    assert [allocation.pod for allocation in kubelet.list_pods().allocations] == ["train-0", "train-1"]


def test_what_is_offered(server: PodResourcesServer, kubelet: Kubelet) -> None:
    server.offer("nvidia.com/gpu", [GPU_A, GPU_B])
    server.offer("intel.com/sriov", ["0000:3b:00.1"])
    assert kubelet.list_pods().offered == (("nvidia.com/gpu", GPU_A), ("nvidia.com/gpu", GPU_B))


def test_what_ended_is_gone(server: PodResourcesServer, kubelet: Kubelet) -> None:
    server.give("team-a", "train-0", "main", "nvidia.com/gpu", [GPU_A])
    kubelet.list_pods()
    server.take("team-a", "train-0")
    assert kubelet.list_pods().allocations == ()


def test_the_socket_is_replaced_while_running(socket_path: Path, kubelet: Kubelet) -> None:
    """A restart of the kubelet between two readings goes unnoticed."""
    for gpu in (GPU_A, GPU_B, GPU_A):
        with PodResourcesServer(socket_path) as server:
            server.give("team-a", "train-0", "main", "nvidia.com/gpu", [gpu])
            assert kubelet.list_pods().allocations == (held(gpu),)


def test_readings_while_the_kubelet_is_away_do_not_delay_its_return(socket_path: Path, kubelet: Kubelet) -> None:
    """gRPC waits longer after every failed attempt; the agent's next reading must not."""
    with PodResourcesServer(socket_path):
        kubelet.list_pods()
    for _ in range(5):
        with pytest.raises(KubeletError):
            kubelet.list_pods()
    with PodResourcesServer(socket_path):
        assert kubelet.list_pods() == KubeletReading()


def test_a_missing_socket(socket_path: Path, kubelet: Kubelet) -> None:
    """The complaint names the socket, what happened and what to do."""
    with pytest.raises(KubeletError) as caught:
        kubelet.list_pods()
    message = str(caught.value)
    assert message.startswith(f"{socket_path}: List failed with UNAVAILABLE (")
    assert "No such file or directory" in message
    assert "check that the kubelet runs" in message


def test_a_refusal_for_haste_is_tried_again(server: PodResourcesServer, kubelet: Kubelet) -> None:
    server.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, times=TRIES_MAX - 1)
    assert kubelet.list_pods() == KubeletReading()
    assert server.calls == ["List"] * TRIES_MAX + ["GetAllocatableResources"]


def test_refusals_for_haste_are_given_up(server: PodResourcesServer, kubelet: Kubelet) -> None:
    server.fail(grpc.StatusCode.RESOURCE_EXHAUSTED)
    with pytest.raises(KubeletError, match=r"rejected by rate limit.*100 requests a second"):
        kubelet.list_pods()
    assert server.calls == ["List"] * TRIES_MAX
    server.heal()
    assert kubelet.list_pods() == KubeletReading()


def test_other_errors_are_not_tried_again(server: PodResourcesServer, kubelet: Kubelet) -> None:
    server.fail(grpc.StatusCode.INTERNAL)
    with pytest.raises(KubeletError, match="INTERNAL"):
        kubelet.list_pods()
    assert server.calls == ["List"]


def test_an_answer_of_16_mib(server: PodResourcesServer, kubelet: Kubelet) -> None:
    """Four times what gRPC takes by default."""
    for number in range(17):
        server.give("team-b", f"{number}-" + "x" * 1024 * 1024, "main")
    server.give("team-a", "train-0", "main", "nvidia.com/gpu", [GPU_A])
    assert kubelet.list_pods().allocations == (held(GPU_A),)


def test_a_slow_kubelet_meets_the_deadline(server: PodResourcesServer, socket_path: Path) -> None:
    server.slow_down(60)
    kubelet = Kubelet(socket_path, timeout_s=0.2)
    started = time.monotonic()
    with pytest.raises(KubeletError, match=r"DEADLINE_EXCEEDED.*look at the kubelet's log"):
        kubelet.list_pods()
    assert time.monotonic() - started < 10


def test_importing_the_door_loads_nothing_for_the_socket() -> None:
    """An agent that simulates its node starts without the 3 MiB; grpcio's 15 MiB no agent ever loads."""
    code = "import sys, exporter.kubelet; sys.exit('h2' in sys.modules or 'google.protobuf' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
