"""`/v1/quotas` and the quota metrics of the real server, from what its tables of the cluster hold."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chargeback.core.nodes import Node
from chargeback.core.owners.owners import Namespace
from chargeback.core.pods import Ask, Pod
from chargeback.core.quota.refusals import refusal_of
from chargeback.core.quota.resources import CAP, GUARANTEED
from chargeback.core.quota.specs import QuotaSpec
from tests.chargeback.api.serving import NOW_MS, TURN_S, WITHIN_S, Server, serving
from tests.chargeback.store.bodies import CLUSTER, HOUR, body, gpu, holding, start_ms

GPU = "nvidia.com/gpu"
REQUESTS, LIMITS = f"requests.{GPU}", f"limits.{GPU}"
OWNER = f'cluster="{CLUSTER}",cost_center="cc-a"'


def quota(used: int, **fields: Any) -> QuotaSpec:
    hard = {REQUESTS: "16", LIMITS: "32", "pods": "50"}
    values = {"namespace": "alpha", "name": "gpu", "hard": hard, "status_hard": hard}
    return QuotaSpec(**values | {"used": {REQUESTS: str(used), "pods": "9"}} | fields)


def pod(name: str, gpus: int, **fields: Any) -> Pod:
    asks = (Ask(container="main", resource=GPU, count=gpus),)
    return Pod(**{"namespace": "alpha", "name": name, "uid": name, "node": "n1", "asks": asks} | fields)


def fill(server: Server, used: int = 6, **quota_fields: Any) -> None:
    """As the API would have said it: six GPUs run, two wait, a job is refused."""
    tables, now_ms = server.tables, server.clock.now_ms()
    tables.resourcequotas.replace({"q": quota(used, **quota_fields)}, now_ms)
    pods = [pod("train-0", 6), pod("train-1", 2, node=None, waits="no node has room"), pod("over", 4, terminal=True)]
    tables.pods.replace({each.uid: each for each in pods}, now_ms)
    said = f"exceeded quota: gpu, requested: {REQUESTS}=12, used: {REQUESTS}=6, limited: {REQUESTS}=16"
    refusal = refusal_of("alpha", "Job", "big", said, 3, now_ms - 1000)
    assert refusal is not None
    tables.events.replace({"e": refusal}, now_ms)


async def test_everything_that_is_known(tmp_path: Path) -> None:
    """Counts of both, holders, what is refused and what waits; and what is not known, with the reason."""
    async with serving(tmp_path, plans_from="quota") as server:
        fill(server)
        server.tables.nodes.replace({"n1": Node(name="n1", uid="n1", created_ms=0, gpus={GPU: 8})}, NOW_MS)
        server.tables.deviceclasses.lack = "/apis/resource.k8s.io/v1/deviceclasses: 403 Forbidden"
        found = (await server.get("/v1/quotas")).json
    rows = {row["resource"]: row for row in found["quotas"]}
    assert found["cluster"] == CLUSTER
    assert (rows[REQUESTS]["used"], rows[REQUESTS]["counted"], rows[REQUESTS]["counted_by"]) == (
        "6",
        "8",
        "kubernetes",
    )
    assert (rows[LIMITS]["used"], rows[LIMITS]["counted"], rows[LIMITS]["counted_by"]) == (None, "8", "us")
    assert (rows[REQUESTS]["guaranteed"], rows[REQUESTS]["cap"]) == ("16", "32")
    assert [(each["workload"], each["bound"], each["pending"]) for each in rows[LIMITS]["holders"]] == [
        ("train", 6, 2)
    ]
    (alpha,) = found["namespaces"]
    assert [(each["name"], each["count"], each["gpus"]) for each in alpha["refusals"]] == [("big", 3, True)]
    assert [(each["pod"], each["waits"]) for each in alpha["waiting"]] == [("train-1", "no node has room")]
    assert found["offered"] == {GPU: 8}
    assert found["unknown"]["deviceclasses"] == "/apis/resource.k8s.io/v1/deviceclasses: 403 Forbidden"
    assert "namespaces" in found["unknown"]


async def test_one_namespace(tmp_path: Path) -> None:
    """?namespace= shows it alone; any other filter is refused by name."""
    async with serving(tmp_path) as server:
        server.tables.resourcequotas.replace({"a": quota(1), "b": quota(2, namespace="beta")}, NOW_MS)
        found = (await server.get("/v1/quotas?namespace=beta")).json
        refused = await server.get("/v1/quotas?team=red")
    assert {row["namespace"] for row in found["quotas"]} == {"beta"}
    assert [each["namespace"] for each in found["namespaces"]] == ["beta"]
    assert (refused.status, refused.json["field"]) == (400, "team")


async def test_the_metrics(tmp_path: Path) -> None:
    """Used by whoever counts the key, our own count of all, refusals by key, waiting pods."""
    async with serving(tmp_path, plans_from="quota") as server:
        fill(server)
        key = f'{OWNER},enforced="{{}}",namespace="alpha",resource="{{}}",resourcequota="gpu",team="red"'
        page = await server.metrics_with(f"chargeback_quota_used{{{key.format('false', LIMITS)}}} 8.0")
    lines = page.splitlines()
    enforced = key.format("true", REQUESTS)
    for name, value in (("hard", 16), ("used", 6), ("counted", 8), ("guaranteed", 16), ("cap", 32)):
        assert f"chargeback_quota_{name}{{{enforced}}} {value:.1f}" in lines
    of_key = f'{OWNER},namespace="alpha",resource="{{}}",resourcequota="gpu",team="red"'
    assert f"chargeback_quota_refusals{{{of_key.format(REQUESTS)}}} 1.0" in lines
    assert f'chargeback_quota_waiting_pods{{{OWNER},namespace="alpha",team="red"}} 1.0' in lines
    assert not any(line.startswith("chargeback_quota_saturation_seconds{") for line in lines)
    assert not any(line.startswith("chargeback_quota_idle_ratio{") for line in lines)


async def test_what_is_not_known_gives_no_sample(tmp_path: Path) -> None:
    """Without pods and events: no count of ours, no refusals, not even zero of them."""
    async with serving(tmp_path) as server:
        server.tables.resourcequotas.replace({"q": quota(6)}, NOW_MS)
        key = f'{OWNER},enforced="true",namespace="alpha",resource="{REQUESTS}",resourcequota="gpu",team="red"'
        page = await server.metrics_with(f"chargeback_quota_used{{{key}}} 6.0")
    for name in ("counted", "refusals", "waiting_pods", "guaranteed", "cap", "idle_ratio"):
        assert f"chargeback_quota_{name}{{" not in page
    assert f'resource="{LIMITS}",resourcequota="gpu",team="red"}} 32.0' in page
    assert page.count("chargeback_quota_used{") == 1


async def test_a_plan_on_a_namespace_without_a_quota(tmp_path: Path) -> None:
    """It has numbers, and no quota's name; nobody enforces it."""
    async with serving(tmp_path) as server:
        annotations = {GUARANTEED: "8", CAP: "12"}
        server.tables.namespaces.replace(
            {"a": Namespace(name="alpha", cost_center="cc-a", team="red", annotations=annotations)}, NOW_MS
        )
        labels = f'{OWNER},enforced="false",namespace="alpha",resource="{REQUESTS}",resourcequota="",team="red"'
        page = await server.metrics_with(f"chargeback_quota_guaranteed{{{labels}}} 8.0")
    assert f"chargeback_quota_cap{{{labels}}} 12.0" in page.splitlines()


