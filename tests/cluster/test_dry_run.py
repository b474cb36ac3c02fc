"""`quota fit --server` under a ServiceAccount: with the right to create pods, and without it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.control_plane import ControlPlane, control_plane
from tests.cluster.quota_cluster import (
    COLLECTIONS,
    GPU,
    container,
    gpus,
    in_force,
    new_namespace,
    put_pod,
    put_quota,
)
from tests.programs import chargeback


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("cluster")) as plane:
        yield plane


@pytest.fixture
def namespace(plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    return new_namespace(plane, request)


# The right to read what the estimate wants; and that to create pods, which only the dry run wants.
READS = [
    {"apiGroups": [""], "resources": ["resourcequotas", "limitranges"], "verbs": ["list"]},
    {"apiGroups": ["scheduling.k8s.io"], "resources": ["priorityclasses"], "verbs": ["list"]},
]
CREATES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]}]


def allow(plane: ControlPlane, name: str, rules: list[dict[str, Any]], namespace: str, *, account: str) -> None:
    """Rules for a ServiceAccount: in the whole cluster, or in one namespace."""
    rbac, version = "/apis/rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io/v1"
    at, prefix = ("", "Cluster") if not namespace else (f"/namespaces/{namespace}", "")
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": f"{prefix}Role", "name": name}
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": "default"}]
    plane.create(f"{rbac}{at}/{prefix.lower()}roles", f"{prefix}Role", name, version=version, rules=rules)
    plane.create(
        f"{rbac}{at}/{prefix.lower()}rolebindings",
        f"{prefix}RoleBinding",
        name,
        version=version,
        roleRef=role,
        subjects=subjects,
    )


@pytest.fixture(scope="module")
def asker(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kubeconfig of a ServiceAccount that may read quotas; and no more, until a test allows it."""
    plane.create("/api/v1/namespaces/default/serviceaccounts", "ServiceAccount", "asker")
    allow(plane, "asker-reads", READS, "", account="asker")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["https://k"]}}
    made = plane.call("POST", "/api/v1/namespaces/default/serviceaccounts/asker/token", request)
    config = json.loads(plane.kubeconfig().read_text())
    config["users"][0]["user"]["token"] = made["status"]["token"]
    path = tmp_path_factory.mktemp("asker") / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


def fit_command(asker: Path, namespace: str, *arguments: str) -> tuple[int, Any, str]:
    """Exit code, answer and complaints of `chargeback quota fit NAMESPACE --server`."""
    ended = chargeback(
        *("quota", "fit", namespace, *arguments, "--server", "--output", "json", "--kubeconfig", str(asker)),
        check=False,
    )
    return ended.returncode, json.loads(ended.stdout), ended.stderr.decode()


def test_a_missing_right_is_no_refusal_by_a_quota(plane: ControlPlane, asker: Path, namespace: str) -> None:
    """The estimate stands alone, and it is said why; what the account may not list is named."""
    put_quota(plane, namespace, {f"requests.{GPU}": "4"})
    code, found, complaints = fit_command(asker, namespace, "--gpus", "2")
    assert (code, found["fits"]) == (1, True)
    server = found["server"]
    assert (server["admitted"], server["status"], server["refused_by"]) == (None, 403, "right")
    assert 'cannot create resource "pods"' in server["message"]
    assert complaints.startswith(f"not known: Namespace: /api/v1/namespaces/{namespace}: 403 Forbidden: namespaces ")
    ended = chargeback("quota", "fit", namespace, "--gpus", "2", "--server", "--kubeconfig", str(asker), check=False)
    assert "no quota refused: this account may not create pods" in ended.stdout.decode()


def test_the_servers_answer_is_shown_word_for_word(
    plane: ControlPlane, asker: Path, namespace: str, tmp_path: Path
) -> None:
    """With the right to create pods: created, and nothing is stored; or refused, and by whom."""
    put_quota(plane, namespace, {f"requests.{GPU}": "4"})
    allow(plane, "asker-creates", CREATES, namespace, account="asker")
    assert fit_command(asker, namespace, "--gpus", "4")[:2][0] == 0
    assert plane.call("GET", COLLECTIONS["Pod"].format(namespace))["items"] == []
    assert in_force(plane, namespace, "gpu")["status"]["used"] == {f"requests.{GPU}": "0"}

    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container(**gpus(5))]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "train"}, "spec": {"template": template}}
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    code, found, _ = fit_command(asker, namespace, "--pod", str(path))
    assert (code, found["fits"], found["server"]["admitted"], found["server"]["refused_by"]) == (
        1,
        False,
        False,
        "quota",
    )
    assert found["server"]["message"].endswith(
        f"exceeded quota: gpu, requested: requests.{GPU}=5, used: requests.{GPU}=0, limited: requests.{GPU}=4"
    )
    template["spec"]["containers"] = [container(resources={"limits": {GPU: "2"}, "requests": {GPU: "1"}})]
    path.write_text(yaml.safe_dump(job))
    code, found, _ = fit_command(asker, namespace, "--pod", str(path))
    assert (code, found["fits"], found["server"]["refused_by"]) == (1, False, "validation")
    code, found, _ = fit_command(asker, namespace, "--gpus", "1", "--priority-class", "nobody")
    assert (code, found["fits"], found["server"]["refused_by"]) == (1, False, "admission")


def test_several_pods_are_more_than_a_dry_run_can_tell(plane: ControlPlane, asker: Path, namespace: str) -> None:
    """One of two is admitted, both do not fit: exit 1."""
    put_quota(plane, namespace, {f"requests.{GPU}": "3"})
    allow(plane, "asker-creates", CREATES, namespace, account="asker")
    code, found, _ = fit_command(asker, namespace, "--gpus", "2", "--pods", "2")
    assert (code, found["fits"], found["server"]["admitted"]) == (1, False, True)
    put_pod(plane, namespace, 1)
    assert fit_command(asker, namespace, "--gpus", "2", "--pods", "1")[0] == 0
