"""What a real API server answers to quotas, LimitRanges and pods of GPUs: the facts that lint and fit rest on.

Two control planes: one without controllers, where a test writes the status of a quota itself, and one with them.
"""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.control_plane import ADMIN_TOKEN, ControlPlane, Refused, control_plane
from tests.cluster.quota_cluster import (
    COLLECTIONS,
    GPU,
    create,
    documents,
    in_force,
    new_namespace,
    priority,
    put_limits,
    put_pod,
    put_quota,
    resources,
)
from tests.programs import wait_for

# One without a scope: every key of the reference, dead ones among them.
HARD = {
    "requests.nvidia.com/gpu": "8",
    "limits.nvidia.com/gpu": "4",
    "nvidia.com/gpu": "1",
    "requests.nvidia.com/mig-1g.5gb": "7",
    "pods": "50",
    "requests.storage": "10Ti",
    "persistentvolumeclaims": "20",
    "services": "10",
    "secrets": "50",
    "configmaps": "50",
}
DEAD = {"limits.nvidia.com/gpu", "nvidia.com/gpu"}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Without controllers: nobody else writes a quota's status."""
    with control_plane(tmp_path_factory.mktemp("bare"), controllers=False) as plane:
        yield with_classes(plane)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """With the controllers of a real cluster, those that fill new namespaces among them."""
    with control_plane(tmp_path_factory.mktemp("counting"), node="nobody") as plane:
        yield with_classes(plane)


@pytest.fixture
def team(bare: ControlPlane, request: pytest.FixtureRequest) -> str:
    return new_namespace(bare, request)


@pytest.fixture
def counted(counting: ControlPlane, request: pytest.FixtureRequest) -> str:
    """A namespace whose default ServiceAccount is there, without which no pod is taken."""
    name = new_namespace(counting, request)
    wait_for("the account", lambda: exists(counting, f"/api/v1/namespaces/{name}/serviceaccounts/default"))
    return name


def with_classes(plane: ControlPlane) -> ControlPlane:
    for found in documents("as-written/priority-classes.yaml"):
        create(plane, found)
    return plane


def exists(plane: ControlPlane, path: str) -> bool:
    try:
        plane.call("GET", path)
    except Refused as refused:
        if refused.status != 404:
            raise
        return False
    return True


def quota(namespace: str, hard: dict[str, str], **spec: Any) -> dict[str, Any]:
    metadata = {"name": "all", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard, **spec}}


def put_status(plane: ControlPlane, namespace: str, hard: dict[str, str]) -> None:
    """What the controller would write: every key in hard, those that it counts in used."""
    used = {key: "0" for key in hard if key not in DEAD}
    path = COLLECTIONS["ResourceQuota"].format(namespace) + "/all/status"
    plane.merge(path, {"status": {"hard": hard, "used": used}})


def with_quota(plane: ControlPlane, namespace: str, hard: dict[str, str] = HARD, **spec: Any) -> None:
    """A quota in force, and six GPUs of it used."""
    create(plane, quota(namespace, hard, **spec))
    put_status(plane, namespace, hard)
    wait_for("admission to see the quota", lambda: used_after_a_pod(plane, namespace))


def used_after_a_pod(plane: ControlPlane, namespace: str) -> bool:
    """Admission reads quotas from a cache: a pod that it has not counted is taken away again."""
    put_pod(plane, namespace, 6, name="six")
    if used(plane, namespace)["requests.nvidia.com/gpu"] == "6":
        return True
    plane.call("DELETE", COLLECTIONS["Pod"].format(namespace) + "/six?gracePeriodSeconds=0")
    return False


def used(plane: ControlPlane, namespace: str) -> dict[str, str]:
    found: dict[str, str] = plane.call("GET", COLLECTIONS["ResourceQuota"].format(namespace) + "/all")["status"][
        "used"
    ]
    return found


