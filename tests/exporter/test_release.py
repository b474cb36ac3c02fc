"""A release: bounded, whoever orders it; asked for from this host alone; and NVML really let go meanwhile."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from exporter.account import Account
from exporter.agent import Agent
from exporter.clock import ReplayClock
from exporter.collectors.gpus import Gpus
from exporter.collectors.holdings import Holdings
from exporter.collectors.node import Collectors
from exporter.collectors.processes import Processes
from exporter.memory_spool import MemorySpool
from exporter.nvml import Nvml
from exporter.push import Answer, Door, Pusher
from exporter.reading import Allocation, CgroupOwner, KubeletReading
from exporter.release import DEFAULT_S, MAX_S, Release
from exporter.release_routes import routes, serve_release
from exporter.sight import Memory
from exporter.worker import DirectCalls
from tests.exporter.builders import HOUR_MS, NOON_MS
from tests.nvml import fake as driver
from tests.nvml.fake import FakeNvml

BEAT_MS = 10_000


@pytest.fixture
def clock() -> ReplayClock:
    return ReplayClock(NOON_MS)


@pytest.fixture
def release(clock: ReplayClock) -> Release:
    return Release(clock)


async def test_a_release_ends_by_itself(release: Release, clock: ReplayClock):
    assert not release.active
    release.order(30, by="test")
    await clock.sleep(29)
    assert (release.active, release.left_s) == (True, 1.0)
    await clock.sleep(1)
    assert (release.active, release.left_s) == (False, 0.0)


async def test_an_order_replaces_the_one_before(release: Release, clock: ReplayClock):
    release.order(MAX_S, by="test")
    release.order(10, by="test")
    await clock.sleep(10)
    assert not release.active


@pytest.mark.parametrize("seconds", [0, -1, MAX_S + 1, float("inf"), float("nan")])
def test_no_release_is_longer_than_the_longest(release: Release, seconds: float):
    with pytest.raises(ValueError, match="want more than 0 and at most 1800 s"):
        release.order(seconds, by="test")
    release.heed(seconds)
    assert not release.active


async def test_the_aggregators_release_ends_when_it_ceases_to_order(release: Release, clock: ReplayClock):
    release.heed(120)
    await clock.sleep(30)
    release.heed(120)
    assert release.left_s == 120
    release.heed(None)
    assert not release.active


async def test_an_answer_without_an_order_leaves_a_release_that_others_ordered(release: Release):
    release.order(60, by="request")
    release.heed(None)
    assert release.active


async def test_an_announcement_that_never_ends_is_heeded_for_so_long_only(release: Release, clock: ReplayClock):
    """A manager that died in its work must not blind the meter for ever; the next work is heeded again."""
    released_s = 0
    for _ in range(4 * MAX_S // 30):
        release.heed(120)
        released_s += 30 * release.active
        await clock.sleep(30)
    assert MAX_S - 120 <= released_s <= MAX_S
    assert not release.active
    release.heed(None)
    release.heed(120)
    assert release.active


async def test_who_ends_a_release_here_is_not_overruled_by_the_aggregator(release: Release):
    release.heed(120)
    release.end(by="request")
    release.heed(120)
    assert not release.active
    release.heed(None)
    release.heed(120)
    assert release.active


@pytest.mark.parametrize(
    ("text", "ordered_s"),
    [
        ('{"seq": 1, "stored": true, "release_s": 120}', 120),
        ('{"seq": 1, "stored": true}', None),
        ("", None),
        ("<html>a proxy's page", None),
        ('{"release_s": "for ever"}', None),
        ("[]", None),
    ],
)
def test_what_an_answer_orders(text: str, ordered_s: float | None):
    assert Answer(status=200, text=text).release_s == ordered_s


async def test_only_an_answer_of_the_aggregator_orders_or_ceases_to(clock: ReplayClock):
    """One that failed says nothing of the node: a proxy's 502 must not end a release."""
    answers = [(200, '{"release_s": 120}'), (502, "bad gateway"), (401, "{}"), (200, "{}")]
    heeded: list[float | None] = []

    async def put(request: web.Request) -> web.Response:
        status, text = answers.pop(0)
        return web.Response(status=status, text=text)

    async def at_once(work: Callable[[], object]) -> object:
        return work()

    app = web.Application()
    app.router.add_put("/{path:.*}", put)
    spool = MemorySpool(cluster="lab", node="n1", now_ms=NOON_MS)
    async with TestServer(app) as server, ClientSession() as session:
        door = Door(session, str(server.make_url("/")), cluster="lab", node="n1", token_file=None)
        pusher = Pusher(door, spool, clock=clock, disk=at_once, heed=heeded.append)
        for start_ms in (NOON_MS, NOON_MS + HOUR_MS):
            spool.prepare(None, Memory(), [Account(start_ms=start_ms, through=HOUR_MS)])
        while answers:
            await pusher.push_round()
    assert heeded == [120, None]


class Node:
    """Two holders' worth of kubelet, and no processes."""

    def __init__(self, *device_ids: str) -> None:
        self._allocations = tuple(
            Allocation(namespace="team", pod="train", container="main", resource="nvidia.com/gpu", device_id=each)
            for each in device_ids
        )

    def list_pods(self) -> KubeletReading:
        return KubeletReading(allocations=self._allocations)

    def owner_of(self, pid: int) -> CgroupOwner | None:
        return None

    def prune(self, live_pids: Any) -> None:
        """Nothing is remembered."""


