"""What the quota lint and fit say is what a real API server does: the reference objects, as written and corrected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chargeback.cluster.api import find_cluster
from chargeback.cluster.quota_api import QuotaApi
from chargeback.cluster.quota_objects import to_manifest
from chargeback.core.owners import LabelKeys
from chargeback.core.quota_fit import Ask, fit, verdict
from chargeback.core.quota_fix import mend
from chargeback.core.quota_lint import lint
from chargeback.core.quota_specs import QuotaObjects
from tests.cluster.control_plane import ControlPlane, Refused, control_plane
from tests.programs import chargeback, wait_for

REFERENCE = Path(__file__).resolve().parents[2] / "deploy/examples/reference"
GPU = "nvidia.com/gpu"
COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "LimitRange": "/api/v1/namespaces/{}/limitranges",
    "Pod": "/api/v1/namespaces/{}/pods",
}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("cluster")) as plane:
        for found in documents("as-written/priority-classes.yaml"):
            create(plane, found)
        yield plane


@pytest.fixture
def namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> str:
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
    )


async def rules(plane: ControlPlane, namespace: str) -> set[str]:
    return {finding.rule for finding in lint(await ask(plane, namespace)) if finding.severity != "info"}


def test_the_reference_quota_with_a_scope_is_refused(plane: ControlPlane) -> None:
    """refused-key: 422 for the whole object, so the namespace has no quota at all."""
    for found in documents("as-written/namespaces.yaml"):
        create(plane, found)
    for found in documents("as-written/quotas.yaml"):
        if found["metadata"]["name"] == "team-quota":
            with pytest.raises(Refused, match="unsupported scope applied to resource") as refused:
                create(plane, found)
            assert refused.value.status == 422
        else:
            create(plane, found)
    assert plane.call("GET", COLLECTIONS["ResourceQuota"].format("ml-production"))["items"] == []
    put_pod(plane, "ml-production", 100, priority_class="ml-critical")


async def test_limits_of_the_reference_are_stored_and_never_counted(plane: ControlPlane) -> None:
    """dead-key: the namespace stops at 8, and the 32 do not exist."""
    status = in_force(plane, "ml-research", "gpu")["status"]
    assert sorted(status["hard"]) == ["limits.nvidia.com/gpu", "requests.nvidia.com/gpu"]
    assert status["used"] == {"requests.nvidia.com/gpu": "0"}
    put_pod(plane, "ml-research", 8)
    with pytest.raises(Refused, match=r"requested: requests.nvidia.com/gpu=1, used: .*=8, limited: .*=8") as refused:
        put_pod(plane, "ml-research", 1, name="burst")
    assert refused.value.status == 403
    assert await rules(plane, "ml-research") == {"dead-key"}


async def test_bare_names_and_typos_are_accepted_and_dead(plane: ControlPlane, namespace: str) -> None:
    """dead-key: no warning at creation, nothing in `used`, no pod refused."""
    hard = {GPU: "1", "request.nvidia.com/gpu": "1", "limits.nvidia.com/gpu": "1"}
    create(
        plane,
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "dead", "namespace": namespace},
            "spec": {"hard": hard},
        },
    )
    live = put_quota(plane, namespace, {"requests.nvidia.com/gpu": "8", **hard})
    assert set(live["status"]["used"]) == {"requests.nvidia.com/gpu"}
    put_pod(plane, namespace, 6)
    found = lint(await ask(plane, namespace))
    assert {(f.object.rpartition("/")[2], f.field) for f in found if f.rule == "dead-key"} == {
        (name, f"spec.hard[{key}]") for name in ("dead", "gpu") for key in hard
    }


async def test_a_scope_of_classes_that_are_not_there_counts_nobody(plane: ControlPlane, namespace: str) -> None:
    """unknown-class, uncovered-class: 100 GPUs pass, the quota counts none of them, and `critical` is refused."""
    put_quota(plane, namespace, {"requests.nvidia.com/gpu": "8", "pods": "9"}, scopeSelector=priority("critical"))
    put_pod(plane, namespace, 100, priority_class="ml-critical")
    with pytest.raises(Refused, match="no PriorityClass with name critical was found") as refused:
        put_pod(plane, namespace, 1, name="named", priority_class="critical")
    assert refused.value.status == 403
    assert in_force(plane, namespace, "gpu")["status"]["used"] == {"pods": "0", "requests.nvidia.com/gpu": "0"}
    assert await rules(plane, namespace) == {"unknown-class", "uncovered-class"}


async def test_classes_outside_every_scope_are_not_limited(plane: ControlPlane, namespace: str) -> None:
    """uncovered-class: low work and work without a class pass; NotIn closes both holes."""
    hard = {"requests.nvidia.com/gpu": "0"}
    put_quota(plane, namespace, hard, scopeSelector=priority("ml-critical", "ml-high"))
    for priority_class in ("ml-low", None):
        put_pod(plane, namespace, 100, priority_class=priority_class, dry_run=True)
    assert await rules(plane, namespace) == {"uncovered-class"}
    scope = priority("ml-critical", "ml-high", operator="NotIn")
    put_quota(plane, namespace, hard, name="others", scopeSelector=scope)
    for priority_class in ("ml-critical", "ml-low", None):
        with pytest.raises(Refused, match="exceeded quota"):
            put_pod(plane, namespace, 1, priority_class=priority_class, dry_run=True)
    assert await rules(plane, namespace) == set()


async def test_a_scoped_quota_counts_no_other_objects(plane: ControlPlane, namespace: str) -> None:
    """uncounted-key: `count/configmaps` is accepted beside a PriorityClass scope and allows any number."""
    hard = {"requests.nvidia.com/gpu": "1", "count/configmaps": "0", "count/pods": "5"}
    put_quota(plane, namespace, hard, scopes=["PriorityClass"])
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
    plane.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", made)
    put_pod(plane, namespace, 1, priority_class="ml-low")
    used = in_force(plane, namespace, "gpu")["status"]["used"]
    assert (used.get("count/configmaps", "0"), used["count/pods"]) == ("0", "1")
    found = [f for f in lint(await ask(plane, namespace)) if f.rule == "uncounted-key"]
    assert [f.field for f in found] == ["spec.hard[count/configmaps]"]


async def test_half_a_gpu_is_accepted_and_allows_none(plane: ControlPlane, namespace: str) -> None:
    """fractional-gpus: the quota is created, a pod with one GPU is refused."""
    put_quota(plane, namespace, {"requests.nvidia.com/gpu": "0.5"})
    with pytest.raises(Refused, match="exceeded quota"):
        put_pod(plane, namespace, 1)
    assert await rules(plane, namespace) == {"fractional-gpus"}


def test_requests_below_limits_cannot_be_for_gpus(plane: ControlPlane, namespace: str) -> None:
    """So a quota's pair of requests and limits has no meaning to a pod: 422."""
    with pytest.raises(Refused, match=r"must be equal to nvidia.com/gpu limit of 4") as refused:
        put_pod(plane, namespace, 4, requests=1)
    assert refused.value.status == 422


