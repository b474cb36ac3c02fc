"""Agents cannot lie: projected tokens on a real API server, reviewed under exactly the shipped rights."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from chargeback.api.agents import Agents
from chargeback.api.errors import BadRequest, errors_as_json
from chargeback.api.tokens import Tokens
from chargeback.clock import SystemClock
from chargeback.cluster.api import ClusterApi
from chargeback.cluster.login import find_cluster
from chargeback.cluster.token_review import TokenReviewer
from chargeback.core.agents import AgentAccount
from chargeback.core.hours import format_hour
from exporter import wire
from tests.cluster.control_plane import AGGREGATOR_TOKEN, ControlPlane, apply_shipped_rights, control_plane
from tests.programs import running, wait_for

ACCOUNT = AgentAccount(namespace="gpu-chargeback", name="gpu-exporter")
PODS = f"/api/v1/namespaces/{ACCOUNT.namespace}/pods"
ACCOUNTS = f"/api/v1/namespaces/{ACCOUNT.namespace}/serviceaccounts"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("cluster")) as plane:
        apply_shipped_rights(plane)
        plane.create("/api/v1/namespaces", "Namespace", ACCOUNT.namespace)
        for name in (ACCOUNT.name, "somebody"):
            plane.create(ACCOUNTS, "ServiceAccount", name)
        for name in ("n1", "n2"):
            plane.create("/api/v1/nodes", "Node", name)
        yield plane


def token_of_pod(
    plane: ControlPlane, pod: str, node: str, *, account: str = ACCOUNT.name, audience: str = "chargeback"
) -> str:
    """What the kubelet of the node would project into the pod."""
    container = {"name": "main", "image": "none"}
    spec = {"nodeName": node, "serviceAccountName": account, "containers": [container]}
    made = plane.create(PODS, "Pod", pod, spec=spec)
    reference = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": made["metadata"]["uid"]}
    asked: dict[str, Any] = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": 600, "boundObjectRef": reference},
    }
    token: str = plane.call("POST", f"{ACCOUNTS}/{account}/token", asked)["status"]["token"]
    return token


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """A server that only checks, and remembers nothing: what the API server says counts each time."""
    configuration = await find_cluster(plane.kubeconfig(AGGREGATOR_TOKEN))
    assert configuration is not None
    async with ClusterApi(configuration) as api:
        agents = Agents(
            Tokens(None),
            clock=SystemClock(),
            cluster="lab",
            reviewer=TokenReviewer(api),
            account=ACCOUNT,
            valid_for_ms=0,
        )

        async def check(request: web.Request) -> web.Response:
            await agents.check(request, request.match_info["cluster"], request.match_info["node"])
            return web.Response(text="ok")

        app = web.Application(middlewares=[errors_as_json])
        app.router.add_get("/{cluster}/{node}", check)
        async with TestClient(TestServer(app)) as client:
            yield client


async def answer(
    client: TestClient[web.Request, web.Application], node: str, token: str | None, *, cluster: str = "lab"
) -> tuple[int, str]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    response = await client.get(f"/{cluster}/{node}", headers=headers)
    return response.status, await response.text()


async def test_a_pods_token_counts_for_its_own_node_only(
    plane: ControlPlane, client: TestClient[web.Request, web.Application]
) -> None:
    token = token_of_pod(plane, "agent-a", "n1")
    assert (await answer(client, "n1", token))[0] == 200
    status, reason = await answer(client, "n2", token)
    assert status == 403
    assert "a pod on n1: want one on n2" in reason
    status, reason = await answer(client, "n1", token, cluster="other")
    assert status == 403
    assert "a token of cluster lab: want a static one for other" in reason


async def test_tokens_of_others_are_refused(
    plane: ControlPlane, client: TestClient[web.Request, web.Application]
) -> None:
    """Another account 403; another audience, garbage and none at all 401."""
    other = token_of_pod(plane, "other", "n1", account="somebody")
    assert (await answer(client, "n1", other))[0] == 403
    for_the_api = token_of_pod(plane, "for-the-api", "n1", audience="https://k")
    assert (await answer(client, "n1", for_the_api))[0] == 401
    assert (await answer(client, "n1", "garbage"))[0] == 401
    assert (await answer(client, "n1", None))[0] == 401


async def test_an_expired_token_is_refused(
    plane: ControlPlane, client: TestClient[web.Request, web.Application]
) -> None:
    """Signed anew with the cluster's own key: with its own times it counts, an hour after its end it does not."""
    token = token_of_pod(plane, "agent-old", "n1")
    assert (await answer(client, "n1", signed_anew(plane, token, later_s=1)))[0] == 200
    assert (await answer(client, "n1", signed_anew(plane, token, later_s=-4200)))[0] == 401


