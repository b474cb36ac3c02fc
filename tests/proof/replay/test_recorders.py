"""The recorders: both programs run as ever, and what their doors said is on the tape."""

from __future__ import annotations

import json
import os
from pathlib import Path

import grpc
import pytest

from exporter import podresources_pb2 as v1
from tests.cluster.control_plane import AGGREGATOR_TOKEN, apply_shipped_rights, control_plane
from tests.kubelet_server import PodResourcesServer
from tests.nvml.fake import FakeNvml, build
from tests.nvml.tape import can_build
from tests.programs import running, wait_for
from tests.proof.replay.recording import Beat, Entry, News, object_of, read_lines

RECORDERS = "tests.proof.replay.recorders"


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
    assert facts.stat is not None
    assert facts.stat == f"{facts.pid} ({_name()})" + facts.stat.partition(")")[2]
    assert facts.cgroup == Path("/proc/self/cgroup").read_text()
    assert last.kubelet["/v1.PodResourcesLister/List"].details == "as the test wants it"


def test_what_the_api_says_is_on_the_tape(tmp_path: Path) -> None:
    """Lists and events as the API server wrote them, of what the aggregator follows and of nothing else."""
    tape = tmp_path / "aggregator.tape"
    with control_plane(tmp_path) as plane:
        apply_shipped_rights(plane)
        arguments = (
            *(str(tape), "aggregator", "serve", "--data", str(tmp_path), "--cluster", "lab"),
            *("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN))),
        )
        with running(RECORDERS, *arguments, log=tmp_path / "serve.log"):
            wait_for("the first list", lambda: _news(tape, "LISTED"))
            made = plane.create("/api/v1/namespaces", "Namespace", "ml", metadata={"labels": {"team": "red"}})
            wait_for("the namespace", lambda: "ml" in _names(tape, "ADDED"))
            plane.merge("/api/v1/namespaces/ml", {"metadata": {"labels": {"team": "blue"}}})
            wait_for("its other label", lambda: "ml" in _names(tape, "MODIFIED"))
    assert {"default", "kube-system"} <= _names(tape, "LISTED")
    (added,) = (found for each in _news(tape, "ADDED") for found in each.objects)
    assert object_of(added) == json.loads(json.dumps(made))
    changed = [object_of(found) for each in _news(tape, "MODIFIED") for found in each.objects]
    assert changed[-1]["metadata"]["labels"]["team"] == "blue"


def _beats(tape: Path) -> list[Beat]:
    return [each for each in tape_of(tape) if isinstance(each, Beat)]


def _news(tape: Path, event: str) -> list[News]:
    found = [each for each in tape_of(tape) if isinstance(each, News)]
    return [each for each in found if (each.kind, each.event) == ("namespaces", event)]


def _names(tape: Path, event: str) -> set[str]:
    return {object_of(found)["metadata"]["name"] for each in _news(tape, event) for found in each.objects}


def _name() -> str:
    return Path("/proc/self/comm").read_text().strip()
