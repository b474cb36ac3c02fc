"""The test server itself: it scrapes, keeps our labels, loads rules, and answers."""

import asyncio

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from dashboards.prometheus_rules import rule_files
from tests.prometheus_server import PrometheusServer, QueryRefused, Sample, Start

OWNER = 'cluster="c1",cost_center="cc-1",team="vision",namespace="ml"'
ENTRY = f'{OWNER},sku="h100",kind="held"'
IDLE = 'cluster="c1",cost_center="platform:idle",team="",namespace="",sku="h100",kind="free"'
QUOTA = f'{OWNER},resourcequota="gpus",resource="requests.nvidia.com/gpu",enforced="true"'

PAGE = f"""\
chargeback_cost{{period="month",{ENTRY},currency="EUR"}} 12.5
chargeback_cost{{period="month",{IDLE},currency="EUR"}} 3.5
chargeback_gpu_seconds{{period="month",{ENTRY}}} 27000
chargeback_gpu_seconds{{period="month",{IDLE}}} 9000
chargeback_quota_hard{{{QUOTA}}} 8
chargeback_quota_used{{{QUOTA}}} 6
chargeback_last_push_timestamp_seconds{{cluster="c1",node="n1"}} 1000
"""


@pytest.fixture
async def server(aiohttp_server: AiohttpServer, prometheus: Start) -> PrometheusServer:
    """Prometheus, scraping one page twice, as if two replicas served it, with our rules loaded."""

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text=PAGE)

    replicas = []
    for _ in range(2):
        app = web.Application()
        app.router.add_get("/metrics", metrics)
        replicas.append(await aiohttp_server(app))
    targets = {"chargeback": [f"127.0.0.1:{replica.port}" for replica in replicas]}
    started = await asyncio.to_thread(prometheus, targets, rule_files())
    await asyncio.to_thread(started.wait_for, "count(chargeback_last_push_timestamp_seconds) == 2")
    return started


async def test_it_scrapes_keeps_our_labels_loads_rules_and_refuses_bad_questions(server: PrometheusServer) -> None:
    assert [target["health"] for target in await asyncio.to_thread(server.targets)] == ["up", "up"]
    names = {rule["name"] for rule in await asyncio.to_thread(server.rules)}
    assert names > {"GpuQuotaAlmostFull", "GpuMissing", "quota:chargeback_quota_used_per_hard:ratio"}
    samples = await asyncio.to_thread(server.query, "chargeback_quota_used")
    assert [sample.labels["namespace"] for sample in samples] == ["ml", "ml"]
    with pytest.raises(QueryRefused, match="parse error"):
        await asyncio.to_thread(server.query, "sum(")


async def test_relabelling_as_documented_gives_what_honouring_our_labels_gives(
    server: PrometheusServer, prometheus: Start
) -> None:
    """Series by series, labels and all: with a namespace of ours, with an empty one, and with none of ours."""
    targets = {"chargeback": [target["labels"]["instance"] for target in await asyncio.to_thread(server.targets)]}
    relabelled = await asyncio.to_thread(prometheus, targets, honor_labels=False)
    await asyncio.to_thread(relabelled.wait_for, "count(chargeback_last_push_timestamp_seconds) == 2")
    everything = '{__name__=~"chargeback_.+"}'
    honoured = await asyncio.to_thread(server.query, everything)
    assert len(honoured) == 2 * PAGE.count("\n")
    assert _labels_of(await asyncio.to_thread(relabelled.query, everything)) == _labels_of(honoured)


def _labels_of(samples: list[Sample]) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(sample.labels.items()) for sample in samples}
