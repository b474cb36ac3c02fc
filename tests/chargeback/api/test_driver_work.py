"""The answer to a push orders the agent to let go of NVML: as the server says it, and as the agent takes it."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chargeback.api.node_hours import RELEASE_S
from chargeback.core.nodes import Node
from exporter import wire
from exporter.clock import ReplayClock
from exporter.push import Door
from exporter.release import Release
from tests.chargeback.api.serving import Server, serving
from tests.chargeback.store.bodies import HOUR, body, start_ms

NOW_MS = start_ms(HOUR + 1)


def node(name: str, work: str = "") -> Node:
    return Node(name=name, uid=f"uid of {name}", created_ms=0, driver_work=work)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """It knows n1, which announces a change, and n2, which does not."""
    async with serving(tmp_path) as server:
        for each in (node("n1", "nvidia.com/mig.config.state=pending"), node("n2")):
            server.tables.nodes.put(each.uid, each, NOW_MS)
        yield server


async def test_only_the_node_that_announces_work_is_told(server: Server) -> None:
    assert (await server.put(body("n1"))).json == {"seq": 1, "stored": True, "release_s": RELEASE_S}
    assert (await server.put(body("n2"))).json == {"seq": 1, "stored": True}
    assert (await server.put(body("n3"))).json == {"seq": 1, "stored": True}


async def test_a_node_of_the_same_name_elsewhere_is_not_told(server: Server) -> None:
    assert "release_s" not in (await server.put(body("n1", cluster="elsewhere"))).json


async def test_the_agent_heeds_what_the_server_orders_and_when_it_ceases(server: Server) -> None:
    release = Release(ReplayClock(NOW_MS))
    door = Door(server.session, server.url, cluster="lab", node="n1", token_file=None)
    sent = body("n1")
    release.heed((await door.put(sent.hour, _packed(sent))).release_s)
    assert release.left_s == RELEASE_S
    done = node("n1")
    server.tables.nodes.put(done.uid, done, NOW_MS)
    release.heed((await door.put(sent.hour, _packed(sent))).release_s)
    assert not release.active


def _packed(sent: wire.NodeHour) -> bytes:
    return gzip.compress(wire.encode(sent))
