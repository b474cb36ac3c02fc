"""Workloads as people write them: where their template is, how many pods they make, and what is wrong with them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from chargeback.cluster.objects import ObjectsError
from chargeback.cluster.pod_manifest import WORKLOADS, gpu_pod, to_pod_manifest, to_workload
from chargeback.cluster.quota_files import read_workload

GPU = "nvidia.com/gpu"
TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "a"}, "name": "dropped"},
    "spec": {"containers": [{"name": "main", "image": "x", "resources": {"limits": {GPU: 2}}}]},
}


def manifest(kind: str, template: dict[str, Any] = TEMPLATE, **spec: Any) -> dict[str, Any]:
    """The template where the kind keeps it, and more of the spec beside it."""
    found: dict[str, Any] = template
    for step in reversed(WORKLOADS[kind]):
        found = {step: found}
    found.setdefault("spec", {}).update(spec)
    return {**found, "kind": kind, "metadata": {"name": "a", "namespace": "team"}}


def read(tmp_path: Path, text: str) -> tuple[Any, dict[str, Any]]:
    path = tmp_path / "pod.yaml"
    path.write_text(text)
    return read_workload(path)


@pytest.mark.parametrize("kind", WORKLOADS)
def test_every_kind_of_workload(kind: str) -> None:
    """Its pods ask for two GPUs; the API server is asked about one of them, under a name that it makes up."""
    item = (
        manifest(kind)
        if kind != "Pod"
        else {**TEMPLATE, "kind": "Pod", "metadata": {"name": "a", "namespace": "team"}}
    )
    workload = to_workload(item)
    assert (workload.label, workload.namespace, workload.pods) == (f"{kind} team/a", "team", 1)
    assert workload.pod.effective(limits=True) == {GPU: 2}
    pod = to_pod_manifest(item)
    assert pod["kind"] == "Pod"
    assert pod["metadata"]["generateName"] == "quota-fit-"
    assert "name" not in pod["metadata"]
    assert pod["spec"] == TEMPLATE["spec"]


@pytest.mark.parametrize(
    ("kind", "spec", "pods"),
    [
        ("Deployment", {"replicas": 3}, 3),
        ("Deployment", {"replicas": 0}, 0),
        ("StatefulSet", {}, 1),
        ("Job", {"parallelism": 4}, 4),
        ("Job", {"parallelism": 4, "completions": 2}, 2),
        ("Job", {"completions": 8}, 1),
        ("DaemonSet", {"replicas": 3}, 1),
    ],
)
def test_how_many_pods_at_once(kind: str, spec: dict[str, Any], pods: int) -> None:
    """As the manifest says; nodes decide for a DaemonSet."""
    assert to_workload(manifest(kind, dict(TEMPLATE), **spec)).pods == pods


def test_a_cron_job_makes_the_pods_of_its_job() -> None:
    item = manifest("CronJob")
    item["spec"]["jobTemplate"]["spec"]["parallelism"] = 5
    assert to_workload(item).pods == 5


def test_all_that_bears_on_quotas_is_read(tmp_path: Path) -> None:
    """Sidecars, the whole, classes, deadline, affinity, claims; nulls and numbers as YAML has them."""
    workload, item = read(
        tmp_path,
        """
        kind: Pod
        metadata: {generateName: train-, creationTimestamp: 2026-10-01T00:00:00Z}
        spec:
          priorityClassName: ml-high
          runtimeClassName: kata
          activeDeadlineSeconds: 60
          overhead: {cpu: 250m}
          resources: {requests: {cpu: 2}, limits:}
          resourceClaims: [{name: gpu, resourceClaimTemplateName: gpus}]
          affinity:
            podAntiAffinity:
              preferredDuringSchedulingIgnoredDuringExecution:
                - {weight: 1, podAffinityTerm: {topologyKey: zone, namespaceSelector: {}}}
          initContainers:
            - {name: proxy, restartPolicy: Always, resources: {requests: {memory: 1Gi}}}
            - {name: fetch}
          containers:
            - {name: main, resources: {limits: {nvidia.com/gpu: "1"}}}
        """,
    )
    pod = workload.pod
    assert (workload.label, pod.priority_class, pod.runtime_class) == ("Pod train-", "ml-high", "kata")
    assert (pod.is_terminating, pod.crosses_namespaces, pod.makes_claims) == (True, True, True)
    assert [(each.name, each.is_sidecar) for each in pod.init] == [("proxy", True), ("fetch", False)]
    assert pod.init[0].requests == {"memory": 2**30}
    assert (pod.requests, pod.limits, pod.overhead) == ({"cpu": 2}, {}, {"cpu": Decimal("0.25")})
    assert item["metadata"]["creationTimestamp"] == "2026-10-01T00:00:00Z"  # as JSON has it


def test_affinity_within_the_namespace_crosses_nothing() -> None:
    item = {**TEMPLATE, "kind": "Pod", "spec": dict(TEMPLATE["spec"])}
    term = {"topologyKey": "zone", "labelSelector": {}}
    item["spec"]["affinity"] = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert to_workload(item).pod.crosses_namespaces is False


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"kind": "Service"}, "kind: 'Service': want one of Pod, "),
        (
            {"kind": "Deployment", "metadata": {"name": "a"}},
            "Deployment a: spec.template: want the template of a pod",
        ),
        ({"kind": "Pod", "metadata": {"name": "a"}}, "Pod a: Object missing required field `spec`"),
        ({"kind": "Pod", "metadata": 1}, "Pod : "),
        (
            {"kind": "Pod", "spec": {"containers": []}},
            "Pod unnamed: spec.containers: []: want at least one container",
        ),
        (
            {"kind": "Pod", "spec": {"containers": [{"name": "a", "resources": {"limits": {GPU: "x"}}}]}},
            f"Pod unnamed: container a: resources.limits[{GPU}]: 'x': want a Kubernetes quantity",
        ),
        ({"kind": "Pod", "spec": {"containers": [{"resources": {}}]}}, "missing required field `name`"),
    ],
)
def test_what_is_wrong_is_named(item: dict[str, Any], said: str) -> None:
    with pytest.raises(ObjectsError) as error:
        to_workload(item)
    assert said in str(error.value)


@pytest.mark.parametrize("kinds", [[], ["Service"], ["Pod", "Job"]])
def test_a_file_holds_exactly_one_workload(tmp_path: Path, kinds: list[str]) -> None:
    """Whatever else is in it."""
    items = [{"kind": kind, "metadata": {"name": "a"}} for kind in kinds]
    with pytest.raises(ObjectsError, match=r"pod.yaml: .*: want exactly one of Pod, "):
        read(tmp_path, yaml.safe_dump_all(items))
    workload, _ = read(
        tmp_path, yaml.safe_dump_all([{"kind": "Service", "metadata": {"name": "a"}}, manifest("Job")])
    )
    assert workload.label == "Job team/a"


def test_gpus_alone_make_a_pod() -> None:
    assert to_workload(gpu_pod(3, GPU, "ml-high")).pod.priority_class == "ml-high"
    assert to_workload(gpu_pod(3, GPU, None)).pod.effective(limits=True) == {GPU: 3}
