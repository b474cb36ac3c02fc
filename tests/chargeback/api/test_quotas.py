"""`GET /v1/quotas/lint` and `/v1/quotas/fit` on the real server: what the commands say, or a clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chargeback.core.nodes import Node
from chargeback.core.owners.owners import Namespace
from chargeback.core.quota.limit_ranges import LimitItem, LimitRange
from chargeback.core.quota.specs import PriorityClass
from tests.chargeback.api.serving import NOW_MS, Server, serving

DEMO = Path(__file__).resolve().parents[3] / "chargeback/demo/quotas.yaml"
GPU = "nvidia.com/gpu"


async def fit(server: Server, query: str) -> tuple[int, Any]:
    answer = await server.get(f"/v1/quotas/fit{query}")
    return answer.status, answer.json


async def test_the_lint_finds_what_the_command_finds(tmp_path: Path) -> None:
    """Of a file of quotas: what there is to see, and what of the cluster is not known."""
    async with serving(tmp_path, quotas=str(DEMO)) as server:
        answer = await server.get("/v1/quotas/lint")
    assert answer.status == 200
    found = answer.json
    assert found["cluster"] == "lab"
    assert found["as_of"].endswith("Z")
    dead = [finding for finding in found["findings"] if finding["rule"] == "dead-key"]
    assert {finding["field"] for finding in dead} == {f"spec.hard[limits.{GPU}]"}
    assert set(dead[0]) == {"severity", "rule", "object", "field", "what", "mend"}
    assert set(found["unknown"]) == {"LimitRange", "PriorityClass", "Namespace", "Node", "DeviceClass"}
    assert all(found["unknown"].values())


async def test_the_lint_sees_every_table_that_follows_the_cluster(tmp_path: Path) -> None:
    """What the watches have brought: limits, classes, nodes."""
    limits = LimitRange(
        namespace="ml-research", name="gpu", items=(LimitItem(type="Container", bounds={"max": {GPU: "8"}}),)
    )
    node = Node(name="n1", uid="n1", created_ms=0, gpus={"nvidia.com/mig-1g.10gb": 7})
    async with serving(tmp_path, quotas=str(DEMO)) as server:
        server.tables.limitranges.replace({"1": limits}, NOW_MS)
        server.tables.priorityclasses.replace({"1": PriorityClass(name="usual")}, NOW_MS)
        server.tables.nodes.replace({"1": node}, NOW_MS)
        found = (await server.get("/v1/quotas/lint")).json
    assert {"injected-gpus", "uncounted-resource"} <= {finding["rule"] for finding in found["findings"]}
    assert set(found["unknown"]) == {"Namespace", "DeviceClass"}


@pytest.mark.parametrize(("gpus", "fits"), [(7, True), (8, False)])
async def test_the_fit_adds_up(tmp_path: Path, gpus: int, fits: bool) -> None:
    """Nine of sixteen are used."""
    async with serving(tmp_path, quotas=str(DEMO)) as server:
        status, found = await fit(server, f"?namespace=ml-research&gpus={gpus}")
    assert (status, found["fits"], found["estimate"]) == (200, fits, True)
    assert found["ask"] == {
        "namespace": "ml-research", "pods": 1, "priority_class": None, "gpus": {GPU: str(gpus)},
    }  # fmt: skip
    assert found["lines"][-1]["what"] == f"9 of 16 used, {gpus} asked: 7 left"


async def test_the_fit_takes_pods_a_resource_and_a_class(tmp_path: Path) -> None:
    async with serving(tmp_path, quotas=str(DEMO)) as server:
        status, found = await fit(server, "?namespace=ml-research&gpus=2&pods=4")
        assert (status, found["fits"]) == (200, False)
        status, found = await fit(server, "?namespace=ml-research&gpus=99&resource=nvidia.com/mig-1g.10gb")
        assert (status, found["fits"]) == (200, True)
        server.tables.priorityclasses.replace({}, NOW_MS)
        status, found = await fit(server, "?namespace=ml-research&gpus=1&priority_class=nobody")
        assert (status, found["fits"]) == (200, False)


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/v1/quotas/fit?gpus=1", 400, "namespace"),
        ("/v1/quotas/fit?namespace=ml-research", 400, "gpus"),
        ("/v1/quotas/fit?namespace=ml-research&gpus=0", 400, "gpus"),
        ("/v1/quotas/fit?namespace=ml-research&gpus=-1", 400, "gpus"),
        ("/v1/quotas/fit?namespace=ml-research&gpus=1.5", 400, "gpus"),
        ("/v1/quotas/fit?namespace=ml-research&gpus=%C2%B2", 400, "gpus"),
        ("/v1/quotas/fit?namespace=ml-research&gpus=99999999999999999999", 400, "gpus"),
        ("/v1/quotas/fit?namespace=ml-research&gpus=1&pods=many", 400, "pods"),
        ("/v1/quotas/fit?namespace=ml-research&gpus=1&resource=cpu", 400, "resource"),
        ("/v1/quotas/fit?namespace=ml-research&gpus=1&gpu=1", 400, "gpu"),
        ("/v1/quotas/fit?namespace=ml-reserch&gpus=1", 404, "namespace"),
        ("/v1/quotas/lint?namespace=ml-research", 400, "namespace"),
    ],
)
async def test_a_bad_query_names_the_field(tmp_path: Path, path: str, status: int, field: str) -> None:
    """What was seen, and what is wanted."""
    async with serving(tmp_path, quotas=str(DEMO)) as server:
        answer = await server.get(path)
    assert (answer.status, answer.json["field"]) == (status, field)
    assert "want" in answer.json["problem"] or "no such" in answer.json["problem"]


@pytest.mark.parametrize("path", ["/v1/quotas/lint", "/v1/quotas/fit?namespace=a&gpus=1"])
async def test_without_a_cluster_there_is_nothing_to_say(tmp_path: Path, path: str) -> None:
    """409 where nobody named one; 503, with the reason, where it cannot be read. Never an empty, clean answer."""
    async with serving(tmp_path) as server:
        answer = await server.get(path)
        assert (answer.status, answer.json["field"]) == (409, "cluster")
        assert "--kubeconfig" in answer.json["problem"]
        server.tables.resourcequotas.lack = "/api/v1/resourcequotas: 403 Forbidden"
        answer = await server.get(path)
        assert (answer.status, answer.json["field"]) == (503, "cluster")
        assert "403 Forbidden" in answer.json["problem"]


async def test_they_are_read_only(tmp_path: Path) -> None:
    async with serving(tmp_path, quotas=str(DEMO)) as server:
        assert (await server.request("POST", "/v1/quotas/lint")).status == 405


async def test_owners_are_those_of_the_rules(tmp_path: Path) -> None:
    """no-cost-center: what the ledger bills by a rule has an owner."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{name: r, namespaces: [by-*], cost-center: y}]")
    async with serving(tmp_path, quotas=str(DEMO), owner_rules=str(rules)) as server:
        found = {name: Namespace(name=name, uid=name) for name in ("by-rule", "nobody")}
        server.tables.namespaces.replace(found, NOW_MS)
        findings = (await server.get("/v1/quotas/lint")).json["findings"]
    assert [each["object"] for each in findings if each["rule"] == "no-cost-center"] == ["Namespace nobody"]
