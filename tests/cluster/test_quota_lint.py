"""What the quota lint says is what a real API server does: the reference objects, as written and corrected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from chargeback.cluster.quota_objects import to_manifest
from chargeback.core.quota.fix import mend
from chargeback.core.quota.lint import lint
from chargeback.core.quota.specs import QuotaObjects, QuotaSpec
from tests.cluster.control_plane import ControlPlane, Refused, control_plane
from tests.cluster.quota_cluster import (
    COLLECTIONS,
    GPU,
    ask,
    create,
    documents,
    in_force,
    new_namespace,
    priority,
    put_pod,
    put_quota,
    resources,
    rules,
)
from tests.programs import chargeback


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("cluster")) as plane:
        for found in documents("as-written/priority-classes.yaml"):
            create(plane, found)
        yield plane


@pytest.fixture
def namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    return new_namespace(plane, request)


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


@pytest.mark.parametrize("key", ["gpu", "requests.gpu", "nvidia.com"])
def test_names_that_no_quota_can_have_are_refused(plane: ControlPlane, namespace: str, key: str) -> None:
    """no-key: 422 for the whole object."""
    with pytest.raises(Refused, match="must be a standard resource for quota") as refused:
        put_quota(plane, namespace, {key: "8", "pods": "1"})
    assert refused.value.status == 422
    quota = QuotaSpec(namespace=namespace, name="gpu", hard={key: "8", "pods": "1"})
    (finding,) = lint(QuotaObjects(quotas=(quota,)))
    assert (finding.rule, finding.field) == ("no-key", f"spec.hard[{key}]")


async def test_every_standard_name_is_taken(plane: ControlPlane, namespace: str) -> None:
    """And is no finding of that rule."""
    names = (
        "cpu memory ephemeral-storage requests.cpu limits.memory requests.ephemeral-storage requests.storage pods "
    )
    names += "services services.nodeports services.loadbalancers replicationcontrollers resourcequotas secrets "
    names += "configmaps persistentvolumeclaims hugepages-2Mi requests.hugepages-2Mi"
    put_quota(plane, namespace, dict.fromkeys(names.split(), "20"))
    assert await rules(plane, namespace) == set()


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


def test_the_corrected_objects_are_accepted_and_do_what_they_say(plane: ControlPlane) -> None:
    """Each of them, in place of what was written; of the live cluster there is nothing to say and nothing to mend."""
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
    ended = chargeback("quota", "lint", "--fix", "--kubeconfig", str(plane.kubeconfig()), check=False)
    about = [line for line in ended.stderr.decode().splitlines() if re.match(r"\w+: \w+ ml-", line)]
    assert about == []
    assert "namespace: ml-" not in ended.stdout.decode()


def test_guarantees_are_held_against_the_clusters_nodes(plane: ControlPlane) -> None:
    """oversold-guarantees, uncounted-resource: what nodes can give, from their status."""
    plane.create("/api/v1/nodes", "Node", "small")
    status = {"status": {"allocatable": {GPU: "4", "nvidia.com/mig-1g.10gb": "7"}}}
    plane.merge("/api/v1/nodes/small/status", status)
    ended = chargeback("quota", "lint", "--kubeconfig", str(plane.kubeconfig()), check=False)
    assert ended.returncode == 1
    assert "24 nvidia.com/gpu are guaranteed, the nodes have 4" in ended.stdout.decode()
    assert "nodes offer nvidia.com/mig-1g.10gb" in ended.stdout.decode()


def claim(namespace: str, count: int) -> dict[str, Any]:
    exactly = {"deviceClassName": "gpu.nvidia.com", "allocationMode": "ExactCount", "count": count}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"generateName": "gpus-", "namespace": namespace},
        "spec": {"devices": {"requests": [{"name": "gpus", "exactly": exactly}]}},
    }


@pytest.fixture
def device_class(plane: ControlPlane) -> Iterator[None]:
    selectors = [{"cel": {"expression": "device.driver == 'gpu.nvidia.com'"}}]
    made = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "gpu.nvidia.com"}}
    create(plane, made | {"spec": {"selectors": selectors}})
    yield
    plane.call("DELETE", COLLECTIONS["DeviceClass"] + "/gpu.nvidia.com")


@pytest.mark.usefixtures("device_class")
@pytest.mark.parametrize("scope", [{"scopes": ["PriorityClass"]}, {}])
async def test_claims_pass_by_a_quota_of_gpus(plane: ControlPlane, namespace: str, scope: dict[str, Any]) -> None:
    """uncounted-claims: eight devices beside a quota of none, scoped or not; the one of --fix refuses them."""
    key = "gpu.nvidia.com.deviceclass.resource.k8s.io/devices"
    put_quota(plane, namespace, {"requests.nvidia.com/gpu": "0", **({key: "0"} if scope else {})}, **scope)
    create(plane, claim(namespace, 8))
    used = in_force(plane, namespace, "gpu")["status"]["used"]
    assert (used["requests.nvidia.com/gpu"], used.get(key, "0")) == ("0", "0")
    found = await rules(plane, namespace)
    assert "uncounted-claims" in found
    assert ("uncounted-key" in found) == bool(scope)  # with a scope the right key counts nothing either
    if not scope:
        (mended,) = mend(await ask(plane, namespace))
        manifest = to_manifest(mended.object)
        create(plane, manifest)
        in_force(plane, namespace, manifest["metadata"]["name"])
        with pytest.raises(Refused, match=re.escape(f"exceeded quota: gpu-claims, requested: {key}=1")):
            create(plane, claim(namespace, 1))
        assert await rules(plane, namespace) == set()


async def test_objects_that_a_quota_counts_beside_pods(plane: ControlPlane, namespace: str) -> None:
    """A volume counts from its claim on, whatever becomes of it."""
    put_quota(plane, namespace, {"requests.storage": "10Gi", "persistentvolumeclaims": "2"})
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}}
    volume = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec}
    create(plane, volume | {"metadata": {"name": "one", "namespace": namespace}})
    with pytest.raises(
        Refused, match=r"requested: requests.storage=8Gi, used: requests.storage=8Gi, limited: .*=10Gi"
    ):
        create(plane, volume | {"metadata": {"name": "two", "namespace": namespace}})
    used = in_force(plane, namespace, "gpu")["status"]["used"]
    assert used == {"requests.storage": "8Gi", "persistentvolumeclaims": "1"}


async def test_a_quota_is_a_ceiling_and_reserves_nothing(plane: ControlPlane, namespace: str) -> None:
    """ceiling-only: the sum over pods of each pod's hungriest moment; init containers do not add up with the rest."""
    put_quota(plane, namespace, {"requests.nvidia.com/gpu": "4"})
    gpus = {"limits": {GPU: "2"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": namespace}}
    init = [{"name": "init", "image": "none", "resources": {"limits": {GPU: "3"}}}]
    create(
        plane,
        pod | {"spec": {"initContainers": init, "containers": [{"name": "a", "image": "none", "resources": gpus}]}},
    )
    assert in_force(plane, namespace, "gpu")["status"]["used"] == {"requests.nvidia.com/gpu": "3"}
    with pytest.raises(Refused, match="exceeded quota"):
        put_pod(plane, namespace, 2, name="more")
    (finding,) = lint(await ask(plane, namespace))
    assert (finding.rule, finding.severity) == ("ceiling-only", "info")


async def test_a_quantity_that_is_none_is_refused(plane: ControlPlane, namespace: str) -> None:
    """unreadable-number: 400, before anybody looks at it."""
    with pytest.raises(Refused, match="quantities must match the regular expression") as refused:
        put_quota(plane, namespace, {"requests.nvidia.com/gpu": "many"})
    assert refused.value.status == 400
    quota = QuotaSpec(namespace=namespace, name="gpu", hard={"requests.nvidia.com/gpu": "many"})
    assert "unreadable-number" in {finding.rule for finding in lint(QuotaObjects(quotas=(quota,)))}