@pytest.fixture
def fake(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvml]:
    """A node with two cards."""
    directory = tmp_path_factory.mktemp("driver")
    driver.load(directory)
    with FakeNvml(directory / "state") as fake:
        monkeypatch.setenv("FAKE_NVML_STATE", str(fake.path))
        fake.add_gpu()
        fake.add_gpu()
        yield fake


@pytest.fixture
def agent(fake: FakeNvml, clock: ReplayClock) -> Iterator[Agent]:
    """Its first card is held by team/train."""
    nvml = Nvml(clock)
    node = Node(fake.gpus[0].uuid)
    collectors = Collectors(
        Gpus(nvml), Holdings(node), Processes(node), calls=lambda _: DirectCalls(), clock=clock, deadline_s=0
    )
    spool = MemorySpool(cluster="lab", node="n1", now_ms=clock.now_ms())
    yield Agent(collectors, spool, clock=clock, beat_ms=BEAT_MS, disk=DirectCalls(), pushing=True)
    nvml.close()


@asynccontextmanager
async def serving(agent: Agent) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application()
    serve_release(app, agent)
    async with TestClient(TestServer(app)) as client:
        yield client


async def beats(agent: Agent, clock: ReplayClock, count: int) -> None:
    for _ in range(count):
        await agent.beat()
        await clock.sleep(BEAT_MS / 1000)


def on_page(agent: Agent, start: str) -> set[str]:
    return {line.split()[-1] for line in agent.page.decode().splitlines() if line.startswith(start)}


async def test_nvml_is_let_go_before_the_answer_and_taken_back_after(
    agent: Agent, fake: FakeNvml, clock: ReplayClock
):
    await beats(agent, clock, 2)
    assert (fake.clients, on_page(agent, "gpu_exporter_released ")) == (1, {"0.0"})
    async with serving(agent) as client:
        answer = await client.post("/v1/release?for=60s")
        assert (answer.status, await answer.json()) == (200, {"released": True, "for_s": 60})
        assert fake.clients == 0
        await beats(agent, clock, 1)
        assert fake.clients == 0
        assert on_page(agent, "gpu_exporter_released ") == {"1.0"}
        assert on_page(agent, "gpu_up{") == {"0.0"}
        assert on_page(agent, 'gpu_exporter_collector_success{collector="gpus"') == {"1.0"}
        await beats(agent, clock, 6)
    assert (fake.clients, on_page(agent, "gpu_exporter_released ")) == (1, {"0.0"})
    assert on_page(agent, "gpu_up{") == {"1.0"}


async def test_a_delete_takes_nvml_back_at_the_next_beat(agent: Agent, fake: FakeNvml, clock: ReplayClock):
    async with serving(agent) as client:
        assert (await client.post("/v1/release")).status == 200
        await beats(agent, clock, 1)
        assert fake.clients == 0
        assert (await client.delete("/v1/release")).status == 200
    await beats(agent, clock, 1)
    assert fake.clients == 1


async def test_the_account_goes_on_through_a_release(agent: Agent, clock: ReplayClock):
    """Observed all the time, for the kubelet answers; held all the time; unhealthy while released, never idle."""
    await beats(agent, clock, 3)
    agent.release.order(30, by="test")
    await beats(agent, clock, 3)
    await beats(agent, clock, 3)
    await agent.beat()
    saved = agent._meter.save()
    assert saved is not None
    assert saved.account.through == 90_000
    for card in saved.account.cards.values():
        assert [(span.start, span.end) for span in card.observed] == [(0, 90_000)]
        assert [(span.start, span.end) for span in card.unhealthy] == [(30_000, 60_000)]
    assert sum(each.end - each.start for each in saved.account.holdings) == 90_000
    held = {each.end - each.start for each in saved.account.holdings if each.memory_byte_ms is None}
    assert held <= {30_000, 90_000}


async def test_the_cards_may_be_others_after_a_release(agent: Agent, fake: FakeNvml, clock: ReplayClock):
    """The second card is cut into instances meanwhile: they are there when NVML is back, and not before."""
    await beats(agent, clock, 1)
    agent.release.order(20, by="test")
    await beats(agent, clock, 1)
    fake.gpus[1].remake_mig(["3g.40gb", "3g.40gb"])
    await beats(agent, clock, 1)
    assert 'mig_profile="3g.40gb"' not in agent.page.decode()
    await beats(agent, clock, 1)
    assert 'mig_profile="3g.40gb"' in agent.page.decode()


@pytest.mark.parametrize("query", ["for=", "for=0s", "for=31m", "for=2h", "for=1.5m", "for=1s&for=2s", "four=60s"])
async def test_what_is_no_duration_is_refused_and_changes_nothing(agent: Agent, query: str):
    async with serving(agent) as client:
        answer = await client.post(f"/v1/release?{query}")
        assert answer.status == 400
        assert "want one duration from 1s to 30m" in await answer.text()
    assert not agent.release.active


async def test_without_a_duration_it_is_the_default(agent: Agent):
    async with serving(agent) as client:
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
async def test_only_this_host_may_ask(agent: Agent, method: str, host: str, allowed: bool):
    app = web.Application()
    serve_release(app, agent)
    request = make_mocked_request(method, "/v1/release", app=app, transport=Peer(host))
    (handler,) = [each.handler for each in routes if each.method == method]  # type: ignore[attr-defined]
    if allowed:
        assert (await handler(request)).status == 200
        return
    with pytest.raises(web.HTTPForbidden, match="Forbidden"):
        await handler(request)
    assert not agent.release.active


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_a_proxy_on_this_host_speaks_for_others(agent: Agent, header: str):
    async with serving(agent) as client:
        assert (await client.post("/v1/release", headers={header: "127.0.0.1"})).status == 403
    assert not agent.release.active
