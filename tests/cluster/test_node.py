"""On a real node: what the shipped agent says is what the kubelet, the device plugin and the API server say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from chargeback.core.hours import HOUR_MS
from tests.cluster import pushed, shipped_agent
from tests.cluster.lab import COST_CENTER, NAMESPACE, NODE, Lab, lab, now_ms, wait_until
from tests.cluster.node import Container
from tests.cluster.pushed import Held
from tests.nvml.fake import MIB, FakeNvml
from tests.programs import wait_for

SKU = "gpu.h100-80gb-hbm3"
ALL_TIME = "from=2020-01-01&until=2100-01-01"
CARD, SLICE = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"
OFFERS = {CARD: 4, SLICE: 2, "nvidia.com/mig-3g.40gb": 1}
BEAT_MS = shipped_agent.BEAT_S * 1000
API_RESOLUTION_MS = 1000
# What a beat saw counts until the next one, if that comes so soon; were it later, there would be a gap, and is none.
HOLDS_MS = 3 * BEAT_MS
ROUNDING_MS = 4  # of a millionth of an hour
PROCESS_MIB, PROCESS_PERCENT = 20_480, 50


def fill(nvml: FakeNvml) -> None:
    for _ in range(OFFERS[CARD]):
        nvml.add_gpu()
    nvml.add_gpu(mig=["3g.40gb", "1g.10gb", "1g.10gb"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What happened.

    job, mirror  the names of the Job's pod, and of the static pod's mirror
    pods         as the API server last had them, before any was deleted
    visible      devices the plugin gave, by (pod, container)
    checkpoint   devices the kubelet noted, by (UID of the pod, container)
    job_over_ms  when the API server knew that the Job's pod is over: the kubelet lists it no more
    worked_ms    since when there is a process on the two cards
    tune_went    when the pod `tune` was told to go, and when the API server had it no more
    """

    job: str
    mirror: str
    bodies: list[pushed.Body]
    held: list[Held]
    pods: dict[str, dict[str, Any]]
    visible: dict[tuple[str, str], set[str]]
    checkpoint: dict[tuple[str, str], set[str]]
    stray: Container
    job_over_ms: int
    worked_ms: int
    tune_went: tuple[int, int]

    def of(self, pod: str) -> list[Held]:
        return [each for each in self.held if each.holder[1] == pod]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("node"), fill, OFFERS) as made:
        yield made


@pytest.fixture(scope="module")
def past(cluster: Lab) -> Past:
    """Pods of every kind come, work, crash and go; the agent watches and pushes."""
    start_pods(cluster)
    mirror = f"still-{NODE}"
    names = ((mirror, "main"), ("train", "main"), ("train", "proxy"), ("tune", "main"), ("crash", "main"))
    running = {(pod, name): cluster.running(pod, name) for pod, name in names}
    visible = {key: container.visible_devices for key, container in running.items()}
    worked_ms = now_ms()
    for key in (("train", "main"), (mirror, "main")):
        put_process(cluster, running[key], visible[key])
    cluster.node.start_job(NAMESPACE, "short", container("main", 'echo "$NVIDIA_VISIBLE_DEVICES"; sleep 5', CARD))
    job = wait_until("the job's pod", lambda: cluster.node.pod_of_job(NAMESPACE, "short"))
    wait_for("the job's end", lambda: cluster.pod(job)["status"]["phase"] == "Succeeded")
    job_over_ms = now_ms()
    visible[job, "main"] = {cluster.node.log(NAMESPACE, job, "main").strip()}
    checkpoint = cluster.node.checkpoint()
    stray = cluster.running("stray")
    put_process(cluster, stray, visible[job, "main"])
    wait_for("the restart", lambda: cluster.pod("crash")["status"]["containerStatuses"][0]["restartCount"] > 0)
    pods = {name: cluster.pod(name) for name in (job, mirror, "train", "tune", "crash", "stray")}
    tune_went = (now_ms(), cluster.delete_pod("tune"))
    bodies = cluster.bodies_through(now_ms() + 2 * BEAT_MS)
    held = pushed.holdings(bodies)
    return Past(
        job=job,
        mirror=mirror,
        bodies=bodies,
        held=held,
        pods=pods,
        visible=visible,
        checkpoint=checkpoint,
        stray=stray,
        job_over_ms=job_over_ms,
        worked_ms=worked_ms,
        tune_went=tune_went,
    )


def container(name: str, script: str, resource: str = "", count: int = 1) -> dict[str, Any]:
    limits = {resource: count} if resource else {}
    return {"name": name, "command": ["sh", "-c", script], "resources": {"limits": limits}}


