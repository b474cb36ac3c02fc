"""The witness alone: it shares nothing with whom it doubts, and sees what API server and kubelet say."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.control_plane import ADMIN_TOKEN, ControlPlane, control_plane
from tests.programs import wait_for
from tests.proof.witness.lives import Life, Owners, clock
from tests.proof.witness.testimony import Card, Mig, Slice
from tests.proof.witness.watching import ADDED, DELETED, MODIFIED, Note
from tests.proof.witness.witness import Witness

GPU, MODEL = "GPU-1", "NVIDIA H100 80GB HBM3"
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "module", ["witness.witness", "witness.testimony", "witness.watching", "comparison.comparison", "report"]
)
def test_it_shares_no_code_with_the_product(module: str) -> None:
    """Neither by itself nor by what it imports."""
    program = f"import sys, tests.proof.{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"chargeback", "exporter"} & set(done.stdout.split())


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("witness")) as plane:
        yield plane


def note(path: Path, given: dict[tuple[str, str], list[str]], offered: dict[str, list[str]]) -> None:
    """The kubelet's, written as it does: beside, then moved."""
    entries = [
        {"PodUID": uid, "ContainerName": container, "ResourceName": "nvidia.com/gpu", "DeviceIDs": {"-1": ids}}
        for (uid, container), ids in given.items()
    ]
    beside = path.with_suffix(".new")
    beside.write_text(
        json.dumps({"Data": {"PodDeviceEntries": entries, "RegisteredDevices": offered}, "Checksum": 1})
    )
    beside.replace(path)


def test_what_it_saw_of_a_pod_while_the_api_server_was_away(plane: ControlPlane, tmp_path: Path) -> None:
    """Bound, relabelled, the API server killed and back, finished, gone: by the API server's own stamps."""
    checkpoint = tmp_path / "checkpoint"
    witness = Witness(plane.url, ADMIN_TOKEN, checkpoint)
    witness.told(Card(at_ms=0, gpu=GPU, model=MODEL))
    began_ms = time.time_ns() // 1_000_000_000 * 1000  # what is stamped in this second has the second alone
    plane.create("/api/v1/namespaces", "Namespace", "red", metadata={"labels": {"cost-center": "cc-red"}})
    with witness:
        uid = bind(plane, "red", "train")
        note(checkpoint, {(uid, "main"): [f"{GPU}::2"]}, {"nvidia.com/gpu": [f"{GPU}::{n}" for n in range(4)]})
        bound_ms = stamped(plane, "PodScheduled")
        next_second()
        labels = {"metadata": {"labels": {"cost-center": "cc-new", "gpu-tier": "batch", "team": "new"}}}
        relabelled = plane.merge("/api/v1/namespaces/red", labels)["metadata"]["managedFields"]
        plane.stop_api_server(kill=True)
        next_second()
        plane.start_api_server()
        next_second()
        finished_ms = finish(plane, "red", "train")
        plane.call("DELETE", "/api/v1/namespaces/red/pods/train")
        wait_for("it hears of the end", lambda: all(life.gone_ms for life in witness._lives.values()))
    testimony = witness.testify(began_ms, finished_ms + 60_000)
    changed_ms = max(milliseconds(each["time"]) for each in relabelled)
    first, second = testimony.holds
    assert (first.account, first.from_ms, first.until_ms) == ("cc-red", bound_ms, changed_ms)
    assert (second.account, second.from_ms, second.until_ms) == ("cc-new", changed_ms, finished_ms + 1000)
    assert (second.tier, second.slot, second.part) == ("batch", (GPU, 2), Fraction(1, 4))
    assert f"finished {clock(finished_ms)}" in second.evidence
    assert (first.team, second.team, second.started_ms) == ("", "new", finished_ms)
    assert bound_ms <= (first.given_ms or 0) < changed_ms + 1000
    assert testimony.accounts["cc-new"].gpu_s == Fraction(finished_ms + 1000 - changed_ms, 4000)


def bind(plane: ControlPlane, namespace: str, name: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"containers": [{"name": "main", "image": "none"}], "terminationGracePeriodSeconds": 0}
    uid = str(plane.create(path, "Pod", name, spec=spec)["metadata"]["uid"])
    plane.create(f"{path}/{name}/binding", "Binding", name, target={"kind": "Node", "name": "n1"})
    return uid


def stamped(plane: ControlPlane, condition: str) -> int:
    conditions = plane.call("GET", "/api/v1/namespaces/red/pods/train")["status"]["conditions"]
    return next(milliseconds(each["lastTransitionTime"]) for each in conditions if each["type"] == condition)


