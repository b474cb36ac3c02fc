"""The recorders: the program runs as ever, and what its doors said is on the tape."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

from exporter import podresources_pb2 as v1
from tests.kubelet_server import PodResourcesServer
from tests.nvml.fake import FakeNvml, build
from tests.nvml.tape import can_build
from tests.programs import running, wait_for
from tests.proof.recording import Beat, Entry, read_lines

RECORDERS = "tests.proof.recorders"


def tape_of(file: Path) -> list[Entry]:
    return read_lines(file.read_bytes()) if file.exists() else []


@pytest.mark.skipif(not can_build(), reason="no gcc here: install gcc and libc6-dev")
def test_an_agents_doors_are_on_the_tape(tmp_path: Path) -> None:
    """Cards as the door to NVML gives them, the kubelet's own bytes and failures, and texts of /proc."""
    library, tape = build(tmp_path), tmp_path / "agent.tape"
    with FakeNvml(tmp_path / "nvml.state") as nvml, PodResourcesServer(tmp_path / "kubelet.sock") as kubelet:
        card = nvml.add_gpu()
        uuid = card.uuid
        card.add_process(os.getpid(), memory_mib=100, sm_percent=50)
        kubelet.offer("nvidia.com/gpu", [uuid])
        kubelet.give("ml", "train", "main", "nvidia.com/gpu", [uuid])
        arguments = (
            *(str(tape), "agent", "--cluster", "lab", "--node", "n1", "--beat", "1s"),
            *("--kubelet-socket", str(tmp_path / "kubelet.sock")),
        )
        environment = {"LD_LIBRARY_PATH": str(library.parent), "FAKE_NVML_STATE": str(nvml.path)}
        with running(RECORDERS, *arguments, log=tmp_path / "agent.log", env=environment):
            wait_for("two beats", lambda: len(tape_of(tape)) >= 2)
            kubelet.fail(grpc.StatusCode.UNAVAILABLE)
            wait_for("a beat without a kubelet", lambda: any(each.code for each in _beats(tape)[-1].kubelet.values()))
    first, *_, last = _beats(tape)
    assert first.cards is not None
    assert [gpu.uuid for gpu in first.cards.gpus] == [uuid]
    listed = v1.ListPodResourcesResponse.FromString(first.kubelet["/v1.PodResourcesLister/List"].message)
    assert [pod.name for pod in listed.pod_resources] == ["train"]
    (facts,) = first.processes
    assert facts.pid == os.getpid()
    assert facts.stat == f"{facts.pid} ({_name()})" + facts.stat.partition(")")[2]
    assert facts.cgroup == Path("/proc/self/cgroup").read_text()
    assert last.kubelet["/v1.PodResourcesLister/List"].details == "as the test wants it"


def _beats(tape: Path) -> list[Beat]:
    return [each for each in tape_of(tape) if isinstance(each, Beat)]


def _name() -> str:
    return Path("/proc/self/comm").read_text().strip()