async def test_time_to_saturation(tmp_path: Path) -> None:
    """A GPU more each five minutes, ten of sixteen taken: half an hour is left; then it is full."""
    async with serving(tmp_path) as server:
        for used in range(6, 11):
            fill(server, used)
            await rendered(server, NOW_MS + (used - 6) * 300_000)
        assert await saturation(server) == {REQUESTS: 1800.0}
        fill(server, 16)
        await rendered(server, NOW_MS + 1_500_000)
        assert await saturation(server) == {REQUESTS: 0.0}
        found = (await server.get("/v1/quotas")).json
    assert {row["resource"]: row["saturation_s"] for row in found["quotas"]} == {REQUESTS: 0.0, LIMITS: None}


async def test_what_is_idle(tmp_path: Path) -> None:
    """A card held in the running hour and busy for a quarter of that time."""
    async with serving(tmp_path, start_ms(HOUR) + 1_800_000) as server:
        fill(server)
        held = holding(end=1_800_000, busy_ms=450_000)
        pushed = body(gpus=[gpu(observed=[(0, 1_800_000)])], holdings=[held], through=1_800_000, final=False)
        assert (await server.put(pushed)).status == 200
        page = await server.metrics_with(f'chargeback_quota_idle_ratio{{{OWNER},namespace="alpha",team="red"}} 0.75')
        found = (await server.get("/v1/quotas")).json
    assert "chargeback_quota_idle_ratio" in page
    assert found["namespaces"][0]["idle"] == {"ratio": 0.75, "held_gpu_hours": 0.5, "known_gpu_hours": 0.5}


async def rendered(server: Server, now_ms: int) -> None:
    """Move the clock, and wait until the page was made after that."""
    server.clock.at_ms = now_ms
    for _ in range(int(WITHIN_S / TURN_S)):
        page = (await server.get("/metrics")).body.decode()
        made = re.search(r"^chargeback_rendered_timestamp_seconds (\S+)$", page, re.MULTILINE)
        if made and float(made[1]) * 1000 == now_ms:
            return
        await asyncio.sleep(TURN_S)
    raise AssertionError("no page")


async def saturation(server: Server) -> Mapping[str, float]:
    lines = (await server.get("/metrics")).body.decode().splitlines()
    found = [line for line in lines if line.startswith("chargeback_quota_saturation_seconds{")]
    return {line.split('resource="')[1].split('"')[0]: float(line.split()[-1]) for line in found}
