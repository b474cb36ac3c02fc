"""Driver work asks for NVML from this host alone; it is let go before the answer, and the account goes on."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from exporter.release import DEFAULT_S
from exporter.release_routes import routes, serve_release
from tests.body_receiver import BodyReceiver
from tests.exporter.whole_node import BEAT_MS, WholeNode, ledger
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml
from tests.programs import running, wait_for


@pytest.fixture(scope="session")
def library_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture
def node(library_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WholeNode]:
    driver.load(library_dir)
    with FakeNvml(tmp_path / "state") as fake:
        monkeypatch.setenv("FAKE_NVML_STATE", str(fake.path))
        with WholeNode(fake, tmp_path) as node:
            yield node


@asynccontextmanager
async def serving(node: WholeNode) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application()
    serve_release(app, node.agent)
    async with TestClient(TestServer(app)) as client:
        yield client


def on_page(node: WholeNode, start: str) -> set[str]:
    return {line.split()[-1] for line in node.agent.page.decode().splitlines() if line.startswith(start)}


async def test_nvml_is_let_go_before_the_answer_and_taken_back_after(node: WholeNode):
    await node.beat(2)
    assert (node.fake.clients, on_page(node, "gpu_exporter_released ")) == (1, {"0.0"})
    async with serving(node) as client:
        answer = await client.post("/v1/release?for=60s")
        assert (answer.status, await answer.json()) == (200, {"released": True, "for_s": 60})
        assert node.fake.clients == 0
        await node.beat(1)
        assert node.fake.clients == 0
        assert on_page(node, "gpu_exporter_released ") == {"1.0"}
        assert on_page(node, "gpu_up{") == {"0.0"}
        assert on_page(node, 'gpu_exporter_collector_success{collector="gpus"') == {"1.0"}
        await node.beat(6)
    assert (node.fake.clients, on_page(node, "gpu_exporter_released ")) == (1, {"0.0"})
    assert on_page(node, "gpu_up{") == {"1.0"}


async def test_a_delete_takes_nvml_back_at_the_next_beat(node: WholeNode):
    async with serving(node) as client:
        assert (await client.post("/v1/release")).status == 200
        await node.beat(1)
        assert node.fake.clients == 0
        assert (await client.delete("/v1/release")).status == 200
    await node.beat(1)
    assert node.fake.clients == 1


async def test_the_account_goes_on_through_a_release(node: WholeNode):
    """Observed all the time, for the kubelet answers; held all the time; unhealthy while released, never idle."""
    await node.beat(3)
    node.agent.release.order(30, by="test")
    await node.beat(7)
    found = ledger(node.body())
    assert found[node.held.uuid] == {"train": 9 * BEAT_MS}
    assert found[node.idle.uuid] == {"free": 6 * BEAT_MS, "unhealthy": 3 * BEAT_MS}
    assert found[node.cut.uuid]["tune"] * 7 == 3 * 9 * BEAT_MS
    for card in node.body().gpus:
        assert (card.observed, card.unhealthy) == (((0, 9 * BEAT_MS),), ((3 * BEAT_MS, 6 * BEAT_MS),))


async def test_the_cards_may_be_others_after_a_release(node: WholeNode):
    """The idle card is cut into instances meanwhile: they are there when NVML is back, and not before."""
    await node.beat(1)
    node.agent.release.order(20, by="test")
    await node.beat(1)
    node.idle.remake_mig(["1g.10gb", "2g.20gb"])
    await node.beat(1)
    assert 'mig_profile="2g.20gb"' not in node.agent.page.decode()
    await node.beat(1)
    assert 'mig_profile="2g.20gb"' in node.agent.page.decode()


@pytest.mark.parametrize("query", ["for=", "for=0s", "for=31m", "for=2h", "for=1.5m", "for=1s&for=2s", "four=60s"])
async def test_what_is_no_duration_is_refused_and_changes_nothing(node: WholeNode, query: str):
    async with serving(node) as client:
        answer = await client.post(f"/v1/release?{query}")
        assert answer.status == 400
        assert "want one duration from 1s to 30m" in await answer.text()
    assert not node.agent.release.active


async def test_without_a_duration_it_is_the_default(node: WholeNode):
    async with serving(node) as client:
        assert json.loads(await (await client.post("/v1/release")).text())["for_s"] == DEFAULT_S


class Peer:
    """A connection from somewhere."""

    def __init__(self, host: str) -> None:
        self._host = host

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._host, 4711) if name == "peername" else default


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.7", False),
        ("::ffff:10.0.0.7", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
    ],
)
async def test_only_this_host_may_ask(node: WholeNode, method: str, host: str, allowed: bool):
    app = web.Application()
    serve_release(app, node.agent)
    request = make_mocked_request(method, "/v1/release", app=app, transport=Peer(host))
    (handler,) = [each.handler for each in routes if each.method == method]  # type: ignore[attr-defined]
    if allowed:
        assert (await handler(request)).status == 200
        return
    with pytest.raises(web.HTTPForbidden, match="Forbidden"):
        await handler(request)
    assert not node.agent.release.active


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_a_proxy_on_this_host_speaks_for_others(node: WholeNode, header: str):
    async with serving(node) as client:
        assert (await client.post("/v1/release", headers={header: "127.0.0.1"})).status == 403
    assert not node.agent.release.active


def test_a_process_obeys_the_answer_to_its_push_and_this_host_more(tmp_path: Path):
    """The server orders without end: released within a beat, until somebody on the node says no."""
    with BodyReceiver(answer=lambda: (200, {"release_s": 120})) as receiver:
        arguments = ("--cluster", "lab", "--node", "n1", "--beat", "1s", "--simulate", "--push", receiver.url)
        with running("exporter.cli", *arguments, log=tmp_path / "log") as agent:
            wait_for("NVML is let go", lambda: b"\ngpu_exporter_released 1.0\n" in agent.get("/metrics"))
            request = urllib.request.Request(agent.url + "/v1/release", method="DELETE")
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 200
            wait_for("NVML is taken back", lambda: b"\ngpu_exporter_released 0.0\n" in agent.get("/metrics"))
    log = (tmp_path / "log").read_text()
    assert "NVML is released for driver work" in log
    assert "the release ends" in log
    assert receiver.broken == []