async def test_the_reference_limit_range_gives_gpus_to_everybody(plane: ControlPlane, namespace: str) -> None:
    """injected-gpus: a web pod that says nothing of GPUs becomes a pod with eight."""
    for found in documents("as-written/limits.yaml"):
        create(plane, found | {"metadata": {"name": "gpu", "namespace": namespace}})
    assert resources(put_pod(plane, namespace)) == ("8", "8")
    assert await rules(plane, namespace) == {"injected-gpus"}


async def test_a_default_is_given_to_everybody(plane: ControlPlane, namespace: str) -> None:
    """default-gpus: also where only the default is written."""
    put_limits(plane, namespace, type="Container", default={GPU: "1"})
    assert resources(put_pod(plane, namespace)) == ("1", "1")
    assert await rules(plane, namespace) == {"default-gpus"}


@pytest.mark.parametrize("bound", ["max", "min"])
async def test_bounds_on_pods_refuse_pods_without_gpus(plane: ControlPlane, namespace: str, bound: str) -> None:
    """refused-pods: a pod that wants none is refused."""
    put_limits(plane, namespace, type="Pod", **{bound: {GPU: "8"}})
    with pytest.raises(Refused, match=f"{bound}imum nvidia.com/gpu usage per Pod is 8.  No ") as refused:
        put_pod(plane, namespace)
    assert refused.value.status == 403
    assert await rules(plane, namespace) == {"refused-pods"}


async def test_a_least_number_for_containers_refuses_those_without(plane: ControlPlane, namespace: str) -> None:
    """refused-containers: it is injected as a request without a limit."""
    put_limits(plane, namespace, type="Container", min={GPU: "1"})
    with pytest.raises(Refused, match="Limit must be set for non overcommitable resources") as refused:
        put_pod(plane, namespace)
    assert refused.value.status == 422
    assert await rules(plane, namespace) == {"refused-containers"}


