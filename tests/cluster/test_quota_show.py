"""`chargeback quota show` on a real API server, with the controllers and the scheduler that make pods wait."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chargeback.cluster.api import ClusterApi
from chargeback.cluster.login import find_cluster
from chargeback.cluster.quota_facts import read_facts
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.quota.report import QuotaReport, quota_report
from chargeback.core.quota.resources import GUARANTEED
from tests.cluster import binaries
from tests.cluster.control_plane import (
    AGGREGATOR_TOKEN,
    AGGREGATOR_USER,
    ControlPlane,
    apply_shipped_rights,
    control_plane,
)
from tests.cluster.daemon import Daemon
from tests.cluster.quota_cluster import create, new_namespace, put_quota
from tests.programs import chargeback, fetch, running, wait_for

GPU = "nvidia.com/gpu"
REQUESTS, LIMITS = f"requests.{GPU}", f"limits.{GPU}"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """With the controllers of workloads."""
    folder = tmp_path_factory.mktemp("cluster")
    with control_plane(folder, scheduler=True) as plane:
        apply_shipped_rights(plane)
        arguments = (
            f"--kubeconfig={plane.kubeconfig()}",
            "--controllers=replicaset-controller,job-controller",
            *("--leader-elect=false", "--secure-port=0"),
        )
        program = binaries.find("kube-controller-manager")
        with Daemon([str(program), *arguments], folder / "workload-controllers.log"):
            yield plane


def put_node(plane: ControlPlane, namespace: str) -> None:
    """Four GPUs for the pods of one namespace, on a node that no kubelet runs."""
    made = plane.create("/api/v1/nodes", "Node", f"of-{namespace}", metadata={"labels": {"for": namespace}})
    assert made["spec"]["taints"][0]["key"] == "node.kubernetes.io/not-ready"  # there is nobody to take it off
    path = f"/api/v1/nodes/of-{namespace}"
    plane.merge(path, {"spec": {"taints": None}})
    room = {GPU: "4", "cpu": "64", "memory": "64Gi", "pods": "100"}
    plane.merge(f"{path}/status", {"status": {"capacity": room, "allocatable": room}})


def template(namespace: str, gpus: int, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "none", "resources": {"limits": {GPU: str(gpus)}}}
    return {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [container], "nodeSelector": {"for": namespace}, **spec},
    }


def put_pod(plane: ControlPlane, namespace: str, name: str, gpus: int, cpu: str = "", **spec: Any) -> None:
    made = {"apiVersion": "v1", "kind": "Pod", **template(namespace, gpus, **spec)}
    made["metadata"] = {"name": name, "namespace": namespace}
    if cpu:
        made["spec"]["containers"][0]["resources"]["requests"] = {"cpu": cpu}
    create(plane, made)


def put_job(plane: ControlPlane, namespace: str, name: str, gpus: int) -> None:
    spec = {"template": template(namespace, gpus, restartPolicy="Never"), "backoffLimit": 0}
    plane.create(f"/apis/batch/v1/namespaces/{namespace}/jobs", "Job", name, version="batch/v1", spec=spec)


def put_replica_set(plane: ControlPlane, namespace: str, name: str, replicas: int, gpus: int) -> None:
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}, "template": template(namespace, gpus)}
    path = f"/apis/apps/v1/namespaces/{namespace}/replicasets"
    plane.create(path, "ReplicaSet", name, version="apps/v1", spec=spec)


def pods_of(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plane.call("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return found


def refused(plane: ControlPlane, namespace: str) -> bool:
    events = plane.call("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
    return any(event["reason"] == "FailedCreate" for event in events)


def busy_namespace(plane: ControlPlane, namespace: str) -> None:
    """Eight GPUs allowed: four run, four wait for a node that has no room, three more are refused."""
    put_node(plane, namespace)
    put_quota(plane, namespace, {REQUESTS: "8", LIMITS: "32", GPU: "1", "pods": "20"})
    put_replica_set(plane, namespace, "web", replicas=2, gpus=2)
    wait_for("both of web", lambda: sum("nodeName" in pod["spec"] for pod in pods_of(plane, namespace)) == 2)
    put_job(plane, namespace, "train", 4)
    wait_for(
        "the scheduler's word",
        lambda: any(
            "Insufficient" in str(pod.get("status", {}).get("conditions")) for pod in pods_of(plane, namespace)
        ),
    )
    put_job(plane, namespace, "big", 3)
    wait_for("the refusal", lambda: refused(plane, namespace))


async def report(plane: ControlPlane, namespace: str | None = None) -> QuotaReport:
    configuration = await find_cluster(plane.kubeconfig(AGGREGATOR_TOKEN))
    assert configuration is not None
    async with ClusterApi(configuration) as api:
        return quota_report(await read_facts(api, LabelKeys(), namespace), api.now_ms())


def show(plane: ControlPlane, *arguments: str, code: int = 0) -> tuple[Any, str]:
    kubeconfig = str(plane.kubeconfig(AGGREGATOR_TOKEN))
    command = ("quota", "show", *arguments, "--kubeconfig", kubeconfig, "--output", "json")
    ended = chargeback(*command, check=False)
    assert ended.returncode == code, ended.stderr.decode()
    return json.loads(ended.stdout), ended.stderr.decode()


def test_everything_about_a_busy_namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> None:
    """Under the aggregator's shipped rights: both counts, holders, the key that refuses, the scheduler's reason."""
    namespace = new_namespace(plane, request)
    busy_namespace(plane, namespace)
    found, said = show(plane, namespace)
    rows = {row["resource"]: row for row in found["quotas"]}
    assert {key: (row["used"], row["counted"], row["counted_by"]) for key, row in rows.items()} == {
        REQUESTS: ("8", "8", "kubernetes"),
        LIMITS: (None, "8", "us"),
        GPU: (None, "8", "us"),
    }
    assert [(each["workload"], each["bound"], each["pending"]) for each in rows[REQUESTS]["holders"]] == [
        ("train", 0, 4),
        ("web", 4, 0),
    ]
    (team,) = found["namespaces"]
    (refusal,) = team["refusals"]
    assert (refusal["kind"], refusal["name"], refusal["gpus"]) == ("Job", "big", True)
    assert refusal["keys"] == [
        {"quota": "gpu", "key": REQUESTS, "why": "exceeded", "requested": "3", "used": "8", "limited": "8"}
    ]
    assert [each["requests"] for each in team["waiting"]] == [{GPU: 4}]
    assert "Insufficient nvidia.com/gpu" in team["waiting"][0]["waits"]
    assert team["other_keys"] == [{"quota": "gpu", "key": "pods", "hard": "20", "used": "3"}]
    nodes = plane.call("GET", "/api/v1/nodes")["items"]
    assert (found["offered"], found["unknown"], said) == ({GPU: 4 * len(nodes)}, {}, "")


def test_a_gpu_workload_that_another_key_refuses(plane: ControlPlane, request: pytest.FixtureRequest) -> None:
    """Pods are what is lacking, not GPUs; that it is a GPU workload shows in the pods it has."""
    namespace = new_namespace(plane, request)
    put_quota(plane, namespace, {REQUESTS: "8", "pods": "1"})
    put_replica_set(plane, namespace, "web", replicas=2, gpus=1)
    wait_for("the refusal", lambda: refused(plane, namespace))
    found, _ = show(plane, namespace)
    (refusal,) = found["namespaces"][0]["refusals"]
    assert [(key["key"], key["limited"]) for key in refusal["keys"]] == [("pods", "1")]
    assert (refusal["name"], refusal["gpus"]) == ("web", True)
    assert found["namespaces"][0]["closest"] == {"quota": "gpu", "key": "pods"}


def test_a_refusal_ends_when_the_workload_is_admitted(plane: ControlPlane, request: pytest.FixtureRequest) -> None:
    """Though its event stays for an hour."""
    namespace = new_namespace(plane, request)
    put_quota(plane, namespace, {REQUESTS: "2"})
    put_job(plane, namespace, "train", 3)
    wait_for("the refusal", lambda: refused(plane, namespace))
    assert [each["name"] for each in show(plane, namespace)[0]["namespaces"][0]["refusals"]] == ["train"]
    plane.merge(f"/api/v1/namespaces/{namespace}/resourcequotas/gpu", {"spec": {"hard": {REQUESTS: "4"}}})
    wait_for("a pod", lambda: pods_of(plane, namespace), within_s=120)
    assert refused(plane, namespace)
    assert show(plane, namespace)[0]["namespaces"][0]["refusals"] == []


SCOPES: dict[str, dict[str, Any]] = {
    "all": {},
    "terminating": {"scopes": ["Terminating"]},
    "not-terminating": {"scopes": ["NotTerminating"]},
    "best-effort": {"scopes": ["BestEffort"]},
    "not-best-effort": {"scopes": ["NotBestEffort"]},
    "exists": {"scopes": ["PriorityClass"]},
    "none": {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "DoesNotExist"}]}},
    "high": {
        "scopeSelector": {
            "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["show-high"]}]
        }
    },
    "not-high": {
        "scopeSelector": {
            "matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "NotIn", "values": ["show-high"]},
                {"scopeName": "Terminating", "operator": "Exists"},
            ]
        }
    },
}


async def test_we_count_as_the_controller_counts(plane: ControlPlane, request: pytest.FixtureRequest) -> None:
    """Scope by scope, pods that wait, are over, or have init containers and sidecars included."""
    namespace = new_namespace(plane, request)
    for name in ("show-high", "show-low"):
        plane.create(
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            "PriorityClass",
            name,
            version="scheduling.k8s.io/v1",
            value=1,
        )
    for name, spec in SCOPES.items():
        put_quota(plane, namespace, {REQUESTS: "100"}, name=name, **spec)
    put_pod(plane, namespace, "plain", 1)
    put_pod(plane, namespace, "cpu", 2, cpu="1")
    put_pod(plane, namespace, "deadline", 4, activeDeadlineSeconds=600)
    put_pod(plane, namespace, "high", 8, priorityClassName="show-high")
    put_pod(plane, namespace, "low", 16, cpu="1", priorityClassName="show-low", activeDeadlineSeconds=600)
    init = {"name": "fetch", "image": "none", "resources": {"limits": {GPU: "5"}}}
    sidecar = {"name": "side", "image": "none", "restartPolicy": "Always", "resources": {"limits": {GPU: "1"}}}
    put_pod(plane, namespace, "init", 3, initContainers=[sidecar, init])
    put_pod(plane, namespace, "over", 32)
    plane.merge(f"/api/v1/namespaces/{namespace}/pods/over/status", {"status": {"phase": "Succeeded"}})
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/all"
    wait_for("the controller's count", lambda: plane.call("GET", path)["status"]["used"][REQUESTS] == "37")
    found = await report(plane, namespace)
    counts = {use.quota: (use.used, use.counted) for use in found.uses}
    assert counts == {
        "all": (37, 37),
        "terminating": (20, 20),
        "not-terminating": (17, 17),
        "best-effort": (19, 19),
        "not-best-effort": (18, 18),
        "exists": (24, 24),
        "none": (13, 13),
        "high": (8, 8),
        "not-high": (20, 20),
    }


async def test_we_count_claims_as_the_controller_counts(plane: ControlPlane, request: pytest.FixtureRequest) -> None:
    """All that are there, allocated or not; one that may take either of two classes is left to the controller."""
    namespace = new_namespace(plane, request)
    for name in ("gpu.nvidia.com", "nics"):
        create(
            plane, {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": name}, "spec": {}}
        )
    devices, number = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices", "count/resourceclaims.resource.k8s.io"
    put_quota(plane, namespace, {devices: "100", number: "10"})
    put_quota(plane, namespace, {"mig.nvidia.com.deviceclass.resource.k8s.io/devices": "10"}, name="mig")
    put_claim(plane, namespace, "two", {"exactly": {"deviceClassName": "gpu.nvidia.com", "count": 2}})
    put_claim(plane, namespace, "all", {"exactly": {"deviceClassName": "gpu.nvidia.com", "allocationMode": "All"}})
    put_claim(plane, namespace, "nic", {"exactly": {"deviceClassName": "nics", "count": 1}})
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/gpu"
    wait_for("the controller's count", lambda: plane.call("GET", path)["status"]["used"][number] == "3")
    found = {use.resource: use for use in (await report(plane, namespace)).uses if use.quota == "gpu"}
    assert {key: (use.used, use.counted) for key, use in found.items()} == {devices: (34, 34), number: (3, 3)}
    assert [(each.workload, each.pending) for each in found[devices].holders or ()] == [("all", 32), ("two", 2)]
    either = [
        {"name": "a", "deviceClassName": "gpu.nvidia.com"},
        {"name": "b", "deviceClassName": "nics", "count": 4},
    ]
    put_claim(plane, namespace, "either", {"firstAvailable": either})
    wait_for("the controller's count", lambda: plane.call("GET", path)["status"]["used"][number] == "4")
    found = {use.resource: use for use in (await report(plane, namespace)).uses}
    assert (found[devices].used, found[devices].counted) == (35, None)


def put_claim(plane: ControlPlane, namespace: str, name: str, asked: dict[str, Any]) -> None:
    made = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim"}
    made |= {"metadata": {"name": name, "namespace": namespace}}
    create(plane, made | {"spec": {"devices": {"requests": [{"name": "r", **asked}]}}})


def test_people_who_may_see_one_namespace_only(plane: ControlPlane, request: pytest.FixtureRequest) -> None:
    """With the right to its quotas alone: these are shown, and of all else it is said what is not known, and why."""
    namespace = new_namespace(plane, request)
    put_quota(plane, namespace, {REQUESTS: "8", LIMITS: "32"})
    with only_rights(plane, namespace, {"resourcequotas": ["list"]}):
        found, said = show(plane, namespace, code=1)
    assert {row["resource"]: (row["used"], row["counted"]) for row in found["quotas"]} == {
        REQUESTS: ("0", None),
        LIMITS: (None, None),
    }
    assert set(found["unknown"]) == {
        *("namespaces", "pods", "nodes", "deviceclasses", "resourceclaims", "events"),
    }
    path = f"/api/v1/namespaces/{namespace}/pods"
    assert (
        f'own counts, holders, waiting pods: {path}: 403 Forbidden: pods is forbidden: User "{AGGREGATOR_USER}"'
        in said
    )


def test_people_of_one_namespace_are_told_what_fits(plane: ControlPlane, request: pytest.FixtureRequest) -> None:
    """With what the cluster's own role `view` grants, in their namespace alone; the namespace's annotations count."""
    namespace = new_namespace(plane, request)
    plane.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"annotations": {GUARANTEED: "2"}}})
    put_quota(plane, namespace, {REQUESTS: "8"})
    seen = ("namespaces", "resourcequotas", "limitranges", "pods", "events")
    kubeconfig = ("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN)))
    with only_rights(plane, namespace, {kind: ["get", "list"] for kind in seen}):
        fits = chargeback("quota", "fit", namespace, "--gpus", "8", *kubeconfig)
        found, _ = show(plane, namespace, code=1)
    assert f"estimate: 8 nvidia.com/gpu in {namespace}: yes" in fits.stdout.decode()
    assert fits.stderr.decode().startswith("not known: PriorityClass: ")
    assert found["namespaces"][0]["plan"]["guaranteed"] == "2"
    assert set(found["unknown"]) == {"nodes", "deviceclasses", "resourceclaims"}


@contextmanager
def only_rights(plane: ControlPlane, namespace: str, verbs: dict[str, list[str]]) -> Iterator[None]:
    """The aggregator's account may see this of one namespace, and nothing else, while the block runs."""
    binding = plane.call("GET", f"{BINDINGS}/gpu-chargeback")
    plane.call("DELETE", f"{BINDINGS}/gpu-chargeback")
    try:
        roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        rules = [{"apiGroups": [""], "resources": [kind], "verbs": of} for kind, of in verbs.items()]
        version = "rbac.authorization.k8s.io/v1"
        plane.create(f"{roles}/roles", "Role", "see", version=version, rules=rules)
        user = {"kind": "User", "name": AGGREGATOR_USER, "apiGroup": "rbac.authorization.k8s.io"}
        role = {"kind": "Role", "name": "see", "apiGroup": "rbac.authorization.k8s.io"}
        bound = {"version": version, "subjects": [user], "roleRef": role}
        plane.create(f"{roles}/rolebindings", "RoleBinding", "see", **bound)
        wait_for("the right", lambda: _may_list(plane, namespace))
        yield
    finally:
        plane.call("POST", BINDINGS, binding | {"metadata": {"name": "gpu-chargeback"}})


