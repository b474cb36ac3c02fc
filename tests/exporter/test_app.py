"""What is served of an agent: ready answers, whatever the agent does meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from aiohttp.test_utils import TestClient, TestServer

from exporter.app import make_app


@dataclass
class Agent:
    """An agent in some state."""

    page: bytes = b"gpu_up 1.0\n"
    ready: bool = True
    stuck: bool = False


@pytest.mark.parametrize(
    ("path", "agent", "status"),
    [
        ("/healthz", Agent(), 200),
        ("/healthz", Agent(stuck=True), 503),
        ("/healthz", Agent(ready=False), 200),
        ("/readyz", Agent(), 200),
        ("/readyz", Agent(ready=False), 503),
        ("/readyz", Agent(stuck=True), 200),
        ("/", Agent(), 200),
        ("/metrics/", Agent(), 404),
    ],
)
async def test_each_path_says_how_the_agent_is(path: str, agent: Agent, status: int):
    async with TestClient(TestServer(make_app(agent))) as client:
        assert (await client.get(path)).status == status


async def test_metrics_are_the_page_of_the_last_beat_as_it_is():
    async with TestClient(TestServer(make_app(Agent()))) as client:
        answer = await client.get("/metrics")
        assert await answer.read() == b"gpu_up 1.0\n"
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