def signed_anew(plane: ControlPlane, token: str, *, later_s: int) -> str:
    """The same token with its times moved."""
    head, claims, _ = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    moved = said | {name: said[name] + later_s for name in ("iat", "nbf", "exp")}
    text = f"{head}.{base64.urlsafe_b64encode(json.dumps(moved).encode()).decode().rstrip('=')}"
    command = ["openssl", "dgst", "-sha256", "-sign", plane.folder / "sa.key"]
    signature = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout
    return f"{text}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


async def test_a_token_dies_with_its_pod(
    plane: ControlPlane, client: TestClient[web.Request, web.Application]
) -> None:
    """Replaying it is refused, as soon as the API server has forgotten it: it remembers for ten seconds."""
    token = token_of_pod(plane, "agent-b", "n1")
    assert (await answer(client, "n1", token))[0] == 200
    plane.call("DELETE", f"{PODS}/agent-b?gracePeriodSeconds=0")
    for _ in range(60):
        if (await answer(client, "n1", token))[0] == 401:
            return
        await asyncio.sleep(0.5)
    pytest.fail("the token of a pod that is gone is still taken")


async def test_an_api_that_is_away_is_not_a_wrong_token(tmp_path: Path) -> None:
    """503: the agent tries again, and loses nothing."""
    away = ControlPlane(url="https://127.0.0.1:9", folder=tmp_path)
    configuration = await find_cluster(away.kubeconfig())
    assert configuration is not None
    async with ClusterApi(configuration) as api:
        agents = Agents(
            Tokens(None), clock=SystemClock(), cluster="lab", reviewer=TokenReviewer(api), account=ACCOUNT
        )

        async def check(request: web.Request) -> web.Response:
            with pytest.raises(BadRequest) as refused:
                await agents.check(request, "lab", "n1")
            return web.Response(status=refused.value.status)

        app = web.Application()
        app.router.add_get("/{cluster}/{node}", check)
        async with TestClient(TestServer(app)) as client:
            assert (await answer(client, "n1", "token"))[0] == 503


async def test_the_server_stores_what_the_right_agent_says(plane: ControlPlane, tmp_path: Path) -> None:
    """`chargeback serve --agent-account`, as the manifest runs it: the wrong node's push is counted, not stored."""
    token = token_of_pod(plane, "agent-c", "n1")
    arguments = (
        *("serve", "--data", str(tmp_path), "--cluster", "lab"),
        *("--kubeconfig", str(plane.kubeconfig(AGGREGATOR_TOKEN)), "--agent-account", "gpu-chargeback/gpu-exporter"),
    )
    hour = format_hour(SystemClock().now_ms() // 3_600_000 - 1)
    with running("chargeback.cli.main", *arguments, log=tmp_path / "serve.log") as server:
        async with TestClient(TestServer(web.Application())) as any_client:
            for node, expected in (("n2", 403), ("n1", 200)):
                body = wire.NodeHour(
                    v=1, cluster="lab", node=node, instance="i", started=1, seq=1, hour=hour, through=0, final=False
                )
                response = await any_client.session.put(
                    f"{server.url}/v1/node-hours/lab/{node}/{hour}",
                    data=wire.encode(body),
                    headers={"Authorization": f"Bearer {token}"},
                )
                assert response.status == expected, await response.text()

        def counted() -> bool:
            page = server.get("/metrics").decode()
            return (
                'chargeback_pushes_refused_total{field="Authorization",status="403"} 1.0' in page
                and 'chargeback_last_push_timestamp_seconds{cluster="lab",node="n1"}' in page
                and 'node="n2"' not in page
            )

        wait_for("the refusal on the page", counted)