def start_pods(cluster: Lab) -> None:
    start = cluster.node.start_pod
    cluster.node.start_static_pod(NAMESPACE, "still", container("main", "sleep 1000", CARD))
    start(NAMESPACE, "train", container("main", "sleep 1000", CARD, 2), container("proxy", "sleep 1000"))
    start(NAMESPACE, "tune", container("main", "sleep 1000", SLICE))
    start(NAMESPACE, "crash", container("main", "sleep 3; exit 3", "nvidia.com/mig-3g.40gb"))
    start(NAMESPACE, "stray", container("main", "sleep 1000"))


def put_process(cluster: Lab, worker: Container, cards: set[str]) -> None:
    """Have the driver say that the container's process works on these cards."""
    for gpu in cluster.nvml.gpus:
        if gpu.uuid in cards:
            gpu.add_process(worker.node_pid, memory_mib=PROCESS_MIB, sm_percent=PROCESS_PERCENT)


def uid_on_node(pod: dict[str, Any]) -> str:
    """The kubelet's: of a static pod it is the hash of its manifest, and the API server's mirror has another."""
    metadata = pod["metadata"]
    return str(metadata.get("annotations", {}).get("kubernetes.io/config.mirror", metadata["uid"]))


def api_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def bind_ms(pod: dict[str, Any]) -> int:
    bound = next(each for each in pod["status"]["conditions"] if each["type"] == "PodScheduled")
    return api_ms(bound["lastTransitionTime"])


def seen_within_a_beat(at_ms: int, event_ms: int) -> bool:
    """event_ms: a whole second of the API server's; the event itself was up to one later."""
    return event_ms - BEAT_MS <= at_ms <= event_ms + API_RESOLUTION_MS + HOLDS_MS


def test_every_container_holds_what_the_plugin_gave_it(past: Past) -> None:
    """No more, no less: by the container's environment, by the kubelet's checkpoint, by what its pod asked for."""
    held: dict[tuple[str, str], set[str]] = {}
    for each in past.held:
        assert each.holder[0] == NAMESPACE
        held.setdefault(each.holder[1:], set()).add(each.device)
    assert held == {key: devices for key, devices in past.visible.items() if devices}
    by_uid = {(uid_on_node(past.pods[pod]), container): devices for (pod, container), devices in held.items()}
    assert by_uid == past.checkpoint
    for (pod, name), devices in past.visible.items():
        container = next(each for each in past.pods[pod]["spec"]["containers"] if each["name"] == name)
        assert len(devices) == sum(map(int, container["resources"].get("limits", {}).values()))


def test_two_cards_are_held_whole_from_admission_on(past: Past) -> None:
    """Two records, one a card; the sidecar without a device has none."""
    found = past.of("train")
    assert [each.holder[2] for each in found] == ["main", "main"]
    assert {(record.resource, record.evidence) for each in found for record in each.records} == {(CARD, "exclusive")}
    started = api_ms(past.pods["train"]["status"]["startTime"])
    assert all(seen_within_a_beat(each.start_ms, started) for each in found)
    through = pushed.through_ms(past.bodies)
    assert {each.end_ms for each in found} == {through}


def test_a_mig_slice_is_held_until_its_pod_is_gone(cluster: Lab, past: Past) -> None:
    """Under its profile's resource, as an instance of its card; when the pod goes, the slice is free."""
    (found,) = past.of("tune")
    assert {(record.resource, record.evidence) for record in found.records} == {(SLICE, "mig")}
    instances = [each for _, body in past.bodies for each in body.instances if each.uuid == found.device]
    assert {(each.profile, each.gpu) for each in instances} == {("1g.10gb", cluster.nvml.gpus[-1].uuid)}
    assert seen_within_a_beat(found.start_ms, api_ms(past.pods["tune"]["status"]["startTime"]))
    told_ms, gone_ms = past.tune_went
    assert told_ms <= found.end_ms <= gone_ms + HOLDS_MS


def test_a_job_of_five_seconds_is_held_for_five_seconds(past: Past) -> None:
    """One holding, from admission to when the kubelet had buried its process and the sandbox, each within a beat."""
    (found,) = past.of(past.job)
    status = past.pods[past.job]["status"]
    ended = status["containerStatuses"][0]["state"]["terminated"]
    assert seen_within_a_beat(found.start_ms, api_ms(status["startTime"]))
    assert api_ms(ended["finishedAt"]) - BEAT_MS <= found.end_ms <= past.job_over_ms + HOLDS_MS


