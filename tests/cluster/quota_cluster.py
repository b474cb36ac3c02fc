"""What the tests of quotas put into a real API server, and how they ask it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chargeback.cluster.login import find_cluster
from chargeback.cluster.quota_api import QuotaApi
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.quota.lint import lint
from chargeback.core.quota.specs import QuotaObjects
from tests.cluster.control_plane import ControlPlane, Refused
from tests.programs import wait_for

REFERENCE = Path(__file__).resolve().parents[2] / "deploy/examples/reference"
GPU = "nvidia.com/gpu"
RUNTIME = {"cpu": "250m", "memory": "64Mi"}
COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "LimitRange": "/api/v1/namespaces/{}/limitranges",
    "Pod": "/api/v1/namespaces/{}/pods",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "DeviceClass": "/apis/resource.k8s.io/v1/deviceclasses",
    "ResourceClaim": "/apis/resource.k8s.io/v1/namespaces/{}/resourceclaims",
    "RuntimeClass": "/apis/node.k8s.io/v1/runtimeclasses",
}


def new_namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    """An empty namespace, named after the test."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:60].strip("-")
    create(plane, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return str(name)


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((REFERENCE / name).read_text()))


def create(plane: ControlPlane, found: dict[str, Any], query: str = "") -> Any:
    path = COLLECTIONS[found["kind"]].format(found["metadata"].get("namespace", ""))
    return plane.call("POST", path + query, found)


def put_quota(plane: ControlPlane, namespace: str, hard: dict[str, str], *, name: str = "gpu", **spec: Any) -> Any:
    """Create a quota and wait until it is in force."""
    made = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hard": hard, **spec},
    }
    create(plane, made)
    return in_force(plane, namespace, name)


def in_force(plane: ControlPlane, namespace: str, name: str) -> Any:
    """A quota once the controller has written its status; until then it is not enforced."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/{name}"
    wait_for("the quota's status", lambda: plane.call("GET", path).get("status", {}).get("hard"))
    return plane.call("GET", path)


def put_limits(plane: ControlPlane, namespace: str, **item: Any) -> None:
    made = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "gpu", "namespace": namespace},
        "spec": {"limits": [item]},
    }
    create(plane, made)


def priority(*values: str, operator: str = "In") -> dict[str, Any]:
    expression = {"scopeName": "PriorityClass", "operator": operator, "values": list(values)}
    return {"matchExpressions": [expression]}


def put_pod(
    plane: ControlPlane,
    namespace: str,
    gpus: int = 0,
    *,
    name: str = "pod",
    priority_class: str | None = None,
    requests: int | None = None,
    dry_run: bool = False,
) -> Any:
    """Create a pod of one container; 0 GPUs: it says nothing of them."""
    container: dict[str, Any] = {"name": "main", "image": "none"}
    if gpus:
        asked = {GPU: str(gpus if requests is None else requests)}
        container["resources"] = {"limits": {GPU: str(gpus)}, "requests": asked}
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [container], **({"priorityClassName": priority_class} if priority_class else {})},
    }
    return create(plane, made, "?dryRun=All" if dry_run else "")


def resources(pod: Any) -> tuple[str | None, str | None]:
    found = pod["spec"]["containers"][0].get("resources", {})
    return found.get("limits", {}).get(GPU), found.get("requests", {}).get(GPU)


def given(plane: ControlPlane, namespace: str) -> tuple[str | None, str | None] | str:
    """What a pod gets that says nothing of GPUs, or why it is refused."""
    try:
        return resources(put_pod(plane, namespace, dry_run=True))
    except Refused as refused:
        return refused.message


async def ask(plane: ControlPlane, namespace: str) -> QuotaObjects:
    """What the lint reads of a live cluster, of one namespace."""
    configuration = await find_cluster(plane.kubeconfig())
    assert configuration is not None
    async with QuotaApi(configuration) as api:
        found = await api.objects(LabelKeys())
    return QuotaObjects(
        quotas=tuple(quota for quota in found.quotas if quota.namespace == namespace),
        limit_ranges=tuple(limits for limits in found.limit_ranges if limits.namespace == namespace),
        priority_classes=found.priority_classes,
        device_classes=found.device_classes,
        overheads=found.overheads,
    )


async def rules(plane: ControlPlane, namespace: str) -> set[str]:
    return {finding.rule for finding in lint(await ask(plane, namespace)) if finding.severity != "info"}


def container(name: str = "main", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "none", **fields}


def gpus(number: int | str, **others: str) -> dict[str, Any]:
    """Fields of a container that has so many, and other limits."""
    return {"resources": {"limits": {GPU: str(number), **others}}}


def pod(namespace: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A manifest; the API server makes up its name."""
    metadata = {"generateName": "pod-", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": list(containers), **spec}}


def put_runtime_class(plane: ControlPlane) -> None:
    """`kata`, which takes RUNTIME for itself."""
    made = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata"}, "handler": "kata"}
    create(plane, made | {"overhead": {"podFixed": RUNTIME}})
