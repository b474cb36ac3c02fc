"""Owners and quotas from a real API server, under exactly the rights of the shipped manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chargeback.cluster.api import ApiError, ClusterApi
from chargeback.cluster.kinds import kinds
from chargeback.cluster.login import find_cluster
from chargeback.core.owners.owners import LabelKeys, Namespace
from chargeback.core.plans.sources import plans
from chargeback.core.quota.specs import QuotaSpec
from chargeback.core.quota.uses import quota_uses
from tests.cluster.control_plane import AGGREGATOR_TOKEN, ControlPlane, Refused, apply_shipped_rights, control_plane
from tests.programs import fetch, running, wait_for

KINDS = {kind.name: kind for kind in kinds(LabelKeys())}
QUOTAS = "/api/v1/namespaces/{}/resourcequotas"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("cluster")) as plane:
        apply_shipped_rights(plane)
        yield plane


async def ask(plane: ControlPlane, token: str = AGGREGATOR_TOKEN) -> tuple[list[Namespace], list[QuotaSpec]]:
    configuration = await find_cluster(plane.kubeconfig(token))
    assert configuration is not None
    async with ClusterApi(configuration) as api:
        namespaces = await api.list_all(KINDS["namespaces"])
        quotas = await api.list_all(KINDS["resourcequotas"])
        return list(namespaces.items.values()), list(quotas.items.values())


def pod(name: str, gpus: int, **limits: str) -> dict[str, Any]:
    asked = {"nvidia.com/gpu": str(gpus)} | limits
    container = {"name": "main", "image": "none", "resources": {"limits": asked, "requests": asked}}
    return {"metadata": {"name": name}, "apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}


async def test_labels_of_a_namespace_and_when_they_were_written(plane: ControlPlane) -> None:
    """The owner's fields, creation, and the time that the API server notes for the label's last change."""
    labels = {"team": "platform", "cost-center": "prod-001", "gpu-tier": "critical"}
    made = plane.create("/api/v1/namespaces", "Namespace", "owned", metadata={"labels": labels})
    plane.merge("/api/v1/namespaces/owned", {"metadata": {"labels": {"cost-center": "prod-002"}}})
    namespaces, _ = await ask(plane)
    found = next(each for each in namespaces if each.name == "owned")
    assert (found.cost_center, found.team, found.tier) == ("prod-002", "platform", "critical")
    created = datetime.fromisoformat(made["metadata"]["creationTimestamp"])
    assert found.created_ms == int(created.timestamp() * 1000)
    assert found.labelled_ms is not None
    assert found.labelled_ms >= found.created_ms
    assert found.uid == made["metadata"]["uid"]


async def test_kubernetes_counts_requests_and_ignores_limits(plane: ControlPlane) -> None:
    """Of a quota's GPU keys it fills in `used` for `requests.` only, and a pod beyond it is refused."""
    plane.create("/api/v1/namespaces", "Namespace", "counted")
    hard = {
        "requests.nvidia.com/gpu": "8",
        "limits.nvidia.com/gpu": "4",
        "nvidia.com/gpu": "1",
        "requests.nvidia.com/mig-1g.5gb": "7",
        "pods": "10",
    }
    plane.create(QUOTAS.format("counted"), "ResourceQuota", "gpu", spec={"hard": hard})
    path = QUOTAS.format("counted") + "/gpu"
    wait_for("the quota's status", lambda: plane.call("GET", path).get("status", {}).get("hard"))
    plane.call("POST", "/api/v1/namespaces/counted/pods", pod("six", 6))
    with pytest.raises(Refused, match="exceeded quota: gpu") as refused:
        plane.call("POST", "/api/v1/namespaces/counted/pods", pod("three", 3))
    assert refused.value.status == 403
    _, quotas = await ask(plane)
    counted = [quota for quota in quotas if quota.namespace == "counted"]
    planned, contradictions = plans(counted, [], "quota")
    assert [problem.what for problem in contradictions] == [
        "8 are guaranteed, but 4 are the most that it may use: want no more than that"
    ]
    uses, problems = quota_uses(counted, None, planned)
    assert problems == []
    by_key = {use.resource: use for use in uses}
    requests = by_key["requests.nvidia.com/gpu"]
    assert (requests.enforced, requests.hard, requests.used) == (True, Decimal(8), Decimal(6))
    assert (requests.guaranteed, requests.cap) == (Decimal(8), Decimal(4))
    for ignored in ("limits.nvidia.com/gpu", "nvidia.com/gpu"):
        assert (by_key[ignored].enforced, by_key[ignored].used) == (False, None)
    assert by_key["requests.nvidia.com/mig-1g.5gb"].used == 0
    assert "pods" not in by_key


async def test_the_shipped_rights_are_enough_and_no_more(plane: ControlPlane) -> None:
    """The aggregator may list and watch every kind that it follows; secrets and any change are refused."""
    configuration = await find_cluster(plane.kubeconfig(AGGREGATOR_TOKEN))
    assert configuration is not None
    async with ClusterApi(configuration) as api:
        for kind in KINDS.values():
            version = (await api.list_all(kind)).version
            query = [("watch", "1"), ("resourceVersion", version), ("timeoutSeconds", "1"), *kind.query]
            await api.call("GET", kind.path, query=query)
        for method, path in (
            ("GET", "/api/v1/secrets"),
            ("GET", "/api/v1/configmaps"),
            ("POST", "/api/v1/namespaces/default/pods"),
            ("DELETE", "/api/v1/nodes"),
            ("PATCH", "/api/v1/namespaces/default"),
        ):
            with pytest.raises(ApiError, match=f"{re.escape(path)}: 403"):
                await api.call(method, path, {})


async def test_a_wrong_token_is_an_error_that_says_so(plane: ControlPlane) -> None:
    """Not an empty cluster."""
    with pytest.raises(ApiError, match="401"):
        await ask(plane, "nobody")


async def test_many_namespaces_come_page_by_page(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is lost between pages."""
    for number in range(7):
        plane.create("/api/v1/namespaces", "Namespace", f"page-{number}")
    monkeypatch.setattr("chargeback.cluster.api.PAGE_ITEMS", 3)
    namespaces, _ = await ask(plane)
    assert {f"page-{number}" for number in range(7)} <= {each.name for each in namespaces}


def test_the_server_shows_the_clusters_quotas(plane: ControlPlane, tmp_path: Path) -> None:
    """`chargeback serve --kubeconfig`: quota metrics equal the controller's status, owners come from labels."""
    plane.create("/api/v1/namespaces", "Namespace", "shown", metadata={"labels": {"cost-center": "rd-001"}})
    hard = {"requests.nvidia.com/gpu": "4"}
    plane.create(QUOTAS.format("shown"), "ResourceQuota", "gpu", spec={"hard": hard})
    wait_for("status", lambda: plane.call("GET", QUOTAS.format("shown") + "/gpu").get("status", {}).get("used"))
    arguments = (
        *("serve", "--data", str(tmp_path), "--cluster", "lab"),
        *("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN))),
    )
    with running("chargeback.cli.main", *arguments, log=tmp_path / "serve.log") as server:
        labels = 'cluster="lab",cost_center="rd-001",enforced="true",namespace="shown"'
        page = fetch(f"{server.url}/metrics")[1].decode()  # all there as soon as it is ready
        assert f"chargeback_quota_hard{{{labels}" in page
        assert f"chargeback_quota_used{{{labels}" in page
