"""Pushing: an hour is acknowledged, set aside for good, or tried again; none waits for another."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.clock import ReplayClock
from exporter.finished import FinishedHour, pack
from exporter.push import Answer, Door, Pusher

Answering = Callable[[web.Request], int]

TAKEN = '{"seq": 1, "stored": true}'
REFUSED = '{"field": "hour", "problem": "because"}'


class Outbox:
    """Hours in memory; what happened to them."""

    def __init__(self, *hours: str) -> None:
        self.bodies = {FinishedHour(hour=hour, instance="i", seq=n): pack(b"{}") for n, hour in enumerate(hours, 1)}
        self.refused: dict[str, str] = {}
        self.acknowledged: list[str] = []

    def waiting(self) -> list[FinishedHour]:
        return sorted(self.bodies)

    def load(self, hour: FinishedHour) -> bytes | None:
        return self.bodies.get(hour)

    def acknowledge(self, hour: FinishedHour) -> None:
        del self.bodies[hour]
        self.acknowledged.append(hour.hour)

    def refuse(self, hour: FinishedHour, reason: str) -> None:
        del self.bodies[hour]
        self.refused[hour.hour] = reason


async def at_once(work: Callable[[], object]) -> object:
    return work()


class Aggregator:
    """A real server that answers as the test says, and notes what it was sent."""

    def __init__(self, status: Answering) -> None:
        self.status = status
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    async def put(self, request: web.Request) -> web.Response:
        # aiohttp has unpacked the body already.
        self.requests.append((request.raw_path, dict(request.headers), await request.read()))
        status = self.status(request)
        return web.Response(status=status, text=TAKEN if status == 200 else REFUSED)


@asynccontextmanager
async def pushing(
    outbox: Outbox, status: Answering, *, token_file: Path | None = None, node: str = "n1"
) -> AsyncIterator[tuple[Pusher, Aggregator]]:
    aggregator = Aggregator(status)
    app = web.Application()
    app.router.add_put("/{path:.*}", aggregator.put)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        door = Door(session, str(server.make_url("/")), cluster="lab", node=node, token_file=token_file)
        yield Pusher(door, outbox, clock=ReplayClock(0), disk=at_once), aggregator


async def test_a_taken_hour_is_acknowledged() -> None:
    outbox = Outbox("2026-10-03T14Z")
    async with pushing(outbox, lambda request: 200) as (pusher, aggregator):
        assert await pusher.push_round()
    assert (outbox.waiting(), outbox.acknowledged) == ([], ["2026-10-03T14Z"])
    path, headers, body = aggregator.requests[0]
    assert path == "/v1/node-hours/lab/n1/2026-10-03T14Z"
    assert (headers["Content-Encoding"], body) == ("gzip", b"{}")


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_an_hour_that_is_refused_for_good_is_set_aside_and_the_others_go_on(status: int) -> None:
    """With the reason, counted."""
    outbox = Outbox("2026-10-03T14Z", "2026-10-03T15Z")

    def answer(request: web.Request) -> int:
        return status if request.path.endswith("14Z") else 200

    async with pushing(outbox, answer) as (pusher, _):
        assert await pusher.push_round()
    assert outbox.refused == {"2026-10-03T14Z": f"{status}: {REFUSED}\n"}
    assert outbox.acknowledged == ["2026-10-03T15Z"]
    assert (pusher.refused_hours, pusher.results) == (1, {"taken": 1, "failed": 0, "refused": 1})


@pytest.mark.parametrize("status", [401, 403, 404, 425, 429, 500, 503, 302])
async def test_every_other_answer_is_tried_again(status: int) -> None:
    """Nothing is lost, however long it takes."""
    outbox = Outbox("2026-10-03T14Z")
    answers = [status, status, 200]
    async with pushing(outbox, lambda request: answers.pop(0)) as (pusher, _):
        assert not await pusher.push_round()
        assert not await pusher.push_round()
        assert (len(outbox.waiting()), pusher.taken_at_ms) == (1, None)
        assert await pusher.push_round()
    assert pusher.taken_at_ms == 0  # the clock stood still
    assert outbox.acknowledged == ["2026-10-03T14Z"]


@pytest.mark.parametrize("text", ["", "<html>Sign in</html>", "{}", '"ok"'])
@pytest.mark.parametrize("status", [200, 204, 400, 413, 422])
async def test_what_somebody_else_answers_neither_takes_nor_refuses_an_hour(status: int, text: str) -> None:
    """A sign-in page with 200, an ingress that wants HTTPS with 400, one with a limit of its own with 413."""
    answer = Answer(status=status, text=text)
    assert answer.result == "failed"


async def test_nobody_there_is_tried_again() -> None:
    outbox = Outbox("2026-10-03T14Z")
    async with aiohttp.ClientSession() as session:
        door = Door(session, "http://127.0.0.1:9", cluster="lab", node="n1", token_file=None)
        pusher = Pusher(door, outbox, clock=ReplayClock(0), disk=at_once)
        assert not await pusher.push_round()
    assert (len(outbox.waiting()), pusher.results["failed"]) == (1, 1)


async def test_an_old_failure_does_not_keep_newer_hours_waiting() -> None:
    """Hours that were not tried for longest come first, more than fit into a round or not."""
    hours = [f"2026-10-{day:02d}T{hour:02d}Z" for day in (3, 4) for hour in range(24)]
    outbox = Outbox(*hours)
    async with pushing(outbox, lambda request: 503 if "2026-10-03" in request.path else 200) as (pusher, _):
        for _ in range(4):
            await pusher.push_round()
    assert set(outbox.acknowledged) == {hour for hour in hours if hour.startswith("2026-10-04")}


async def test_the_token_is_read_anew_for_each_request(tmp_path: Path) -> None:
    """Kubernetes replaces it; one that is away for a moment is a failure, not the end."""
    token = tmp_path / "token"
    token.write_text("first\n")
    outbox = Outbox("2026-10-03T14Z", "2026-10-03T15Z", "2026-10-03T16Z")
    async with pushing(outbox, lambda request: 503, token_file=token) as (pusher, aggregator):
        await pusher.push_round()
        token.write_text("second\n")
        await pusher.push_round()
        token.unlink()
        await pusher.push_round()
    sent = [headers["Authorization"] for _, headers, _ in aggregator.requests]
    assert sent == ["Bearer first"] * 3 + ["Bearer second"] * 3
    assert pusher.results["failed"] == 9


async def test_names_are_percent_encoded() -> None:
    outbox = Outbox("2026-10-03T14Z")
    async with pushing(outbox, lambda request: 200, node="a/b c") as (pusher, aggregator):
        await pusher.push_round()
    assert aggregator.requests[0][0] == "/v1/node-hours/lab/a%2Fb%20c/2026-10-03T14Z"


def test_what_is_packed_is_gzip() -> None:
    """Equal data, equal bytes."""
    assert gzip.decompress(pack(b"x")) == b"x"
    assert pack(b"x") == pack(b"x")
    assert Answer(status=None).result == "failed"