def finish(plane: ControlPlane, namespace: str, name: str) -> int:
    """Its container ends now, as a kubelet would say it; when, to the second."""
    text = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    terminated = {"exitCode": 0, "finishedAt": text, "startedAt": text}
    state = {"name": "main", "image": "none", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Succeeded", "containerStatuses": [state | {"state": {"terminated": terminated}}]}
    plane.merge(f"/api/v1/namespaces/{namespace}/pods/{name}/status", {"status": status})
    return milliseconds(text)


def milliseconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def next_second() -> None:
    time.sleep(1.05 - time.time() % 1)


def test_the_kubelets_note(tmp_path: Path) -> None:
    """What stood in it once was given; what is on offer is kept with its time; half a file is none."""
    path = tmp_path / "note"
    seen = Note(path)
    seen.start()
    note(path, {("a", "main"): ["GPU-1"]}, {"nvidia.com/gpu": ["GPU-1", "GPU-2"]})
    wait_for("the first", lambda: seen.given)
    note(path, {("b", "main"): ["GPU-2"]}, {"nvidia.com/gpu": ["GPU-1", "GPU-2"]})
    wait_for("the second", lambda: len(seen.given) == 2)
    path.write_text("{")
    note(path, {}, {"nvidia.com/gpu": []})
    seen.stop()
    assert seen.given == {("a", "main"): {"GPU-1"}, ("b", "main"): {"GPU-2"}}
    assert [offers for _, offers in seen.offered] == [{"nvidia.com/gpu": {"GPU-1", "GPU-2"}}, {}]


BOUND_MS = 1_800_000_005_000


def pod(phase: str, *ends: str, **spec: Any) -> dict[str, Any]:
    statuses = [{"state": {"terminated": {"finishedAt": end}}} for end in ends]
    bound = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2027-01-15T08:00:05Z"}
    status = {"phase": phase, "conditions": [bound], "containerStatuses": statuses}
    return {"spec": {"containers": [{"name": "main"}], **spec}, "status": status}


def test_a_pod_ends_with_its_last_container() -> None:
    """While another of its containers runs it holds all it has; a sidecar is one of those that count."""
    life = Life(uid="u", namespace="red", name="p")
    sidecar = {"name": "log", "restartPolicy": "Always"}
    life.see(ADDED, pod("Running", "2027-01-15T08:00:07Z", initContainers=[{"name": "fetch"}, sidecar]), 1)
    assert (life.until_ms(), life.containers, life.init) == (None, ("main", "log"), ("fetch",))
    life.see(MODIFIED, pod("Succeeded", "2027-01-15T08:00:07Z", "2027-01-15T08:00:09Z"), 2)
    assert life.until_ms() == milliseconds("2027-01-15T08:00:10Z")
    assert life.bound_ms == BOUND_MS


def test_a_container_that_the_kubelet_lost_ended_nobody_knows_when() -> None:
    """Its neighbour's end is not its own: then the pod was over when that was heard."""
    life = Life(uid="u", namespace="red", name="p")
    life.see(MODIFIED, pod("Failed", "2027-01-15T08:00:07Z", ""), 1_800_000_030_100)
    assert (life.finished_ms, life.until_ms()) == (None, 1_800_000_031_000)


def test_when_its_containers_started() -> None:
    """For the first time each, whatever became of them since; who has not started has no word on it."""
    life = Life(uid="u", namespace="red", name="p")
    again = {"state": {"running": {"startedAt": "2027-01-15T08:00:20Z"}}}
    again["lastState"] = {"terminated": {"startedAt": "2027-01-15T08:00:08Z", "finishedAt": "2027-01-15T08:00:19Z"}}
    seen = pod("Running")
    seen["status"]["containerStatuses"] = [{"name": "main", **again}, {"name": "log", "state": {"waiting": {}}}]
    fetched = {"terminated": {"startedAt": "2027-01-15T08:00:06Z", "finishedAt": "2027-01-15T08:00:07Z"}}
    seen["status"]["initContainerStatuses"] = [{"name": "fetch", "state": fetched}]
    life.see(ADDED, seen, 1)
    del again["lastState"]
    life.see(MODIFIED, seen, 2)
    assert life.started == {"fetch": BOUND_MS + 1_000, "main": BOUND_MS + 3_000}
    assert life.evidence == ["bound 08:00:05", "fetch started 08:00:06", "main started 08:00:08"]


def test_a_hold_has_started_with_the_first_that_was_given_it(tmp_path: Path) -> None:
    """Its init container may work on the card before it does."""
    witness = Witness("https://127.0.0.1:1", "", tmp_path / "note")
    witness.told(Card(at_ms=0, gpu=GPU, model=MODEL))
    seen = pod("Running", initContainers=[{"name": "fetch"}])
    for kind, name, second in (("initContainerStatuses", "fetch", 7), ("containerStatuses", "main", 9)):
        running = {"running": {"startedAt": f"2027-01-15T08:00:0{second}Z"}}
        seen["status"][kind] = [{"name": name, "state": running}]
    witness._see_pod(ADDED, {**seen, "metadata": {"uid": "u", "namespace": "red", "name": "p"}}, 1)
    for name, late_ms in (("main", 100), ("fetch", 200), ("main", 300)):
        witness._note.note("u", name, frozenset({GPU}), BOUND_MS + late_ms)
    (found,) = witness.testify(BOUND_MS, BOUND_MS + 60_000).holds
    assert (found.container, found.started_ms) == ("main", BOUND_MS + 2_000)
    assert found.given_ms == BOUND_MS + 100


def test_a_pod_that_is_gone_without_a_word() -> None:
    life = Life(uid="u", namespace="red", name="p")
    life.see(ADDED, pod("Running"), 1)
    life.see(DELETED, pod("Running"), 12_345)
    assert life.until_ms() == 13_000


def test_a_pod_that_was_bound_and_refused(tmp_path: Path) -> None:
    """A kubelet whose plugin is away gives it nothing; until it has said so, nobody else could have had a device."""
    witness = Witness("https://127.0.0.1:1", "", tmp_path / "note")
    witness.told(Card(at_ms=0, gpu=GPU, model=MODEL))
    witness._note.offered.append((1, {"nvidia.com/gpu": frozenset({GPU})}))
    asks = [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1", "cpu": "2"}}}]
    meta = {"uid": "u", "namespace": "red", "name": "p"}
    witness._see_pod(ADDED, {**pod("Pending", containers=asks), "metadata": meta}, BOUND_MS + 10)
    witness._see_pod(MODIFIED, {**pod("Failed", containers=asks), "metadata": meta}, BOUND_MS + 4_300)
    witness._see_pod(DELETED, {**pod("Failed", containers=asks), "metadata": meta}, BOUND_MS + 20_000)
    (found,) = witness.testify(BOUND_MS, BOUND_MS + 60_000).holds
    assert (found.device, found.from_ms, found.until_ms, found.stamped) == (GPU, BOUND_MS, BOUND_MS + 5_000, False)
    assert found.evidence[-1] == "the kubelet gave it nothing"


def test_owners_one_after_the_other() -> None:
    """From the namespace's creation; then from when its labels were written."""
    owners = Owners()
    meta = {"name": "red", "creationTimestamp": "2027-01-15T08:00:00Z", "labels": {"cost-center": "one"}}
    owners.see(ADDED, {"metadata": meta}, 0)
    written = [
        {"time": "2027-01-15T08:00:30Z", "operation": "Update"},
        {"time": "2027-01-15T08:00:40Z", "operation": "Update", "subresource": "status"},
    ]
    owners.see(MODIFIED, {"metadata": meta | {"labels": {}, "managedFields": written}}, 0)
    start = milliseconds("2027-01-15T08:00:00Z")
    found = [(a - start, b - start, owner.account) for a, b, owner in owners.over("red", start, start + 60_000)]
    assert found == [(0, 30_000, "one"), (30_000, 60_000, "unowned")]
    assert [owner.account for _, _, owner in owners.over("nowhere", 0, 1)] == ["unowned"]


def test_a_device_that_nobody_told_of(tmp_path: Path) -> None:
    """It is no card of a price, and must not pass for one."""
    witness = Witness("https://127.0.0.1:1", "", tmp_path / "note")
    witness._see_pod(ADDED, {**pod("Running"), "metadata": {"uid": "u", "namespace": "red", "name": "p"}}, 1)
    witness._note.note("u", "main", frozenset({"GPU-9"}), BOUND_MS)
    with pytest.raises(LookupError, match="GPU-9"):
        witness.testify(BOUND_MS, BOUND_MS + 1)


def test_a_slice_that_comes_again_is_what_it_was_then(tmp_path: Path) -> None:
    """UUIDs of MIG are used again, for another part of the card."""
    witness = Witness("https://127.0.0.1:1", "", tmp_path / "note")
    witness.told(Card(at_ms=0, gpu=GPU, model=MODEL))
    for at_ms, profile, part in ((1, "1g", 1), (BOUND_MS - 5, "2g", 2), (BOUND_MS + 5, "3g", 3)):
        cut = (Slice(device="MIG-1", profile=profile, part=Fraction(part, 7)),)
        witness.told(Mig(at_ms=at_ms, gpu=GPU, slices=cut))
    witness._see_pod(ADDED, {**pod("Running"), "metadata": {"uid": "u", "namespace": "red", "name": "p"}}, 1)
    witness._note.note("u", "main", frozenset({"MIG-1"}), BOUND_MS)
    (found,) = witness.testify(BOUND_MS, BOUND_MS + 60_000).holds
    assert (found.profile, found.part, found.gpu) == ("2g", Fraction(2, 7), GPU)
