"""A GPU process becomes a line: the C NVML, a PodResources socket, a process in a real cgroup, both real programs."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubelet_server import PodResourcesServer
from tests.nvml.fake import FakeNvml, build
from tests.programs import Program, running, wait_for

POD_UID = str(uuid.uuid4())
CONTAINER_ID = uuid.uuid4().hex * 2

PRICES = """
currency: USD
prices:
  - {model: NVIDIA H100 80GB HBM3, price: "3.60", unit: gpu-hour}
"""
NAMESPACES = "kind: Namespace\nmetadata: {name: ml-research, labels: {cost-center: rd-001, team: research}}\n"


@pytest.fixture
def pod_process() -> Iterator[subprocess.Popen[bytes]]:
    """A real process in the cgroup that a kubelet would have made for its container."""
    if os.geteuid() != 0:
        pytest.skip("making a cgroup takes root")
    mount = next((path for path in map(Path, ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")) if path.is_dir()), None)
    assert mount is not None
    root = mount / f"gpu-chargeback-test-{uuid.uuid4().hex}"
    levels = [
        root,
        root / "kubepods",
        root / f"kubepods/pod{POD_UID}",
        root / f"kubepods/pod{POD_UID}/{CONTAINER_ID}",
    ]
    made: list[Path] = []
    try:
        for level in levels:
            level.mkdir()
            made.append(level)
        with subprocess.Popen(["sleep", "300"]) as process:
            try:
                (made[-1] / "cgroup.procs").write_text(str(process.pid))
                yield process
            finally:
                process.kill()
    finally:
        for level in reversed(made):
            level.rmdir()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "prices.yaml").write_text(PRICES)
    (tmp_path / "namespaces.yaml").write_text(NAMESPACES)
    arguments = (
        *("serve", "--data", str(tmp_path), "--cluster", "lab"),
        *("--owners", str(tmp_path / "namespaces.yaml"), "--prices", str(tmp_path / "prices.yaml")),
    )
    with running("chargeback.cli.main", *arguments, log=tmp_path / "serve.log") as program:
        yield program


def provisional(server: Program) -> list[dict[str, object]]:
    found = server.get_json("/v1/costs?from=2020-01-01&until=2100-01-01&group_by=account,namespace,kind,sku")
    costs: list[dict[str, object]] = found["costs"]  # type: ignore[assignment]
    assert all(cost["provisional"] for cost in costs)
    return costs


def micros(text: object) -> int:
    return int(str(text).replace(".", ""))


def test_a_gpu_process_becomes_a_line(tmp_path: Path, server: Program, pod_process: subprocess.Popen[bytes]) -> None:
    """Held card, MIG slice and idle card are on the ledger and on both pages within seconds."""
    library = build(tmp_path)
    with FakeNvml(tmp_path / "nvml.state") as nvml, PodResourcesServer(tmp_path / "kubelet.sock") as kubelet:
        whole, idle = nvml.add_gpu(), nvml.add_gpu()
        label = f'uuid="{whole.uuid}"'
        sliced = nvml.add_gpu(mig=["3g.40gb", "1g.10gb"])
        whole.add_process(pod_process.pid, memory_mib=20_480, sm_percent=50)
        kubelet.offer("nvidia.com/gpu", [whole.uuid, idle.uuid])
        kubelet.offer("nvidia.com/mig-3g.40gb", [sliced.instances[0].uuid])
        kubelet.offer("nvidia.com/mig-1g.10gb", [sliced.instances[1].uuid])
        kubelet.give("ml-research", "train-0", "main", "nvidia.com/gpu", [whole.uuid])
        kubelet.give("ml-research", "tune-0", "main", "nvidia.com/mig-3g.40gb", [sliced.instances[0].uuid])
        kubelet.give("kube-system", "dns-0", "dns")
        agent_arguments = (
            *("--cluster", "lab", "--node", "n1", "--beat", "1s", "--push", server.url),
            *("--kubelet-socket", str(tmp_path / "kubelet.sock"), "--spool", str(tmp_path / "spool")),
        )
        environment = {"LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML_STATE": str(nvml.path)}
        with running("exporter.cli", *agent_arguments, log=tmp_path / "agent.log", env=environment) as agent:
            page = ""

            def seen() -> bool:
                nonlocal page
                page = agent.get("/metrics").decode()
                return "gpu_busy_seconds_total{" in page

            wait_for("the agent sees the process", seen)
        # The second agent finds the spool, and pushes at once what the first had seen.
        with running("exporter.cli", *agent_arguments, log=tmp_path / "agent.log", env=environment):
            wait_for("the pod's line", lambda: any(cost["account"] == "rd-001" for cost in provisional(server)))
    costs = {(cost["account"], cost["kind"], cost["sku"]): cost for cost in provisional(server)}
    h100 = "gpu.h100-80gb-hbm3"
    held, slice_held = costs["rd-001", "held", h100], costs["rd-001", "held", f"{h100}.mig-3g.40gb"]
    assert held["namespace"] == "ml-research"
    # 3.60 an hour is one micro a millisecond: amounts are the milliseconds observed.
    ms = micros(held["amount"])
    assert ms >= 1000
    assert abs(ms - round(micros(held["gpu_hours"]) * 3.6)) <= 2
    assert ms * 3 // 7 - micros(slice_held["amount"]) in (0, 1)  # 1: the hour has ended meanwhile, and both were cut
    assert ("platform:idle", "free", h100) in costs
    assert ("platform:idle", "unpartitioned", h100) in costs
    assert any(
        "gpu_busy_seconds_total{" in line and label in line and 'pod="train-0"' in line for line in page.splitlines()
    )