def test_the_server_says_the_same(plane: ControlPlane, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """`chargeback serve`: our count where Kubernetes has none, and the refusal at its key."""
    namespace = new_namespace(plane, request)
    busy_namespace(plane, namespace)
    arguments = (
        *("serve", "--data", str(tmp_path), "--cluster", "lab"),
        *("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN))),
    )
    with running("chargeback.cli.main", *arguments, log=tmp_path / "serve.log") as server:

        def lines(of: str) -> list[str]:
            page = fetch(f"{server.url}/metrics")[1].decode().splitlines()
            return [line for line in page if line.startswith(f"{of}{{") and f'namespace="{namespace}"' in line]

        wait_for(
            "the refusal on the page", lambda: any(REQUESTS in line for line in lines("chargeback_quota_refusals"))
        )
        used = {
            line.split('resource="')[1].split('"')[0]: line.split()[-1] for line in lines("chargeback_quota_used")
        }
        assert used == {REQUESTS: "8.0", LIMITS: "8.0", GPU: "8.0"}
        (refusals,) = lines("chargeback_quota_refusals")
        assert refusals.endswith("} 1.0")
        assert [line.split()[-1] for line in lines("chargeback_quota_waiting_pods")] == ["1.0"]


def _may_list(plane: ControlPlane, namespace: str) -> bool:
    kubeconfig = str(plane.kubeconfig(AGGREGATOR_TOKEN))
    return chargeback("quota", "show", namespace, "--kubeconfig", kubeconfig, check=False).returncode != 2


def test_namespaces_from_a_file(plane: ControlPlane, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """As the server takes them: their annotations are plans, and the cluster's are not asked."""
    namespace = new_namespace(plane, request)
    put_quota(plane, namespace, {REQUESTS: "8"})
    plane.merge(f"/api/v1/namespaces/{namespace}", {"metadata": {"annotations": {GUARANTEED: "2"}}})
    assert [row["guaranteed"] for row in show(plane, namespace)[0]["quotas"]] == ["2"]
    owners = tmp_path / "owners.yaml"
    metadata = {"name": namespace, "annotations": {GUARANTEED: "4"}}
    owners.write_text(json.dumps({"kind": "Namespace", "metadata": metadata}))
    assert [row["guaranteed"] for row in show(plane, namespace, "--owners", str(owners))[0]["quotas"]] == ["4"]
