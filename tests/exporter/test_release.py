"""A release: bounded, whoever orders it, and heeded as the aggregator's answers say."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from exporter.account import Account
from exporter.clock import ReplayClock
from exporter.memory_spool import MemorySpool
from exporter.push import Answer, Door, Pusher
from exporter.release import MAX_S, Release
from exporter.sight import Memory
from tests.exporter.builders import HOUR_MS, NOON_MS


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
    answers = [(200, '{"seq": 1, "release_s": 120}'), (502, "bad gateway"), (401, "{}"), (200, '{"seq": 2}')]
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
