"""Pushing where it is hardest: lost answers, nobody there, a broken spool; and the open hour."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from aiohttp import web

from exporter.finished import FinishedHour, pack
from exporter.push import BACKOFF_MOST_S, ROUND_MAX, Door, Pusher, Running


class Aggregator:
    """Answers each hour as a test says, by default 200. An answer of 0 is none: the connection is cut."""

    def __init__(self) -> None:
        self.answers: dict[str, list[int]] = {}
        self.always: dict[str, int] = {}
        self.taken: list[tuple[str, bytes]] = []
        self.asked: list[str] = []
        self.paths: list[str] = []
        self.tokens: list[str | None] = []

    async def put(self, request: web.Request) -> web.Response:
        hour = request.match_info["hour"]
        self.asked.append(hour)
        self.paths.append(request.raw_path)
        self.tokens.append(request.headers.get("Authorization"))
        body = await request.read()  # aiohttp unpacks it
        queued = self.answers.get(hour)
        status = queued.pop(0) if queued else self.always.get(hour, 200)
        if status in (0, 200):
            self.taken.append((hour, body))
        if status == 0 and request.transport is not None:
            request.transport.close()  # taken, but the answer is lost
        if status in (0, 200):
            return web.json_response({"seq": 1, "stored": True})
        return web.json_response({"field": "gpus[0].uuid", "problem": "want another"}, status=status)


class Outbox:
    """Hours in a dict."""

    def __init__(self, *hours: str) -> None:
        self.bodies = {FinishedHour(hour=hour, instance="i", seq=1): pack(hour.encode()) for hour in hours}
        self.refused: dict[str, str] = {}

    def waiting(self) -> list[FinishedHour]:
        return sorted(self.bodies)

    def load(self, hour: FinishedHour) -> bytes | None:
        return self.bodies.get(hour)

    def acknowledge(self, hour: FinishedHour) -> None:
        self.bodies.pop(hour, None)

    def refuse(self, hour: FinishedHour, reason: str) -> None:
        self.refused[hour.hour] = reason
        self.acknowledge(hour)


class EagerClock:
    """Never waits, and remembers for how long it should have."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        await asyncio.sleep(0.001)


async def at_once(work: Callable[[], object]) -> object:
    return work()


@asynccontextmanager
async def pushing(
    aggregator: Aggregator, outbox: Outbox, *, token_file: Path | None = None, cluster: str = "lab", node: str = "n1"
) -> AsyncIterator[tuple[Pusher, EagerClock]]:
    app = web.Application()
    app.router.add_put("/v1/node-hours/{cluster}/{node}/{hour}", aggregator.put)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with aiohttp.ClientSession() as session:
            clock = EagerClock()
            door = Door(session, url, cluster=cluster, node=node, token_file=token_file)
            yield Pusher(door, outbox, clock=clock, disk=at_once), clock
    finally:
        await runner.cleanup()


async def until(check: Callable[[], bool], task: asyncio.Task[None]) -> None:
    """Let a task run until something is so, then end it."""
    try:
        async with asyncio.timeout(10):
            while not check():
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def push_until(check: Callable[[], bool], pusher: Pusher) -> None:
    await until(check, asyncio.create_task(pusher.push_finished()))


async def test_a_lost_answer_means_once_more():
    """The aggregator had it, we cannot know: it gets the same bytes again."""
    aggregator, outbox = Aggregator(), Outbox("h1")
    aggregator.answers = {"h1": [0, 0, 200]}
    async with pushing(aggregator, outbox) as (pusher, _):
        await push_until(lambda: not outbox.bodies, pusher)
    assert len(aggregator.taken) >= 3  # aiohttp itself may repeat a PUT on a closed connection
    assert {body for _, body in aggregator.taken} == {b"h1"}


async def test_nobody_there_is_no_error():
    async with aiohttp.ClientSession() as session:
        outbox, clock = Outbox("h1"), EagerClock()
        door = Door(session, "http://127.0.0.1:1", cluster="lab", node="n1", token_file=None)
        pusher = Pusher(door, outbox, clock=clock, disk=at_once)
        await push_until(lambda: pusher.results["failed"] >= 12, pusher)
    assert len(outbox.bodies) == 1
    waits = clock.slept_s
    assert all(wait <= BACKOFF_MOST_S for wait in waits)
    assert max(waits) >= BACKOFF_MOST_S / 2
    assert waits[0] <= 1.0


async def test_hours_are_independent():
    """One hour that always fails holds up no other, however many there are."""
    hours = [f"h{n:03}" for n in range(3 * ROUND_MAX)]
    aggregator, outbox = Aggregator(), Outbox(*hours)
    aggregator.always = dict.fromkeys(hours[:ROUND_MAX], 500)
    async with pushing(aggregator, outbox) as (pusher, _):
        await push_until(lambda: len(outbox.bodies) == ROUND_MAX, pusher)
    assert [hour.hour for hour in outbox.waiting()] == hours[:ROUND_MAX]


async def test_a_spool_that_fails_is_no_reason_to_end():
    class Broken(Outbox):
        def acknowledge(self, hour: FinishedHour) -> None:
            raise OSError(30, "Read-only file system")

    outbox = Broken("h1")
    async with pushing(Aggregator(), outbox) as (pusher, _):
        assert not await pusher.push_round()
    assert len(outbox.bodies) == 1


async def test_the_open_hour_is_pushed_now_and_then():
    aggregator = Aggregator()
    bodies = iter(range(1000))

    def running() -> Running:
        return Running(hour="now", data=gzip.compress(str(next(bodies)).encode()))

    async with pushing(aggregator, Outbox()) as (pusher, clock):
        task = asyncio.create_task(pusher.push_running(running, every_s=30))
        await until(lambda: len(aggregator.taken) >= 3, task)
    assert [body for _, body in aggregator.taken[:3]] == [b"0", b"1", b"2"]
    assert all(24 <= wait <= 36 for wait in clock.slept_s)


async def test_a_refused_open_hour_is_left_alone_until_the_next():
    aggregator = Aggregator()
    aggregator.always = {"old": 422}
    hour = "old"

    async with pushing(aggregator, Outbox()) as (pusher, clock):
        task = asyncio.create_task(pusher.push_running(lambda: Running(hour=hour, data=pack(b"x")), every_s=30))
        async with asyncio.timeout(10):
            while len(clock.slept_s) < 5:
                await asyncio.sleep(0.001)
        hour = "new"
        await until(lambda: bool(aggregator.taken), task)
    assert aggregator.asked[:2] == ["old", "new"]


async def test_while_there_is_no_open_hour_nothing_is_pushed():
    aggregator = Aggregator()
    async with pushing(aggregator, Outbox()) as (pusher, clock):
        task = asyncio.create_task(pusher.push_running(lambda: None))
        await until(lambda: len(clock.slept_s) >= 3, task)
    assert aggregator.asked == []