@pytest.mark.parametrize(
    "item",
    [
        {"type": "Pod", "max": {GPU: "8"}},
        {"type": "Pod", "max": {GPU: "8"}, "min": {GPU: "1"}},
        {"type": "Container", "max": {GPU: "8"}, "min": {GPU: "1"}},
        {"type": "Container", "default": {GPU: "2"}},
        {"type": "Container", "min": {GPU: "1"}},
    ],
)
async def test_mended_limits_let_pods_without_gpus_in(
    plane: ControlPlane, namespace: str, item: dict[str, Any]
) -> None:
    """`--fix` of what the cluster holds, put in its place: accepted, nothing injected, nothing found."""
    put_limits(plane, namespace, **item)
    (mended,) = mend(await ask(plane, namespace))
    manifest = to_manifest(mended.object)
    plane.call("PUT", COLLECTIONS["LimitRange"].format(namespace) + "/gpu", manifest)
    wait_for("admission to see it", lambda: given(plane, namespace) in ((None, None), ("0", "0")))
    assert await rules(plane, namespace) == set()


def test_the_corrected_objects_are_accepted_and_do_what_they_say(plane: ControlPlane) -> None:
    """Each of them, in place of what was written; the lint of the live cluster has nothing to say of them."""
    for found in documents("as-written/namespaces.yaml"):
        path = COLLECTIONS["Pod"].format(found["metadata"]["name"])
        plane.call("DELETE", path + "?gracePeriodSeconds=0")
        plane.call("DELETE", COLLECTIONS["ResourceQuota"].format(found["metadata"]["name"]))
    for found in documents("corrected/quotas.yaml") + documents("corrected/limits.yaml"):
        create(plane, found)
        if found["kind"] == "ResourceQuota":
            in_force(plane, found["metadata"]["namespace"], found["metadata"]["name"])
    assert resources(put_pod(plane, "ml-production", name="web")) == ("0", "0")
    with pytest.raises(Refused, match=r"maximum nvidia.com/gpu usage per Container is 8, but limit is 9"):
        put_pod(plane, "ml-production", 9, priority_class="ml-critical")
    put_pod(plane, "ml-research", 31)
    ended = chargeback("quota", "lint", "--kubeconfig", str(plane.kubeconfig()), check=False)
    about = [line for line in ended.stdout.decode().splitlines() if re.match(r"\w+: \w+ ml-", line)]
    assert about == []


async def test_an_estimate_of_what_fits_agrees_with_the_server(plane: ControlPlane) -> None:
    """`quota fit` and the server's dry run give the same answer, at and beyond each bound."""
    for namespace, gpus, priority_class in (
        ("ml-production", 8, "ml-critical"),
        ("ml-production", 9, "ml-critical"),
        ("ml-production", 1, "ml-low"),
        ("ml-production", 1, None),
        ("ml-production", 1, "critical"),
        ("ml-research", 1, None),
        ("ml-research", 2, None),
        ("ml-experiments", 32, "ml-low"),
        ("ml-experiments", 33, "ml-low"),
    ):
        lines = fit(await ask(plane, namespace), Ask(namespace=namespace, gpus=gpus, priority_class=priority_class))
        try:
            put_pod(plane, namespace, gpus, name="dry", priority_class=priority_class, dry_run=True)
            admitted = True
        except Refused:
            admitted = False
        assert verdict(lines) is admitted, (namespace, gpus, priority_class, lines)


def test_guarantees_are_held_against_the_clusters_nodes(plane: ControlPlane) -> None:
    """oversold-guarantees, uncounted-resource: what nodes can give, from their status."""
    plane.create("/api/v1/nodes", "Node", "small")
    status = {"status": {"allocatable": {GPU: "4", "nvidia.com/mig-1g.10gb": "7"}}}
    plane.merge("/api/v1/nodes/small/status", status)
    ended = chargeback("quota", "lint", "--kubeconfig", str(plane.kubeconfig()), check=False)
    assert ended.returncode == 1
    assert "24 nvidia.com/gpu are guaranteed, the nodes have 4" in ended.stdout.decode()
    assert "nodes offer nvidia.com/mig-1g.10gb" in ended.stdout.decode()