def test_a_crash_does_not_end_a_holding(past: Past) -> None:
    """The pod keeps its device while its container is restarted: so it pays."""
    (found,) = past.of("crash")
    status = past.pods["crash"]["status"]
    assert status["containerStatuses"][0]["restartCount"] >= 1
    assert seen_within_a_beat(found.start_ms, api_ms(status["startTime"]))
    assert found.end_ms == pushed.through_ms(past.bodies)


def test_a_process_is_its_pods_by_its_cgroup(past: Past) -> None:
    """What the driver says of a process in a container is its pod's usage, under the UID the API server gave it."""
    for each in past.of("train"):
        assert {record.pod_uid for record in each.records[1:]} <= {past.pods["train"]["metadata"]["uid"]}
        assert each.records[-1].pod_uid is not None
        present_ms = sum(record.memory_byte_seconds or 0 for record in each.records) * 1000 / (PROCESS_MIB * MIB)
        assert abs(each.end_ms - present_ms - past.worked_ms) <= HOLDS_MS
        busy_ms = sum(record.busy_ms or 0 for record in each.records)
        assert busy_ms == pytest.approx(present_ms * PROCESS_PERCENT / 100, abs=len(each.records))


def test_a_static_pod_goes_by_its_mirrors_name(past: Past) -> None:
    """But its processes bear the hash of its manifest as UID."""
    (found,) = past.of(past.mirror)
    mirror = past.pods[past.mirror]
    assert found.holder == (NAMESPACE, mirror["metadata"]["name"], "main")
    assert found.records[-1].pod_uid == uid_on_node(mirror) != mirror["metadata"]["uid"]


def test_a_process_on_a_card_its_pod_does_not_hold_is_reported(past: Past) -> None:
    """By the container that the runtime knows; it makes no holding."""
    assert past.of("stray") == []
    used = [use for _, body in past.bodies for use in body.unallocated_use]
    (card,) = past.visible[past.job, "main"]
    assert {(use.device, use.container) for use in used} == {(card, past.stray.container_id)}
    assert sum(use.busy_ms or 0 for use in used) > 0


def test_the_account_balances_over_what_the_node_offers(cluster: Lab, past: Past) -> None:
    """As many cards and slices as the API server shows, all observed without a gap."""
    _, body = past.bodies[-1]
    whole = [gpu for gpu in body.gpus if not gpu.layouts[-1].mig]
    counted = {CARD: len(whole)}
    for each in body.instances:
        counted[f"nvidia.com/mig-{each.profile}"] = counted.get(f"nvidia.com/mig-{each.profile}", 0) + 1
    assert counted == {resource: int(count) for resource, count in cluster.node.allocatable().items()}
    assert {len(gpu.observed) for gpu in body.gpus} == {1}
    assert {gpu.observed[0][1] for gpu in body.gpus} == {body.through}
    assert not any(gpu.unhealthy for gpu in body.gpus)


def test_the_pods_owner_pays_for_what_they_held(cluster: Lab, past: Past) -> None:
    """On the ledger so far: the namespace's label names the account; a pod pays from its bind, which beats follow."""
    before: list[pushed.Body] = []
    costs: list[dict[str, Any]] = []

    def compared() -> bool:
        """The ledger of one and the same push."""
        nonlocal before, costs
        before = pushed.bodies(cluster.ledger, NODE)
        found: Any = cluster.server.get_json(f"/v1/costs?{ALL_TIME}&group_by=account,namespace,kind,sku")
        costs = found["costs"]
        return pushed.bodies(cluster.ledger, NODE) == before

    wait_for("a quiet moment", compared)
    of_pods = {cost["sku"]: cost for cost in costs if cost["namespace"] == NAMESPACE}
    assert {(cost["account"], cost["kind"]) for cost in of_pods.values()} == {(COST_CENTER, "held")}
    assert of_pods.keys() == {SKU, f"{SKU}.mig-1g.10gb", f"{SKU}.mig-3g.40gb"}
    whole = [each for each in pushed.holdings(before) if each.device.startswith("GPU-")]
    seen_ms = sum(each.end_ms - each.start_ms for each in whole)
    bound_ms = sum(max(0, each.start_ms - bind_ms(past.pods[each.holder[1]])) for each in whole)
    paid_ms = float(of_pods[SKU]["gpu_hours"]) * HOUR_MS
    assert seen_ms - ROUNDING_MS <= paid_ms <= seen_ms + bound_ms + ROUNDING_MS