def warnings_of(plane: ControlPlane, path: str, body: Any) -> list[str]:
    """Create an object; the warnings that the API server gives with it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = urllib.request.Request(
        plane.url + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, context=context, timeout=30) as answer:
        return list(answer.headers.get_all("Warning") or ())


def test_the_reference_quota_as_one_object_is_refused(bare: ControlPlane, team: str) -> None:
    """Scope and storage, services, … in one: 422."""
    (written,) = [found for found in documents("as-written/quotas.yaml") if found["metadata"]["name"] == "team-quota"]
    with pytest.raises(Refused) as refused:
        create(bare, written | {"metadata": {"name": "team-quota", "namespace": team}})
    assert refused.value.status == 422
    assert refused.value.message.startswith(
        'ResourceQuota "team-quota" is invalid: spec.scopeSelector.matchExpressions: Invalid value: '
    )
    assert "unsupported scope applied to resource" in refused.value.message


def test_dead_keys_are_created_without_a_warning(bare: ControlPlane, team: str) -> None:
    path = COLLECTIONS["ResourceQuota"].format(team)
    assert warnings_of(bare, path, quota(team, HARD)) == []
    assert bare.call("GET", path + "/all")["spec"]["hard"] == HARD


def test_a_quota_without_a_status_refuses_nobody(bare: ControlPlane, team: str) -> None:
    """It is enforced once somebody has written what is hard into its status."""
    create(bare, quota(team, {"requests.nvidia.com/gpu": "0", "pods": "0"}))
    put_pod(bare, team, 1)
    assert "used" not in bare.call("GET", COLLECTIONS["ResourceQuota"].format(team) + "/all")["status"]


def test_dead_keys_refuse_nobody_and_live_ones_count(bare: ControlPlane, team: str) -> None:
    """Six GPUs pass `limits.` 4 and bare 1; only `requests.` and pods are counted."""
    with_quota(bare, team)
    counted = {key: number for key, number in used(bare, team).items() if number != "0"}
    assert counted == {"pods": "1", "requests.nvidia.com/gpu": "6"}


def test_a_dry_run_says_what_is_exceeded_and_consumes_nothing(bare: ControlPlane, team: str) -> None:
    """Three more are refused, two more are created, and still six are used."""
    with_quota(bare, team)
    with pytest.raises(Refused) as refused:
        put_pod(bare, team, 3, name="three", dry_run=True)
    assert refused.value.status == 403
    assert refused.value.message.endswith(
        "exceeded quota: all, requested: requests.nvidia.com/gpu=3, used: requests.nvidia.com/gpu=6, "
        "limited: requests.nvidia.com/gpu=8"
    )
    put_pod(bare, team, 2, name="two", dry_run=True)
    assert used(bare, team)["requests.nvidia.com/gpu"] == "6"


def test_a_request_below_the_limit_is_invalid(bare: ControlPlane, team: str) -> None:
    with pytest.raises(Refused, match=r"must be equal to nvidia.com/gpu limit of 4") as refused:
        put_pod(bare, team, 4, requests=1)
    assert refused.value.status == 422


def test_a_gpu_wants_a_limit(bare: ControlPlane, team: str) -> None:
    """A request alone is invalid, even one of 0."""
    container = {"name": "main", "image": "none", "resources": {"requests": {GPU: "0"}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": team}}
    with pytest.raises(Refused, match="Limit must be set for non overcommitable resources") as refused:
        create(bare, pod | {"spec": {"containers": [container]}})
    assert refused.value.status == 422


def test_half_a_gpu_is_a_quota(bare: ControlPlane, team: str) -> None:
    created = create(bare, quota(team, {"requests.nvidia.com/gpu": "0.5"}))
    assert created["spec"]["hard"] == {"requests.nvidia.com/gpu": "500m"}


def test_half_a_gpu_is_no_pod(bare: ControlPlane, team: str) -> None:
    container = {"name": "main", "image": "none", "resources": {"limits": {GPU: "0.5"}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": team}}
    with pytest.raises(Refused, match="must be an integer") as refused:
        create(bare, pod | {"spec": {"containers": [container]}})
    assert refused.value.status == 422


def test_a_scope_without_its_classes_limits_nobody(bare: ControlPlane, team: str) -> None:
    """In [critical, high], and a pod of ml-critical with 100 GPUs."""
    hard = {"requests.nvidia.com/gpu": "8", "pods": "50"}
    create(bare, quota(team, hard, scopeSelector=priority("critical", "high")))
    put_status(bare, team, hard)
    put_pod(bare, team, 100, priority_class="ml-critical")
    assert used(bare, team) == {"requests.nvidia.com/gpu": "0", "pods": "0"}


def test_a_class_that_is_not_there_is_forbidden(bare: ControlPlane, team: str) -> None:
    with pytest.raises(Refused, match="no PriorityClass with name critical was found") as refused:
        put_pod(bare, team, 1, priority_class="critical")
    assert refused.value.status == 403


def test_a_max_for_containers_becomes_everybodys_default(bare: ControlPlane, team: str) -> None:
    put_limits(bare, team, type="Container", max={GPU: "8"})
    pod = put_pod(bare, team, name="web")
    assert resources(pod) == ("8", "8")
    assert "nvidia.com/gpu limit for container main" in pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"]


def test_a_max_for_pods_refuses_those_without(bare: ControlPlane, team: str) -> None:
    """Two blanks, as the API server writes it."""
    put_limits(bare, team, type="Pod", max={GPU: "8"})
    with pytest.raises(Refused) as refused:
        put_pod(bare, team)
    assert refused.value.status == 403
    assert "maximum nvidia.com/gpu usage per Pod is 8.  No limit is specified" in refused.value.message


def test_a_max_with_a_default_of_none(bare: ControlPlane, team: str) -> None:
    put_limits(bare, team, type="Container", max={GPU: "8"}, default={GPU: "0"})
    assert resources(put_pod(bare, team, name="web")) == ("0", "0")
    with pytest.raises(Refused, match=r"maximum nvidia.com/gpu usage per Container is 8, but limit is 9") as refused:
        put_pod(bare, team, 9)
    assert refused.value.status == 403


def test_the_controller_shows_dead_keys_and_counts_none(counting: ControlPlane, counted: str) -> None:
    """Ten keys in hard, eight in used; MIG devices are counted under their own name."""
    put_quota(counting, counted, HARD, name="all")
    status = in_force(counting, counted, "all")["status"]
    assert status["hard"] == HARD
    assert set(status["used"]) == set(HARD) - DEAD
    assert status["used"]["requests.nvidia.com/mig-1g.5gb"] == "0"


def test_a_pod_that_is_over_is_not_counted(counting: ControlPlane, counted: str) -> None:
    """Two GPUs used; none once its phase is Succeeded."""
    put_quota(counting, counted, {"requests.nvidia.com/gpu": "8"}, name="all")
    put_pod(counting, counted, 2)
    wait_for("it is counted", lambda: used(counting, counted)["requests.nvidia.com/gpu"] == "2")
    counting.merge(COLLECTIONS["Pod"].format(counted) + "/pod/status", {"status": {"phase": "Succeeded"}})
    wait_for("it is not counted", lambda: used(counting, counted)["requests.nvidia.com/gpu"] == "0")


def test_the_controller_counts_nobody_outside_the_scope(counting: ControlPlane, counted: str) -> None:
    """Beside the pod of 100 GPUs."""
    put_pod(counting, counted, 100, priority_class="ml-critical")
    hard = {"requests.nvidia.com/gpu": "8", "pods": "50"}
    put_quota(counting, counted, hard, name="all", scopeSelector=priority("critical", "high"))
    assert used(counting, counted) == {"pods": "0", "requests.nvidia.com/gpu": "0"}


def test_kubernetes_own_objects_take_of_a_quota(counting: ControlPlane, counted: str) -> None:
    """low-count: the API server's certificate is a ConfigMap in every namespace."""
    put_quota(counting, counted, {"configmaps": "1"}, name="all")
    wait_for("it is counted", lambda: used(counting, counted) == {"configmaps": "1"})
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ours"}}
    with pytest.raises(Refused, match="exceeded quota: all, requested: configmaps=1, used: configmaps=1"):
        counting.call("POST", f"/api/v1/namespaces/{counted}/configmaps", made)
