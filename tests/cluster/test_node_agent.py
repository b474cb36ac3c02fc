"""On a real node: the agent's own pod, its token, a kubelet that is restarted, cards that are cut into shares."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chargeback.core.hours import HOUR_MS, format_hour
from exporter import wire
from tests.cluster import pushed, shipped_agent
from tests.cluster.control_plane import Refused
from tests.cluster.device_plugin import device_plugin
from tests.cluster.lab import CLUSTER, NAMESPACE, NODE, Lab, lab, now_ms
from tests.cluster.node import Container
from tests.cluster.processes import descendants, listening
from tests.nvml.fake import FakeNvml
from tests.programs import wait_for

CARDS, SLICES, SLICE = "nvidia.com/gpu", 2, "nvidia.com/mig-1g.10gb"
OFFERS = {CARDS: 3, SLICE: SLICES}
BEAT_MS = shipped_agent.BEAT_S * 1000
HOLDS_MS = 3 * BEAT_MS  # what a beat saw counts until the next one, if that comes so soon


def fill(nvml: FakeNvml) -> None:
    for _ in range(OFFERS[CARDS]):
        nvml.add_gpu()
    nvml.add_gpu(mig=["1g.10gb"] * SLICES)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("node"), fill, OFFERS) as made:
        yield made


@pytest.fixture
def agent(cluster: Lab) -> Container:
    """The agent's container."""
    name = shipped_agent.agent_pod(cluster.node)
    assert name is not None
    container = cluster.node.container(shipped_agent.NAMESPACE, name, shipped_agent.NAME)
    assert container is not None
    return container


@pytest.fixture
def token(agent: Container) -> str:
    """What the kubelet has put into the agent's pod."""
    return (agent.root / "etc/gpu-exporter/token").read_text()


def push(cluster: Lab, token: str, node: str) -> tuple[int, str]:
    """Status and text of the aggregator's answer to an account of nothing, of a day ago."""
    hour = format_hour(now_ms() // HOUR_MS - 24)
    body = wire.NodeHour(
        v=1, cluster=CLUSTER, node=node, instance="by-hand", started=1, seq=1, hour=hour, through=0, final=False
    )
    request = urllib.request.Request(
        f"{cluster.server.url}/v1/node-hours/{CLUSTER}/{node}/{hour}",
        method="PUT",
        data=wire.encode(body),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def start_and_wait(cluster: Lab, pod: str, **devices: int) -> set[str]:
    """The devices that the plugin gave to a new pod's container."""
    container = {"name": "main", "command": ["sleep", "1000"], "resources": {"limits": devices}}
    cluster.node.start_pod(NAMESPACE, pod, container)
    return cluster.running(pod).visible_devices


def kubelet_answers(cluster: Lab) -> bool | None:
    """What the agent says of it; None where the agent does not answer."""
    found = cluster.samples("gpu_exporter_collector_success")
    return next((sample.value == 1 for sample in found if sample.labels["collector"] == "holdings"), None)


def seen_held(cluster: Lab, pod: str) -> set[str]:
    """The devices that the agent has seen the pod hold for some time."""
    return {
        sample.labels["uuid"] for sample in cluster.samples("gpu_held_seconds_total") if sample.labels["pod"] == pod
    }


def test_it_runs_as_shipped(agent: Container) -> None:
    """Ready by the kubelet's own probes; root without a capability, without new privileges, behind a filter."""
    lines = Path(f"/proc/{agent.pid}/status").read_text().splitlines()
    status = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    assert status["Uid"][0] == "0"
    assert {status[f"Cap{name}"][0] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])


def test_nothing_listens_beyond_loopback(cluster: Lab) -> None:
    """Of control plane, node, device plugin, aggregator and agent."""
    assert cluster.server.process.pid in (ours := descendants(os.getpid()))
    assert listening(ours) == {"127.0.0.1"}


def test_its_token_counts_for_its_own_node_only(cluster: Lab, token: str) -> None:
    """The API server knows which node it was made for: another's account is refused, and stored nowhere."""
    assert push(cluster, token, NODE)[0] == 200
    status, reason = push(cluster, token, "n2")
    assert status == 403
    assert "a pod on n1: want one on n2" in reason
    assert pushed.bodies(cluster.ledger, "n2") == []
    assert push(cluster, token[:-8] + "AAAAAAAA", NODE)[0] == 401


def test_its_token_is_for_the_aggregator_alone(cluster: Lab, token: str) -> None:
    """Bound to this pod and node, and refused by the API server itself."""
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert claims["aud"] == ["chargeback"]
    assert claims["kubernetes.io"]["node"]["name"] == NODE
    assert claims["kubernetes.io"]["pod"]["name"] == shipped_agent.agent_pod(cluster.node)
    with pytest.raises(Refused) as refused:
        cluster.plane.call("GET", "/api/v1/namespaces", token=token)
    assert refused.value.status == 401


def test_a_restarted_kubelet_moves_nothing(cluster: Lab) -> None:
    """Killed and started again it names the same holder of the same card; what nobody saw between is a gap."""
    given = start_and_wait(cluster, "keeps", **{CARDS: 2})
    wait_for("the agent sees it", lambda: given <= seen_held(cluster, "keeps"))
    cluster.node.kubelet.stop(kill=True)
    stopped_ms = now_ms()
    wait_for("the agent misses it", lambda: kubelet_answers(cluster) is False)
    time.sleep(4 * shipped_agent.BEAT_S)  # longer than a beat's sight holds at the most
    cluster.node.kubelet.start()
    wait_for("the agent sees it again", lambda: kubelet_answers(cluster) is True)
    bodies = cluster.bodies_through(now_ms() + 2 * BEAT_MS)
    found = [each for each in pushed.holdings(bodies) if each.device in given]
    assert {each.holder for each in found} == {(NAMESPACE, "keeps", "main")}
    for device in given:
        before, after = (each for each in found if each.device == device)
        assert before.end_ms <= stopped_ms + HOLDS_MS
        assert after.start_ms > stopped_ms
        assert after.end_ms == pushed.through_ms(bodies)
    cluster.delete_pod("keeps")


def test_shares_of_a_card_are_held_one_by_one(cluster: Lab) -> None:
    """Time-slicing as NVIDIA's plugin does it: the numbers of the shares are those that the kubelet noted."""
    cluster.plugin.stop()
    replicas = {CARDS: 4, SLICE: 2}
    offers = {resource: count * replicas[resource] for resource, count in OFFERS.items()}
    with device_plugin(cluster.node, cluster.nvml, cluster.library, offers, replicas=replicas):
        asked = {"one": {CARDS: 1}, "three": {CARDS: 3}, "slice": {SLICE: 1}}
        given = {pod: start_and_wait(cluster, pod, **devices) for pod, devices in asked.items()}
        noted = cluster.node.checkpoint()
        bodies = cluster.bodies_through(now_ms() + 2 * BEAT_MS)
    for pod, devices in given.items():
        found = [each for each in pushed.holdings(bodies) if each.holder[1] == pod]
        assert {each.device for each in found} == devices
        ids = {f"{each.device}::{share}" for each in found for share in each.records[-1].shares}
        assert ids == noted[cluster.pod(pod)["metadata"]["uid"], "main"]
        assert {record.evidence for each in found for record in each.records} == {"equal"}
    _, body = bodies[-1]
    assert {gpu.layouts[-1].shares for gpu in body.gpus if not gpu.layouts[-1].mig} == {replicas[CARDS]}
    assert {each.shares for each in body.instances if each.end == body.through} == {replicas[SLICE]}
